"""What type checkers make of a client. Checked, never run."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from pathlib import Path
from typing import Any, assert_type

import anyio
import msgspec

from mcpcore import Client, Revision, Server, open_client
from mcpcore.client import OnProgress
from mcpcore.listening import Changed, Listener
from mcpcore.session import SessionStatistics
from mcpcore.types import (
    CallToolResult,
    Completion,
    ContentBlock,
    CreateMessageRequestParams,
    ElicitRequestFormParams,
    ElicitRequestURLParams,
    ElicitResult,
    GetPromptResult,
    Implementation,
    LoggingMessageNotificationParams,
    Prompt,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    Root,
    ServerCapabilities,
    TextContent,
    Tool,
)


class Arguments(msgspec.Struct):
    path: str


async def show(progress: float, total: float | None, message: str | None) -> None: ...


async def fill_in(params: ElicitRequestFormParams) -> ElicitResult:
    return ElicitResult(action="accept", content={"name": "x"})


async def consent(params: ElicitRequestURLParams) -> bool:
    return False


async def sample(params: CreateMessageRequestParams) -> str:
    return params.messages[0].role


async def log(params: LoggingMessageNotificationParams) -> None:
    assert_type(params.data, Any)


async def targets() -> None:
    Client("http://127.0.0.1:8000/mcp", headers={"x": "y"}, timeout=5)
    Client(["python", "server.py"], era="legacy")
    Client(Server("x"), era="2025-06-18", roots=[Path("a"), "file:///b", Root(uri="file:///c")])
    Client(
        Server("x"),
        on_elicit=fill_in,
        on_elicit_url=consent,
        on_sample=sample,
        on_log=log,
        log_level="debug",
        validate_output=False,
    )


async def asking() -> None:
    async with Client(Server("x")) as client:
        assert_type(client, Client)
        assert_type(client.revision, Revision)
        assert_type(client.capabilities, ServerCapabilities)
        assert_type(client.server_info, Implementation | None)
        assert_type(client.instructions, str | None)
        assert_type(client.statistics(), SessionStatistics)
        assert_type(await client.list_tools(), list[Tool])
        assert_type(await client.list_resources(), list[Resource])
        assert_type(await client.list_templates(), list[ResourceTemplate])
        assert_type(await client.list_prompts(), list[Prompt])
        result = await client.call_tool("x", {"path": "x"}, on_progress=show, timeout=30)
        assert_type(result, CallToolResult)
        assert_type(result.content, list[ContentBlock])
        assert_type(result.is_error, bool | None)
        for block in result.content:
            if isinstance(block, TextContent):
                assert_type(block.text, str)
        await client.call_tool("x", Arguments(path="x"))
        assert_type(await client.read_resource("config://app"), ReadResourceResult)
        assert_type(await client.get_prompt("x", {"who": "y"}), GetPromptResult)
        assert_type(await client.complete("x", "who", "a", {"b": "c"}), Completion)
        assert_type(await client.ping(), None)
        assert_type(await client.set_log_level("error"), None)
        async with client.listen(tools=True, resources=["config://app"]) as changes:
            assert_type(changes, Listener)
            async for change in changes:
                assert_type(change, Changed)
                assert_type(change.uri, str | None)


async def owning() -> None:
    async with anyio.create_task_group() as tasks:
        client = await open_client(["python", "server.py"], tasks, era="modern")
        assert_type(client, Client)
        assert_type(await client.aclose(), None)


async def wrong_use_is_refused(client: Client) -> None:
    """Each line must be an error: a checker that is told to ignore one that is none complains."""
    Client("x", ear="legacy")  # type: ignore[call-arg]
    Client("x", on_log=show)  # type: ignore[arg-type]
    await client.call_tool("x", "y")  # type: ignore[arg-type]
    await client.call_tool()  # type: ignore[call-arg]
    await client.set_log_level("loud")  # type: ignore[arg-type]


_: OnProgress = show
