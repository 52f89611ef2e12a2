"""One peer, one task group: read, admit, run, answer. The same loop serves both roles.

A session drives a `Channel`. Each request of the peer runs in a task of the session's own group (`Workers`), inside a
cancel scope that the far end of its reply channel can cancel. The reading task only admits: it never waits for a
handler, so answers and cancellations get through however busy the handlers are.

What a request means is the `Role`'s business, which is injected: `mcpcore.server` and `mcpcore.client` have one each.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from math import inf
from typing import Any

import anyio
import msgspec
from anyio.abc import TaskGroup, TaskStatus

from mcpcore.channel import Channel, Envelope, Inbox, Origin, ReplyChannel
from mcpcore.errors import (
    CODE_INTERNAL_ERROR,
    CODE_SERVER_BUSY,
    ConnectionLost,
    DeadlineExceeded,
    PeerError,
    RemoteProtocolError,
    RequestError,
)
from mcpcore.jsonrpc import ErrorResponse, Malformed, Notification, Request, Response, error_response
from mcpcore.types.base import RequestId
from mcpcore.workers import MAX_RESTING, Workers

__all__ = (
    "GRACE_SECONDS",
    "MAX_PAUSE_SECONDS",
    "MAX_RUNNING",
    "MAX_STREAMS",
    "MAX_WAITING",
    "Call",
    "Limits",
    "Role",
    "Session",
    "SessionStatistics",
)

GRACE_SECONDS = 5.0
"""How long accepted work may go on when its client is done or the server is told to stop. Hosts and supervisors
commonly kill a few seconds after that."""

MAX_RUNNING = 256
"""Requests of one peer that run at the same time. Well above the worker threads of a server: as many calls as
anybody is likely to have blocked in threads, or waiting for one, still leave room for those that need none."""

MAX_WAITING = 1000
"""Requests of one peer that wait for a place; the next one is refused with `CODE_SERVER_BUSY`. The queue holds
undecoded frames, so that many plain calls weigh less than a megabyte."""

MAX_STREAMS = 100
"""Requests of one peer that stay open by design (`subscriptions/listen`); they take no place from the others."""

MAX_PAUSE_SECONDS = 3600.0
"""How long the questions of a peer may hold up the deadline of one request of ours, all of them together: as long as
somebody may look for an answer or two, and not for ever."""

logger: logging.Logger = logging.getLogger("mcpcore.session")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How much one peer may have in flight, in messages, and how many workers wait for more."""

    max_running: int = MAX_RUNNING
    max_waiting: int = MAX_WAITING
    max_streams: int = MAX_STREAMS
    max_resting: int = MAX_RESTING


class SessionStatistics(msgspec.Struct, frozen=True, kw_only=True):
    running: int
    waiting: int
    streams: int
    answered: int
    cancelled: int
    refused: int
    """Requests refused because a limit was reached or the session was ending."""
    malformed: int
    """Frames that were no JSON-RPC messages."""
    orphans: int
    """Responses that reached the session although nobody waits for them."""
    awaited: int
    """Requests of ours that the peer has not answered yet."""


class Call:
    """One request of the peer while it is being answered."""

    __slots__ = ("_session", "finished", "id", "method", "origin", "params", "reply", "scope")

    def __init__(self, session: "Session", request: Request, reply: ReplyChannel, origin: Origin | None) -> None:
        self._session = session
        self.id: RequestId = request.id
        self.method: str = request.method
        self.params: Any = request.params
        self.reply: ReplyChannel = reply
        self.origin: Origin = origin or _NOWHERE
        self.scope: anyio.CancelScope = session._new_scope()
        self.finished: bool = False
        """Whether the response is on its way: nothing may follow it."""

    @property
    def session(self) -> "Session":
        return self._session

    async def notify(self, method: str, params: Any) -> bool:
        """Send a notification on this request's reply channel, waiting while its reader is slow.

        Returns False, and sends nothing, when nobody reads any more or the request is answered.
        """
        return not self.finished and await self.reply.send(Envelope(Notification(method, params)))

    async def request(self, method: str, params: Any, *, timeout: float) -> Any:
        """Ask the peer something while answering it, on this request's reply channel. As `Session.request`."""
        return await self._session.request(method, params, timeout=timeout, via=self.reply)


