"""A bridge as what is served: every pair of eras over HTTP and in memory, its beginning and its end."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import anyio
import msgspec
import pytest
from core.bridged import Behind, bridged, shaken
from core.raw_peer import in_virtual_time

from mcpcore import Bridge, Client, Context, Era, LocalProtocolError, PeerError, Server, serve
from mcpcore.bridge.front import MAX_NOTICES
from mcpcore.channel import Envelope, Inbox
from mcpcore.errors import ConnectionLost
from mcpcore.jsonrpc import Request
from mcpcore.revisions import LATEST, REVISIONS

pytestmark = pytest.mark.anyio

PATIENCE_SECONDS = 20


class Offer:
    """A server, and what its tools have seen."""

    def __init__(self, eras: Iterable[Era]) -> None:
        self.server = Server("behind", version="1", eras=eras, instructions="Mind.")
        self.hanging = anyio.Event()
        self.cancelled = anyio.Event()
        server = self.server

        @server.tool
        async def count(upto: int, ctx: Context) -> int:
            for step in range(1, upto + 1):
                await ctx.progress(step, total=upto)
            return upto

        @server.tool
        async def ask(ctx: Context) -> str:
            schema = {"type": "object", "properties": {"name": {"type": "string"}}}
            first = await ctx.elicit("Which city?", schema)
            second = await ctx.elicit(f"And after {first.content['name']}?", schema)
            said = await ctx.sample("What?", max_tokens=5)
            return f"{first.content['name']} {second.content['name']} {said} {len(await ctx.list_roots())}"

        @server.tool
        async def hang() -> None:
            self.hanging.set()
            try:
                await anyio.sleep_forever()
            finally:
                self.cancelled.set()

        @server.resource("note://one")
        async def note() -> str:
            return "a note"


async def everything(target: Any, behind: Offer, era: Any) -> None:
    """What a client can want of a server, through a bridge."""
    seen: list[float] = []

    async def show(progress: float, total: float | None, message: str | None) -> None:
        seen.append(progress)

    async def elicit(question: Any) -> dict[str, str]:
        return {"name": "Paris" if "Which" in question.message else "Rome"}

    async def sample(question: Any) -> str:
        return "42"

    options: dict[str, Any] = {"on_elicit": elicit, "on_sample": sample, "roots": ["file:///a"]}
    async with Client(target, era=era, **options) as client:
        assert client.revision == (LATEST if era == "modern" else era)
        assert (client.server_info.name, client.instructions) == ("behind", "Mind.")
        assert {tool.name for tool in await client.list_tools()} >= {"count", "ask", "hang"}
        assert (await client.call_tool("count", {"upto": 3}, on_progress=show)).content[0].text == "3"
        assert seen == [1, 2, 3]
        if client.revision.at_least(REVISIONS[2]):  # elicitation
            assert (await client.call_tool("ask")).content[0].text == "Paris Rome 42 1"
        assert (await client.read_resource("note://one")).contents[0].text == "a note"
        with pytest.raises(PeerError):
            await client.read_resource("note://none")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "hang")
            await behind.hanging.wait()
            tasks.cancel_scope.cancel()
        await behind.cancelled.wait()
        async with client.listen(tools=True, resources=["note://one"]) as changes:
            await behind.server.notify_resource_updated("note://one")
            assert (await anext(changes)).uri == "note://one"
            behind.server.tool(name="more")(lambda: 1)
            assert (await anext(changes)).kind == "tools"


@pytest.mark.parametrize("era", [*REVISIONS[:-1], "modern"])
@pytest.mark.parametrize("eras", ["legacy", "modern", "both"])
async def test_every_revision_before_every_era(era: str, eras: str) -> None:
    behind = Offer(set(Era) if eras == "both" else {Era(eras)})
    bridge = Bridge(behind.server)
    with anyio.fail_after(PATIENCE_SECONDS):
        await everything(bridge, behind, era)
    assert bridge.statistics() == type(bridge.statistics())(sessions=0, upstreams=0, dropped=0)


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
@pytest.mark.parametrize("eras", ["legacy", "modern"])
async def test_over_http_each_client_has_what_it_needs(eras: str, anyio_backend: str) -> None:
    behind = Offer({Era(eras)})
    bridge = Bridge(behind.server)
    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:

            async def listen(*, task_status: Any) -> None:
                await serve(bridge, "http,sse", port=0, task_status=task_status)

            http, sse = await tasks.start(listen)
            for url, era in ((http, "modern"), (http, "2025-06-18"), (sse, "2024-11-05")):
                behind.hanging, behind.cancelled = anyio.Event(), anyio.Event()
                await everything(url, behind, era)
                behind.server.remove_tool("more")
            bridge.stop(0)


async def test_only_the_eras_that_it_is_told_to_speak() -> None:
    server = Server("behind")
    for era, other in (("legacy", "modern"), ("modern", "legacy")):
        bridge = Bridge(server, eras={Era(era)})
        async with Client(bridge, era=era) as client:
            await client.ping()
        with pytest.raises(ConnectionLost):
            await Client(bridge, era=other).__aenter__()
        async with Client(bridge) as client:
            assert client.revision.era.value == era
    with pytest.raises(LocalProtocolError, match="at least one"):
        Bridge(server, eras=())
    with pytest.raises(LocalProtocolError, match="no target"):
        Bridge(7)


async def test_stopping_lets_what_runs_finish_within_the_grace() -> None:
    async with bridged() as (front, behind, bridge):
        server = await shaken(front, behind)
        await front.say({"id": 1, "method": "tools/call", "params": {"name": "x"}})
        asked = await server.hear("tools/call")
        told: list[float] = []
        bridge.on_stop.add(told.append)
        bridge.stop(5.0)
        late = await front.ask(2, "tools/list", {})
        assert "stopping" in late["error"]["message"]
        await server.answer(asked, {"content": []})
        assert (await front.hear())["result"] == {"content": []}
        with pytest.raises(anyio.EndOfStream):
            await front.hear()
        assert told == [5.0]


async def test_a_client_that_leaves_closes_the_connection_behind() -> None:
    behind = Behind()
    async with bridged(behind) as (front, _, bridge):
        server = await shaken(front, behind)
        await front.say({"id": 1, "method": "tools/call", "params": {"name": "x"}})
        await server.hear("tools/call")
        assert (behind.open, bridge.statistics().upstreams) == (1, 1)
        await front.pipe.aclose()
        with suppress(anyio.EndOfStream, ConnectionLost):
            while True:
                await server.hear()
    assert behind.open == 0


async def test_a_request_without_a_session_needs_the_bridge_to_run() -> None:
    bridge = Bridge(Server("behind"))
    with pytest.raises(LocalProtocolError, match="running"):
        await bridge.answer(Envelope(Request(1, "server/discover"), Inbox()))


@in_virtual_time
async def test_a_client_that_floods_with_notifications_loses_some_and_nothing_else() -> None:
    async with bridged(Behind(limit_bytes=1)) as (front, behind, bridge):
        server = await shaken(front, behind)
        flood = {"method": "notifications/x", "params": {"text": "x" * 100_000}}
        for _ in range(3 * MAX_NOTICES):
            await front.say(flood)
        await anyio.wait_all_tasks_blocked()
        dropped = bridge.statistics().dropped
        assert 0 < dropped < 2 * MAX_NOTICES
        await front.say({"id": 1, "method": "x/y"})
        for _ in range(3 * MAX_NOTICES - dropped):
            await server.hear("notifications/x")
        await server.answer(await server.hear("x/y"), {})
        assert (await front.hear())["result"] == {}


async def test_a_bridge_to_a_bridge() -> None:
    behind = Offer({Era.LEGACY})
    with anyio.fail_after(PATIENCE_SECONDS):
        await everything(Bridge(Bridge(Bridge(behind.server, eras={Era.MODERN}), eras={Era.LEGACY})), behind, "modern")


async def test_two_channels_of_one_bridge_have_a_connection_each() -> None:
    bridge = Bridge(Server("behind"))
    async with Client(bridge, era="legacy"), Client(bridge, era="modern"):
        assert (bridge.statistics().sessions, bridge.statistics().upstreams) == (2, 2)


def test_a_server_object_behind_says_who_may_use_it() -> None:
    """In memory nobody has scopes, so whoever serves the bridge to others has to ask."""
    auth = object()
    server = Server("s", auth=auth)

    @server.tool(scopes=["files:write"])
    async def write() -> None: ...

    bridge = Bridge(server)
    wanted = bridge.scopes_for(Request(1, "tools/call", msgspec.Raw(b'{"name":"write"}')))
    assert (bridge.auth, bridge.scoped, wanted) == (auth, True, {"files:write"})
    elsewhere = Bridge("http://127.0.0.1:1/mcp", auth="s3cret")
    assert (elsewhere.auth, elsewhere.scoped) == (None, False)
