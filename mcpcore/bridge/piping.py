"""Both sides of the same era: what comes in on one goes out on the other as the bytes that it was."""

import logging
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from functools import partial
from math import inf
from typing import Any, Protocol

import anyio
import msgspec

from mcpcore.bridge.flight import Flight, passing_on
from mcpcore.bridge.upstream import CONNECT_SECONDS, Passage, Upstream
from mcpcore.channel import Channel, Envelope, Origin, ReplyChannel, Verifier
from mcpcore.eras.negotiation import PROBE_SECONDS, ProbeAgain, UseStateless, judge
from mcpcore.errors import (
    CODE_HEADER_MISMATCH,
    CODE_METHOD_NOT_FOUND,
    ConnectFailed,
    ConnectionLost,
    DeadlineExceeded,
    PeerError,
    RemoteProtocolError,
    RequestError,
)
from mcpcore.jsonrpc import ABSENT, Notification, Request
from mcpcore.methods import REQUESTS
from mcpcore.revisions import LATEST, MODERN_REVISIONS, Revision
from mcpcore.session import Call, Session
from mcpcore.splicing import Outline, members_of, raw_of
from mcpcore.transport import MirrorsArguments, Transport
from mcpcore.types import (
    META_CLIENT_CAPABILITIES,
    META_CLIENT_INFO,
    META_PROTOCOL_VERSION,
    DiscoverResult,
    Meta,
    NotificationParams,
    PaginatedRequestParams,
    RequestParams,
    ServerCapabilities,
    Tool,
)

__all__ = (
    "ASK_SECONDS",
    "ENVELOPE",
    "LEARNED_SECONDS",
    "MAX_PAGES",
    "MAX_REPEATED",
    "Client",
    "Discovering",
    "Handshakes",
    "NotModern",
    "Stateless",
    "Way",
    "revision_in",
)

ASK_SECONDS = 600.0
"""How long a person in front has to answer a question of the server behind."""

MAX_REPEATED = 1000
"""Subscriptions of one session that are made again after its connection broke."""

LEARNED_SECONDS = 60.0
"""How long a server's list of tools is believed, in which it says which arguments are mirrored in headers."""

MAX_PAGES = 100
"""Pages of a server's tools that are looked through for one tool."""

_MIRROR = "mcp-param-"

logger: logging.Logger = logging.getLogger("mcpcore.bridge")


class Client(Protocol):
    """The peer in front, as much of it as a passage needs."""

    @property
    def timeout(self) -> float:
        """Seconds that the server behind may take for one request."""
        ...

    async def say(self, notification: Notification) -> None:
        """Send it something that belongs to no request. Waits while it is slow, within a deadline."""

    async def ask(
        self, question: Request, via: ReplyChannel | None, hear: Callable[[Notification], Awaitable[None]] | None = None
    ) -> Any:
        """Ask it something, on this reply channel if it is still read. What it sends on the way goes to `hear`.

        Returns its result; raises `RequestError` with the code and data of its error.
        """


class NotModern(ConnectFailed):
    """The server behind has to be initialized."""


class Way(Passage):
    """A passage with the connection that it goes through."""

    def __init__(self, transport: Transport, client: Client, *, attributes: bool) -> None:
        self.upstream: Upstream = Upstream(transport, self, attributes=attributes)
        self.client = client
        self.gone: anyio.Event = anyio.Event()
        """Set when the connection is closed and its place is free."""

    @abstractmethod
    async def answer(self, call: Call, params: msgspec.Raw, outline: Outline) -> Any:
        """The result of one request. Raises `RequestError`."""

    async def told(self, notification: Notification) -> None:
        """The client has sent a notification. Raises `ConnectionLost`."""
        await self.upstream.tell(notification)

    async def through(
        self,
        call: Call,
        params: msgspec.Raw,
        token: int | str | None,
        *,
        origin: Origin | None = None,
        method: str | None = None,
        timeout: float | None = None,
    ) -> msgspec.Raw:
        """Pass one request on and wait for its result. When this is cancelled, so is the request behind."""
        name = method or call.method
        with passing_on(name, self.client.timeout if timeout is None else timeout):
            flight = await self.upstream.begin(call, name, params, token, origin)
            try:
                while isinstance(came := await flight.next(), Envelope):
                    await self.upstream.ask_user(flight, came)
                result = raw_of(came.result)
                return flight.named(result) if name == "subscriptions/listen" else result
            finally:
                self.upstream.end(flight)

    async def heard(self, notification: Notification) -> None:
        await self.client.say(notification)

    async def asked(self, call: Call, flight: Flight | None) -> Any:
        async def hear(notification: Notification) -> None:
            await call.reply.send(Envelope(notification))

        via = None if flight is None else flight.call.reply
        return await self.client.ask(Request(call.id, call.method, call.params), via, hear)


