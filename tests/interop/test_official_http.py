"""The official SDK's clients against a server of this library over HTTP: both eras of Streamable HTTP, and HTTP+SSE."""

import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import anyio
import mcp_types as types
import pytest
from mcp import Client, MCPError
from mcp.client.sse import sse_client
from transports.raw_http import Offer, Site, offer, serving, until

from mcpcore.revisions import LATEST, LATEST_HANDSHAKE

pytestmark = [
    pytest.mark.anyio,
    # The SDK's client leaves the iterators of its HTTP library to the garbage collector, which trio reports.
    pytest.mark.filterwarnings("ignore:Async generator 'http(x|core)2:ResourceWarning"),
]

PATIENCE_SECONDS = 30


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What the client leaves behind is collected here, and not in somebody else's test."""
    yield
    gc.collect()


@pytest.fixture(params=["auto", "legacy", "sse"])
def how(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def connected(site: Site, how: str, **options: Any) -> AsyncIterator[Client]:
    target: Any = sse_client(f"http://{site.host}/sse") if how == "sse" else site.url
    mode = "legacy" if how == "sse" else how
    with anyio.fail_after(PATIENCE_SECONDS):
        async with Client(target, mode=mode, cache=None, **options) as client:
            yield client


@asynccontextmanager
async def pair(how: str, made: Offer | None = None, **options: Any) -> AsyncIterator[tuple[Site, Client]]:
    async with serving(made, sse_path="/sse") as site, connected(site, how, **options) as client:
        yield site, client


async def test_tools(how: str) -> None:
    async with pair(how) as (site, client):
        assert client.protocol_version == (LATEST if how == "auto" else LATEST_HANDSHAKE)
        assert client.server_info.name == "offer"
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert {"add", "count", "hang", "route"} <= names
        result = await client.call_tool("add", {"a": 2, "b": 3})
        assert (result.structured_content, result.is_error is True) == ({"result": 5}, False)
        refused = await client.call_tool("refuse", {})
        assert (refused.is_error, refused.content[0].text) == (True, "the disk is full")
        with pytest.raises(MCPError) as unknown:
            await client.call_tool("nope", {})
        assert unknown.value.code == types.INVALID_PARAMS
        # Mirrored arguments: the client reads the annotations out of the listed schema.
        routed = await client.call_tool("route", {"region": "Köln", "size": 7})
        assert routed.content[0].text == '{"region": "K\\u00f6ln", "size": 7}'
        assert len(site.endpoint.sessions) == (how == "legacy")
        assert len(site.endpoint.streams) == (how == "sse")


async def test_progress(how: str) -> None:
    seen: list[tuple[float, float | None]] = []

    async def show(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total))

    async with pair(how) as (_, client):
        result = await client.call_tool("count", {"upto": 50}, progress_callback=show)
        assert result.structured_content == {"result": 50}
        assert seen == [(step, 50) for step in range(1, 51)]


async def test_a_tool_asks_the_user(how: str) -> None:
    async def elicit(context: Any, params: Any) -> types.ElicitResult:
        assert params.message == "Which city?"
        return types.ElicitResult(action="accept", content={"name": "Rome"})

    async with pair(how, elicitation_callback=elicit) as (_, client):
        assert (await client.call_tool("ask", {})).content[0].text == "Rome"


async def test_a_cancelled_call_is_cancelled_in_the_tool(how: str) -> None:
    async with pair(how) as (site, client):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "hang", {})
            await site.offer.hanging.wait()
            tasks.cancel_scope.cancel()
        await site.offer.cancelled.wait()
        assert (await client.call_tool("add", {"a": 1, "b": 2})).structured_content == {"result": 3}


async def test_resources_and_prompts(how: str) -> None:
    async with pair(how) as (_, client):
        assert [str(one.uri) for one in (await client.list_resources()).resources] == ["note://one"]
        (text,) = (await client.read_resource("note://one")).contents
        assert text.text == "a note"
        assert [prompt.name for prompt in (await client.list_prompts()).prompts] == ["greet"]
        (message,) = (await client.get_prompt("greet", {"who": "Bo"})).messages
        assert message.content == types.TextContent(text="Hello Bo")


async def test_changes_are_told(how: str) -> None:
    heard = SimpleNamespace(messages=[])

    async def hear(message: Any) -> None:
        heard.messages.append(message)

    async with pair(how, message_handler=hear) as (site, client):
        if how == "auto":
            async with client.listen(tools_list_changed=True, resource_subscriptions=["note://one"]) as changes:
                site.server.remove_tool("refuse")
                assert type(await anext(changes)).__name__ == "ToolsListChanged"
                await site.server.notify_resource_updated("note://one")
                updated = await anext(changes)
                assert (type(updated).__name__, str(updated.uri)) == ("ResourceUpdated", "note://one")
            await until(lambda: site.server.statistics().listeners == 0)
            return
        with pytest.warns():
            await client.subscribe_resource("note://one")
        site.server.remove_tool("refuse")
        await site.server.notify_resource_updated("note://one")
        for expected in (types.ToolListChangedNotification, types.ResourceUpdatedNotification):
            await until(lambda kind=expected: any(isinstance(one, kind) for one in heard.messages))  # type: ignore[misc]


async def test_fifty_calls_at_once_get_their_own_answers(how: str) -> None:
    async with pair(how) as (_, client):
        answers: dict[int, Any] = {}

        async def call(number: int) -> None:
            answers[number] = (await client.call_tool("add", {"a": number, "b": 1})).structured_content

        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(call, number)
        assert answers == {number: {"result": number + 1} for number in range(50)}


async def test_leaving_leaves_nothing(how: str) -> None:
    async with serving(sse_path="/sse") as site:
        for _ in range(5):
            async with connected(site, how) as client:
                assert (await client.call_tool("add", {"a": 1, "b": 2})).structured_content == {"result": 3}
        await until(lambda: len(site.endpoint.sessions) == 0)
        await until(lambda: len(site.endpoint.streams) == 0)
        await until(lambda: site.server.statistics().sessions == 0)
        assert site.offer.entered == 1


async def test_three_generations_at_once() -> None:
    made = offer()
    async with (
        serving(made, sse_path="/sse") as site,
        connected(site, "auto") as modern,
        connected(site, "legacy") as handshake,
        connected(site, "sse") as old,
    ):
        for value in range(5):
            for client in (modern, handshake, old):
                result = await client.call_tool("add", {"a": value, "b": 1})
                assert result.structured_content == {"result": value + 1}
        # Both eras were used, over three transports; who is still on the oldest one shows in its streams.
        requests = made.server.statistics().requests
        assert requests[LATEST] >= 5
        assert requests[LATEST_HANDSHAKE] >= 10
        assert (len(site.endpoint.sessions), len(site.endpoint.streams), made.entered) == (1, 1, 1)
