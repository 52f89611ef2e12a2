"""Many requests over one ordered pipe of frames: what stdio, a WebSocket or a TCP connection needs.

A transport of that kind supplies a `Pipe`; the `Multiplexer` makes a `Channel` of it. Frames are decoded in the
task that calls `receive` and never wait for a handler. Frames to send are collected and written by one task, in
one write per wake-up: a hundred answers that are ready together cost one system call. One that is known to be alone
is written at once, if there is room for it.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Any

import anyio
import msgspec

from mcpcore.channel import Channel, Envelope, Inbox, Origin, ReplyChannel
from mcpcore.errors import CODE_INVALID_REQUEST, ConnectionLost, RemoteProtocolError, RequestError
from mcpcore.exchange import Exchange
from mcpcore.jsonrpc import (
    Batch,
    ErrorResponse,
    Malformed,
    Message,
    Notification,
    Oversize,
    Request,
    Response,
    decode,
    encode,
    error_response,
)
from mcpcore.methods import NOTIFICATIONS
from mcpcore.types import META_SUBSCRIPTION_ID, CancelledNotificationParams

__all__ = ("FLUSH_SECONDS", "MAX_CHANGES", "OUTBOX_BYTES", "STALL_SECONDS", "Multiplexer", "Pipe")

OUTBOX_BYTES = 1024 * 1024
"""Bytes that may wait for the writer before `send` waits: more than a burst of answers, little beside a process."""

STALL_SECONDS = 1.0
"""How long one full inbox may hold up the pipe that all callers share. A progress callback that is slower than
this per message loses messages from the middle (`statistics()["dropped"]` counts them), and a callback that
itself waits for another answer on this pipe costs a second, not for ever."""

MAX_CHANGES = 4096
"""Changes of different things that wait in one inbox: more than one listen may watch, so that only a server which
announces what nobody asked for loses any."""

FLUSH_SECONDS = 5.0
"""How long `aclose` waits for a peer to read what was accepted before it closes all the same."""

_ANSWERS = (Response, ErrorResponse)

_DUPLICATE = RequestError(
    CODE_INVALID_REQUEST, "a request with this id is still in flight; its answer will come, this one is refused"
)

_LISTENED = frozenset(
    (
        "notifications/subscriptions/acknowledged",
        "notifications/resources/updated",
        "notifications/resources/list_changed",
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
    )
)


class Pipe(ABC):
    """One ordered pipe of frames in each direction. A frame is one JSON text without a line break."""

    @abstractmethod
    async def receive(self) -> Sequence[bytes | Oversize]:
        """At least one frame. Raises `anyio.EndOfStream` at the orderly end, `ConnectionLost` when broken."""

    @abstractmethod
    async def send(self, frames: Sequence[bytes]) -> None:
        """Write all `frames`, in one write where possible. Raises `ConnectionLost` when the peer is gone or
        has not read for too long: the deadline is the pipe's."""

    def send_nowait(self, frame: bytes) -> bool:
        """Write `frame` if that can be done whole and without waiting. False, with nothing written, if it cannot."""
        return False

    @abstractmethod
    async def aclose(self) -> None:
        """Close both directions, within a deadline, whatever the peer does."""


