"""The official SDK's client. See `control.py`."""

from collections.abc import Callable
from typing import Any

import anyio
from control import obey, options
from mcp import Client, StdioServerParameters


async def main() -> None:
    target, _, era = options()
    chosen: Any = target.url
    if target.argv:
        command, *arguments = target.argv
        chosen = StdioServerParameters(command=command, args=arguments, env=target.environment)
    elif chosen is None:
        from mcp.server.mcpserver import MCPServer

        server = MCPServer("benchmark", log_level="ERROR")

        @server.tool()
        async def echo(text: str) -> str:
            return text

        chosen = server

    async with Client(chosen, mode="legacy" if era == "legacy" else "auto") as client:

        async def call(text: str) -> str:
            result: Any = await client.call_tool("echo", {"text": text})
            return str(result.content[0].text)

        async def count(upto: int, heard: Callable[[float], None]) -> object:
            async def on_progress(progress: float, total: float | None, message: str | None) -> None:
                heard(progress)

            return await client.call_tool("count", {"upto": upto}, progress_callback=on_progress)

        await obey(call, count)


if __name__ == "__main__":
    anyio.run(main, backend=options()[1])
