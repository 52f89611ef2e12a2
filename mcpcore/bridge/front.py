"""One peer in front of a bridge, or everybody who needs no session: which way each of its messages goes."""

import logging
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol

import anyio
import msgspec
from anyio.abc import TaskGroup, TaskStatus

from mcpcore.bridge.downward import Downward
from mcpcore.bridge.piping import ASK_SECONDS, Handshakes, NotModern, Stateless, Way
from mcpcore.bridge.upstream import CONNECT_SECONDS
from mcpcore.bridge.upward import Upward
from mcpcore.channel import Channel, Envelope, Origin, ReplyChannel
from mcpcore.eras import Terms, era_of
from mcpcore.eras.stateless import require_envelope, terms_of
from mcpcore.errors import (
    CODE_INTERNAL_ERROR,
    CODE_METHOD_NOT_FOUND,
    CODE_UPSTREAM_LOST,
    CODE_UPSTREAM_SILENT,
    ConnectionLost,
    DeadlineExceeded,
    PeerError,
    RemoteProtocolError,
    RequestError,
)
from mcpcore.jsonrpc import Notification, Request
from mcpcore.methods import REQUESTS
from mcpcore.revisions import MODERN_REVISIONS, Era
from mcpcore.session import Call, Role, Session
from mcpcore.splicing import Outline, outline_of, raw_of
from mcpcore.transport import Transport
from mcpcore.types import META_PROTOCOL_VERSION, EmptyResult
from mcpcore.types.base import RequestId

__all__ = ("CLOSE_SECONDS", "MAX_NOTICES", "SAY_SECONDS", "SETTLE_SECONDS", "Front", "Host")

MAX_NOTICES = 100
"""Notifications of one client that wait to be passed on; the next ones are dropped and counted."""

SAY_SECONDS = 30.0
"""How long a client may be too slow for something that belongs to none of its requests before that is dropped."""

CLOSE_SECONDS = 10.0
"""How long a connection to the server behind may take to end when another one needs its place."""

SETTLE_SECONDS = 1.0
"""How long the answers of a session whose server is gone may take to be sent."""

_ENVELOPE = META_PROTOCOL_VERSION.encode()
_TOKEN = b'"progressToken"'
_PLAIN = Outline()
_FIRST = "send initialize first (or, for 2026-07-28, put io.modelcontextprotocol/protocolVersion into _meta)"
_AGAIN = "this session is initialized already; open another connection for another handshake"

logger: logging.Logger = logging.getLogger("mcpcore.bridge")


class Host(Protocol):
    """What the peers in front of one bridge share."""

    eras: frozenset[Era]
    transport: Transport
    timeout: float
    spoken: frozenset[Era] | None
    """The eras that the server behind is known to speak; None as long as nobody has asked."""

    @property
    def full(self) -> bool:
        """Whether the next connection to the server behind would be one too many."""
        ...

    def opened(self) -> None:
        """Another connection to the server behind is needed. Raises `RequestError` when there are too many."""

    def closed(self) -> None: ...


class _Opening:
    """A way that is being opened, for all who want to go there."""

    def __init__(self) -> None:
        self.over = anyio.Event()
        self.way: Way | None = None
        self.failure: Exception | None = None