class Multiplexer(Channel):
    """A `Channel` over a `Pipe`. An async context manager: the writing task lives inside it.

    Leaving it normally flushes what was accepted, for `FLUSH_SECONDS` at most; leaving it by an exception or a
    cancellation does not. When writing fails, everything inside is cancelled and `ConnectionLost` comes out.
    """

    def __init__(self, pipe: Pipe, *, origin: Origin | None = None, outbox_bytes: int = OUTBOX_BYTES) -> None:
        self._pipe = pipe
        self._origin = origin
        self._exchange: Exchange[ReplyChannel, Inbox] = Exchange()
        self._incoming: deque[bytes | Oversize | Message] = deque()
        self._outgoing: list[bytes] = []
        self._outgoing_size = 0
        self._outbox_bytes = outbox_bytes
        self._to_write: anyio.Event | None = None
        self._written: anyio.Event | None = None
        self._writing: anyio.CancelScope | None = None
        self._closed = False
        self._pipe_closed = False
        self._peer_done = False
        self._dropped = 0
        self._home = _PipeReply(self, None)
        self._running: AbstractAsyncContextManager[None] | None = None

    def renew(self, origin: Origin) -> None:
        """Say that what the peer sends comes from `origin` from here on: the same peer, by a later token."""
        self._origin = origin

    async def __aenter__(self) -> "Multiplexer":
        self._running = self._run()
        await self._running.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._running is not None
        return await self._running.__aexit__(kind, error, traceback)

    @asynccontextmanager
    async def _run(self) -> AsyncIterator[None]:
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._write)
                try:
                    yield
                    await self.aclose()
                finally:
                    self._closed = True
                    tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            # The writer and the session are all that runs in here, and one error is what a caller can handle. Both
            # lose a connection that breaks in both directions at once; with one who is cancelled, only the writer.
            if len(group.exceptions) == 1:
                raise group.exceptions[0] from None
            lost, others = group.split(ConnectionLost)
            if lost is None or (others is not None and others.split(anyio.get_cancelled_exc_class())[1] is not None):
                raise
            raise lost.exceptions[0] from None
        finally:
            await self._close_pipe()

    async def receive(self) -> Envelope:
        while True:
            while self._incoming:
                message = self._next()
                envelope: Envelope | None = None
                # Taken off only when it is dealt with, so that a cancelled wait loses nothing.
                if not isinstance(message, Request):
                    envelope = await self._route(message)
                elif self._exchange.accept(message.id, reply := _PipeReply(self, message.id)):
                    envelope = Envelope(message, reply, self._origin)
                else:
                    await self._put(encode(error_response(message.id, _DUPLICATE)))
                self._incoming.popleft()
                if envelope is not None:
                    return envelope
            try:
                frames = await self._pipe.receive()
            except (anyio.EndOfStream, ConnectionLost):
                self._peer_done = True
                raise
            self._incoming.extend(frames)

    async def send(self, envelope: Envelope) -> None:
        frame = encode(envelope.message)
        if isinstance(envelope.message, Request):
            self._ask(envelope.message, envelope.reply)
        await self._put(frame, envelope.alone)

    async def aclose(self) -> None:
        """Accept no more, wait until what was accepted is written, for `FLUSH_SECONDS` at most, and close the pipe."""
        self._closed = True
        try:
            with anyio.move_on_after(FLUSH_SECONDS):
                while self._outgoing_size and not self._pipe_closed:
                    await self._wait_written()
        finally:
            if self._writing is not None:
                self._writing.cancel()
            await self._close_pipe()

    async def _close_pipe(self) -> None:
        if not self._pipe_closed:
            self._pipe_closed = True
            self._wake_senders()
            with anyio.move_on_after(FLUSH_SECONDS, shield=True):
                await self._pipe.aclose()

    def statistics(self) -> dict[str, Any]:
        return {
            **msgspec.structs.asdict(self._exchange.statistics()),
            "dropped": self._dropped,
            "unwritten_bytes": self._outgoing_size,
        }

    def _next(self) -> Message | Batch:
        """The message that stands first, which stays there."""
        item = self._incoming[0]
        if isinstance(item, bytes):
            return decode(item)
        if isinstance(item, Oversize):
            return item.malformed()
        return item

    async def _route(self, message: Notification | Response | ErrorResponse | Malformed | Batch) -> Envelope | None:
        """Deliver what answers a request of ours; return what the session has to deal with."""
        if isinstance(message, _ANSWERS):
            self._deliver(message)
            return None
        if isinstance(message, Notification):
            return await self._hear(message)
        if isinstance(message, Batch):
            if self.batches:
                # The caller takes off what stands first, so let that be a copy.
                self._incoming.popleft()
                self._incoming.extendleft(reversed((message.messages[0], *message.messages)))
                return None
            text = "this revision has no batches; send each message on its own"
            message = Malformed(RequestError(CODE_INVALID_REQUEST, text))
        if message.answers and self._deliver(message):
            return None
        return Envelope(message, self._home, self._origin)

    def _deliver(self, message: Response | ErrorResponse | Malformed) -> bool:
        inbox = self._exchange.answered(message.id)
        return inbox is not None and inbox.put(Envelope(message, None, self._origin))

    async def _hear(self, message: Notification) -> Envelope | None:
        method = message.method
        if method == "notifications/progress" or method == "notifications/cancelled" or method in _LISTENED:
            try:
                params = NOTIFICATIONS[method].decode_params(message.params)
            except RemoteProtocolError:
                return None  # nobody can answer a notification, and what it was about is unknown
            message = Notification(method, params)
            if method == "notifications/cancelled":
                reply = None if params.request_id is None else self._exchange.cancelled(params.request_id)
                if reply is not None:
                    reply.close(params.reason)
                return None
            if method == "notifications/progress":
                await self._forward(self._exchange.home_of(params.progress_token), message)
                return None
            token = (params.meta or {}).get(META_SUBSCRIPTION_ID)
            if isinstance(token, int | str):
                await self._forward(self._exchange.home_of(token), message)
                return None
        return Envelope(message, None, self._origin)

    async def _forward(self, inbox: Inbox | None, message: Notification) -> None:
        """Put a notification into its caller's inbox, without letting that caller hold up the others for long."""
        if inbox is None:
            return
        if message.method in _LISTENED:
            # A change is a level, not an event: one that waits to be read says all that a second would say.
            if inbox.size >= MAX_CHANGES:
                self._dropped += 1
            elif not inbox.holds(message.__eq__):
                inbox.put(Envelope(message, None, self._origin))
            return
        if inbox.full and not inbox.dropped:
            with anyio.move_on_after(STALL_SECONDS):
                await inbox.wait_not_full()
        if inbox.full:
            inbox.dropped += 1
            self._dropped += 1
        else:
            inbox.dropped = 0
            inbox.put(Envelope(message, None, self._origin))

    def _ask(self, request: Request, inbox: ReplyChannel | None) -> None:
        assert isinstance(inbox, Inbox), "a request of ours is answered into an Inbox"
        self._exchange.ask(request.id, inbox, cancellable=request.method != "initialize")
        inbox.when_closed(partial(self._withdraw, request.id, inbox))

    def _withdraw(self, id: int | str, inbox: Inbox) -> None:
        # A peer that sends no more will not answer, and may be gone: a line to it could only fail.
        if self._exchange.withdraw(id) and not self._closed and not self._peer_done:
            params = CancelledNotificationParams(request_id=id, reason=inbox.reason)
            # Past the limit if need be: there is at most one for each request in flight.
            self._post(encode(Notification("notifications/cancelled", params)))

    def _post(self, frame: bytes) -> None:
        self._outgoing.append(frame)
        self._outgoing_size += len(frame)
        if self._to_write is not None:
            self._to_write.set()
            self._to_write = None

    async def _put(self, frame: bytes, alone: bool = False) -> None:
        if self._closed:
            raise ConnectionLost("the connection is closed")
        if alone and self._to_write is not None and self._pipe.send_nowait(frame):
            return  # the writer rests, so nothing was before it, and waking it would cost more than the write
        self._post(frame)
        while self._outgoing_size > self._outbox_bytes:
            if self._pipe_closed:
                raise ConnectionLost("the connection was closed before this was written")
            await self._wait_written()

    async def _wait_written(self) -> None:
        if self._written is None:
            self._written = anyio.Event()
        await self._written.wait()

    def _wake_senders(self) -> None:
        if self._written is not None:
            self._written.set()
            self._written = None

    async def _write(self) -> None:
        with anyio.CancelScope() as self._writing:
            while True:
                while not self._outgoing:
                    self._to_write = anyio.Event()
                    await self._to_write.wait()
                frames, self._outgoing = self._outgoing, []
                await self._pipe.send(frames)
                self._outgoing_size -= sum(map(len, frames))
                self._wake_senders()


class _PipeReply(ReplyChannel):
    """The way back over the pipe: for one request, or for what belongs to none."""

    __slots__ = ("_id", "_multiplexer")

    def __init__(self, multiplexer: Multiplexer, id: int | str | None) -> None:
        super().__init__()
        self._multiplexer = multiplexer
        self._id = id

    async def send(self, envelope: Envelope) -> bool:
        message = envelope.message
        answered = self._id if isinstance(message, _ANSWERS) else None
        if self.closed:
            if answered is not None:
                self._multiplexer._exchange.answer(answered, self)  # which counts it as late
            return False
        frame = encode(message)  # before any table changes: a result that cannot be encoded is still owed
        if isinstance(message, Request):
            self._multiplexer._ask(message, envelope.reply)
        elif answered is not None and not self._multiplexer._exchange.answer(answered, self):
            return False
        await self._multiplexer._put(frame, envelope.alone)
        return True
