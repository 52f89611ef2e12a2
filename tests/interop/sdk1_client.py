"""What an official client of SDK 1.x finds at a server: `sdk1_client.py sse|http URL`, as JSON on stdout.

Runs in the environment of that SDK, which cannot share one with 2.x.
"""

import json
import sys
from typing import Any

import anyio
from mcp import ClientSession, McpError, types
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

PATIENCE_SECONDS = 30


async def main(kind: str, url: str) -> dict[str, Any]:
    asked: list[str] = []
    seen: list[Any] = []
    logged: list[Any] = []

    async def elicit(context: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
        asked.append(params.message)
        return types.ElicitResult(action="accept", content={"name": "Paris" if len(asked) == 1 else "Rome"})

    async def sample(context: Any, params: types.CreateMessageRequestParams) -> types.CreateMessageResult:
        return types.CreateMessageResult(role="assistant", content=types.TextContent(type="text", text="42"), model="m")

    async def log(params: types.LoggingMessageNotificationParams) -> None:
        logged.append([params.level, params.data])

    async def refusal(call: Any) -> int:
        try:
            await call
        except McpError as error:
            return error.error.code
        raise AssertionError("the call was answered")

    connect = sse_client(url) if kind == "sse" else streamable_http_client(url)
    with anyio.fail_after(PATIENCE_SECONDS):
        async with connect as streams:
            async with ClientSession(
                *streams[:2], elicitation_callback=elicit, sampling_callback=sample, logging_callback=log
            ) as session:
                opened = await session.initialize()
                tools: list[str] = []
                cursor = None
                while True:
                    page = await session.list_tools(params=types.PaginatedRequestParams(cursor=cursor))
                    tools += [tool.name for tool in page.tools]
                    if (cursor := page.nextCursor) is None:
                        break

                async with anyio.create_task_group() as tasks:

                    async def show(progress: float, total: float | None, message: str | None) -> None:
                        seen.append([progress, total, message])
                        # Not in this task, which is the one that would read the answer.
                        tasks.start_soon(session.call_tool, "release", {"name": kind, "step": int(progress)})

                    held = await session.call_tool("hold", {"name": kind, "steps": 3}, progress_callback=show)
                counted = await session.call_tool("count", {"upto": 2})
                told = await session.call_tool("refuse", {})
                return {
                    "revision": opened.protocolVersion,
                    "server": opened.serverInfo.name,
                    "tools": tools,
                    "progress": seen,
                    "held": held.structuredContent,
                    "counted": counted.structuredContent,
                    "logged": logged,
                    "asked": [(await session.call_tool("ask", {})).content[0].text, *asked],
                    "sampled": (await session.call_tool("think", {})).content[0].text,
                    "told": [told.isError, told.content[0].text],
                    "refused": await refusal(session.get_prompt("nope")),
                    "unknown": await refusal(session.read_resource("config://nowhere")),
                    "read": (await session.read_resource("config://app")).contents[0].text,
                }


if __name__ == "__main__":
    print(json.dumps(anyio.run(main, *sys.argv[1:])))
