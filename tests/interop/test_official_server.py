"""This library's client against a server made with the official SDK, over stdio: all eras, both backends of the client.

One connection serves all tests of a combination; a test leaves the server as it found it. The connection is opened by
a fixture and closed by it, which are not the tasks that use it.
"""

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from mcpcore import Client, MissingCapability, PeerError, Revision, open_client
from mcpcore.errors import CODE_INVALID_PARAMS, CODE_MISSING_CAPABILITY
from mcpcore.types import BlobResourceContents, TextContent, TextResourceContents

pytestmark = pytest.mark.anyio

PATIENCE_SECONDS = 30
SERVER = Path(__file__).parent / "servers" / "official.py"


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


@pytest.fixture(scope="module", params=["auto", "modern", "legacy", "2024-11-05"])
def era(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
async def peer(anyio_backend: str, era: str) -> AsyncIterator[SimpleNamespace]:
    """A connected client and what its callbacks heard."""
    heard = SimpleNamespace(logs=[], declines=False)

    async def elicit(params: Any) -> dict[str, str] | None:
        return None if heard.declines else {"name": "Paris" if params.message == "Which city?" else "Rome"}

    async def sample(params: Any) -> str:
        assert params.messages[0].content.text == "What is the answer?"
        assert params.max_tokens == 10
        return "42"

    async def log(params: Any) -> None:
        heard.logs.append((params.level, params.data))

    with anyio.fail_after(PATIENCE_SECONDS * 10):
        async with anyio.create_task_group() as tasks:
            heard.client = await open_client(
                [sys.executable, str(SERVER)],
                tasks,
                era=era,
                on_elicit=elicit,
                on_sample=sample,
                on_log=log,
                roots=["file:///home/somebody"],
            )
            yield heard
            await heard.client.aclose()


@pytest.fixture
async def client(peer: SimpleNamespace) -> AsyncIterator[Client]:
    with anyio.fail_after(PATIENCE_SECONDS):
        yield peer.client


def text_of(result: Any) -> list[str]:
    assert all(isinstance(block, TextContent) for block in result.content)
    return [block.text for block in result.content]


async def test_the_era_and_the_server_are_what_was_agreed_on(client: Client, era: str) -> None:
    expected = {"legacy": "2025-11-25", "2024-11-05": "2024-11-05"}.get(era, "2026-07-28")
    assert client.revision == expected
    assert client.server_info is not None
    assert (client.server_info.name, client.server_info.version) == ("official", "2.3.0")
    assert client.instructions == "Mind the gap."
    assert client.capabilities.tools is not None
    await client.ping()


async def test_tools_are_listed_with_their_schemas(client: Client) -> None:
    tools = {tool.name: tool for tool in await client.list_tools()}
    assert {"add", "count", "hang", "ask"} <= set(tools)
    assert tools["add"].description == "Add two numbers."
    assert tools["add"].input_schema["required"] == ["a", "b"]
    assert set(tools["ask"].input_schema.get("properties", {})) == set()


async def test_structured_results_pass_the_check_of_their_schema(client: Client, era: str) -> None:
    await client.list_tools()
    result = await client.call_tool("add", {"a": 2, "b": 3})
    assert text_of(result) == ["5"]
    assert not result.is_error
    if Revision(client.revision).at_least(Revision.R2025_06_18):
        assert result.structured_content == {"result": 5}


async def test_progress_comes_in_order_and_logs_come_before_the_result(client: Client, peer: SimpleNamespace) -> None:
    peer.logs.clear()
    seen: list[tuple[float, float | None, str | None]] = []

    async def show(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total, message))

    result = await client.call_tool("count", {"upto": 5}, on_progress=show)
    assert '"counted": 5' in text_of(result)[0]
    assert [(progress, total) for progress, total, _ in seen] == [(step, 5) for step in range(1, 6)]
    if client.revision.at_least(Revision.R2025_03_26):
        assert [message for *_, message in seen] == [f"step {step}" for step in range(1, 6)]
    await client.call_tool("add", {"a": 1, "b": 1})  # callbacks run beside the calls
    assert peer.logs == [("info", f"did {step}") for step in range(1, 6)]