def revision_in(result: msgspec.Raw) -> Revision:
    """The handshake revision in the result of an initialize. Raises `ConnectionLost` for what is none."""
    try:
        found = Revision.parse(msgspec.json.decode(members_of(result)["protocolVersion"], type=str))
    except (KeyError, ValueError, RemoteProtocolError):
        found = None
    if found is None or found in MODERN_REVISIONS:
        raise ConnectionLost("the server answered initialize with no revision that has a handshake")
    return found


class Handshakes(Way):
    """One session in front is one session behind; nothing is read but what the session itself needs to begin."""

    def __init__(self, transport: Transport, client: Client, first: msgspec.Raw) -> None:
        super().__init__(transport, client, attributes=True)
        self._first = first
        self.result: msgspec.Raw = msgspec.Raw()
        """What the server answered to `initialize`."""
        self.revision: Revision = LATEST
        self._initialized = False
        self._level: msgspec.Raw | None = None
        self._subscriptions: dict[bytes, msgspec.Raw] = {}

    async def greet(self, session: Session, channel: Channel) -> None:
        result = raw_of(await session.request("initialize", self._first, timeout=CONNECT_SECONDS))
        revision = revision_in(result)
        if not self.result:
            self.result, self.revision = result, revision
        elif revision is not self.revision:
            raise ConnectionLost(f"the server came back with revision {revision}; connect again")
        channel.revision, channel.batches = revision, revision.batches
        if self._initialized:
            await session.notify("notifications/initialized", NotificationParams())
            await self._repeat(session)
        channel.renewed = partial(session.start_soon, self._repeat_quietly, session)

    async def told(self, notification: Notification) -> None:
        self._initialized |= notification.method == "notifications/initialized"
        await super().told(notification)

    async def answer(self, call: Call, params: msgspec.Raw, outline: Outline) -> Any:
        result = await self.through(call, params, outline.token)
        if call.method == "logging/setLevel":
            self._level = params
        elif call.method == "resources/subscribe" and len(self._subscriptions) < MAX_REPEATED:
            self._subscriptions[bytes(params)] = params
        elif call.method == "resources/unsubscribe":
            self._subscriptions.pop(bytes(params), None)
        return result

    async def _repeat(self, session: Session) -> None:
        """Tell another session what the one before was told, under ids that no client's request in flight has."""
        request = partial(session.request, timeout=CONNECT_SECONDS)
        if self._level is not None:
            await request("logging/setLevel", self._level, id=self.upstream.fresh_id())
        for params in list(self._subscriptions.values()):
            await request("resources/subscribe", params, id=self.upstream.fresh_id())

    async def _repeat_quietly(self, session: Session) -> None:
        try:
            await self._repeat(session)
        except (ConnectionLost, DeadlineExceeded, PeerError, RemoteProtocolError) as error:
            logger.warning("the server's new session could not be told what the old one knew: %s", error)


_UNKNOWN = DiscoverResult(supported_versions=[], capabilities=ServerCapabilities())


