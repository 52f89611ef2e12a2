"""Watches a machine for some reports, has seen enough, and subscribes to the resource that says the same.

python examples/monitor_client.py examples/monitor.py                      in memory
python examples/monitor_client.py 'stdio:mcpcore run examples/monitor.py'  over stdio
python examples/monitor_client.py http://127.0.0.1:8000/mcp --reports 10   over HTTP

You will see the reports of a running call; then the call is cancelled, which ends the tool on the server; then the
resource, read again each time the server says that it has changed.
"""

import argparse
import os
import sys

import anyio
import msgspec

from mcpcore import Client
from mcpcore.cli.target import target_of
from mcpcore.types import TextResourceContents


class Load(msgspec.Struct):
    cpu: float
    memory: float | None
    watchers: int

    def __str__(self) -> str:
        memory = "unknown" if self.memory is None else f"{self.memory:5.1f} %"
        return f"cpu {self.cpu:5.1f} %   memory {memory}   watched by {self.watchers}"


async def watch(client: Client, reports: int) -> None:
    """Call the tool, which never ends by itself, and cancel the call after so many reports."""
    with anyio.CancelScope() as enough:

        async def show(number: float, total: float | None, message: str | None) -> None:
            print(f"{number:3.0f}  {msgspec.json.decode(message or '', type=Load)}", flush=True)
            if number >= reports:
                enough.cancel()

        await client.call_tool("watch", on_progress=show, timeout=3600)
    print("seen enough: the call is cancelled", flush=True)


async def listen(client: Client, reports: int) -> None:
    """Read the resource whenever it has changed."""
    async with client.listen(resources=["monitor://load"]) as changes:
        for number in range(1, reports + 1):
            change = await anext(changes)
            read = await client.read_resource(change.uri or "")
            for contents in read.contents:
                if isinstance(contents, TextResourceContents):
                    print(f"{number:3}  {msgspec.json.decode(contents.text, type=Load)}", flush=True)


async def main(target: str, reports: int) -> None:
    async with Client(target_of(target).client_target) as client:
        print("progress of a call:", flush=True)
        await watch(client, reports)
        print("changes of monitor://load:", flush=True)
        await listen(client, reports)


if __name__ == "__main__":
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("target", help="FILE.py, 'stdio:COMMAND …', or a URL")
    words.add_argument("--reports", type=int, default=5)
    given = words.parse_args()
    sys.exit(anyio.run(main, given.target, given.reports, backend=os.environ.get("MCPCORE_BACKEND", "asyncio")))
