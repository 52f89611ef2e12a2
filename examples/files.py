"""Files below the working directory: progress, a streaming tool, a resource template, a prompt, a question.

mcpcore call examples/files.py count_words path=.             a bar that grows with each file, then the numbers
mcpcore call examples/files.py find pattern='*.py'            every path as it is found
mcpcore call examples/files.py rename path=a.txt name=b.txt   asks you before it acts
mcpcore list 'stdio:mcpcore run examples/files.py'            the same server as a process of its own
"""

import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from anyio import to_thread

from mcpcore import Context, Server, ToolError

BASE = Path.cwd().resolve()
server = Server("files", version="1.0", instructions="Reads text files below the directory the server runs in.")


def below_base(path: str) -> Path:
    """The path, if it exists and lies below the base: what a model asks for is not to be trusted."""
    found = (BASE / path).resolve()
    if not found.is_relative_to(BASE) or not found.exists():
        raise ToolError(f"there is no {path!r} below {BASE.name}")
    return found


def files_below(directory: Path) -> Iterator[Path]:
    """Files in a stable order, without those in hidden and private directories such as .git and __pycache__."""
    for folder, subfolders, names in os.walk(directory):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith((".", "__")))
        yield from (Path(folder, name) for name in sorted(names))


def measure(file: Path) -> tuple[int, int, int] | None:
    """Words, lines and bytes of a text file; None for any other file."""
    data = file.read_bytes()
    return None if b"\0" in data else (len(data.split()), data.count(b"\n"), len(data))


@server.tool
async def count_words(path: str, ctx: Context) -> dict[str, int]:
    """Count words, lines and bytes of a text file, or of all text files below a directory."""
    start = below_base(path)
    files = [start] if start.is_file() else [file for file in files_below(start) if file.is_file()]
    total = {"files": 0, "words": 0, "lines": 0, "bytes": 0}
    for number, file in enumerate(files, 1):
        measured = await to_thread.run_sync(measure, file)
        if measured is not None:
            for key, amount in zip(total, (1, *measured), strict=True):
                total[key] += amount
        await ctx.progress(number, total=len(files), message=str(file.relative_to(BASE)))
    return total


@server.tool
async def find(pattern: str, directory: str = ".") -> AsyncIterator[str]:
    """Find files whose name fits a pattern such as *.py; each is reported as soon as it is found."""
    for file in files_below(below_base(directory)):
        if fnmatch(file.name, pattern):
            yield str(file.relative_to(BASE))


@dataclass
class Confirmation:
    confirm: bool


@server.tool
async def rename(path: str, name: str, ctx: Context) -> str:
    """Rename a file within its directory, once the user agrees."""
    file = below_base(path)
    if Path(name).name != name or file.with_name(name).exists():
        raise ToolError(f"{name!r} is there already, or is no file name")
    answer = await ctx.elicit(f"Rename {path} to {name}?", Confirmation)
    if answer.content is None or not answer.content.confirm:
        return f"{path} keeps its name"
    file.rename(file.with_name(name))
    return f"{path} is {name} from here on"


@server.resource("file:///{+path}", mime_type="text/plain")
def text_file(path: str) -> str | None:
    """A text file below the directory the server runs in."""
    file = (BASE / path).resolve()
    return file.read_text() if file.is_relative_to(BASE) and file.is_file() else None


@server.prompt
def summarise(path: str) -> str:
    """Ask for a summary of one file."""
    return f"Read the resource file:///{path} and summarise it in three sentences."


if __name__ == "__main__":
    server.run("stdio")
