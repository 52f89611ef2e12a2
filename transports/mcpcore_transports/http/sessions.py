"""The handshake sessions of one server over HTTP: who they belong to, and when they end."""

import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from anyio.abc import TaskGroup

from mcpcore.channel import Channel, Envelope, Inbox, Origin
from mcpcore.errors import CODE_SERVER_BUSY, ConnectionLost, RemoteProtocolError, RequestError
from mcpcore.jsonrpc import ErrorResponse, Malformed, Message, Notification, Request, Response
from mcpcore.methods import NOTIFICATIONS
from mcpcore.principal import Principal
from mcpcore.revisions import Revision
from mcpcore_transports.http.exchanges import SessionExchange
from mcpcore_transports.http.replay import ReplayStore
from mcpcore_transports.http.streams import Stream

__all__ = ("IDLE_SECONDS", "KEPT_STREAMS", "MAX_SESSIONS", "SWEEP_SECONDS", "HttpSession", "SessionTable")

MAX_SESSIONS = 10_000
"""Sessions of one server: at some kilobytes each, the memory of one process. The next client is told to come back."""

IDLE_SECONDS = 30 * 60.0
"""How long a session without a running request or an open stream is kept: a lunch break. Its client starts another
one when it finds it gone."""

SWEEP_SECONDS = 10.0
"""How often sessions are looked at for being idle, if not four times in `idle_seconds`: they end this much late."""

KEPT_STREAMS = 256
"""Answered streams of one session that can still be replayed; the oldest are forgotten first."""

logger: logging.Logger = logging.getLogger("mcpcore.http")


class HttpSession(Channel):
    """One handshake session: a channel whose messages come in by POST and go out on event streams."""

    def __init__(self, store: ReplayStore, origin: Origin, now: float) -> None:
        self.id: str = secrets.token_urlsafe(32)
        """Unguessable, and not a credential: `owner` is checked on every request."""
        self.owner: str | None = None if origin.principal is None else origin.principal.identity
        self.exchange: SessionExchange = SessionExchange()
        self._store = store
        self._incoming = Inbox()
        self._names = 0
        self._streams: dict[str, Stream] = {}
        self.unasked: Stream = Stream(self.exchange, store, self.id, "0", on_over=self._over)
        """What belongs to no request: it is read by GET."""
        self.unasked.streaming = True
        self._streams["0"] = self.unasked
        self._answered: list[Stream] = []
        """Streams that are over and were kept, oldest first. A deque would take a kilobyte of every idle session."""
        self.last_used = now
        self.closed: bool = False

    @property
    def busy(self) -> bool:
        """Whether there is a reason not to call this session idle."""
        return self.exchange.running > 0 or any(stream.attached for stream in self._streams.values())

    @property
    def primes(self) -> bool:
        """Whether its streams begin with an event without data; clients before 2025-11-25 choke on one."""
        return self.revision is not None and self.revision.at_least(Revision.R2025_11_25)

    def open_stream(self, id: int | str) -> Stream:
        """A stream for the answer to a request with this id."""
        self._names += 1
        stream = Stream(self.exchange, self._store, self.id, str(self._names), id, on_over=self._over)
        stream.primes = self.primes
        self._streams[stream.name] = stream
        self.exchange.began(id, stream)
        return stream

    def _over(self, stream: Stream) -> None:
        """Nothing more comes on this stream. One that was answered in the store is kept for a client that lost the
        connection; of one that was cancelled, or answered as a whole, nothing can be asked for again."""
        if stream.done and stream.streaming:
            self._answered.append(stream)
        else:
            self._streams.pop(stream.name, None)

    async def _forget_oldest(self) -> None:
        while len(self._answered) > KEPT_STREAMS:
            oldest = self._answered.pop(0)
            self._streams.pop(oldest.name, None)
            await self._store.forget(self.id, oldest.name)

    async def stream_to_resume(self, event_id: str) -> Stream | None:
        """The stream that an event id of this session belongs to."""
        name = await self._store.stream_of(self.id, event_id)
        return None if name is None else self._streams.get(name)

    async def accept(self, message: Message, origin: Origin, stream: Stream | None = None) -> bool:
        """Take one message that was posted. False when the session has ended."""
        await self._forget_oldest()
        if isinstance(message, Response | ErrorResponse):
            inbox = self.exchange.answered(message.id)
            if inbox is not None:
                inbox.put(Envelope(message, None, origin))
            return True
        if isinstance(message, Malformed) and message.answers:
            inbox = self.exchange.answered(message.id)
            if inbox is not None:
                inbox.put(Envelope(message, None, origin))
            return True
        if isinstance(message, Notification) and message.method in (
            "notifications/cancelled",
            "notifications/progress",
        ):
            self._hear(message, origin)
            return True
        return await self._incoming.send(Envelope(message, stream, origin))

    def _hear(self, message: Notification, origin: Origin) -> None:
        try:
            params = NOTIFICATIONS[message.method].decode_params(message.params)
        except RemoteProtocolError:
            return  # nobody can answer a notification, and what it was about is unknown
        if message.method == "notifications/cancelled":
            self.exchange.cancelled(params)
            return
        inbox = self.exchange.progressed(params)
        if inbox is not None and not inbox.full:
            inbox.put(Envelope(Notification(message.method, params), None, origin))

    async def receive(self) -> Envelope:
        try:
            return await self._incoming.receive()
        except anyio.ClosedResourceError:
            raise anyio.EndOfStream from None

    async def send(self, envelope: Envelope) -> None:
        if isinstance(envelope.message, Request):
            assert isinstance(envelope.reply, Inbox), "a request of ours is answered into an Inbox"
        await self.unasked.send(envelope)

    async def aclose(self) -> None:
        """End the session: what runs in it is cancelled, and its streams end."""
        self.closed = True
        self._incoming.close()
        self.exchange.close()
        for stream in list(self._streams.values()):
            stream.close("the session ended")
        await self._store.forget(self.id)

    def statistics(self) -> dict[str, Any]:
        return {"running": self.exchange.running, "streams": len(self._streams), "dropped": self.exchange.dropped}


