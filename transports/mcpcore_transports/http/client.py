"""Streamable HTTP, client side, for servers of any generation.

Every request is a POST of its own, and its response is where everything that answers it arrives: so its reply
channel is fed by one task that lives as long as the request. What a server of the handshake era says unasked comes by
GET. A server that knows only HTTP+SSE is spoken to as a pipe.
"""

import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import anyio
from anyio.abc import TaskGroup, TaskStatus

from mcpcore.channel import Channel, Envelope, Inbox, Origin, ReplyChannel
from mcpcore.errors import CODE_METHOD_NOT_FOUND, ConnectFailed, ConnectionLost, RemoteProtocolError
from mcpcore.groups import sole_error
from mcpcore.jsonrpc import (
    ErrorObject,
    ErrorResponse,
    Malformed,
    Message,
    Notification,
    Request,
    Response,
    decode,
    encode,
)
from mcpcore.methods import NOTIFICATIONS
from mcpcore.multiplex import Multiplexer
from mcpcore.revisions import Era, Revision
from mcpcore.types import META_PROTOCOL_VERSION, CancelledNotificationParams, NotificationParams, Tool
from mcpcore_transports.framing.eventstream import Event, EventDecoder
from mcpcore_transports.framing.headers import (
    NAMED_METHODS,
    InvalidAnnotation,
    headers_for_call,
    parameter_headers,
    request_headers,
)
from mcpcore_transports.http.failures import HttpError
from mcpcore_transports.sse.client import open_stream
from mcpcore_transports.web.client import HttpClient, HttpResponse

