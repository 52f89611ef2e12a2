"""A client that draws a progress bar and prints every notification as it arrives.

python examples/progress_client.py examples/process_files.py '*.md'                       in memory
python examples/progress_client.py 'stdio:mcpcore run examples/process_files.py' '*.md'   over stdio
python examples/progress_client.py http://127.0.0.1:8000/mcp '*.md' --level error         over HTTP

You will see a line for each log message of the wanted level and above and one for each file, on a terminal with a
bar below them that grows, and then the sizes of the files.
"""

import argparse
import os
import sys
from typing import get_args

import anyio
import msgspec

from mcpcore import Client
from mcpcore.cli.target import target_of
from mcpcore.types import LoggingLevel, LoggingMessageNotificationParams, TextContent

WIDTH = 40


class Processed(msgspec.Struct):
    name: str
    bytes: int


class Processing(msgspec.Struct):  # what is read of the tool's structured output
    result: list[Processed]


class Screen:
    """Lines that scroll by, above a bar that stays. Where there is no terminal there are the lines."""

    def __init__(self) -> None:
        self.bar = ""

    def say(self, line: str) -> None:
        if sys.stdout.isatty():
            print(f"\r\x1b[K{line}\n{self.bar}", end="", flush=True)
        else:
            print(line, flush=True)

    async def log(self, message: LoggingMessageNotificationParams) -> None:
        self.say(f"{message.level:>9}  {message.data}")

    async def progress(self, progress: float, total: float | None, message: str | None) -> None:
        share = progress / total if total else 0
        self.bar = f"[{'#' * round(share * WIDTH):.<{WIDTH}}] {share:4.0%}"
        self.say(f" progress  {progress:g} of {total or 0:g}: {message}")


async def main(target: str, patterns: list[str], level: LoggingLevel) -> int:
    screen = Screen()
    async with Client(target_of(target).client_target, on_log=screen.log, log_level=level) as client:
        result = await client.call_tool("process", {"patterns": patterns}, on_progress=screen.progress)
    # Progress has been awaited before the result; log messages go their own way, and are here when the client closes.
    if result.is_error:
        screen.say("".join(block.text for block in result.content if isinstance(block, TextContent)))
        return 1
    screen.bar = ""
    for file in msgspec.convert(result.structured_content, Processing).result:
        screen.say(f"{file.bytes:>12,}  {file.name}")
    return 0


if __name__ == "__main__":
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("target", help="FILE.py, 'stdio:COMMAND …', or a URL")
    words.add_argument("patterns", nargs="+", help="files, as the server names them")
    words.add_argument("--level", choices=get_args(LoggingLevel), default="debug", help="the least severe one to print")
    given = words.parse_args()
    backend = os.environ.get("MCPCORE_BACKEND", "asyncio")
    sys.exit(anyio.run(main, given.target, given.patterns, given.level, backend=backend))