_NOWHERE = Origin()


class Role(ABC):
    """What a server or a client does with what arrives in its session."""

    @abstractmethod
    async def answer(self, call: Call) -> Any:
        """The result for one request, ready to encode. `RequestError` and `RemoteProtocolError` become the error
        that they hold; any other exception is logged and becomes an internal error without its text."""

    @abstractmethod
    def hear(self, notification: Notification, origin: Origin | None) -> None:
        """A notification that belongs to no request of ours. Must not wait."""

    @abstractmethod
    def is_stream(self, method: str) -> bool:
        """Whether a request with this method stays open by design."""

    def is_first(self, method: str) -> bool:
        """Whether a request with this method is answered before the next message is read, because what it settles
        decides what becomes of that one. Its answer must not wait for anybody."""
        return False

    def failed(self, code: int | None) -> None:  # noqa: B027
        """A request was answered with an error of this code; None: it was given up. Must not wait."""

    answers_malformed = True
    """Whether a frame that is no message is answered with an error. A client only counts it."""


class _Clock:
    """How long the deadline of one request may still stand still, and what is left of it while it does."""

    __slots__ = ("allowance", "left")

    def __init__(self) -> None:
        self.allowance = MAX_PAUSE_SECONDS
        self.left: float | None = None


class Session:
    """Drives one channel in one role.

    `run` is the session: it returns when the peer is done and the work it asked for is answered. Everything else
    may be called from any task while it runs.
    """

    def __init__(self, channel: Channel, role: Role, *, limits: Limits | None = None) -> None:
        self.channel: Channel = channel
        self._role = role
        self._new_scope: Callable[..., anyio.CancelScope] = self._first_scope
        self._limits = limits or Limits()
        self._tasks: TaskGroup | None = None
        self._workers = Workers(
            self.answer,
            self._tell_idle,
            max_running=self._limits.max_running,
            max_resting=self._limits.max_resting,
        )
        self._inboxes: dict[Inbox, None] = {}  # empty, a set takes three times as much of every idle session
        self._clocks: dict[anyio.CancelScope, _Clock] = {}
        self._paused = 0
        self._paused_since = -inf
        self._last_id = 0
        self._streams = 0
        self._answered = self._cancelled = self._refused = self._malformed = self._orphans = 0
        self._idle: anyio.Event | None = None
        self._failure: ConnectionLost | None = None
        self.ending: bool = False
        """Whether the session accepts no more requests. What stays open by design ends then."""
        self.when_ending: set[Callable[[], None]] = set()
        """Called once when `ending` becomes true; must not wait."""

    async def run(self, *, grace: float = 0.0, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve the peer until it is done.

        When the peer has sent its last message, what it asked for is finished first, for `grace` seconds at most;
        `stop` does the same without waiting for the peer. Raises `ConnectionLost` when the connection broke. When
        this is cancelled, or raises, every request that was running has been cancelled.
        """
        try:
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                self._workers.start(tasks)
                task_status.started()
                try:
                    while True:
                        await self._admit(await self.channel.receive())
                except anyio.EndOfStream:
                    self._fail(ConnectionLost("the peer closed the connection before it answered"))
                except ConnectionLost as lost:
                    self._fail(lost)
                    raise
                if not self.ending:  # otherwise `stop` is already at it
                    self.end()
                    await self._finish(grace)
                    tasks.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            if len(group.exceptions) == 1:
                raise group.exceptions[0] from None
            raise
        finally:
            self._tasks = None
            self.ending = True
            self._fail(ConnectionLost("the session has ended"))

    def stop(self, grace: float) -> None:
        """End the session: accept no more requests, finish those that run within `grace` seconds, then cancel.

        Returns at once; `run` returns when it is done. The peer's answers to our questions are still read.
        """
        if self._tasks is None or self.ending:
            return
        self.end()

        async def end() -> None:
            assert self._tasks is not None
            await self._finish(grace)
            self._tasks.cancel_scope.cancel()

        self._tasks.start_soon(end)

    def start_soon(self, work: Callable[..., Coroutine[Any, Any, Any]], *args: Any) -> None:
        """Run `work` in the session's own task group; it is cancelled when the session ends, not begun after it."""
        # Between its last task's end and `run`'s return the group takes no more, and has been cancelled.
        if self._tasks is not None and not self._tasks.cancel_scope.cancel_called:
            self._tasks.start_soon(work, *args)

    def next_id(self) -> int:
        """An id that this session has never used (a MUST of every handshake revision)."""
        self._last_id += 1
        return self._last_id

    async def request(
        self,
        method: str,
        params: Any,
        *,
        timeout: float,
        id: RequestId | None = None,
        via: ReplyChannel | None = None,
        origin: Origin | None = None,
        on_notification: Callable[[Notification], Awaitable[None]] | None = None,
    ) -> Any:
        """Ask the peer and wait for its result, raw JSON or a struct as the channel delivered it.

        `timeout` is in seconds. What the peer sends on the way goes to `on_notification`, in order, before this
        returns. `via` asks on the reply channel of a request that is being answered; `origin` tells the transport
        more about the request. Raises `PeerError`,
        `ConnectionLost`, `DeadlineExceeded`, or `RemoteProtocolError` when the answer is no answer. When it
        raises, or is cancelled, the peer is told to stop, in whatever way the transport has for that.
        """
        id = self.next_id() if id is None else id
        inbox = Inbox()
        self._inboxes[inbox] = None
        scope = self._new_scope(deadline=anyio.current_time() + timeout)
        self._clocks[scope] = _Clock()
        try:
            with scope:
                if self._failure is not None:
                    raise self._failure
                envelope = Envelope(Request(id, method, params), inbox, origin, alone=len(self._inboxes) == 1)
                if via is None:
                    await self.channel.send(envelope)
                elif not await via.send(envelope):
                    raise ConnectionLost("nobody reads the reply channel that this question would go out on")
                return await self._collect(inbox, on_notification)
            inbox.close(f"no answer within {timeout:g} s")
            raise DeadlineExceeded(f"{method} was not answered within {timeout:g} s; it has been cancelled")
        finally:
            del self._clocks[scope]
            self._inboxes.pop(inbox, None)
            inbox.close()

    async def open(self, method: str, params: Any, *, id: RequestId, origin: Origin | None = None) -> Inbox:
        """Ask something whose answers the caller reads, e.g. what stays open by design, and return their inbox.

        Closing the inbox ends it at the peer; whoever called this has to. `origin` and what is raised: see `request`.
        """
        if self._failure is not None:
            raise self._failure
        inbox = Inbox()
        self._inboxes[inbox] = None
        try:
            await self.channel.send(Envelope(Request(id, method, params), inbox, origin))
        except BaseException:
            self.close_inbox(inbox)
            raise
        return inbox

    def close_inbox(self, inbox: Inbox) -> None:
        """End what `open` opened."""
        self._inboxes.pop(inbox, None)
        inbox.close()

    async def notify(self, method: str, params: Any) -> None:
        """Send a notification that belongs to no request. Raises `ConnectionLost`."""
        await self.channel.send(Envelope(Notification(method, params)))

    @contextmanager
    def clocks_paused(self) -> Iterator[None]:
        """Stop the deadlines of our requests while this side answers a question of the peer.

        The time a person takes to answer is not the peer's. Requests made meanwhile keep their deadlines, and each
        one stands still for `MAX_PAUSE_SECONDS` in all: a peer could go on asking for ever.
        """
        self._paused += 1
        if self._paused == 1:
            self._paused_since = anyio.current_time()
            for scope, clock in self._clocks.items():
                clock.left = scope.deadline - self._paused_since
                scope.deadline += clock.allowance
        try:
            yield
        finally:
            self._paused -= 1
            if self._paused == 0:
                now = anyio.current_time()
                for scope, clock in self._clocks.items():
                    if clock.left is not None:
                        paused = min(now - self._paused_since, clock.allowance)
                        scope.deadline = self._paused_since + paused + clock.left
                        clock.allowance -= paused
                        clock.left = None

    def statistics(self) -> SessionStatistics:
        return SessionStatistics(
            running=self._workers.running,
            waiting=len(self._workers.waiting),
            streams=self._streams,
            answered=self._answered,
            cancelled=self._cancelled,
            refused=self._refused,
            malformed=self._malformed,
            orphans=self._orphans,
            awaited=len(self._inboxes),
        )

    async def _collect(self, inbox: Inbox, on_notification: Callable[[Notification], Awaitable[None]] | None) -> Any:
        while True:
            envelope = await inbox.receive()
            message = envelope.message
            if isinstance(message, Response):
                return message.result
            if isinstance(message, ErrorResponse):
                error = message.error
                raise PeerError(error.code, error.message, None if error.data is msgspec.UNSET else error.data)
            if isinstance(message, Malformed):
                raise RemoteProtocolError(f"the peer's answer is no JSON-RPC response: {message.error.message}")
            if isinstance(message, Notification) and on_notification is not None:
                await on_notification(message)
            else:
                await self._admit(envelope)

    async def _admit(self, envelope: Envelope) -> None:
        message = envelope.message
        if isinstance(message, Request):
            await self._accept(envelope, message)
        elif isinstance(message, Notification):
            self._role.hear(message, envelope.origin)
        elif isinstance(message, Malformed):
            self._malformed += 1
            if self._role.answers_malformed and not message.answers and envelope.reply is not None:
                await envelope.reply.send(Envelope(error_response(message.id, message.error)))
        else:
            self._orphans += 1

    async def _accept(self, envelope: Envelope, request: Request) -> None:
        if self._tasks is None:
            return  # the session ended while this waited to be read; its caller learns that from the channel
        refusal = None
        if self.ending:
            refusal = "the server is stopping; ask again elsewhere or later"
        elif self._role.is_first(request.method):
            # In this task: a client may send requests right behind its handshake, and they count on its outcome.
            await self.answer(envelope)
        elif self._role.is_stream(request.method):
            if self._streams < self._limits.max_streams:
                self._streams += 1
                self._tasks.start_soon(self._stream, envelope)
            else:
                refusal = f"{self._streams} streams are open, which is the limit; close one first"
        elif self._has_place() or self._drop_cancelled():
            self._workers.waiting.append(envelope)
            self._workers.call()
        else:
            limits = self._limits
            refusal = (
                f"{limits.max_running} requests run and {limits.max_waiting} wait, which is the limit; ask again later"
            )
        if refusal is not None and envelope.reply is not None:
            self._refused += 1
            self._role.failed(CODE_SERVER_BUSY)
            answer = error_response(request.id, RequestError(CODE_SERVER_BUSY, refusal))
            await envelope.reply.send(Envelope(answer))

    def _has_place(self) -> bool:
        limits, workers = self._limits, self._workers
        return workers.running + len(workers.waiting) < limits.max_running + limits.max_waiting

    def _first_scope(self, deadline: float = inf) -> anyio.CancelScope:
        # anyio looks up the event loop to find the class of each scope; here it is the same for all.
        scope = anyio.CancelScope(deadline=deadline)
        self._new_scope = type(scope)
        return scope

    def _drop_cancelled(self) -> bool:
        """Take requests that were given up while they waited out of the queue. True if that made room."""
        waiting = self._workers.waiting
        wanted = [envelope for envelope in waiting if envelope.reply is not None and not envelope.reply.closed]
        for _ in range(len(waiting) - len(wanted)):
            self._give_up()
        self._workers.waiting = wanted
        return self._has_place()

    async def _stream(self, envelope: Envelope) -> None:
        try:
            await self.answer(envelope)
        finally:
            self._streams -= 1
            self._tell_idle()

    async def answer(self, envelope: Envelope) -> None:
        """Answer one request in the calling task, outside the limits of `run`: for requests that need no session.

        Returns when the response is handed over, or at once when the reply channel's far end closes.
        """
        request, reply = envelope.message, envelope.reply
        assert isinstance(request, Request)
        if reply is None or reply.closed:
            self._give_up()
            return
        call = Call(self, request, reply, envelope.origin)
        with call.scope as scope:
            reply.when_closed(scope.cancel)
            try:
                answer = await self._outcome(call)
                call.finished = True
                if type(answer) is ErrorResponse:
                    self._role.failed(answer.error.code)
                try:
                    alone = self._workers.running <= 1 and not self._workers.waiting
                    await reply.send(Envelope(answer, alone=alone))
                except (TypeError, ValueError, OverflowError, RecursionError):
                    # What msgspec raises for a value that JSON has no form for.
                    logger.exception("the result of %s (id %r) cannot be encoded", request.method, request.id)
                    await reply.send(Envelope(_internal_error(request.id)))
                self._answered += not reply.closed
            except ConnectionLost:
                logger.debug("the connection was lost before %s (id %r) was answered", request.method, request.id)
            finally:
                reply.when_closed(None)
        if scope.cancelled_caught:
            self._give_up()
            logger.debug("%s (id %r) was cancelled: %.100r", request.method, request.id, reply.reason)

    def _give_up(self) -> None:
        self._cancelled += 1
        self._role.failed(None)

    async def _outcome(self, call: Call) -> Response | ErrorResponse:
        try:
            return Response(call.id, await self._role.answer(call))
        except RequestError as error:
            return error_response(call.id, error)
        except RemoteProtocolError as error:
            return error_response(call.id, error.reply)
        except ConnectionLost:
            if self._failure is not None:
                raise
            logger.exception("%s (id %r) failed", call.method, call.id)
            return _internal_error(call.id)
        except (Exception, SystemExit):
            # SystemExit too: a handler may call a library that exits on bad input, and one request ends no server.
            logger.exception("%s (id %r) failed", call.method, call.id)
            return _internal_error(call.id)
        except BaseExceptionGroup as group:
            # A task group of the handler: perhaps it was cancelled and failed as well, which must not end the session.
            cancelled, faults = group.split(anyio.get_cancelled_exc_class())
            if group.subgroup(KeyboardInterrupt) is not None:
                raise
            if faults is not None:
                logger.error("%s (id %r) failed", call.method, call.id, exc_info=faults)
            if cancelled is not None and anyio.current_effective_deadline() == -inf:
                raise cancelled from None
            return _internal_error(call.id)
        except anyio.get_cancelled_exc_class():
            if anyio.current_effective_deadline() == -inf:
                raise
            # asyncio only: a handler awaited something that was cancelled, but nobody cancelled the handler. Left
            # alone, the exception would end the task in silence and the peer would wait for ever.
            logger.exception("%s (id %r) ended with a cancellation that nobody asked for", call.method, call.id)
            return _internal_error(call.id)

    def end(self) -> None:
        """Accept no more requests and end what stays open by design; what runs goes on."""
        self.ending = True
        for callback in tuple(self.when_ending):
            callback()

    async def _finish(self, grace: float) -> None:
        """Wait until nothing runs, `grace` seconds at most."""
        with anyio.move_on_after(grace):
            while self._workers.running or self._workers.waiting or self._streams:
                self._idle = anyio.Event()
                await self._idle.wait()

    def _tell_idle(self) -> None:
        if self._idle is not None and not (self._workers.running or self._workers.waiting or self._streams):
            self._idle.set()

    def _fail(self, failure: ConnectionLost) -> None:
        if self._failure is None:
            self._failure = failure
            for inbox in tuple(self._inboxes):
                inbox.fail(failure)


def _internal_error(id: RequestId) -> ErrorResponse:
    return error_response(id, RequestError(CODE_INTERNAL_ERROR, "internal error; the server's log has the details"))