class SessionTable:
    """All sessions of one server; each lives in a task of the group given to `run`."""

    def __init__(
        self,
        serve: Callable[[Channel], Awaitable[None]],
        store: ReplayStore,
        *,
        max_sessions: int = MAX_SESSIONS,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._serve = serve
        self._store = store
        self._max_sessions = max_sessions
        self._idle_seconds = idle_seconds
        self._sessions: dict[str, HttpSession] = {}
        self._tasks: TaskGroup | None = None
        self._opened: anyio.Event | None = None
        self._draining = False

    def __len__(self) -> int:
        return len(self._sessions)

    def start(self, tasks: TaskGroup) -> None:
        """Keep sessions in this task group from here on."""
        self._tasks = tasks
        tasks.start_soon(self._sweep)

    def open(self, origin: Origin) -> HttpSession:
        """A session for a client that sends `initialize`. Raises `RequestError` when there are too many."""
        if self._tasks is None or self._draining:
            raise RequestError(CODE_SERVER_BUSY, "this server is stopping; come back later, or go to another one")
        if len(self._sessions) >= self._max_sessions:
            busy = f"{len(self._sessions)} sessions are open, which is the limit; come back later"
            raise RequestError(CODE_SERVER_BUSY, busy)
        session = HttpSession(self._store, origin, anyio.current_time())
        self._sessions[session.id] = session
        self._tasks.start_soon(self._run, session)
        if self._opened is not None:
            self._opened.set()
        return session

    def find(self, id: str, principal: Principal | None) -> HttpSession | None:
        """The session with this id, if it belongs to this principal, whatever its token; to anyone else there is
        none."""
        session = self._sessions.get(id)
        owner = None if principal is None else principal.identity
        if session is None or session.closed or session.owner != owner:
            return None
        session.last_used = anyio.current_time()
        return session

    async def end(self, session: HttpSession) -> None:
        self._sessions.pop(session.id, None)
        await session.aclose()

    def drain(self) -> None:
        """Open no more sessions, and end the streams that belong to no request: nothing more will come on them."""
        self._draining = True
        for session in self._sessions.values():
            session.unasked.close("the server is stopping")

    async def _run(self, session: HttpSession) -> None:
        try:
            await self._serve(session)
        except ConnectionLost:
            pass  # the session was ended from this side, by DELETE or for being idle
        except Exception:
            logger.exception("a session failed; the others go on")
        finally:
            self._sessions.pop(session.id, None)
            with anyio.move_on_after(1, shield=True):
                await session.aclose()

    async def _sweep(self) -> None:
        while True:
            if not self._sessions:
                self._opened = anyio.Event()
                await self._opened.wait()
            await anyio.sleep(min(SWEEP_SECONDS, self._idle_seconds / 4))
            oldest = anyio.current_time() - self._idle_seconds
            for session in list(self._sessions.values()):
                if session.busy:
                    session.last_used = anyio.current_time()
                elif session.last_used < oldest:
                    await self.end(session)
