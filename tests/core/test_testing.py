"""mcpcore.testing: pipes, faults, logs and clocks do what they say."""

import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mcpcore.channel import Channel
from mcpcore.context import Context
from mcpcore.errors import CODE_PARSE_ERROR, ConnectFailed, ConnectionLost
from mcpcore.jsonrpc import Oversize
from mcpcore.multiplex import Pipe
from mcpcore.server import Server
from mcpcore.testing import (
    WireLog,
    connected,
    cut_in_half,
    drop_after,
    garble,
    half_close,
    inject,
    memory_pipes,
    slow_reader,
    virtual_time,
    wire_log,
)
from mcpcore.testing.pipes import PIPE_BYTES, WRITE_SECONDS

pytestmark = pytest.mark.anyio

in_virtual_time = pytest.mark.parametrize("anyio_backend", [virtual_time()], ids=["trio"])
"""For what waits until somebody's patience ends: on asyncio these seconds would have to be waited for."""


# ------------------------------------------------------------------ memory_pipes


async def test_frames_cross_in_order_and_in_both_directions() -> None:
    one, other = memory_pipes()
    for sender, receiver in ((one, other), (other, one)):
        await sender.send([b"a", b"b"])
        await sender.send([b"c"])
        assert list(await receiver.receive()) == [b"a", b"b", b"c"]
    assert one.writes == 2


async def test_a_full_pipe_makes_the_sender_wait() -> None:
    one, other = memory_pipes(10)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.send, [b"1234", b"5678", b"90ab", b"larger than the pipe"])
        await anyio.wait_all_tasks_blocked()
        assert one.unread_bytes == 8
        assert list(await other.receive()) == [b"1234", b"5678"]
        await anyio.wait_all_tasks_blocked()
        assert list(await other.receive()) == [b"90ab"]
        await anyio.wait_all_tasks_blocked()
        assert list(await other.receive()) == [b"larger than the pipe"]


async def test_the_default_size_of_a_pipe() -> None:
    one, _ = memory_pipes()
    await one.send([b"x" * PIPE_BYTES])
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.send, [b"x"])
            await anyio.wait_all_tasks_blocked()
            assert one.unread_bytes == PIPE_BYTES
            scope.cancel()
    assert one.unread_bytes == PIPE_BYTES


@in_virtual_time
async def test_a_peer_that_does_not_read_is_given_up() -> None:
    one, _ = memory_pipes(1)
    await one.send([b"x"])
    start = anyio.current_time()
    with pytest.raises(ConnectionLost, match="has not read for 30 s"):
        await one.send([b"y"])
    assert anyio.current_time() - start == pytest.approx(WRITE_SECONDS)


async def test_a_closed_end_is_heard_after_what_was_sent() -> None:
    one, other = memory_pipes()
    await one.send([b"last"])
    await one.aclose()
    await one.aclose()
    assert list(await other.receive()) == [b"last"]
    for _ in range(2):
        with pytest.raises(anyio.EndOfStream):
            await other.receive()
    with pytest.raises(ConnectionLost):
        await other.send([b"x"])
    with pytest.raises(anyio.ClosedResourceError):
        await one.receive()
    with pytest.raises(anyio.ClosedResourceError):
        await one.send([b"x"])


@pytest.mark.parametrize("end", ["aclose", "break_off", "other aclose"])
async def test_an_end_releases_everybody_who_waits(end: str) -> None:
    one, other = memory_pipes(1)
    await one.send([b"x"])
    raised: list[type[BaseException]] = []

    async def wait(call: Callable[..., Any], *args: Any) -> None:
        try:
            await call(*args)
        except (ConnectionLost, anyio.EndOfStream, anyio.ClosedResourceError) as error:
            raised.append(type(error))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait, one.receive)
        tasks.start_soon(wait, one.send, [b"y"])
        await anyio.wait_all_tasks_blocked()
        assert raised == []
        if end == "break_off":
            other.break_off()
        else:
            await (one if end == "aclose" else other).aclose()
    expected = {
        "aclose": [anyio.ClosedResourceError, anyio.ClosedResourceError],
        "break_off": [ConnectionLost, ConnectionLost],
        "other aclose": [ConnectionLost, anyio.EndOfStream],
    }[end]
    assert sorted(raised, key=str) == sorted(expected, key=str)


async def test_a_broken_connection_is_lost_at_both_ends_after_what_arrived() -> None:
    one, other = memory_pipes()
    await one.send([b"x"])
    one.break_off("cable cut")
    assert list(await other.receive()) == [b"x"]
    for end in (one, other):
        with pytest.raises(ConnectionLost, match="cable cut"):
            await end.receive()
        with pytest.raises(ConnectionLost, match="cable cut"):
            await end.send([b"y"])


