"""A server as a whole: its lifespan, its limits, its endings, and what an operator can see of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from core.wire import PATIENCE, settle, wired

from mcpcore import Client, ConnectionLost, Context, LocalProtocolError, Server
from mcpcore.channel import memory_pair
from mcpcore.errors import CODE_SERVER_BUSY, PeerError
from mcpcore.groups import sole_error
from mcpcore.revisions import REVISIONS, Revision

pytestmark = pytest.mark.anyio

R24, R25_03, R25_06, R25_11, R26 = REVISIONS


class Lifespan:
    """Counts how often it was entered and left."""

    def __init__(self) -> None:
        self.entered = self.left = 0
        self.hold: anyio.Event | None = None
        self.fail = False

    @asynccontextmanager
    async def __call__(self, server: Server) -> AsyncIterator[int]:
        if self.hold is not None:
            await self.hold.wait()
        if self.fail:
            raise OSError("no database")
        self.entered += 1
        number = self.entered
        try:
            yield number
        finally:
            self.left += 1


@pytest.fixture
def lifespan() -> Lifespan:
    return Lifespan()


@pytest.fixture
def server(lifespan: Lifespan) -> Server:
    server = Server("s", lifespan=lifespan)

    @server.tool
    async def number(ctx: Context) -> int | None:
        return ctx.lifespan  # type: ignore[no-any-return]

    return server


async def number(client: Client) -> int | None:
    result = await client.call_tool("number")
    structured = result.structured_content
    return None if not structured else structured["result"]


# ---------------------------------------------------------------------- lifespan


async def test_a_lifespan_is_entered_once_however_many_clients_there_are(server: Server, lifespan: Lifespan) -> None:
    async with Client(server) as one:
        async with Client(server, era="legacy") as two, Client(server) as three:
            assert [await number(client) for client in (one, two, three)] == [1, 1, 1]
        assert (lifespan.entered, lifespan.left) == (1, 0)
    assert (lifespan.entered, lifespan.left) == (1, 1)
    async with Client(server) as again:
        assert await number(again) == 2


async def test_whoever_comes_while_a_lifespan_is_being_entered_waits_for_it(server: Server, lifespan: Lifespan) -> None:
    lifespan.hold = anyio.Event()
    seen: list[int | None] = []
    all_in = anyio.Event()

    async def use() -> None:
        async with server.running() as value:
            seen.append(value)
            if len(seen) == 3:
                all_in.set()
            await all_in.wait()

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(use)
        await settle()
        assert seen == []
        lifespan.hold.set()
    assert seen == [1, 1, 1]
    assert (lifespan.entered, lifespan.left) == (1, 1)


async def test_a_lifespan_that_cannot_start_is_told_and_may_be_tried_again(server: Server, lifespan: Lifespan) -> None:
    lifespan.fail = True
    with pytest.raises(OSError, match="no database"):
        async with server.running():
            raise AssertionError("must not get here")
    lifespan.fail = False
    async with server.running() as value:
        assert value == 1
    assert (lifespan.entered, lifespan.left) == (1, 1)


async def test_without_a_lifespan_nobody_waits_for_anybody() -> None:
    server = Server("s")
    server.tool(name="t", inline=True)(lambda: 1)
    async with wired(server) as first, wired(server) as second:
        began = anyio.current_time()
        first.eof()
        await first.end()
        assert anyio.current_time() - began < 1
        assert (await second.call("t"))["content"]


@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
async def test_a_lifespan_is_left_in_time_and_entered_anew(server: Server, lifespan: Lifespan) -> None:
    """Whoever entered it first waits for the others, but not for ever: seconds of virtual time, so trio only."""
    release = anyio.Event()

    async def stay() -> None:
        async with server.running():
            await release.wait()

    async with anyio.create_task_group() as tasks:
        async with server.running():
            tasks.start_soon(stay)
            await settle()
        assert lifespan.left == 1
        release.set()
    async with server.running() as value:
        assert value == 2
    assert (lifespan.entered, lifespan.left) == (2, 2)


async def test_a_lifespan_is_left_when_serving_is_cancelled(server: Server, lifespan: Lifespan) -> None:
    async with wired(server) as peer:
        await peer.call("number")
        assert lifespan.left == 0
    assert (lifespan.entered, lifespan.left) == (1, 1)


# ---------------------------------------------------------------------- endings


async def test_end_of_input_finishes_what_was_accepted(server: Server, revision: Revision) -> None:
    go_on = anyio.Event()

    @server.tool
    async def slow() -> str:
        await go_on.wait()
        return "done"

    async with wired(server, grace=PATIENCE) as peer:
        await peer.hello(revision)
        ids = [peer.request("tools/call", {"name": "slow"}) for _ in range(3)]
        peer.eof()
        await settle()
        assert not peer.ended.is_set()
        go_on.set()
        answers = [await peer.receive() for _ in ids]
        assert {frame["id"] for frame in answers} == set(ids)
        assert all(frame["result"]["content"][0]["text"] == "done" for frame in answers)
        await peer.end()
        assert peer.pipe.closed
        assert peer.failure is None


async def test_end_of_input_cancels_what_outlasts_the_grace(server: Server, revision: Revision) -> None:
    ended = []

    @server.tool
    async def endless() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    async with wired(server, grace=0.01) as peer:
        await peer.hello(revision)
        peer.request("tools/call", {"name": "endless"})
        peer.eof()
        await peer.end()
        assert await peer.drain() == []
    assert ended == [True]


async def test_a_broken_pipe_cancels_everything_at_once(server: Server, revision: Revision) -> None:
    ended = []

    @server.tool
    async def endless() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(True)

    async with wired(server, grace=1000) as peer:
        await peer.hello(revision)
        for _ in range(3):
            peer.request("tools/call", {"name": "endless"})
        await settle()
        peer.cut()
        await peer.end()
        assert isinstance(peer.failure, ConnectionLost)
    assert ended == [True] * 3


async def test_stop_ends_every_session(server: Server) -> None:
    go_on = anyio.Event()

    @server.tool
    async def slow() -> str:
        await go_on.wait()
        return "done"

    async with wired(server) as one, wired(server) as two:
        await one.hello(R25_11)
        ids = [peer.request("tools/call", {"name": "slow"}) for peer in (one, two)]
        await settle()
        assert server.statistics().sessions == 2
        server.stop(PATIENCE)
        for peer in (one, two):
            assert (await peer.error("tools/list"))["code"] == CODE_SERVER_BUSY
        go_on.set()
        for peer, id in zip((one, two), ids, strict=True):
            assert (await peer.response(id))["result"]["content"][0]["text"] == "done"
            await peer.end()
    assert server.statistics().sessions == 0


async def test_stop_is_bounded_whatever_the_handlers_do(server: Server) -> None:
    @server.tool
    async def endless() -> None:
        await anyio.sleep_forever()

    async with wired(server) as peer:
        peer.request("tools/call", {"name": "endless"})
        await settle()
        server.stop(0.01)
        await peer.end()


# ---------------------------------------------------------------------- limits, statistics


async def test_the_server_has_a_limit_over_all_its_clients() -> None:
    server = Server("s", max_running=2)
    go_on = anyio.Event()

    @server.tool
    async def slow() -> str:
        await go_on.wait()
        return "done"

    async with wired(server) as one, wired(server) as two:
        ids = [peer.request("tools/call", {"name": "slow"}) for peer in (one, two)]
        await settle()
        assert server.statistics().running == 2
        error = await one.error("tools/call", {"name": "slow"})
        assert error == {"code": CODE_SERVER_BUSY, "message": "2 requests run, which is the limit; ask again later"}
        go_on.set()
        for peer, id in zip((one, two), ids, strict=True):
            assert "result" in await peer.response(id)
        assert (await one.call("slow"))["content"]
    assert server.statistics().running == 0


async def test_statistics_count_by_revision(server: Server) -> None:
    async with wired(server) as one, wired(server) as two:
        await one.hello(R25_06)
        await one.call("number")
        await two.call("number")
        await two.call("number")
        await settle()
        statistics = server.statistics()
        assert statistics.requests == {R25_06: 2, R26: 2}
        assert (statistics.sessions, statistics.running, statistics.listeners) == (2, 0, 1)
        assert {session.answered for session in server.session_statistics()} == {2}
        assert repr(server) == "<Server 's' 1 tools, 2 sessions>"


async def test_a_client_sees_a_refusal_as_an_error_of_the_peer() -> None:
    server = Server("s", max_running=1)
    go_on = anyio.Event()

    @server.tool
    async def slow() -> str:
        await go_on.wait()
        return "done"

    async with Client(server) as client:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "slow")
            await settle()
            with pytest.raises(PeerError, match="which is the limit") as caught:
                await client.call_tool("slow")
            assert caught.value.code == CODE_SERVER_BUSY
            go_on.set()


async def test_serving_is_for_one_channel_at_a_time_and_ends_with_it(server: Server) -> None:
    ours, theirs = memory_pair()
    with sole_error():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve_channel, theirs)
            await settle()
            assert server.statistics().sessions == 1
            await ours.aclose()
    assert server.statistics().sessions == 0


# ---------------------------------------------------------------------- keys


def test_keys_of_the_environment_are_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCPCORE_STATE_KEY", f"{'n' * 32}, {'o' * 32}")
    one, two = Server("s"), Server("s")
    assert two.sealer.open(one.sealer.seal(b"x", binding=b"b"), binding=b"b") == b"x"
    monkeypatch.setenv("MCPCORE_STATE_KEY", "short")
    with pytest.raises(LocalProtocolError, match="at least 32"):
        Server("s")


async def test_statistics_say_which_kinds_of_clients_ask() -> None:
    server = Server("counted")
    server.tool(name="noop", inline=True)(lambda: None)
    for era, name in (("modern", "editor"), ("2025-06-18", "desk\ntop"), ("2025-06-18", "desk\ntop")):
        async with Client(server, era=era, name=name) as client:
            await client.call_tool("noop")
    counted = server.statistics().clients
    assert counted == {"memory 2026-07-28 editor": 2, "memory 2025-06-18 desk?top": 4}


async def test_client_names_are_counted_apart_only_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcpcore.server.MAX_CLIENT_NAMES", 2)
    server = Server("counted")
    for name in ("a", "b", "c", "d"):
        async with Client(server, era="modern", name=name) as client:
            await client.ping()
    assert server.statistics().clients == {
        "memory 2026-07-28 a": 2,
        "memory 2026-07-28 b": 2,
        "memory 2026-07-28 others": 4,
    }
