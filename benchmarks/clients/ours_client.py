"""The client of this library. See `control.py`."""

from collections.abc import Callable
from typing import Any

import anyio
from control import obey, options

from mcpcore import Client


async def main() -> None:
    target, _, era = options()
    chosen: Any = target.url
    if target.argv:
        from mcpcore_transports.stdio.client import StdioTransport

        chosen = StdioTransport(target.argv, env=target.environment)
    elif chosen is None:
        from mcpcore import Server

        server = Server("benchmark")

        @server.tool
        async def echo(text: str) -> str:
            return text

        chosen = server

    async with Client(chosen, era="legacy" if era == "legacy" else "auto") as client:

        async def call(text: str) -> str:
            result = await client.call_tool("echo", {"text": text})
            found: Any = result.content[0]
            return str(found.text)

        async def count(upto: int, heard: Callable[[float], None]) -> object:
            async def on_progress(progress: float, total: float | None, message: str | None) -> None:
                heard(progress)

            return await client.call_tool("count", {"upto": upto}, on_progress=on_progress)

        await obey(call, count)


if __name__ == "__main__":
    anyio.run(main, backend=options()[1])
