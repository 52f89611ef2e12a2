"""mcpcore.testing: the kit does what it says, and `check_channel` finds each broken promise."""

import subprocess
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mcpcore.channel import Channel, Envelope, ReplyChannel, memory_pair
from mcpcore.context import Context
from mcpcore.errors import CODE_PARSE_ERROR, ConnectFailed, ConnectionLost
from mcpcore.jsonrpc import Notification, Request, Response
from mcpcore.multiplex import Oversize, Pipe
from mcpcore.server import Server
from mcpcore.testing import (
    WireLog,
    check_channel,
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


# ------------------------------------------------------------------ check_channel finds what is broken


class Around(Channel):
    """A sound channel, in one way broken by a subclass."""

    def __init__(self, inner: Channel) -> None:
        self.inner = inner

    async def receive(self) -> Envelope:
        return await self.inner.receive()

    async def send(self, envelope: Envelope) -> None:
        await self.inner.send(envelope)

    async def aclose(self) -> None:
        await self.inner.aclose()


class Reply(ReplyChannel):
    """The reply channel of a `BrokenReplies`: passes everything on, closes when the far end does."""

    __slots__ = ("inner",)

    def __init__(self, inner: ReplyChannel) -> None:
        super().__init__()
        self.inner = inner
        inner.when_closed(lambda: self.close(inner.reason))

    async def send(self, envelope: Envelope) -> bool:
        return await self.inner.send(envelope)


class BrokenReplies(Around):
    """Requests arrive with a reply channel that is broken."""

    reply: type[Reply] = Reply

    async def receive(self) -> Envelope:
        envelope = await self.inner.receive()
        if envelope.reply is None:
            return envelope
        return Envelope(envelope.message, self.reply(envelope.reply))


class TextIds(Around):
    async def receive(self) -> Envelope:
        envelope = await self.inner.receive()
        message = envelope.message
        if isinstance(message, Request):
            return Envelope(Request(str(message.id), message.method, message.params), envelope.reply)
        return envelope


class NoWayBack(Around):
    async def receive(self) -> Envelope:
        return Envelope((await self.inner.receive()).message)


class LostParams(Around):
    async def receive(self) -> Envelope:
        envelope = await self.inner.receive()
        message = envelope.message
        return (
            Envelope(Request(message.id, message.method), envelope.reply) if isinstance(message, Request) else envelope
        )


class DeafToNotifications(Around):
    async def send(self, envelope: Envelope) -> None:
        if not isinstance(envelope.message, Notification):
            await self.inner.send(envelope)


class CrossedAnswers(Around):
    """Every second request is answered to whoever asked before."""

    def __init__(self, inner: Channel) -> None:
        super().__init__(inner)
        self.replies: list[ReplyChannel] = []

    async def receive(self) -> Envelope:
        envelope = await self.inner.receive()
        if envelope.reply is None:
            return envelope
        self.replies.append(envelope.reply)
        return Envelope(envelope.message, self.replies[-2] if len(self.replies) % 2 == 0 else envelope.reply)


class ProgressAfterResponse(BrokenReplies):
    class reply(Reply):
        __slots__ = ("held",)

        def __init__(self, inner: ReplyChannel) -> None:
            super().__init__(inner)
            self.held: list[Envelope] = []

        async def send(self, envelope: Envelope) -> bool:
            if isinstance(envelope.message, Notification):
                self.held.append(envelope)
                return not self.closed
            sent = await self.inner.send(envelope)
            for held in self.held:
                await self.inner.send(held)
            return sent


class NoQuestions(BrokenReplies):
    class reply(Reply):
        __slots__ = ()

        async def send(self, envelope: Envelope) -> bool:
            return isinstance(envelope.message, Request) or await self.inner.send(envelope)


class CutsLargeMessages(BrokenReplies):
    class reply(Reply):
        __slots__ = ()

        async def send(self, envelope: Envelope) -> bool:
            message = envelope.message
            if isinstance(message, Response) and len(str(message.result)) > 100_000:
                envelope = Envelope(Response(message.id, {"arguments": {"text": "cut"}}))
            return await self.inner.send(envelope)


class BreaksOnStrangers(Around):
    async def receive(self) -> Envelope:
        envelope = await self.inner.receive()
        if isinstance(envelope.message, Response):
            raise ConnectionLost("a response to nobody")
        return envelope


class MixesSenders(Around):
    """Two tasks that send at the same time send the same message twice."""

    def __init__(self, inner: Channel) -> None:
        super().__init__(inner)
        self.message: Any = None

    async def send(self, envelope: Envelope) -> None:
        self.message = envelope.message
        await anyio.lowlevel.checkpoint()
        message = envelope.message
        if isinstance(message, Request) and isinstance(self.message, Request):
            message = Request(message.id, message.method, self.message.params)
        await self.inner.send(Envelope(message, envelope.reply))


class LosesOnCancellation(Around):
    async def receive(self) -> Envelope:
        envelope = await self.inner.receive()
        await anyio.lowlevel.checkpoint()
        return envelope


class DeafToCancellation(BrokenReplies):
    class reply(Reply):
        __slots__ = ()

        def __init__(self, inner: ReplyChannel) -> None:
            super().__init__(inner)
            inner.when_closed(None)


class AcceptsLateAnswers(BrokenReplies):
    class reply(Reply):
        __slots__ = ()

        async def send(self, envelope: Envelope) -> bool:
            await self.inner.send(envelope)
            return True


class CancelsTwice(BrokenReplies):
    class reply(Reply):
        __slots__ = ()

        def close(self, reason: str | None = None) -> None:
            super().close(reason)
            if self._watcher is not None:
                self._watcher()


class CancelsOthersToo(BrokenReplies):
    all_open: list[Reply]

    def __init__(self, inner: Channel) -> None:
        super().__init__(inner)
        self.all_open = []

    async def receive(self) -> Envelope:
        envelope = await super().receive()
        if isinstance(envelope.reply, Reply):
            reply, inner = envelope.reply, envelope.reply.inner
            self.all_open.append(reply)
            inner.when_closed(lambda: [each.close(inner.reason) for each in self.all_open])
        return envelope


class CloseIsNotHeard(Around):
    async def aclose(self) -> None:
        pass


class CloseDropsWhatWasSent(Around):
    async def aclose(self) -> None:
        peer = self.inner._peer._incoming  # type: ignore[attr-defined]
        if peer._waiting:
            peer._waiting.pop()
        await self.inner.aclose()


class ClosesOnce(Around):
    closed = False

    async def aclose(self) -> None:
        if self.closed:
            raise RuntimeError("closed already")
        self.closed = True
        await self.inner.aclose()


class AcceptsAfterClose(Around):
    closed = False

    async def send(self, envelope: Envelope) -> None:
        if not self.closed:
            await self.inner.send(envelope)

    async def aclose(self) -> None:
        self.closed = True
        await self.inner.aclose()


class NeverWaits(Around):
    """An unbounded queue behind a bounded one."""

    def __init__(self, inner: Channel) -> None:
        super().__init__(inner)
        self.queue: deque[Envelope] = deque()

    async def send(self, envelope: Envelope) -> None:
        await anyio.lowlevel.checkpoint()
        self.inner._peer._incoming.put(envelope)  # type: ignore[attr-defined]


def makes(broken: Callable[[Channel], Channel], side: str = "both") -> Callable[[], Any]:
    @asynccontextmanager
    async def make_pair() -> AsyncIterator[tuple[Channel, Channel]]:
        client, server = memory_pair()
        yield (
            broken(client) if side != "server" else client,
            broken(server) if side != "client" else server,
        )
        await client.aclose()
        await server.aclose()

    return make_pair


def test_a_wrapper_that_breaks_nothing_is_a_channel() -> None:
    """So that the failures below are those of what a subclass changes."""
    for broken in (Around, BrokenReplies):
        anyio.run(check_channel, makes(broken), makes(broken), backend="trio")


@in_virtual_time
@pytest.mark.parametrize(
    ("broken", "clause"),
    [
        (TextIds, "a request is answered: a request was sent with the id 1 and arrived with '1'"),
        (NoWayBack, "a request is answered: the request 1 arrived without a reply channel"),
        (LostParams, "a request is answered: the parameters arrived as None"),
        (DeafToNotifications, "a notification arrives: waited 20 s"),
        (CrossedAnswers, "a request is answered: "),
        (ProgressAfterResponse, "progress precedes the response: progress 1 to 10"),
        (NoQuestions, "a question on the reply channel: waited 20 s"),
        (BreaksOnStrangers, "a response to nobody: "),
        (CutsLargeMessages, "a large message: of 1 MiB that was sent and echoed, 3 characters came back"),
        (MixesSenders, "many senders: .* somebody else's text"),
        (LosesOnCancellation, "a cancelled receive: (of 31 messages in order|waited)"),
        (DeafToCancellation, "closing an inbox cancels: waited 20 s"),
        (AcceptsLateAnswers, "closing an inbox cancels: progress was accepted after the cancellation"),
        (CancelsOthersToo, "closing an inbox cancels: cancelling one request closed the reply channel of another"),
        (CancelsTwice, "a close is heard once: .*'early', 'early'"),
        (CloseIsNotHeard, "the end is heard after what was sent: waited 20 s"),
        (CloseDropsWhatWasSent, "the end is heard after what was sent: 10 messages were accepted .* and 9 arrived"),
        (ClosesOnce, "closing twice: raised RuntimeError"),
        (AcceptsAfterClose, "closing twice: a message was accepted after aclose"),
        (NeverWaits, "a sender waits for a slow peer: 2000 messages of 16 KiB were accepted"),
    ],
)
async def test_a_broken_promise_is_named(broken: Callable[[Channel], Channel], clause: str) -> None:
    with pytest.raises(AssertionError, match=clause) as caught:
        await check_channel(makes(broken), makes(broken))
    text = str(caught.value)
    assert "\n  promised: " in text
    assert "\n  written in: " in text


@in_virtual_time
async def test_a_connection_that_does_not_come_down_is_a_broken_promise() -> None:
    @asynccontextmanager
    async def make_pair() -> AsyncIterator[tuple[Channel, Channel]]:
        yield memory_pair()
        await anyio.sleep_forever()

    with pytest.raises(AssertionError, match="a request is answered: waited 20 s to take the connection down"):
        await check_channel(make_pair)


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
    with pytest.raises(anyio.EndOfStream):
        while True:
            await other.receive()


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