async def test_a_half_close_of_a_memory_pipe() -> None:
    one, other = memory_pipes()
    await one.send_eof()
    with pytest.raises(anyio.ClosedResourceError):
        await one.send([b"x"])
    with pytest.raises(anyio.EndOfStream):
        await other.receive()
    await other.send([b"y"])
    assert list(await one.receive()) == [b"y"]


# ------------------------------------------------------------------ faults


async def all_frames(pipe: Pipe) -> list[bytes | Oversize]:
    frames: list[bytes | Oversize] = []
    try:
        while True:
            frames.extend(await pipe.receive())
    except anyio.EndOfStream:
        return frames


@in_virtual_time
async def test_a_slow_reader_takes_its_time_for_each_frame_and_loses_none() -> None:
    one, other = memory_pipes()
    slow = slow_reader(other, 2.0)
    await one.send([b"a", b"b", b"c"])
    await one.aclose()
    start = anyio.current_time()
    with anyio.move_on_after(1.0):
        await slow.receive()
    assert list(await slow.receive()) == [b"a"]
    assert anyio.current_time() - start == pytest.approx(3.0)
    assert await all_frames(slow) == [b"b", b"c"]


@pytest.mark.parametrize(
    ("nbytes", "through"), [(0, []), (3, [b"abc"]), (4, [b"abc"]), (6, [b"abc", b"de"]), (7, [b"abc", b"def"])]
)
async def test_a_connection_that_dies_while_sending(nbytes: int, through: list[bytes]) -> None:
    one, other = memory_pipes()
    dying = drop_after(one, nbytes)
    with pytest.raises(ConnectionLost, match=f"died at byte {nbytes} of what was sent"):
        await dying.send([b"abc", b"def", b"ghi"])
    for again in (dying.send([b"x"]), dying.receive()):
        with pytest.raises(ConnectionLost):
            await again
    assert await all_frames(other) == through


async def test_a_connection_that_dies_while_receiving() -> None:
    one, other = memory_pipes()
    dying = drop_after(other, 8, "received")
    await one.send([b"abc", b"def", b"ghi"])
    assert [*await dying.receive(), *await dying.receive()] == [b"abc", b"def"]
    for again in (dying.receive(), dying.receive(), dying.send([b"x"])):
        with pytest.raises(ConnectionLost):
            await again
    with pytest.raises(ConnectionLost):
        await one.send([b"x"])


async def test_a_receive_that_waits_hears_that_sending_killed_the_connection() -> None:
    one, _ = memory_pipes()
    dying = drop_after(one, 0)
    lost: list[str] = []

    async def receive() -> None:
        try:
            await dying.receive()
        except ConnectionLost as error:
            lost.append(str(error))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(ConnectionLost):
            await dying.send([b"x"])
    assert lost == ["the connection died at byte 0 of what was sent"]


async def test_a_half_close_after_some_frames() -> None:
    one, other = memory_pipes()
    half = half_close(other, 2)
    await one.send([b"a", b"b", b"c"])
    assert await all_frames(half) == [b"a", b"b"]
    await half.send([b"still sent"])
    assert list(await one.receive()) == [b"still sent"]


async def test_garbled_frames() -> None:
    one, other = memory_pipes()
    await one.send([b"abcd", b"gone", b"xy"])
    await one.aclose()
    garbled = garble(other, lambda frame: None if frame == b"gone" else cut_in_half(frame))
    assert await all_frames(garbled) == [b"ab", b"x"]


async def test_injected_frames() -> None:
    one, other = memory_pipes()
    await one.send([b"a", b"b"])
    await one.aclose()
    injected = inject(inject(other, [b"first", Oversize(2, 1)]), [b"late"], after=3)
    assert await all_frames(injected) == [b"first", Oversize(2, 1), b"a", b"late", b"b"]


# ------------------------------------------------------------------ wire_log and connected


def make_server() -> Server:
    server = Server("demo", version="1")

    @server.tool(inline=True)
    def add(a: int, b: int) -> int:
        return a + b

    @server.tool
    async def steps(ctx: Context) -> str:
        await ctx.progress(1, total=2)
        return "done"

    @server.tool
    async def for_ever() -> str:
        await anyio.sleep_forever()
        return "never"

    return server


@asynccontextmanager
async def logged(server: Any, **options: Any) -> AsyncIterator[tuple[Any, WireLog]]:
    logs: list[WireLog] = []

    def log(pipe: Pipe) -> Pipe:
        logs.append(wire_log(pipe))
        return logs[-1]

    async with connected(server, client_pipe=log, **options) as client:
        yield client, logs[-1]


