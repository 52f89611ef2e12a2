"""The contract of a channel, held against every transport of one pipe, and against channels that break it."""

import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mcpcore.channel import Channel, Envelope, ReplyChannel, memory_pair
from mcpcore.errors import ConnectionLost
from mcpcore.jsonrpc import Notification, Request, Response
from mcpcore.multiplex import Multiplexer
from mcpcore.testing import check_channel, memory_pipes, virtual_time
from mcpcore_transports.stdio.descriptors import DescriptorStream
from mcpcore_transports.stdio.pipe import LinePipe

pytestmark = pytest.mark.anyio

in_virtual_time = pytest.mark.parametrize("anyio_backend", [virtual_time()], ids=["trio"])
"""For what waits until somebody's patience ends: on asyncio these seconds would have to be waited for."""

Maker = Callable[[], AbstractAsyncContextManager[tuple[Channel, Channel]]]

CLOGGED_OUTBOX_BYTES = 64 * 1024


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """Ordinary clocks: real descriptors and a jumping clock do not go together."""
    return request.param


@asynccontextmanager
async def in_memory() -> AsyncIterator[tuple[Channel, Channel]]:
    client, server = memory_pair()
    yield client, server
    await client.aclose()
    await server.aclose()


@asynccontextmanager
async def over_memory_pipes() -> AsyncIterator[tuple[Channel, Channel]]:
    ours, theirs = memory_pipes()
    async with Multiplexer(ours) as client, Multiplexer(theirs) as server:
        yield client, server


@asynccontextmanager
async def over_small_memory_pipes() -> AsyncIterator[tuple[Channel, Channel]]:
    ours, theirs = memory_pipes(1)
    async with (
        Multiplexer(ours, outbox_bytes=CLOGGED_OUTBOX_BYTES) as client,
        Multiplexer(theirs, outbox_bytes=CLOGGED_OUTBOX_BYTES) as server,
    ):
        yield client, server


class OwnedDescriptors(DescriptorStream):
    """Closes its descriptors, as the process that owns them does when it ends."""

    def __init__(self, input_fd: int, output_fd: int) -> None:
        super().__init__(input_fd, output_fd)
        self._owned = {input_fd, output_fd}

    async def aclose(self) -> None:
        await super().aclose()
        while self._owned:
            os.close(self._owned.pop())


@asynccontextmanager
async def over_lines(
    client_fds: tuple[int, int], server_fds: tuple[int, int]
) -> AsyncIterator[tuple[Channel, Channel]]:
    async with (
        Multiplexer(LinePipe(OwnedDescriptors(*client_fds)), outbox_bytes=CLOGGED_OUTBOX_BYTES) as client,
        Multiplexer(LinePipe(OwnedDescriptors(*server_fds)), outbox_bytes=CLOGGED_OUTBOX_BYTES) as server,
    ):
        yield client, server


def over_os_pipes() -> AbstractAsyncContextManager[tuple[Channel, Channel]]:
    server_in, client_out = os.pipe()
    client_in, server_out = os.pipe()
    return over_lines((client_in, client_out), (server_in, server_out))


def over_socketpair() -> AbstractAsyncContextManager[tuple[Channel, Channel]]:
    ours, theirs = socket.socketpair()
    client, server = ours.detach(), theirs.detach()
    return over_lines((client, client), (server, server))


@pytest.mark.parametrize(
    ("make_pair", "clogged_make_pair"),
    [
        pytest.param(in_memory, in_memory, id="memory"),
        pytest.param(over_memory_pipes, over_small_memory_pipes, id="memory-pipes"),
        pytest.param(over_os_pipes, over_os_pipes, id="os-pipes"),
        pytest.param(over_socketpair, over_socketpair, id="socketpair"),
    ],
)
async def test_every_transport_keeps_the_contract(make_pair: Maker, clogged_make_pair: Maker) -> None:
    await check_channel(make_pair, clogged_make_pair)


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
        self.closed = False

    async def send(self, envelope: Envelope) -> None:
        if self.closed:
            raise anyio.ClosedResourceError
        await anyio.lowlevel.checkpoint()
        self.inner._peer._incoming.put(envelope)  # type: ignore[attr-defined]

    async def aclose(self) -> None:
        self.closed = True
        await self.inner.aclose()


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
        (BreaksOnStrangers, "a response to nobody: a response to nobody ended the receive"),
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
