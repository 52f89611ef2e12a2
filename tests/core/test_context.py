"""What a handler can know and send while it runs: progress, logs, notifications, and who asked."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from core.wire import PATIENCE, Frame, Peer, settle, wired

from mcpcore import Client, Context, Server
from mcpcore.channel import INBOX_MESSAGES
from mcpcore.context import TURN_SECONDS
from mcpcore.revisions import REVISIONS, Era, Revision
from mcpcore.types import LOGGING_LEVELS

pytestmark = pytest.mark.anyio

R24, R25_03, R25_06, R25_11, R26 = REVISIONS


@pytest.fixture
def server() -> Server:
    return Server("s")


def progress(frames: list[Frame]) -> list[Frame]:
    return [frame["params"] for frame in frames if frame.get("method") == "notifications/progress"]


def logs(frames: list[Frame]) -> list[Frame]:
    return [frame["params"] for frame in frames if frame.get("method") == "notifications/message"]


# ---------------------------------------------------------------------- progress


@pytest.mark.parametrize("token", [0, 7, "7", ""])
async def test_progress_carries_the_token_and_grows(server: Server, revision: Revision, token: Any) -> None:
    @server.tool
    async def work(ctx: Context) -> None:
        await ctx.progress(1, total=3, message="reading")
        await ctx.progress(1)
        await ctx.progress(0)
        await ctx.progress(3, message="done")

    async with wired(server) as peer:
        await peer.hello(revision)
        await peer.call("work", progressToken=token)
        assert await peer.drain() == []
    first: Frame = {"progressToken": token, "progress": 1, "total": 3}
    last: Frame = {"progressToken": token, "progress": 3}
    if revision.at_least(R25_03):
        first["message"], last["message"] = "reading", "done"
    assert progress(peer.seen) == [first, last]
    assert "result" in peer.seen[-1]  # nothing after the response


async def test_what_a_handler_sends_in_one_go_is_written_together(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1.0

    @server.tool
    async def count(ctx: Context) -> None:
        nonlocal now
        for n in range(300):
            await ctx.progress(n + 1)
            if n % 100 == 99:
                now += TURN_SECONDS

    monkeypatch.setattr("mcpcore.context.perf_counter", lambda: now)
    async with wired(server) as peer:
        await peer.hello(R26)
        before = peer.pipe.writes
        await peer.call("count", progressToken=1)
        writes = peer.pipe.writes - before
    assert [one["progress"] for one in progress(peer.seen)] == list(range(1, 301))
    assert writes <= 5


@pytest.mark.parametrize("by", ["another call", "cancellation"])
async def test_a_handler_that_only_sends_holds_up_nobody(server: Server, by: str) -> None:
    began, ended = anyio.Event(), anyio.Event()
    enough = False
    sent = 0

    @server.tool
    async def chatter(ctx: Context) -> None:
        nonlocal sent
        began.set()
        try:
            while not enough and sent < 100_000:
                sent += 1
                await ctx.info("more")
        finally:
            ended.set()

    @server.tool
    async def stop() -> None:
        nonlocal enough
        enough = True

    with anyio.fail_after(PATIENCE):
        async with wired(server, outbox_bytes=2**30) as peer:  # so that it never waits for the writer
            await peer.hello(R25_11)
            id = peer.request("tools/call", {"name": "chatter", "arguments": {}})
            await began.wait()
            if by == "cancellation":
                peer.notify("notifications/cancelled", {"requestId": id})
            else:
                peer.request("tools/call", {"name": "stop", "arguments": {}})
            await ended.wait()
    assert sent < 100_000


async def test_without_a_token_there_is_no_progress(server: Server, revision: Revision) -> None:
    @server.tool
    async def work(ctx: Context) -> str:
        await ctx.progress(1)
        return "done"

    async with wired(server) as peer:
        await peer.hello(revision)
        seen = len(peer.seen)
        assert (await peer.call("work"))["content"][0]["text"] == "done"
        assert len(peer.seen) == seen + 1


async def test_fractions_are_progress_too(server: Server) -> None:
    told: list[Any] = []

    @server.tool
    async def work(ctx: Context) -> None:
        for part in (0.25, 0.5, 0.5, 1.0):
            await ctx.progress(part, 1.0)

    async def show(*what: Any) -> None:
        told.append(what)

    async with Client(server) as client:
        await client.call_tool("work", on_progress=show)
    assert told == [(0.25, 1.0, None), (0.5, 1.0, None), (1.0, 1.0, None)]


async def test_nothing_is_sent_after_the_response(server: Server, revision: Revision) -> None:
    kept: list[Context] = []

    @server.tool
    async def work(ctx: Context) -> None:
        kept.append(ctx)

    async with wired(server) as peer:
        await peer.hello(revision, log_level="debug")
        await peer.call("work", progressToken=1)
        await kept[0].progress(1)
        await kept[0].emergency("late")
        assert await kept[0].send("com.example/late", {}) is False
        assert await peer.drain() == []


async def test_progress_waits_for_a_reader_that_has_stopped(server: Server, revision: Revision) -> None:
    reached = 0

    @server.tool
    async def work(ctx: Context) -> str:
        nonlocal reached
        for n in range(1, 201):
            await ctx.progress(n, message="x" * 1000)
            await ctx.send("com.example/filler", {"filler": "x" * 1000})
            reached = n
        return "done"

    async with wired(server, outbox_bytes=10_000) as peer:
        await peer.hello(revision)
        assert await peer.drain() == []
        peer.stop_reading()
        id = peer.request("tools/call", {"name": "work"}, progressToken=1)
        await settle()
        assert 0 < reached < 20  # ten thousand bytes, and no more
        assert peer.channel is not None
        assert peer.channel.statistics()["unwritten_bytes"] < 14_000
        peer.read_again()
        await peer.response(id)
        assert [told["progress"] for told in progress(peer.seen)] == list(range(1, 201))


async def test_progress_waits_for_a_slow_callback_in_memory(server: Server) -> None:
    reached = 0
    go_on = anyio.Event()
    told: list[float] = []

    @server.tool
    async def work(ctx: Context) -> None:
        nonlocal reached
        for n in range(1, 301):
            await ctx.progress(n)
            reached = n

    async def slow(progress: float, total: float | None, message: str | None) -> None:
        await go_on.wait()
        told.append(progress)

    async def watch() -> None:
        await settle()
        assert reached <= INBOX_MESSAGES + 2
        go_on.set()

    async with Client(server) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        await client.call_tool("work", on_progress=slow)
    assert told == list(range(1, 301))


# ---------------------------------------------------------------------- logs


async def say_everything(ctx: Context) -> None:
    for level in LOGGING_LEVELS:
        await getattr(ctx, level)({"level": level}, logger="l")


def heard(peer: Peer) -> list[str]:
    return [told["level"] for told in logs(peer.seen)]


@pytest.mark.parametrize("level", LOGGING_LEVELS)
async def test_only_the_levels_that_were_asked_for_are_sent(server: Server, revision: Revision, level: str) -> None:
    server.tool(say_everything)
    async with wired(server) as peer:
        await peer.hello(revision, log_level=level)
        await peer.call("say_everything")
    assert heard(peer) == list(LOGGING_LEVELS[LOGGING_LEVELS.index(level) :])
    assert logs(peer.seen)[-1] == {"level": "emergency", "data": {"level": "emergency"}, "logger": "l"}
    assert "result" in peer.seen[-1]


async def test_without_a_level_2026_07_28_is_sent_none(server: Server) -> None:
    server.tool(say_everything)
    async with wired(server) as peer:
        await peer.hello(R26)
        await peer.call("say_everything")
        assert heard(peer) == []
        # The level belongs to its request: the next one has none again.
        await peer.call("say_everything", **{"io.modelcontextprotocol/logLevel": "alert"})
        await peer.call("say_everything")
        assert heard(peer) == ["alert", "emergency"]


async def test_without_a_level_a_session_is_sent_what_the_server_chose(legacy: Revision) -> None:
    server = Server("s", log_level="error")
    server.tool(say_everything)
    async with wired(server) as peer:
        await peer.hello(legacy)
        await peer.call("say_everything")
        assert heard(peer) == ["error", "critical", "alert", "emergency"]


@pytest.mark.parametrize("level", ["loud", "", 5, None, "DEBUG"])
async def test_an_unknown_level_is_refused(server: Server, revision: Revision, level: Any) -> None:
    server.tool(say_everything)
    async with wired(server) as peer:
        await peer.hello(revision)
        if revision.era is Era.LEGACY:
            assert (await peer.error("logging/setLevel", {"level": level}))["code"] == -32602
        elif level is not None:  # null reads as absent
            meta = {"io.modelcontextprotocol/logLevel": level}
            assert (await peer.error("tools/call", {"name": "say_everything"}, **meta))["code"] == -32602


async def test_log_data_is_any_json(server: Server) -> None:
    told: list[Any] = []

    @server.tool
    async def say(ctx: Context) -> None:
        for data in (None, 1, "text", [1, None], {"a": {"b": 1}}):
            await ctx.log("warning", data)

    async def hear(params: Any) -> None:
        told.append((params.level, params.data))

    for era in ("modern", "legacy"):
        async with Client(server, era=era, on_log=hear) as client:
            await client.call_tool("say")
    assert told == [("warning", data) for data in (None, 1, "text", [1, None], {"a": {"b": 1}})] * 2


# ---------------------------------------------------------------------- who asked


async def test_a_handler_knows_who_asked(server: Server, revision: Revision) -> None:
    contexts: list[Context] = []

    @server.tool
    async def work(ctx: Context) -> None:
        contexts.append(ctx)

    async with wired(server, principal="ann") as peer:
        await peer.hello(revision, {"roots": {}})
        meta: Frame = {"progressToken": 1, "com.example/mine": 2, "traceparent": "00-x"}
        if revision is R26:
            meta["io.modelcontextprotocol/clientInfo"] = {"name": "peer", "version": "1"}
        await peer.call("work", id="abc", **meta)
    (ctx,) = contexts
    assert ctx.request_id == "abc"
    assert ctx.method == "tools/call"
    assert ctx.revision is revision
    assert ctx.principal is not None
    assert ctx.principal.subject == "ann"
    assert ctx.transport == "test"
    assert ctx.headers == {}
    assert ctx.meta == {"com.example/mine": 2, "traceparent": "00-x"}
    assert ctx.client_info is not None
    assert ctx.client_info.name == "peer"
    assert ctx.capabilities.roots is not None
    assert ctx.capabilities.sampling is None
    assert repr(ctx) == f"<Context tools/call id='abc' {revision}>"


@pytest.mark.parametrize("id", [0, -5, 2**53, 1, "1", "", "ä\u2028"])
async def test_ids_come_back_as_they_were(server: Server, revision: Revision, id: Any) -> None:
    @server.tool
    async def who(ctx: Context) -> Any:
        return [ctx.request_id]

    async with wired(server) as peer:
        await peer.hello(revision)
        frame = await peer.ask("tools/call", {"name": "who"}, id=id)
    assert frame["id"] == id
    assert type(frame["id"]) is type(id)


async def test_a_notification_of_an_extension_goes_home_with_its_request(server: Server, revision: Revision) -> None:
    @server.tool
    async def work(ctx: Context) -> bool:
        return await ctx.send("com.example/event", {"n": 1})

    async with wired(server) as peer:
        await peer.hello(revision)
        id = peer.request("tools/call", {"name": "work"})
        assert await peer.until("com.example/event") == {
            "jsonrpc": "2.0",
            "method": "com.example/event",
            "params": {"n": 1},
        }
        assert (await peer.response(id))["result"]["content"][0]["text"] == "true"


async def test_the_lifespan_reaches_every_handler() -> None:

    @asynccontextmanager
    async def database(server: Server) -> AsyncIterator[dict[str, int]]:
        yield {"rows": 5}

    server = Server("s", lifespan=database)

    @server.tool
    async def rows(ctx: Context) -> int:
        return int(ctx.lifespan["rows"])

    @server.prompt
    async def ask(ctx: Context) -> str:
        return str(ctx.lifespan)

    async with Client(server) as client:
        assert (await client.call_tool("rows")).structured_content == {"result": 5}
        assert "5" in str((await client.get_prompt("ask")).messages)


async def test_handlers_of_one_session_run_side_by_side(server: Server) -> None:
    """A rendezvous of ten calls: in a queue the first would wait for ever."""
    together = anyio.Event()
    waiting: set[int] = set()

    @server.tool
    async def meet(n: int) -> int:
        waiting.add(n)
        if len(waiting) == 10:
            together.set()
        await together.wait()
        assert threading.current_thread() is threading.main_thread()
        return n

    async with wired(server) as peer:
        ids = [peer.request("tools/call", {"name": "meet", "arguments": {"n": n}}) for n in range(10)]
        with anyio.fail_after(PATIENCE):
            answers = {(await peer.receive())["id"] for _ in ids}
    assert answers == set(ids)