async def test_a_wire_log_keeps_what_passed_in_order() -> None:
    one, other = memory_pipes()
    log = wire_log(one)
    await log.send([b'{"a":1}', b'{"b":2}'])
    await other.send([b'{"c":3}', b"\xff"])
    await log.receive()
    assert log.transcript() == '-> {"a":1}\n-> {"b":2}\n<- {"c":3}\n<- \\xff\n'
    assert log.sent == [{"a": 1}, {"b": 2}]
    assert [logged.way for logged in log.frames] == ["sent", "sent", "received", "received"]
    log.clear()
    assert log.frames == ()
    await log.aclose()
    assert await all_frames(other) == [b'{"a":1}', b'{"b":2}']


async def test_a_wire_log_is_bounded() -> None:
    one, _ = memory_pipes()
    log = WireLog(one, limit=2)
    await log.send([b"1", b"2", b"3"])
    assert (log.sent, log.dropped) == ([2, 3], 1)


@pytest.mark.parametrize("era", ["auto", "legacy", "2024-11-05", "2025-03-26"])
async def test_a_connected_client_talks_over_a_wire(era: str) -> None:
    seen: list[float] = []

    async def on_progress(value: float, total: float | None, message: str | None) -> None:
        seen.append(value)

    async with logged(make_server(), era=era) as (client, log):
        await anyio.wait_all_tasks_blocked()
        log.clear()
        result = await client.call_tool("add", {"a": 1, "b": 2})
        assert result.content[0].text == "3"
        assert [message["method"] for message in log.sent] == ["tools/call"]
        assert [message["id"] for message in log.received] == [message["id"] for message in log.sent]
        await client.call_tool("steps", on_progress=on_progress)
        assert seen == [1]


@in_virtual_time
async def test_a_deadline_writes_a_cancellation() -> None:
    async with logged(make_server(), era="legacy") as (client, log):
        await anyio.wait_all_tasks_blocked()
        log.clear()
        with pytest.raises(TimeoutError):
            await client.call_tool("for_ever", timeout=3600)
        await anyio.wait_all_tasks_blocked()
        call, cancellation = log.sent
        assert cancellation["method"] == "notifications/cancelled"
        assert cancellation["params"]["requestId"] == call["id"]
        assert log.received == []
        assert (await client.call_tool("add", {"a": 1, "b": 2})).content[0].text == "3"


async def test_a_server_answers_garbage_and_goes_on() -> None:
    async with logged(make_server(), server_pipe=lambda pipe: inject(pipe, [b"{"], after=1)) as (client, log):
        assert (await client.call_tool("add", {"a": 1, "b": 2})).content[0].text == "3"
        errors = [message for message in log.received if "error" in message]
        assert [message["error"]["code"] for message in errors] == [CODE_PARSE_ERROR]
        assert "id" not in errors[0]


@pytest.mark.parametrize("way", ["sent", "received"])
async def test_a_connection_that_dies_is_lost_for_each_caller(way: Any) -> None:
    lost = 0
    nbytes = 3000

    async def call(client: Any) -> None:
        nonlocal lost
        try:
            while True:
                await client.call_tool("add", {"a": 1, "b": 2})
        except ConnectionLost:
            lost += 1

    def dying(pipe: Pipe) -> Pipe:
        return drop_after(pipe, nbytes, way)

    async with connected(make_server(), era="legacy", client_pipe=dying) as client:
        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(call, client)
        with pytest.raises(ConnectionLost):
            await client.list_tools()
    assert lost == 3


async def test_a_connection_that_never_comes_up() -> None:
    with pytest.raises(ConnectFailed):
        async with connected(make_server(), client_pipe=lambda pipe: half_close(pipe)):
            raise AssertionError("connected to a server that says nothing")


class HangsUpOnDiscover:
    """A server that ends when its first message is one that it does not know, as some older ones do."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.connections = 0

    async def serve_channel(self, channel: Channel, *, grace: float) -> None:
        self.connections += 1
        if self.connections > 1:
            await self.server.serve_channel(channel, grace=grace)
            return
        envelope = await channel.receive()
        assert envelope.message.method == "server/discover"  # type: ignore[union-attr]


async def test_a_server_that_hangs_up_on_the_probe_is_connected_to_again() -> None:
    old = HangsUpOnDiscover(make_server())
    async with connected(old) as client:
        assert (await client.call_tool("add", {"a": 1, "b": 2})).content[0].text == "3"
        assert client.revision.era.name == "LEGACY"
    assert old.connections == 2


# ------------------------------------------------------------------ virtual_time and imports


@in_virtual_time
async def test_a_day_takes_no_time() -> None:
    start = anyio.current_time()
    await anyio.sleep(86_400)
    assert anyio.current_time() - start == pytest.approx(86_400)


def test_each_clock_is_its_own() -> None:
    (name, one), (_, other) = virtual_time(), virtual_time()
    assert name == "trio"
    assert one["clock"] is not other["clock"]


def test_importing_the_kit_imports_no_backend_and_no_pytest() -> None:
    code = (
        "import sys, mcpcore.testing; print(sorted({'trio', 'asyncio', 'pytest', 'mcpcore.server'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
