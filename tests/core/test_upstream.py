"""The connection behind a bridge: what is in flight when it breaks, how it is begun again, when nobody tries more."""

from typing import Any

import anyio
import pytest
from core.bridged import INITIALIZE, INITIALIZED, Behind, End, bridged, shaken
from core.raw_peer import in_virtual_time

from mcpcore import Client, Context, Server
from mcpcore.bridge import upstream
from mcpcore.bridge.bridge import Bridge
from mcpcore.bridge.upstream import RETRIES
from mcpcore.errors import CODE_SERVER_BUSY, CODE_UPSTREAM_LOST, CODE_UPSTREAM_SILENT, ConnectionLost
from mcpcore.revisions import Era
from mcpcore.session import Session

pytestmark = pytest.mark.anyio


async def back(behind: Behind, result: Any = None) -> End:
    """The server after a loss, when it has been told what the one before knew of the handshake."""
    server = await behind.server()
    again = await server.hear("initialize")
    assert again["params"] == INITIALIZE["params"]
    await server.answer(again, result or INITIALIZED)
    return server


@in_virtual_time
async def test_what_is_in_flight_is_answered_and_the_next_request_reaches_another_server() -> None:
    async with bridged() as (front, behind, _):
        server = await shaken(front, behind)
        level = {"level": "debug"}
        await front.say({"id": 1, "method": "logging/setLevel", "params": level})
        await server.answer(await server.hear(), {})
        await front.hear()
        for uri in ("a://1", "a://2"):
            await front.say({"id": uri, "method": "resources/subscribe", "params": {"uri": uri}})
            await server.answer(await server.hear(), {})
            await front.hear()
        await front.say({"id": 2, "method": "resources/unsubscribe", "params": {"uri": "a://2"}})
        await server.answer(await server.hear(), {})
        await front.hear()

        await front.say({"id": 3, "method": "tools/call", "params": {"name": "x"}})
        await server.hear("tools/call")
        server.pipe.break_off("the process exited; its last words: SECRET=1")
        lost = await front.hear()
        assert (lost["id"], lost["error"]["code"]) == (3, CODE_UPSTREAM_LOST)
        assert "SECRET" not in str(lost)

        await front.say({"id": 4, "method": "tools/list"})
        server = await back(behind)
        await server.hear("notifications/initialized")
        told = await server.hear("logging/setLevel")
        assert told["params"] == level
        await server.answer(told, {})
        told = await server.hear("resources/subscribe")
        assert told["params"] == {"uri": "a://1"}
        await server.answer(told, {})
        asked = await server.hear("tools/list")
        await server.answer(asked, {"tools": []})
        assert await front.hear() == {"jsonrpc": "2.0", "id": 4, "result": {"tools": []}}
        assert behind.connections == 2


@in_virtual_time
async def test_a_server_that_does_not_come_back_ends_the_session() -> None:
    async with bridged() as (front, behind, _):
        server = await shaken(front, behind)
        await front.say({"id": 1, "method": "tools/list"})
        await server.hear("tools/list")
        behind.absent = True
        began = anyio.current_time()
        server.pipe.break_off()
        assert (await front.hear())["error"]["code"] == CODE_UPSTREAM_LOST
        await front.say({"id": 2, "method": "tools/list"})  # waits for a server that may still come
        assert (await front.hear())["error"]["code"] == CODE_UPSTREAM_LOST
        with pytest.raises(anyio.EndOfStream):
            await front.hear()
        assert behind.connections == 1 + RETRIES
        # At once, then after 0.5, 1, 2 and 4 seconds.
        assert 7.5 <= anyio.current_time() - began < 7.6
    assert f"lost {RETRIES + 1} times in a row" in str(behind.lost)


async def test_a_server_that_cannot_be_started_is_told_and_ends_the_session() -> None:
    behind = Behind()
    behind.absent = True
    async with bridged(behind) as (front, _, _):
        answer = await front.ask(0, "initialize", INITIALIZE["params"])
        assert answer["error"]["code"] == CODE_UPSTREAM_LOST
        assert "secret" not in answer["error"]["message"]
        with pytest.raises(anyio.EndOfStream):
            await front.hear()