async def test_tool_errors_are_results_and_protocol_errors_are_raised(client: Client) -> None:
    told = await client.call_tool("refuse")
    assert told.is_error
    assert "the disk is full" in text_of(told)[0]
    assert (await client.call_tool("add", {"a": "two"})).is_error
    with pytest.raises(PeerError) as unknown:
        await client.read_resource("config://nowhere")
    assert unknown.value.code in (CODE_INVALID_PARAMS, -32002)
    with pytest.raises(PeerError):
        await client.get_prompt("nope")


async def test_a_cancelled_call_is_cancelled_in_the_tool(client: Client) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.call_tool, "hang")
        await client.call_tool("await_event", {"name": "hanging"})
        tasks.cancel_scope.cancel()
    assert text_of(await client.call_tool("await_event", {"name": "cancelled"})) == ["cancelled"]


async def test_resources_and_templates(client: Client) -> None:
    assert {resource.uri for resource in await client.list_resources()} == {"config://app", "blob://logo"}
    (text,) = (await client.read_resource("config://app")).contents
    assert isinstance(text, TextResourceContents)
    assert '"port": 80' in text.text
    (blob,) = (await client.read_resource("blob://logo")).contents
    assert isinstance(blob, BlobResourceContents)
    assert blob.blob == b"\x89PNG"
    (template,) = await client.list_templates()
    assert template.uri_template == "note://{name}"
    (note,) = (await client.read_resource("note://cats")).contents
    assert isinstance(note, TextResourceContents)
    assert note.text == "about cats"


async def test_prompts_and_completion(client: Client) -> None:
    (prompt,) = await client.list_prompts()
    assert (prompt.name, [argument.name for argument in prompt.arguments or ()]) == ("greet", ["who"])
    (message,) = (await client.get_prompt("greet", {"who": "Bo"})).messages
    assert message.content == TextContent(text="Hello Bo")
    assert (await client.complete("greet", "who", "an")).values == ["ann", "anton"]


async def test_the_user_is_asked_twice_and_may_decline(client: Client, peer: SimpleNamespace, era: str) -> None:
    if era == "2024-11-05":  # older than elicitation, so the client declares none
        with pytest.raises(PeerError) as refused:
            await client.call_tool("ask")
        assert refused.value.code == CODE_MISSING_CAPABILITY
        return
    assert text_of(await client.call_tool("ask")) == ["Paris, Rome"]
    peer.declines = True
    try:
        result = await client.call_tool("ask")
    finally:
        peer.declines = False
    assert result.is_error
    assert "Paris" not in text_of(result)[0]


async def test_the_model_is_sampled_and_roots_are_listed(client: Client) -> None:
    assert text_of(await client.call_tool("think")) == ["42"]
    assert text_of(await client.call_tool("where")) == ["file:///home/somebody"]


async def test_changes_are_told(client: Client) -> None:
    if client.revision is not Revision.R2026_07_28:  # the official server declares them from 2026-07-28 on only
        with pytest.raises(MissingCapability):
            async with client.listen(tools=True):
                raise AssertionError
        return
    async with client.listen(tools=True, resources=["config://app"]) as changes:
        await client.call_tool("grow")
        assert (await anext(changes)).kind == "tools"
        assert "grown" in {tool.name for tool in await client.list_tools()}
        await client.call_tool("touch")
        changed = await anext(changes)
        assert (changed.kind, changed.uri) == ("resource", "config://app")
        await client.call_tool("shrink")
        assert (await anext(changes)).kind == "tools"
    assert "grown" not in {tool.name for tool in await client.list_tools()}


async def test_fifty_calls_at_once_get_their_own_answers(client: Client) -> None:
    answers: dict[int, list[str]] = {}

    async def call(number: int) -> None:
        answers[number] = text_of(await client.call_tool("add", {"a": number, "b": 1}))

    async with anyio.create_task_group() as tasks:
        for number in range(50):
            tasks.start_soon(call, number)
    assert answers == {number: [str(number + 1)] for number in range(50)}
