"""The official SDK's client against a server of this library over stdio: both eras, both backends of the server.

One connection serves all tests of a combination; a test leaves the server as it found it.
"""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp import Client, MCPError, StdioServerParameters

import mcpcore
import mcpcore_transports
from mcpcore.revisions import LATEST, LATEST_HANDSHAKE

pytestmark = pytest.mark.anyio

PATIENCE_SECONDS = 30
SERVER = Path(__file__).parent / "servers" / "ours.py"
PYTHONPATH = ":".join(str(Path(module.__file__ or "").parent.parent) for module in (mcpcore, mcpcore_transports))


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


@pytest.fixture(scope="module", params=["auto", "legacy"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
async def peer(anyio_backend: str, mode: str) -> AsyncIterator[SimpleNamespace]:
    """A connected client, and what its callbacks heard. Client and server run on the same kind of event loop."""
    heard = SimpleNamespace(logs=[], messages=[], arrived=anyio.Event(), declines=False)

    async def elicit(context: Any, params: Any) -> types.ElicitResult:
        if heard.declines:
            return types.ElicitResult(action="decline")
        assert params.requested_schema["properties"]["name"]["type"] == "string"
        return types.ElicitResult(
            action="accept", content={"name": "Paris" if params.message == "Which city?" else "Rome"}
        )

    async def sample(context: Any, params: Any) -> types.CreateMessageResult:
        assert params.messages[0].content.text == "What is the answer?"
        assert params.max_tokens == 10
        return types.CreateMessageResult(role="assistant", content=types.TextContent(text="42"), model="oracle")

    async def roots(context: Any) -> types.ListRootsResult:
        return types.ListRootsResult(roots=[types.Root(uri="file:///home/somebody")])

    async def log(params: types.LoggingMessageNotificationParams) -> None:
        heard.logs.append((params.level, params.data))

    async def hear(message: Any) -> None:
        heard.messages.append(message)
        heard.arrived.set()

    parameters = StdioServerParameters(
        command=sys.executable, args=[str(SERVER), anyio_backend], env={"PYTHONPATH": PYTHONPATH}
    )
    with anyio.fail_after(PATIENCE_SECONDS * 10):
        async with Client(
            parameters,
            mode=mode,
            cache=None,
            elicitation_callback=elicit,
            sampling_callback=sample,
            list_roots_callback=roots,
            logging_callback=log,
            log_level="info" if mode == "auto" else None,
            message_handler=hear,
        ) as client:
            heard.client = client
            yield heard


@pytest.fixture
async def client(peer: SimpleNamespace) -> AsyncIterator[Client]:
    with anyio.fail_after(PATIENCE_SECONDS):
        yield peer.client


async def test_the_era_and_the_server_are_what_was_agreed_on(client: Client, mode: str) -> None:
    assert client.protocol_version == (LATEST if mode == "auto" else LATEST_HANDSHAKE)
    assert (client.server_info.name, client.server_info.version) == ("ours", "1.2.3")
    assert client.instructions == "Use it gently."
    assert client.server_capabilities.tools is not None
    assert client.server_capabilities.tools.list_changed


async def test_the_list_of_tools_comes_in_pages(client: Client) -> None:
    names: list[str] = []
    cursor, pages = None, 0
    while True:
        page = await client.list_tools(cursor=cursor)
        names += [tool.name for tool in page.tools]
        pages += 1
        cursor = page.next_cursor
        if cursor is None:
            break
    assert pages == 4
    assert len(names) == len(set(names)) == 14
    assert {"add", "hang", "touch"} <= set(names)


async def test_structured_results(client: Client) -> None:
    result = await client.call_tool("add", {"a": 2, "b": 3})
    assert result.structured_content == {"result": 5}
    assert result.content == [types.TextContent(text="5")]
    assert result.is_error is not True


async def test_progress_comes_in_order_and_logs_come_before_the_result(client: Client, peer: SimpleNamespace) -> None:
    peer.logs.clear()
    seen: list[tuple[float, float | None, str | None]] = []

    async def show(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total, message))

    result = await client.call_tool("count", {"upto": 5}, progress_callback=show)
    assert result.structured_content == {"counted": 5}
    assert seen == [(step, 5, f"step {step}") for step in range(1, 6)]
    assert peer.logs == [("info", f"did {step}") for step in range(1, 6)]


async def test_a_streaming_tool_yields_progress_and_the_whole(client: Client) -> None:
    seen: list[str | None] = []

    async def show(progress: float, total: float | None, message: str | None) -> None:
        seen.append(message)

    result = await client.call_tool("tail", {"lines": 3}, progress_callback=show)
    assert seen == ["line 0", "line 1", "line 2"]
    assert [line for block in result.content for line in block.text.splitlines()] == seen


async def test_a_tool_that_fails_is_a_result_and_tells_no_secret(client: Client) -> None:
    told = await client.call_tool("refuse", {})
    assert told.is_error
    assert told.content[0].text == "the disk is full"
    crashed = await client.call_tool("crash", {})
    assert crashed.is_error
    assert "crash" in crashed.content[0].text
    assert "secret" not in crashed.content[0].text


async def test_wrong_arguments_are_told_to_the_model(client: Client) -> None:
    result = await client.call_tool("add", {"a": "two", "b": 3})
    assert result.is_error
    assert "a" in result.content[0].text


async def test_protocol_errors_have_their_codes(client: Client, mode: str) -> None:
    with pytest.raises(MCPError) as unknown_tool:
        await client.call_tool("nope", {})
    assert unknown_tool.value.code == types.INVALID_PARAMS
    with pytest.raises(MCPError) as unknown_resource:
        await client.read_resource("config://nowhere")
    assert unknown_resource.value.code == (types.INVALID_PARAMS if mode == "auto" else -32002)
    with pytest.raises(MCPError) as unknown_prompt:
        await client.get_prompt("nope")
    assert unknown_prompt.value.code == types.INVALID_PARAMS


async def test_a_cancelled_call_is_cancelled_in_the_tool(client: Client) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.call_tool, "hang", {})
        await client.call_tool("await_event", {"name": "hanging"})
        tasks.cancel_scope.cancel()
    assert (await client.call_tool("await_event", {"name": "cancelled"})).structured_content == {"result": "cancelled"}