class Discovering(Way):
    """A passage to a modern server: it begins with a look whether there is one."""

    def __init__(self, transport: Transport, client: Client, *, attributes: bool) -> None:
        super().__init__(transport, client, attributes=attributes)
        self._mirrors = transport if isinstance(transport, MirrorsArguments) else None
        self._tools: dict[str, Tool] = {}
        self._believed_until = -inf
        self.discovered: DiscoverResult = _UNKNOWN

    async def greet(self, session: Session, channel: Channel) -> None:
        tried: list[Revision] = []
        while True:
            tried.append(LATEST)
            outcome: DiscoverResult | PeerError | None = None
            try:
                params = RequestParams(meta=ENVELOPE)
                raw = await session.request("server/discover", params, timeout=PROBE_SECONDS)
                outcome = REQUESTS["server/discover"].decode_result(raw)
            except PeerError as error:
                outcome = error
            except (DeadlineExceeded, RemoteProtocolError) as error:
                logger.debug("server/discover told nothing: %s", error)
            except ConnectFailed:
                raise
            except ConnectionLost as lost:
                raise NotModern(f"the server went away when it was asked server/discover: {lost}") from lost
            verdict = judge(outcome, ours=MODERN_REVISIONS, tried=tried)
            if isinstance(verdict, UseStateless):
                channel.revision = verdict.revision
                self.discovered = verdict.discovered
                return
            if not isinstance(verdict, ProbeAgain):
                raise NotModern("the server has to be initialized")

    async def heard(self, notification: Notification) -> None:
        # What belongs to no request is said to nobody in this era.
        self.upstream.dropped += 1

    async def asked(self, call: Call, flight: Flight | None) -> Any:
        raise RemoteProtocolError(f"{LATEST} has no requests of a server", code=CODE_METHOD_NOT_FOUND)

    async def mirrored(self, call: Call, params: msgspec.Raw, outline: Outline) -> msgspec.Raw:
        """As `through`, with the headers in which a call's arguments are mirrored (Streamable HTTP)."""
        sent = {name: value for name, value in call.origin.headers.items() if name.startswith(_MIRROR)}
        if call.method == "tools/call" and call.origin.verifier is not None and self._mirrors is None:
            await self._check(call, call.origin.verifier, params, outline)
        origin = Origin(headers=sent) if sent else self._headers_for(outline, params)
        pass_on = partial(self.through, call, params, outline.token)
        try:
            return await pass_on(origin=origin)
        except RequestError as error:
            if error.code != CODE_HEADER_MISMATCH or self._mirrors is None or call.method != "tools/call":
                raise
            await self._learn_tools(call, outline.meta or {})
            again = self._headers_for(outline, params)
            if again is None or again == origin:
                raise
            return await pass_on(origin=again)

    async def _check(self, call: Call, verifier: Verifier, params: msgspec.Raw, outline: Outline) -> None:
        """Compare the headers of a call with the arguments that they mirror: gateways route by the one, servers act on
        the other. Which ones these are is in the server's list of tools. A server behind a URL compares them itself."""
        if anyio.current_time() >= self._believed_until:
            self._believed_until = anyio.current_time() + LEARNED_SECONDS
            try:
                await self._learn_tools(call, outline.meta or {})
            except (RemoteProtocolError, RequestError) as error:
                logger.debug("the server did not list its tools: %s", error)
        if isinstance(outline.name, str) and outline.name in self._tools:
            arguments = members_of(params).get("arguments", ABSENT)
            verifier.check_arguments(self._tools[outline.name].input_schema, arguments)

    def _headers_for(self, outline: Outline, params: msgspec.Raw) -> Origin | None:
        if self._mirrors is None or not isinstance(outline.name, str) or outline.name not in self._tools:
            return None
        arguments = msgspec.json.decode(members_of(params).get("arguments", b"{}"))
        headers = self._mirrors.headers_for(self._tools[outline.name], arguments if isinstance(arguments, dict) else {})
        return Origin(headers=headers) if headers else None

    async def _learn_tools(self, call: Call, meta: Meta) -> None:
        """Read the server's list of tools, in which it says which arguments it wants mirrored."""
        cursor: str | None = None
        kept = {name: value for name, value in meta.items() if name != "progressToken"}
        for _ in range(MAX_PAGES):
            page = raw_of(PaginatedRequestParams(cursor=cursor, meta=kept))
            found = REQUESTS["tools/list"].decode_result(await self.through(call, page, None, method="tools/list"))
            self._tools |= {tool.name: tool for tool in found.tools}
            cursor = found.next_cursor
            if cursor is None:
                return


class Stateless(Discovering):
    """Every request brings all that the server needs, so all that is passed on is passed on as it is."""

    async def answer(self, call: Call, params: msgspec.Raw, outline: Outline) -> Any:
        if call.method == "subscriptions/listen":
            return await self.through(call, params, outline.token, timeout=inf)
        return await self.mirrored(call, params, outline)


ENVELOPE: Meta = {
    META_PROTOCOL_VERSION: str(LATEST),
    META_CLIENT_CAPABILITIES: {},
    META_CLIENT_INFO: {"name": "mcpcore bridge", "version": "0"},
}
"""What the bridge says of itself when it asks a server on its own account."""
