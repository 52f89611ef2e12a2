"""A list of files, worked off one by one: for each a progress notification, and a log line at every level.

python examples/progress_client.py examples/process_files.py '*.md'   a bar, and every notification as it arrives
mcpcore call examples/process_files.py process patterns='["*.md"]'    the command line's own bar, then the table
mcpcore run examples/process_files.py --transport http                over HTTP; without the flag over stdio

Files are taken from the directory the server runs in. Which levels are sent is the client's choice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

from anyio import to_thread

from mcpcore import Context, Server, ToolError
from mcpcore.types.logs import LOGGING_LEVELS

BASE = Path.cwd().resolve()
server = Server("process files", version="1.0", instructions="Checksums of files below the server's directory.")


@dataclass
class Processed:
    name: str
    bytes: int
    sha256: str


def files_below(pattern: str) -> Iterator[Path]:
    """Those whose name fits; no links, and nothing outside: what a model asks for is not to be trusted."""
    if ".." in pattern or pattern.startswith("/"):
        raise ToolError(f"{pattern!r} leaves {BASE.name}; give names or patterns such as docs/*.md")
    return (file for file in sorted(BASE.glob(pattern)) if file.is_file() and file.resolve().is_relative_to(BASE))


def measure(file: Path) -> Processed:
    with file.open("rb") as data:
        return Processed(str(file.relative_to(BASE)), file.stat().st_size, file_digest(data, "sha256").hexdigest())


@server.tool
async def process(patterns: list[str], ctx: Context) -> list[Processed]:
    """Size and checksum of each file that fits one of the patterns, such as README.md or docs/*.md."""
    files = [file for pattern in patterns for file in files_below(pattern)]
    if not files:
        raise ToolError(f"no file in {BASE.name} fits {' or '.join(patterns)}")
    found = []
    for number, file in enumerate(files, 1):
        done = await to_thread.run_sync(measure, file)
        found.append(done)
        for level in LOGGING_LEVELS:  # debug to emergency
            await ctx.log(level, {"file": done.name, "bytes": done.bytes})
        await ctx.progress(number, total=len(files), message=done.name)
    return found


if __name__ == "__main__":
    server.run()