async def test_resources_and_templates(client: Client) -> None:
    listed = (await client.list_resources()).resources
    assert sorted(str(resource.uri) for resource in listed) == ["blob://logo", "config://app"]
    (text,) = (await client.read_resource("config://app")).contents
    assert (text.text, text.mime_type) == ('{"port":80}', "application/json")
    (blob,) = (await client.read_resource("blob://logo")).contents
    assert blob.blob == "iVBORw=="
    (template,) = (await client.list_resource_templates()).resource_templates
    assert template.uri_template == "note://{name}"
    (note,) = (await client.read_resource("note://cats")).contents
    assert note.text == "about cats"


async def test_prompts_and_completion(client: Client) -> None:
    (prompt,) = (await client.list_prompts()).prompts
    assert prompt.name == "greet"
    assert [(argument.name, argument.required) for argument in prompt.arguments or ()] == [("who", True)]
    (message,) = (await client.get_prompt("greet", {"who": "Bo"})).messages
    assert message.content == types.TextContent(text="Hello Bo")
    completed = await client.complete(types.PromptReference(name="greet"), {"name": "who", "value": "an"})
    assert completed.completion.values == ["ann", "anton"]


async def test_a_tool_asks_the_user_twice(client: Client) -> None:
    assert (await client.call_tool("ask", {})).content == [types.TextContent(text="Paris, Rome")]


async def test_a_user_may_decline(client: Client, peer: SimpleNamespace) -> None:
    peer.declines = True
    try:
        assert (await client.call_tool("ask", {})).content == [types.TextContent(text="decline")]
    finally:
        peer.declines = False


async def test_a_tool_samples_and_lists_roots(client: Client) -> None:
    assert (await client.call_tool("think", {})).content == [types.TextContent(text="42")]
    assert (await client.call_tool("where", {})).structured_content == {"result": ["file:///home/somebody"]}


async def test_the_log_level_of_a_session_can_be_set(client: Client, peer: SimpleNamespace, mode: str) -> None:
    if mode == "auto":  # there the level goes with each request, and the fixture's was "info"
        with pytest.raises(MCPError), pytest.warns():
            await client.set_logging_level("error")
        return
    with pytest.warns():
        await client.set_logging_level("error")
    peer.logs.clear()
    await client.call_tool("count", {"upto": 2})
    assert peer.logs == []
    with pytest.warns():
        await client.set_logging_level("info")


async def test_changes_are_told(client: Client, peer: SimpleNamespace, mode: str) -> None:
    if mode == "auto":
        async with client.listen(tools_list_changed=True, resource_subscriptions=["config://app"]) as changes:
            await client.call_tool("grow", {})
            assert type(await anext(changes)).__name__ == "ToolsListChanged"
            await client.call_tool("touch", {})
            updated = await anext(changes)
            assert (type(updated).__name__, str(updated.uri)) == ("ResourceUpdated", "config://app")
            await client.call_tool("shrink", {})
            assert type(await anext(changes)).__name__ == "ToolsListChanged"
        return
    with pytest.warns():
        await client.subscribe_resource("config://app")
    for tool, expected in (
        ("grow", types.ToolListChangedNotification),
        ("touch", types.ResourceUpdatedNotification),
        ("shrink", types.ToolListChangedNotification),
    ):
        peer.messages.clear()
        await client.call_tool(tool, {})
        while not any(isinstance(message, expected) for message in peer.messages):
            peer.arrived = anyio.Event()
            await peer.arrived.wait()
    with pytest.warns():
        await client.unsubscribe_resource("config://app")
    peer.messages.clear()
    await client.call_tool("touch", {})
    await client.call_tool("add", {"a": 1, "b": 1})
    assert not any(isinstance(message, types.ResourceUpdatedNotification) for message in peer.messages)


async def test_fifty_calls_at_once_get_their_own_answers(client: Client) -> None:
    answers: dict[int, Any] = {}

    async def call(number: int) -> None:
        answers[number] = (await client.call_tool("add", {"a": number, "b": 1})).structured_content

    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(call, number)
    assert answers == {number: {"result": number + 1} for number in range(50)}