async def test_a_server_that_refuses_the_handshake_is_quoted() -> None:
    async with bridged() as (front, behind, _):
        await front.say(INITIALIZE)
        server = await behind.server()
        error = {"code": -32000, "message": "not today", "data": {"supported": ["x"]}}
        await server.say({"id": (await server.hear("initialize"))["id"], "error": error})
        # It may be one that knows no handshake: that is found out before it is believed.
        server = await behind.server()
        probe = await server.hear("server/discover")
        await server.say({"id": probe["id"], "error": {"code": -32601, "message": "what?"}})
        assert (await front.hear())["error"] == error


@in_virtual_time
async def test_a_server_that_is_silent_has_a_deadline() -> None:
    async with bridged(timeout=5.0) as (front, behind, _):
        server = await shaken(front, behind)
        await front.say({"id": 1, "method": "tools/call", "params": {"name": "x"}})
        asked = await server.hear("tools/call")
        answer = await front.hear()
        assert answer["error"]["code"] == CODE_UPSTREAM_SILENT
        assert (await server.hear("notifications/cancelled"))["params"]["requestId"] == asked["id"]


async def test_there_are_only_so_many_connections() -> None:
    server = Server("behind")
    bridge = Bridge(server, max_upstreams=2)
    with anyio.fail_after(15):
        async with Client(bridge, era="legacy") as one, Client(bridge, era="legacy") as two:
            await one.ping()
            await two.ping()
            assert bridge.statistics().upstreams == 2
            with pytest.raises(ConnectionLost, match=str(CODE_SERVER_BUSY)):
                await Client(bridge, era="legacy").__aenter__()
        async with Client(bridge, era="legacy") as three:
            await three.ping()
    assert bridge.statistics().upstreams == 0


@pytest.mark.parametrize("front", ["legacy", "modern"])
@pytest.mark.parametrize("behind", ["legacy", "modern"])
async def test_a_slow_reader_in_front_slows_the_server_behind(front: Any, behind: Any) -> None:
    sent = 0
    server = Server("behind", eras={Era(behind)})

    @server.tool
    async def count(ctx: Context) -> None:
        nonlocal sent
        while True:
            await ctx.progress(sent + 1)
            sent += 1

    ahead = 0
    with anyio.fail_after(30), anyio.CancelScope() as scope:

        async def slow(progress: float, total: float | None, message: str | None) -> None:
            nonlocal ahead
            if progress in (5, 400):
                await anyio.wait_all_tasks_blocked()
                ahead = max(ahead, sent - int(progress))
            if progress == 400:
                scope.cancel()

        async with Client(Bridge(server), era=front) as client:
            await client.call_tool("count", on_progress=slow)
    # Between them are two inboxes and two channels of 64 messages each, and a message in each hand.
    assert 64 < ahead < 5 * 64


@in_virtual_time
async def test_fifty_calls_are_told_of_the_loss_and_those_that_follow_at_once_reach_the_next_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left: list[bool] = []

    class Watched(Session):
        def _fail(self, failure: ConnectionLost) -> None:
            left.append(getattr(self._role, "_session", None) is not self)
            super()._fail(failure)

    monkeypatch.setattr(upstream, "Session", Watched)
    async with bridged() as (front, behind, bridge):
        server = await shaken(front, behind)
        for number in range(50):
            await front.say({"id": number, "method": "tools/call", "params": {"name": "x"}})
        for _ in range(50):
            await server.hear("tools/call")
        server.pipe.break_off("the process exited")
        told = set()
        for number in range(50):
            lost = await front.hear()
            assert lost["error"]["code"] == CODE_UPSTREAM_LOST
            told.add(lost["id"])
            await front.say({"id": 100 + number, "method": "tools/list"})
        assert told == set(range(50))
        assert left[0], "whoever asks when the first is told would ask the connection that is gone"
        server = await back(behind)
        await server.hear("notifications/initialized")
        for _ in range(50):
            await server.answer(await server.hear("tools/list"), {"tools": []})
        for _ in range(50):
            assert "result" in await front.hear()
        assert bridge.statistics().upstreams == 1
