"""What a transport serves in the place of a server: whatever is asked of it, another server answers."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal

import anyio
import msgspec
from anyio.abc import TaskGroup

from mcpcore.bridge.front import Front
from mcpcore.bridge.tap import Tap
from mcpcore.channel import Channel, Envelope, memory_pair
from mcpcore.eras import ALL_ERAS
from mcpcore.errors import CODE_SERVER_BUSY, ConnectionLost, LocalProtocolError, RequestError
from mcpcore.groups import sole_error
from mcpcore.jsonrpc import Request
from mcpcore.revisions import Era
from mcpcore.session import GRACE_SECONDS, Limits, Session
from mcpcore.targets import Serves, transport_to
from mcpcore.transport import MirrorsArguments, Transport, TransportName

__all__ = ("LEAVE_SECONDS", "MAX_PROCESSES", "MAX_UPSTREAMS", "TIMEOUT_SECONDS", "Bridge", "BridgeStatistics")

MAX_UPSTREAMS = 10_000
"""Connections to the server behind, if that is a URL or in this process. A session of the handshake era needs one of
its own; the next client that wants to begin one is refused with `CODE_SERVER_BUSY`."""

MAX_PROCESSES = 64
"""The same where each of them is a process, as for a command."""

TIMEOUT_SECONDS = 3600.0
"""How long the server behind may take to answer one request. The client in front knows better what it waits for, and
cancels earlier; this ends what nobody would."""

LEAVE_SECONDS = 5.0
"""How long the end of whoever came first waits for channels that others still serve."""


class BridgeStatistics(msgspec.Struct, frozen=True, kw_only=True):
    sessions: int
    """Channels that are being served."""
    upstreams: int
    """Connections to the server behind."""
    dropped: int
    """Notifications of clients that could not be passed on."""


class Bridge:
    """Any server over any other transport: `serve(Bridge(target), "http")`.

    The target is what `Client` takes: a URL, a command as a list of words, a server object, or a `Transport`; `headers`
    and `auth` go to a URL. Clients of both eras are served whichever the server behind speaks, unless `eras` says
    which. Where both speak the same era, parameters and results pass as the bytes that they are.

    A channel that is served has a connection of its own to the server behind; requests without a session share one.
    There are `max_upstreams` at most: without it `MAX_UPSTREAMS`, or `MAX_PROCESSES` where each of them is a process.
    `timeout` (seconds) is how long the server behind may take for one request.
    When a connection breaks, what is in flight is answered with the error `CODE_UPSTREAM_LOST`, and it is begun again.
    """

    def __init__(
        self,
        target: Any,
        *,
        headers: Mapping[str, str] | None = None,
        auth: Any = None,
        eras: Iterable[Era] = ALL_ERAS,
        limits: Limits | None = None,
        timeout: float = TIMEOUT_SECONDS,
        max_upstreams: int | None = None,
    ) -> None:
        self.transport: Transport = transport_to(target, headers=headers, auth=auth)
        self.backend: Literal["asyncio", "trio"] | None = getattr(target, "backend", None)
        self.eras: frozenset[Era] = frozenset(eras)
        if not self.eras:
            raise LocalProtocolError("a bridge that speaks no era answers nobody: give at least one in eras=")
        behind = target if isinstance(target, Serves) else None
        self.auth: Any = getattr(behind, "auth", None)
        """Who may use it over HTTP: what a server object in this process says. That of `auth` is for a URL behind."""
        self._scopes_for: Callable[[Request], frozenset[str]] | None = getattr(behind, "scopes_for", None)
        self.limits: Limits = limits or Limits()
        self.timeout: float = timeout
        self.spoken: frozenset[Era] | None = None
        """The eras that the server behind is known to speak; None as long as nobody has asked."""
        self.on_stop: set[Callable[[float], None]] = set()
        """Called with the grace in seconds when the bridge is told to stop; must not wait."""
        if max_upstreams is None:
            cheap = isinstance(target, Serves) or isinstance(self.transport, MirrorsArguments)
            max_upstreams = MAX_UPSTREAMS if cheap else MAX_PROCESSES
        self._max_upstreams = max_upstreams
        self._upstreams = 0
        self._sessions: dict[Session, Front] = {}
        self._tasks: TaskGroup | None = None
        self._others = 0
        self._left = anyio.Event()
        self._stateless: Session | None = None
        self._dropped = 0

    # ------------------------------------------------------------------ what a transport asks of it

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """What connections to the server behind live in, if they belong to no session.

        Whoever enters it first leaves it last: on leaving, it waits `LEAVE_SECONDS` for the others.
        """
        if self._tasks is not None:
            self._others += 1
            try:
                yield
            finally:
                self._others -= 1
                self._left.set()
            return
        with sole_error():
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                try:
                    yield
                finally:
                    with anyio.move_on_after(LEAVE_SECONDS, shield=True):
                        while self._others:
                            self._left = anyio.Event()
                            await self._left.wait()
                    self._tasks = self._stateless = None
                    tasks.cancel_scope.cancel()

    async def serve_channel(self, channel: Channel, *, grace: float = GRACE_SECONDS) -> None:
        """Serve one channel until its peer is done, then finish what it asked for, within `grace` seconds.

        Raises `ConnectionLost` when the connection broke, or when there is no server behind any more. When this is
        cancelled, every request on the channel is cancelled too, and the connection behind is closed.
        """
        failure: ConnectionLost | None = None
        with sole_error():
            async with self.running(), anyio.create_task_group() as tasks:
                front = Front(self, tasks, channel)
                session = Session(Tap(channel, front.take), front, limits=self.limits)
                front.session = session
                self._sessions[session] = front
                try:
                    await session.run(grace=grace)
                finally:
                    del self._sessions[session]
                    self._dropped += front.dropped
                    failure = front.failure
                    tasks.cancel_scope.cancel()
        if failure is not None:
            raise ConnectionLost(str(failure)) from failure

    @property
    def scoped(self) -> bool:
        """Whether requests may need scopes: what the server behind is called with has no caller that it could ask."""
        return self._scopes_for is not None

    def scopes_for(self, request: Request) -> frozenset[str]:
        """The scopes that the server object behind wants for a request."""
        return frozenset() if self._scopes_for is None else self._scopes_for(request)

    async def answer(self, envelope: Envelope) -> None:
        """Answer one request that brings its own terms (2026-07-28), in the calling task; only while `running`.

        Closing the reply channel's far end cancels it, here and behind.
        """
        if self._stateless is None:
            if self._tasks is None:
                raise LocalProtocolError("answer requests inside `async with bridge.running()`")
            self._stateless = Session(memory_pair()[0], Front(self, self._tasks), limits=self.limits)
        await self._stateless.answer(envelope)

    def stop(self, grace: float = GRACE_SECONDS) -> None:
        """End all sessions: what runs may finish within `grace` seconds, everything else is refused."""
        for callback in tuple(self.on_stop):
            callback(grace)
        if self._stateless is not None:
            self._stateless.end()
        for session in tuple(self._sessions):
            session.stop(grace)

    def run(self, transport: TransportName = "stdio", **options: Any) -> None:
        """Serve over a transport until its client is done or the process is told to stop, as `Server.run`. Blocks."""
        from mcpcore.serving import run_server

        run_server(self, transport, **options)

    def metrics(self) -> Any:
        """Raises `LocalProtocolError`: what is counted is counted by the server behind."""
        raise LocalProtocolError("a bridge has no metrics: ask the server behind it for them")

    def statistics(self) -> BridgeStatistics:
        dropped = self._dropped + sum(front.dropped for front in self._sessions.values())
        return BridgeStatistics(sessions=len(self._sessions), upstreams=self._upstreams, dropped=dropped)

    # ------------------------------------------------------------------ what its peers share (front.Host)

    @property
    def full(self) -> bool:
        """Whether there are `max_upstreams` connections to the server behind."""
        return self._upstreams >= self._max_upstreams

    def opened(self) -> None:
        if self.full:
            busy = f"{self._upstreams} connections to the server behind are open, which is the limit; come back later"
            raise RequestError(CODE_SERVER_BUSY, busy)
        self._upstreams += 1

    def closed(self) -> None:
        self._upstreams -= 1

    def __repr__(self) -> str:
        return f"<Bridge to {self.transport} {len(self._sessions)} sessions>"
