"""FastMCP's client. See `control.py`."""

from collections.abc import Callable
from typing import Any

import anyio
from control import obey, options
from fastmcp import Client
from fastmcp.client.transports import StdioTransport


async def main() -> None:
    target, _, _ = options()
    chosen: Any = target.url
    if target.argv:
        command, *arguments = target.argv
        chosen = StdioTransport(command, arguments, env=target.environment)
    elif chosen is None:
        from fastmcp import FastMCP

        server = FastMCP("benchmark")

        @server.tool
        async def echo(text: str) -> str:
            return text

        chosen = server

    async with Client(chosen) as client:

        async def call(text: str) -> str:
            result: Any = await client.call_tool("echo", {"text": text})
            return str(result.content[0].text)

        async def count(upto: int, heard: Callable[[float], None]) -> object:
            async def on_progress(progress: float, total: float | None, message: str | None) -> None:
                heard(progress)

            return await client.call_tool("count", {"upto": upto}, progress_handler=on_progress)

        await obey(call, count)


if __name__ == "__main__":
    anyio.run(main)