__all__ = (
    "DELETE_SECONDS",
    "MAX_ANSWER_BYTES",
    "MAX_RECONNECT_SECONDS",
    "RECONNECTS",
    "RECONNECT_SECONDS",
    "HttpChannel",
    "HttpTransport",
    "connect",
)

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Bytes of one JSON answer, or of one event: the largest that a client is ready to hold in memory at once."""

DELETE_SECONDS = 2.0
"""How long closing waits for a server to confirm the end of a session."""

RECONNECTS = 5
"""Times a broken stream is taken up again in a row without anything new arriving on it."""

RECONNECT_SECONDS = 0.5
"""Pause before the first of these; it doubles each time, with jitter, unless the server says `retry`."""

MAX_RECONNECT_SECONDS = 30.0

_ACCEPT = ("accept", "application/json, text/event-stream")
_JSON = ("content-type", "application/json")

# What says "nothing of that kind is here" rather than "not now" or "not you" (MCP, backwards compatibility).
_NO_ENDPOINT = frozenset((400, 404, 405, 406, 415))


class HttpTransport:
    """Reaches a server by URL. `auth` is a bearer token, or an object with `async headers() -> Mapping[str, str]`."""

    def __init__(
        self, url: str, *, headers: Mapping[str, str] | None = None, auth: Any = None, client: HttpClient | None = None
    ) -> None:
        self._url = url
        self._headers = tuple((headers or {}).items())
        self._auth = auth
        self._client = client

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Channel]:
        """A channel to the server. Nothing is sent before the first request. Entered and left by one task."""
        client = HttpClient() if self._client is None else self._client
        try:
            with sole_error():
                async with anyio.create_task_group() as tasks:
                    channel = HttpChannel(self._url, client, self._headers, self._auth, tasks)
                    try:
                        yield channel
                    finally:
                        with anyio.move_on_after(DELETE_SECONDS, shield=True):
                            await channel.aclose()
                        tasks.cancel_scope.cancel()
        finally:
            if self._client is None:
                await client.aclose()

    def refuses(self, tool: Tool) -> str | None:
        """Why this transport cannot call a tool: its schema wants headers that there cannot be."""
        try:
            parameter_headers(tool.input_schema)
        except InvalidAnnotation as error:
            return str(error)
        return None

    def headers_for(self, tool: Tool, arguments: Mapping[str, Any]) -> Mapping[str, str]:
        """What a call has to mirror in headers."""
        return headers_for_call(tool.input_schema, arguments)


class HttpChannel(Channel):
    """The requests of one client to one server."""

    def __init__(
        self,
        url: str,
        client: HttpClient,
        headers: Sequence[tuple[str, str]],
        auth: Any,
        tasks: TaskGroup,
    ) -> None:
        self._url = url
        self._client = client
        self._fixed = headers
        self._auth = auth
        self._tasks = tasks
        self._incoming = Inbox(limit=1024)
        self._session: str | None = None
        self._generation = 0
        self._renewing = anyio.Lock()
        self._first: Envelope | None = None
        self._asked: dict[int | str, ReplyChannel] = {}
        self._pipe: Multiplexer | None = None
        self._pipe_found = anyio.Event()
        self._closed = False

    async def receive(self) -> Envelope:
        if self._pipe is None:
            try:
                return await self._incoming.receive()
            except anyio.ClosedResourceError:
                if not self._has_pipe():
                    raise anyio.EndOfStream from None
        assert self._pipe is not None
        return await self._pipe.receive()

    async def send(self, envelope: Envelope) -> None:
        if self._pipe is not None:
            await self._pipe.send(envelope)
            return
        if self._closed:
            raise ConnectionLost("the connection is closed")
        message = envelope.message
        if isinstance(message, Request):
            assert isinstance(envelope.reply, Inbox), "a request of ours is answered into an Inbox"
            scope = anyio.CancelScope()
            envelope.reply.when_closed(scope.cancel)
            self._tasks.start_soon(self._ask, envelope, message, envelope.reply, scope)
            return
        await self._tell(message)
        if isinstance(message, Notification) and message.method == "notifications/initialized":
            self._tasks.start_soon(self._follow_unasked)

    async def aclose(self) -> None:
        """End the session at the server, if there is one; `DELETE_SECONDS` at most."""
        if self._closed:
            return
        self._closed = True
        if self._session is not None:
            try:
                async with self._client.request("DELETE", self._url, headers=await self._headers()) as response:
                    await response.read(_REFUSAL_BYTES)
            except (ConnectionLost, RemoteProtocolError):
                return  # it ends by itself when it has been idle for long enough

    # ------------------------------------------------------------------ one request

    async def _ask(self, envelope: Envelope, request: Request, inbox: Inbox, scope: anyio.CancelScope) -> None:
        answered = False
        with scope:
            try:
                generation = self._generation
                while True:
                    if await self._exchange(envelope, request, inbox):
                        answered = True
                        break
                    # The server does not know the session (any more), so it did not run this: begin another one.
                    generation = await self._renew(generation)
            except ConnectionLost as lost:
                inbox.fail(lost)
                answered = True
            except RemoteProtocolError as error:
                inbox.fail(ConnectionLost(f"the server does not speak HTTP as it should: {error}"))
                answered = True
        if not answered and self._is_session and request.method != "initialize":
            # Closing the response is no cancellation in the handshake era.
            params = CancelledNotificationParams(request_id=request.id, reason=inbox.reason)
            with anyio.move_on_after(DELETE_SECONDS, shield=True):
                try:
                    await self._tell(Notification("notifications/cancelled", params))
                except (ConnectionLost, RemoteProtocolError):
                    return  # it could not be told, so it finishes in vain

    async def _exchange(self, envelope: Envelope, request: Request, inbox: Inbox) -> bool:
        """Post a request and pass on what answers it. False when the server does not know the session."""
        extra = () if envelope.origin is None else tuple(envelope.origin.headers.items())
        headers = await self._headers(_ACCEPT, _JSON, *self._standard_headers(request), *extra)
        had_session = self._session is not None
        async with self._client.request("POST", self._url, headers=headers, body=encode(request)) as response:
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if response.status == 200 and kind == "text/event-stream":
                self._learn(request, response, envelope)
                left = await self._read_stream(response, inbox)
                if left is None:
                    return True
            else:
                body = await response.read(MAX_ANSWER_BYTES)
                if response.status == 404 and had_session and not self._is_modern(request):
                    return False
                self._learn(request, response, envelope)
                message = decode(body) if kind == "application/json" and body else None
                if isinstance(message, Response | ErrorResponse) and (
                    response.status < 300 or message.id is not None or self._is_modern(request)
                ):
                    inbox.put(Envelope(message))
                    return True
                await self._refused(request, response.status, body, inbox, envelope)
                return True
        if left.last_id is None:
            raise ConnectionLost("the response ended before the answer came")
        await self._resume(left, inbox)
        return True

    async def _refused(self, request: Request, status: int, body: bytes, inbox: Inbox, envelope: Envelope) -> None:
        """What an HTTP status without a JSON-RPC answer means for the request that got it."""
        error = HttpError.of(status, body)
        if status in _NO_ENDPOINT and request.method == "server/discover":
            # Evidence of an older server, like an error from one.
            inbox.put(Envelope(ErrorResponse(ErrorObject(CODE_METHOD_NOT_FOUND, str(error)), request.id)))
            return
        if status in (400, 404, 405) and request.method == "initialize" and self._pipe is None:
            try:
                await self._fall_back(envelope)
            except ConnectFailed as none_either:
                raise ConnectFailed(f"{error}; and by GET: {none_either}") from error
            return
        if 200 <= status < 300:
            raise ConnectionLost(f"the server answered {request.method} with HTTP {status} and no JSON-RPC response")
        raise error

    async def _read_stream(self, response: HttpResponse, inbox: Inbox) -> "_Left | None":
        """Pass on what comes on one event stream. None when that ended with the answer, or else where it broke."""
        decoder = EventDecoder(MAX_ANSWER_BYTES)
        last_id: str | None = None
        retry: int | None = None
        try:
            async for chunk in response.stream():
                for event in decoder.feed(chunk):
                    if not isinstance(event, Event):
                        raise ConnectionLost(f"an event of {event.size} bytes is over the limit of {event.limit}")
                    last_id = event.id if event.id is not None else last_id
                    retry = event.retry_ms if event.retry_ms is not None else retry
                    if event.data and await self._deliver(decode(event.data), inbox):
                        return None
        except ConnectionLost:
            if last_id is None:
                raise
        return _Left(last_id, retry)

    async def _deliver(self, message: Any, inbox: Inbox) -> bool:
        """Put one message where it belongs. True when it was the answer."""
        if isinstance(message, Response | ErrorResponse):
            inbox.put(Envelope(message))
            return True
        if isinstance(message, Request):
            await inbox.send(Envelope(message, self._answer_to(message)))
        elif isinstance(message, Notification) and message.method == "notifications/cancelled":
            self._cancelled(message)
        elif isinstance(message, Notification):
            await inbox.send(Envelope(message))
        return False

    async def _resume(self, left: "_Left", inbox: Inbox) -> None:
        """Take up a broken stream where it broke (2025-11-25: after the pause that the server asked for)."""
        attempt = 0
        while attempt < RECONNECTS:
            await anyio.sleep(_pause(attempt, left.retry_ms))
            attempt += 1
            assert left.last_id is not None
            headers = await self._headers(("accept", "text/event-stream"), ("last-event-id", left.last_id))
            try:
                async with self._client.request("GET", self._url, headers=headers) as response:
                    if response.status != 200:
                        raise HttpError.of(response.status, await response.read(_REFUSAL_BYTES))
                    further = await self._read_stream(response, inbox)
                    if further is None:
                        return
                    if further.last_id is not None:
                        attempt = 0  # something came, so it is worth going on
                    retry_ms = left.retry_ms if further.retry_ms is None else further.retry_ms
                    left = _Left(further.last_id or left.last_id, retry_ms)
            except HttpError:
                raise
            except ConnectionLost:
                continue
        raise ConnectionLost(f"the stream broke, and {RECONNECTS} attempts to take it up again brought nothing")

    # ------------------------------------------------------------------ sessions of the handshake era

    @property
    def _is_session(self) -> bool:
        return self.revision is not None and self.revision.era is Era.LEGACY

    def _learn(self, request: Request, response: HttpResponse, envelope: Envelope) -> None:
        if request.method == "initialize" and response.status == 200:
            self._session = response.headers.get("mcp-session-id")
            self._first = envelope

    async def _renew(self, generation: int) -> int:
        """Begin another session, once for all requests that found the old one gone."""
        async with self._renewing:
            if self._generation != generation:
                return self._generation
            if self._first is None:
                raise ConnectionLost("the server does not know the session, and none was begun here")
            self._session = None
            first = self._first.message
            assert isinstance(first, Request)
            inbox = Inbox()
            if not await self._exchange(Envelope(first, inbox), first, inbox):
                raise ConnectionLost("the server refuses to begin another session")
            answer = (await inbox.receive()).message
            if not isinstance(answer, Response):
                raise ConnectionLost("the session was lost and the server did not begin another one")
            await self._tell(Notification("notifications/initialized", NotificationParams()))
            self._generation += 1
            return self._generation

    async def _follow_unasked(self) -> None:
        """Read what the server says unasked, as long as it says anything. Without it, everything else still works."""
        attempt, last_id = 0, None
        while not self._closed and self._session is not None and attempt < RECONNECTS:
            headers = await self._headers(("accept", "text/event-stream"))
            if last_id is not None:
                headers = (*headers, ("last-event-id", last_id))
            try:
                async with self._client.request("GET", self._url, headers=headers) as response:
                    if response.status != 200:
                        return  # 405: it has nothing to say unasked
                    decoder = EventDecoder(MAX_ANSWER_BYTES)
                    async for chunk in response.stream():
                        for event in decoder.feed(chunk):
                            if isinstance(event, Event):
                                attempt = 0
                                last_id = event.id if event.id is not None else last_id
                                if event.data:
                                    await self._take_unasked(decode(event.data))
            except (ConnectionLost, RemoteProtocolError):
                attempt += 1
                await anyio.sleep(_pause(attempt, None))
            else:
                attempt += 1
                await anyio.sleep(_pause(attempt, None))

    async def _take_unasked(self, message: Any) -> None:
        if isinstance(message, Request):
            await self._incoming.send(Envelope(message, self._answer_to(message)))
        elif isinstance(message, Notification) and message.method == "notifications/cancelled":
            self._cancelled(message)
        elif isinstance(message, Notification | Malformed):
            await self._incoming.send(Envelope(message))

    def _answer_to(self, request: Request) -> ReplyChannel:
        reply = _Answer(self, request.id)
        self._asked[request.id] = reply
        return reply

    def _cancelled(self, notification: Notification) -> None:
        try:
            params = NOTIFICATIONS["notifications/cancelled"].decode_params(notification.params)
        except RemoteProtocolError:
            return  # nobody can answer a notification, and what it was about is unknown
        reply = self._asked.pop(params.request_id, None)
        if reply is not None:
            reply.close(params.reason)

    async def _tell(self, message: Message) -> None:
        """Post what gets no answer. Raises `HttpError` when it is refused."""
        headers = await self._headers(_ACCEPT, _JSON)
        async with self._client.request("POST", self._url, headers=headers, body=encode(message)) as response:
            body = await response.read(_REFUSAL_BYTES)
            if response.status >= 300:
                raise HttpError.of(response.status, body)

    # ------------------------------------------------------------------ HTTP+SSE

    def _has_pipe(self) -> bool:
        return self._pipe is not None

    async def _fall_back(self, envelope: Envelope) -> None:
        """Speak to a server of 2024-11-05 from here on."""
        self._pipe = await self._tasks.start(self._live_on_events)
        self._incoming.close()
        await self._pipe.send(envelope)

    async def _live_on_events(self, *, task_status: TaskStatus[Multiplexer]) -> None:
        """The task that owns the event stream, for as long as the connection lasts."""
        reported = False
        try:
            with sole_error():
                async with open_stream(self._client, self._url, await self._headers()) as pipe:
                    async with Multiplexer(pipe, origin=Origin(transport="sse")) as channel:
                        reported = True
                        task_status.started(channel)
                        await anyio.sleep_forever()
        except ConnectionLost:
            if not reported:
                raise
            return  # whoever reads or writes is told by the multiplexer

    # ------------------------------------------------------------------ headers

    async def _headers(self, *more: tuple[str, str]) -> tuple[tuple[str, str], ...]:
        found = [*more, *self._fixed]
        if isinstance(self._auth, str):
            found.append(("authorization", f"Bearer {self._auth}"))
        elif self._auth is not None:
            found.extend((await self._auth.headers()).items())
        if self._session is not None:
            found.append(("mcp-session-id", self._session))
        if self._is_session and self.revision is not None and self.revision.at_least(Revision.R2025_06_18):
            found.append(("mcp-protocol-version", str(self.revision)))
        return tuple(found)

    def _is_modern(self, request: Request) -> bool:
        return META_PROTOCOL_VERSION in _meta(request)

    def _standard_headers(self, request: Request) -> tuple[tuple[str, str], ...]:
        meta = _meta(request)
        if META_PROTOCOL_VERSION not in meta:
            return ()
        named = NAMED_METHODS.get(request.method)
        name = None if named is None else getattr(request.params, named)
        return tuple(request_headers(request.method, name, meta[META_PROTOCOL_VERSION]).items())


class _Answer(ReplyChannel):
    """The way back for a question of the server: a POST."""

    __slots__ = ("_channel", "_id")

    def __init__(self, channel: HttpChannel, id: int | str) -> None:
        super().__init__()
        self._channel = channel
        self._id = id

    async def send(self, envelope: Envelope) -> bool:
        if self.closed:
            return False
        if isinstance(envelope.message, Response | ErrorResponse):
            self._channel._asked.pop(self._id, None)
        await self._channel._tell(envelope.message)
        return True


_REFUSAL_BYTES = 64 * 1024
"""Bytes of a refusal that are read, for its first line."""


class _Left(NamedTuple):
    """Where a stream broke."""

    last_id: str | None
    retry_ms: int | None


def _meta(request: Request) -> Mapping[str, Any]:
    meta = getattr(request.params, "meta", None)
    return meta if meta is not None else {}


def _pause(attempt: int, retry_ms: int | None) -> float:
    """Seconds before a reconnect: what the server asked for, or twice as long each time, spread by chance."""
    if retry_ms is not None:
        return retry_ms / 1000
    return min(RECONNECT_SECONDS * float(2**attempt), MAX_RECONNECT_SECONDS) * random.uniform(0.5, 1.0)


def connect(target: str, *, headers: Mapping[str, str] | None = None, auth: Any = None) -> HttpTransport:
    """The transport for a URL (`mcpcore.transport.client_transport` looks for this name)."""
    return HttpTransport(target, headers=headers, auth=auth)