class Front(Role):
    """Answers by asking the server behind. Connections to that one live in `tasks`."""

    def __init__(self, host: Host, tasks: TaskGroup, channel: Channel | None = None) -> None:
        """Without a `channel`, everybody's requests come here that need no session."""
        self._host = host
        self._tasks = tasks
        self._channel = channel
        self._alone = channel is not None
        self._stateless = channel is None or host.eras == {Era.MODERN}
        self._ways: dict[Any, _Opening] = {}
        self._notices: deque[tuple[Notification, bool]] = deque()
        self._told: anyio.Event | None = None
        self._asked: set[RequestId] = set()
        self._names = 0
        self.session: Session | None = None
        self.dropped: int = 0
        self.failure: ConnectionLost | None = None
        """Why this peer cannot be served any longer."""

    @property
    def timeout(self) -> float:
        return self._host.timeout

    # ------------------------------------------------------------------ what comes from the peer

    def is_stream(self, method: str) -> bool:
        return method == "subscriptions/listen"

    def hear(self, notification: Notification, origin: Origin | None) -> None:
        """Nothing: notifications are taken before they come this far."""

    async def take(self, envelope: Envelope) -> bool:
        """Take the notifications out of what arrives. A task passes them on, so that the reader can go on reading."""
        message = envelope.message
        if not isinstance(message, Notification):
            return False
        if len(self._notices) >= MAX_NOTICES:
            self.dropped += 1
            return True
        data = b"" if message.params is None else bytes(raw_of(message.params))
        self._notices.append((message, _ENVELOPE in data))
        if self._told is None:
            self._told = anyio.Event()
            self._tasks.start_soon(self._pass_notices, self._told)
        return True

    async def _pass_notices(self, told: anyio.Event) -> None:
        try:
            while self._notices:
                notification, modern = self._notices[0]
                with anyio.move_on_after(SAY_SECONDS) as patience:
                    try:
                        for way in self._open_ways(modern):
                            await way.told(notification)
                    except ConnectionLost as lost:
                        logger.warning("a notification did not reach the server behind: %s", lost)
                self.dropped += patience.cancelled_caught
                self._notices.popleft()
        finally:
            self._told = None
            told.set()

    def _open_ways(self, modern: bool) -> list[Way]:
        """Where a notification goes: to the session, if there is one, else to every other way."""
        if (handshake := self._ways.get("handshake")) is not None and not modern:
            return [] if handshake.way is None else [handshake.way]
        return [opening.way for opening in self._ways.values() if opening.way is not None]

    async def answer(self, call: Call) -> Any:
        while self._told is not None:  # what was said before is passed on before
            await self._told.wait()
        params = raw_of(call.params)
        data = bytes(params)
        marked = _ENVELOPE in data or self._stateless
        outline = outline_of(params) if marked or _TOKEN in data else _PLAIN
        legacy = era_of(call.method, outline.meta) is Era.LEGACY
        if self._stateless or (not legacy and Era.MODERN in self._host.eras):
            return await self._answer_modern(call, params, outline, legacy)
        if call.method == "initialize":
            return await self._initialize(call, params)
        opening = self._ways.get("handshake")
        if opening is None:
            if call.method == "ping":
                return EmptyResult()
            raise RemoteProtocolError(_FIRST)
        return await (await self._opened("handshake", opening)).answer(call, params, outline)

    async def _answer_modern(self, call: Call, params: msgspec.Raw, outline: Outline, legacy: bool) -> Any:
        if legacy and call.method == "initialize":
            names = [str(revision) for revision in MODERN_REVISIONS]
            text = f"this server has no handshake; it speaks {', '.join(names)}, see server/discover"
            raise RemoteProtocolError(text, code=CODE_METHOD_NOT_FOUND, data={"supported": names})
        meta = require_envelope(outline.meta)
        if call.origin.verifier is not None:
            call.origin.verifier.check(call.method, meta, outline if _is_named(outline) else None)
        terms = terms_of(meta)
        spec = REQUESTS.get(call.method)
        if spec is not None and not spec.known_in(terms.revision, "client"):
            raise RemoteProtocolError(f"this server has no method {call.method!r}", code=CODE_METHOD_NOT_FOUND)
        return await (await self._modern_way(call, terms)).answer(call, params, outline)

    # ------------------------------------------------------------------ ways to the server behind

    async def _initialize(self, call: Call, params: msgspec.Raw) -> Any:
        if "handshake" in self._ways:
            raise RemoteProtocolError(_AGAIN)
        REQUESTS["initialize"].decode_params(params)  # a fault is told before anything is started
        way = await self._way("handshake", partial(self._open_handshake, params))
        assert isinstance(way, Handshakes | Downward)
        if self._channel is not None:
            self._channel.revision, self._channel.batches = way.revision, way.revision.batches
        return way.result if isinstance(way, Handshakes) else way.initialized

    async def _open_handshake(self, params: msgspec.Raw) -> Way:
        spoken = self._host.spoken
        refused: Exception | None = None
        if spoken is None or Era.LEGACY in spoken:
            try:
                return await self._begin(Handshakes(self._host.transport, self, params))
            except (ConnectionLost, PeerError) as error:
                if spoken is not None:
                    raise
                refused = error
        first = REQUESTS["initialize"].decode_params(params)
        try:
            way = await self._begin(Downward(self._host.transport, self, first, self._tasks))
        except ConnectionLost:
            # It is no modern server either, so what it said to the handshake is what counts.
            if refused is None:
                raise
            raise refused from None
        self._host.spoken = frozenset((Era.MODERN,))
        return way

    async def _modern_way(self, call: Call, terms: Terms) -> Way:
        spoken = self._host.spoken
        if spoken is None or Era.MODERN in spoken:
            try:
                return await self._way("modern", self._open_stateless)
            except NotModern:
                if spoken is not None:
                    raise
                self._host.spoken = frozenset((Era.LEGACY,))
        # Clients share a session behind only if the server would treat them alike.
        who = None if call.origin.principal is None else call.origin.principal.identity
        key = (who, msgspec.json.encode(terms.capabilities))
        if key not in self._ways:
            await self._make_room()
        return await self._way(key, partial(self._open_upward, terms))

    async def _open_stateless(self) -> Way:
        return await self._begin(Stateless(self._host.transport, self, attributes=self._alone))

    async def _open_upward(self, terms: Terms) -> Way:
        handshake = Era.LEGACY in self._host.eras
        return await self._begin(
            Upward(self._host.transport, self, terms, self._tasks, attributes=self._alone, handshake=handshake)
        )

    async def _make_room(self) -> None:
        """Close a session behind that nobody needs at the moment, if the next one would be too many."""
        if self._host.full:
            idle = (opening.way for opening in self._ways.values() if isinstance(opening.way, Upward))
            way = next((way for way in idle if way.idle), None)
            if way is not None:
                way.upstream.close()
                with anyio.move_on_after(CLOSE_SECONDS):
                    await way.gone.wait()

    async def _begin(self, way: Way) -> Way:
        await self._tasks.start(self._keep, way)
        return way

    async def _keep(self, way: Way, *, task_status: TaskStatus[None]) -> None:
        """The task of one connection to the server behind."""
        self._host.opened()
        try:
            await way.upstream.own(task_status=task_status)
        finally:
            self._host.closed()
            for key in [key for key, opening in self._ways.items() if opening.way is way]:
                del self._ways[key]
            way.gone.set()
        if way.upstream.failure is not None:
            self._fail(way.upstream.failure)

    def _fail(self, failure: ConnectionLost) -> None:
        """There is no server behind: a peer with a connection of its own is told by the end of that."""
        if self._alone and self.session is not None:
            self.failure = failure
            self.session.stop(SETTLE_SECONDS)

    async def _way(self, key: Any, open_way: Callable[[], Awaitable[Way]]) -> Way:
        opening = self._ways.get(key)
        if opening is None:
            # In a task of its own: whoever wants it first may be cancelled, and the others want it all the same.
            opening = self._ways[key] = _Opening()
            self._tasks.start_soon(self._open, key, opening, open_way)
        return await self._opened(key, opening)

    async def _open(self, key: Any, opening: _Opening, open_way: Callable[[], Awaitable[Way]]) -> None:
        try:
            opening.way = await open_way()
        except (ConnectionLost, DeadlineExceeded, PeerError, RemoteProtocolError, RequestError) as error:
            opening.failure = error
            if self._ways.get(key) is opening:
                del self._ways[key]
            if not isinstance(error, NotModern):
                logger.warning("there is no connection to the server behind: %s", error)
        finally:
            opening.over.set()

    async def _opened(self, key: Any, opening: _Opening) -> Way:
        """Wait for a way. Raises what a client in front can be told, and `NotModern`."""
        with anyio.move_on_after(3 * CONNECT_SECONDS):
            await opening.over.wait()
        if opening.way is not None:
            return opening.way
        failure = opening.failure
        if isinstance(failure, PeerError):
            raise RequestError(failure.code, failure.message, failure.data)
        if isinstance(failure, RequestError | NotModern):
            raise failure
        if failure is None:
            raise RequestError(CODE_UPSTREAM_SILENT, "the server behind this bridge does not answer")
        lost = failure if isinstance(failure, ConnectionLost) else ConnectionLost(str(failure))
        self._fail(lost)
        raise RequestError(CODE_UPSTREAM_LOST, "the server behind this bridge cannot be reached") from failure

    # ------------------------------------------------------------------ what goes to the peer

    async def say(self, notification: Notification) -> None:
        if self._channel is None:
            return
        with anyio.move_on_after(SAY_SECONDS) as patience:
            try:
                await self._channel.send(Envelope(notification))
            except (ConnectionLost, anyio.ClosedResourceError) as lost:
                logger.debug("a notification did not reach a client that has left: %s", lost)
        self.dropped += patience.cancelled_caught

    async def ask(
        self, question: Request, via: ReplyChannel | None, hear: Callable[[Notification], Awaitable[None]] | None = None
    ) -> Any:
        session = self.session
        if session is None or self._channel is None:
            raise RequestError(CODE_METHOD_NOT_FOUND, "this client cannot be asked anything")
        params = raw_of(question.params)
        token = outline_of(params).token if _TOKEN in bytes(params) else None
        id = question.id if token is None else token
        while id in self._asked:
            self._names += 1
            id = f"bridge-{self._names}"
        self._asked.add(id)
        ask = partial(session.request, question.method, params, timeout=ASK_SECONDS, id=id, on_notification=hear)
        try:
            if via is not None and not via.closed:
                try:
                    return await ask(via=via)
                except ConnectionLost:
                    if session.ending:
                        raise
            return await ask()
        except PeerError as error:
            raise RequestError(error.code, error.message, error.data) from None
        except (DeadlineExceeded, RemoteProtocolError) as error:
            raise RequestError(CODE_INTERNAL_ERROR, f"the client did not answer: {error}") from None
        finally:
            self._asked.discard(id)


def _is_named(outline: Outline) -> bool:
    """Whether the members that a header mirrors are what they have to be."""
    return (outline.name is None or isinstance(outline.name, str)) and (
        outline.uri is None or isinstance(outline.uri, str)
    )
