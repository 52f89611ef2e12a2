"""Streamable HTTP, client side, for servers of any generation.

Every request is a POST of its own, and its response is where everything that answers it arrives: so its reply
channel is fed by one task that lives as long as the request. What a server of the handshake era says unasked comes by
GET. A server that knows only HTTP+SSE is spoken to as a pipe.
"""

import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import msgspec
from anyio.abc import TaskGroup, TaskStatus

from mcpcore.channel import Channel, Envelope, Inbox, Origin, ReplyChannel
from mcpcore.errors import CODE_METHOD_NOT_FOUND, ConnectFailed, ConnectionLost, RemoteProtocolError
from mcpcore.groups import sole_error
from mcpcore.jsonrpc import (
    Batch,
    ErrorObject,
    ErrorResponse,
    Malformed,
    Message,
    Notification,
    Oversize,
    Request,
    Response,
    decode,
    encode,
)
from mcpcore.methods import NOTIFICATIONS
from mcpcore.multiplex import Multiplexer
from mcpcore.revisions import Era, Revision
from mcpcore.types import META_PROTOCOL_VERSION, CancelledNotificationParams, NotificationParams, Tool
from mcpcore_transports.framing.eventstream import EventDecoder
from mcpcore_transports.framing.headers import (
    NAMED_METHODS,
    InvalidAnnotation,
    headers_for_call,
    parameter_headers,
    request_headers,
)
from mcpcore_transports.http.failures import HttpError, HttpRefused, connection_errors, read_refusal
from mcpcore_transports.sse.client import open_stream
from mcpcore_transports.web.client import HttpClient, HttpResponse
from mcpcore_transports.web.exchange import BodyTooLarge
from mcpcore_transports.web.request_head import header_lines
from mcpcore_transports.web.urls import parse_url

__all__ = (
    "DELETE_SECONDS",
    "LIVED_SECONDS",
    "MAX_ANSWER_BYTES",
    "MAX_RECONNECT_SECONDS",
    "POLL_SECONDS",
    "RECONNECTS",
    "RECONNECT_SECONDS",
    "RENEW_SECONDS",
    "TELL_SECONDS",
    "HttpChannel",
    "HttpTransport",
    "connect",
)

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Bytes of one JSON answer, or of one event: the largest that a client is ready to hold in memory at once."""

TELL_SECONDS = 30.0
"""How long a server may take to accept a message that gets no answer."""

RENEW_SECONDS = 30.0
"""How long a server that lost a session may take to begin another one."""

DELETE_SECONDS = 2.0
"""How long closing waits for a server to confirm the end of a session, or a cancelled call for it to be told."""

RECONNECTS = 5
"""Times a broken stream is taken up again in a row without anything new arriving on it."""

RECONNECT_SECONDS = 0.5
"""Pause before the first of these; it doubles each time, with jitter, unless the server says `retry`."""

MAX_RECONNECT_SECONDS = 30.0
"""The longest such pause that is not the server's wish."""

POLL_SECONDS = 0.1
"""A server that ends streams and says `retry` with at least this much wants to be polled (2025-11-25): that is no
failure, however often it happens before the request's own deadline."""

LIVED_SECONDS = 5.0
"""A stream that lasted this long before it ended was a working one, though nothing came: proxies end idle ones."""

_ACCEPT = ("accept", "application/json, text/event-stream")
_EVENTS = ("accept", "text/event-stream")
_JSON = ("content-type", "application/json")

# What says "nothing of that kind is here" rather than "not now" or "not you" (MCP, backwards compatibility).
_NO_ENDPOINT = frozenset((400, 404, 405, 406, 415))
_LOGIN = frozenset((401, 403))

logger: logging.Logger = logging.getLogger("mcpcore.http")


class HttpTransport:
    """Reaches a server by URL.

    `auth` is a bearer token, or an object with `async headers() -> Mapping[str, str]`, asked for each request. Raises
    `LocalProtocolError` for a URL or headers that cannot be sent.
    """

    def __init__(
        self, url: str, *, headers: Mapping[str, str] | None = None, auth: Any = None, client: HttpClient | None = None
    ) -> None:
        fixed = {name.lower(): value for name, value in (headers or {}).items()}
        credentials = parse_url(url).authorization
        if isinstance(auth, str):
            fixed["authorization"] = f"Bearer {auth}"
        elif credentials is not None:
            fixed.setdefault("authorization", credentials)
        header_lines(tuple(fixed.items()))
        self._url = url
        self._headers = fixed
        self._auth = None if isinstance(auth, str) else auth
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
    """The requests of one client to one server. Its tasks live in `tasks`; none of them ever fails."""

    def __init__(
        self, url: str, client: HttpClient, headers: Mapping[str, str], auth: Any, tasks: TaskGroup
    ) -> None:
        self._url = url
        self._client = client
        self._fixed = headers
        self._auth = auth
        self._tasks = tasks
        self._incoming = Inbox(limit=1024)
        self._running: dict[int | str, Inbox] = {}
        self._asked: dict[int | str, _Answer] = {}
        self._first: Request | None = None
        self._session: str | None = None
        self._generation = 0
        """Sessions that were begun after the first."""
        self._renewal: _Renewal | None = None
        self._following: anyio.CancelScope | None = None
        self._pipe: Multiplexer | None = None
        self._closed = False

    async def receive(self) -> Envelope:
        pipe = self._pipe
        if pipe is None:
            try:
                return await self._incoming.receive()
            except anyio.ClosedResourceError:
                pipe = self._pipe
        if pipe is None:
            raise anyio.EndOfStream
        return await pipe.receive()

    async def send(self, envelope: Envelope) -> None:
        if self._pipe is not None:
            await self._pipe.send(envelope)
            return
        if self._closed:
            raise ConnectionLost("the connection is closed")
        message = envelope.message
        if isinstance(message, Request):
            assert isinstance(envelope.reply, Inbox), "a request of ours is answered into an Inbox"
            post = _Post(message, envelope, envelope.reply, encode(message))
            scope = anyio.CancelScope()
            post.inbox.when_closed(scope.cancel)
            self._running[message.id] = post.inbox
            self._tasks.start_soon(self._ask, post, scope)
            return
        while True:
            await self._renewed()
            generation, session = self._generation, self._session
            try:
                await self._tell(message)
                break
            except HttpRefused as refused:
                if refused.status != 404 or session is None or self._generation != generation:
                    raise
                await self._renew(generation)
        if isinstance(message, Notification) and message.method == "notifications/initialized":
            self._follow()

    async def aclose(self) -> None:
        """End the session at the server, if there is one. Waits for its consent until cancelled, for which whoever
        opened the channel gives it `DELETE_SECONDS`."""
        if self._closed:
            return
        self._closed = True
        if self._pipe is not None:
            await self._pipe.aclose()
        elif self._session is not None:
            try:
                with connection_errors():
                    headers = (*await self._headers(), *self._session_headers())
                    async with self._client.request("DELETE", self._url, headers=headers):
                        pass
            except ConnectionLost as lost:
                # The session ends by itself when it has been idle for long enough.
                logger.debug("the session could not be ended: %s", lost)
        self._incoming.close()

    # ------------------------------------------------------------------ one request

    async def _ask(self, post: "_Post", scope: anyio.CancelScope) -> None:
        answered = False
        with scope:
            try:
                with connection_errors():
                    await self._converse(post)
            except ConnectionLost as lost:
                post.inbox.fail(lost)
            answered = True
        if self._running.get(post.request.id) is post.inbox:
            del self._running[post.request.id]
        if not answered and self._is_session and not self._closed and post.request.method != "initialize":
            # Closing the response is no cancellation in the handshake era.
            params = CancelledNotificationParams(request_id=post.request.id, reason=post.inbox.reason)
            with anyio.move_on_after(DELETE_SECONDS, shield=True):
                try:
                    await self._tell(Notification("notifications/cancelled", params))
                except ConnectionLost as lost:
                    logger.debug("the server could not be told of a cancellation: %s", lost)

    async def _converse(self, post: "_Post") -> None:
        """Post a request until a session runs it: a server that does not know the session (any more) did not."""
        generation = await self._exchange(post)
        if generation is not None:
            await self._renew(generation)
            if await self._exchange(post) is not None:
                raise ConnectFailed("the server began a session and does not know it: its sessions may be spread over "
                                    "processes that do not share them")

    async def _exchange(self, post: "_Post", *, renews: bool = False) -> int | None:
        """Post a request and pass on what answers it: None. The number of the session that the server does not know,
        when that is why nothing was done."""
        begins = post.request.method == "initialize"
        headers = await self._headers(_ACCEPT, _JSON, *self._standard_headers(post))
        if not begins:
            await self._renewed()
            headers = (*headers, *self._session_headers())
        generation, session = self._generation, self._session
        cursor = _Cursor()
        deliver = partial(self._deliver, post)
        repeatable = post.request.method != "tools/call"
        async with self._client.request(
            "POST", self._url, headers=headers, body=post.body, repeatable=repeatable
        ) as response:
            kind = _kind(response)
            if response.status == 200 and kind == "text/event-stream":
                self._learn(post, response)
                try:
                    if await self._read(response, cursor, deliver):
                        return None
                except ConnectionLost:
                    if cursor.last_id is None:
                        raise
            else:
                body = await response.read(MAX_ANSWER_BYTES) if kind == "application/json" else b""
                answer = _answer_in(body, post.request, response.status)
                gone = response.status == 404 and not (begins or session is None or self._is_modern(post))
                if gone and not _is_about(answer, post.request, CODE_METHOD_NOT_FOUND):
                    return generation
                if answer is not None:
                    if isinstance(answer, Response):
                        self._learn(post, response)
                    post.inbox.put(Envelope(answer))
                    return None
                await self._refused(post, response, body, renews)
                return None
        if cursor.last_id is None or self._is_modern(post):
            raise ConnectionLost("the response ended before the answer came")
        await self._resume(cursor, deliver)
        return None

    async def _refused(self, post: "_Post", response: HttpResponse, body: bytes, renews: bool) -> None:
        """What an HTTP status without a JSON-RPC answer means for the request that got it."""
        method, status = post.request.method, response.status
        error = await read_refusal(response, body, harmless=method in ("initialize", "server/discover"))
        if status in _NO_ENDPOINT and method == "server/discover":
            # Evidence of an older server, like an error from one.
            post.inbox.put(Envelope(ErrorResponse(ErrorObject(CODE_METHOD_NOT_FOUND, str(error)), post.request.id)))
        elif status in (400, 404, 405) and method == "initialize" and not renews:
            try:
                await self._fall_back(post.envelope)
            except ConnectionLost as none_either:
                raise error.beside(f"and there is no event stream either: {none_either}") from none_either
        elif 200 <= status < 300:
            raise ConnectionLost(f"the server answered {method} with HTTP {status} and no JSON-RPC response to it")
        else:
            raise error

    async def _read(
        self, response: HttpResponse, cursor: "_Cursor", take: Callable[[Message], Awaitable[bool]]
    ) -> bool:
        """Hand over what comes on one event stream, until `take` says that this was all: True. False at its end."""
        decoder = EventDecoder(MAX_ANSWER_BYTES)
        async for chunk in response.stream():
            for event in decoder.feed(chunk):
                if isinstance(event, Oversize):
                    cursor.move(decoder)
                    raise BodyTooLarge(f"an event of {event.size} bytes is over the limit of {event.limit}")
                for message in _messages(event.data):
                    cursor.heard = True
                    if await take(message):
                        return True
            cursor.move(decoder)
        return False

    async def _deliver(self, post: "_Post", message: Message) -> bool:
        """Put one message of a request's stream where it belongs. True when it was the answer."""
        inbox = post.inbox
        if isinstance(message, Response | ErrorResponse | Malformed):
            if message.id == post.request.id or (isinstance(message, ErrorResponse) and message.id is None):
                inbox.put(Envelope(message))
                return True
            logger.debug("the server sent something on a request's stream that does not answer it")
        elif isinstance(message, Request):
            await inbox.send(Envelope(message, self._answer_to(message)))
        elif message.method == "notifications/cancelled":
            self._cancelled(message)
        else:
            await inbox.send(Envelope(message))
        return False

    async def _resume(self, cursor: "_Cursor", take: Callable[[Message], Awaitable[bool]]) -> None:
        """Take up a broken stream where it broke (2025-11-25: after the pause that the server asked for).

        The request was accepted, so whatever goes wrong here, nobody may take it for one that was not: it raises
        `ConnectionLost` and no `ConnectFailed`.
        """
        failures = 0
        reason = ""
        while failures < RECONNECTS:
            await anyio.sleep(_pause(failures, cursor.retry_ms))
            cursor.heard = False
            failures += 1
            try:
                async with self._client.request("GET", self._url, headers=await self._stream_headers(cursor)) as response:
                    if response.status == 200 and _kind(response) == "text/event-stream":
                        if await self._read(response, cursor, take):
                            return
                        reason = "it ended again"
                        if cursor.retry_ms is not None and cursor.retry_ms >= POLL_SECONDS * 1000:
                            failures = 0
                    else:
                        refusal = await read_refusal(response)
                        reason = str(refusal)
                        if not _passes(refusal.status):
                            break
            except ConnectionLost as lost:
                reason = str(lost)
            if cursor.heard:
                failures = 0
            if cursor.last_id is None:
                break
        raise ConnectionLost(f"the response broke before the answer came, and could not be taken up again: {reason}")

    # ------------------------------------------------------------------ sessions of the handshake era

    @property
    def _is_session(self) -> bool:
        return self.revision is not None and self.revision.era is Era.LEGACY

    def _learn(self, post: "_Post", response: HttpResponse) -> None:
        if post.request.method == "initialize":
            self._session = response.headers.get("mcp-session-id")
            self._first = post.request

    async def _renew(self, generation: int) -> None:
        """Begin another session in place of that one, once for all who found it gone. Raises `ConnectFailed`."""
        if self._generation == generation and self._renewal is None:
            # In a task of its own: whoever found it out first may be cancelled, and the others need it all the same.
            self._renewal = _Renewal()
            self._tasks.start_soon(self._begin_again, self._renewal)
        await self._renewed()

    async def _renewed(self) -> None:
        """Wait while another session is being begun. Raises `ConnectFailed` when that fails."""
        if self._renewal is not None:
            await self._renewal.wait()

    async def _begin_again(self, renewal: "_Renewal") -> None:
        lost_session = self._session
        try:
            with connection_errors(), anyio.move_on_after(RENEW_SECONDS) as patience:
                await self._initialize_again()
            if patience.cancelled_caught:
                raise ConnectionLost(f"it did not answer initialize within {RENEW_SECONDS:g} s")
        except ConnectionLost as lost:
            # With the old id the next request finds out again, and tries again.
            self._session = lost_session
            renewal.failure = str(lost)
        else:
            self._generation += 1
            for reply in list(self._asked.values()):
                reply.close("the session ended")
            logger.info("the server did not know the session any more; another one was begun")
        finally:
            self._renewal = None
            renewal.over.set()
        if renewal.failure is None:
            self._follow()

    async def _initialize_again(self) -> None:
        if self._first is None:
            raise ConnectionLost("none was begun here")
        inbox = Inbox()
        await self._exchange(_Post(self._first, Envelope(self._first, inbox), inbox, encode(self._first)), renews=True)
        while not isinstance(answer := (await inbox.receive()).message, Response | ErrorResponse | Malformed):
            pass
        if not isinstance(answer, Response):
            raise ConnectionLost(f"it refused initialize: {answer.error.message}")
        try:
            revision = msgspec.json.decode(answer.result, type=_Initialized).protocolVersion
        except (msgspec.DecodeError, RecursionError) as error:
            raise ConnectionLost(f"it answered initialize with no result: {error}") from error
        if revision != self.revision:
            raise ConnectionLost(f"it came back with revision {revision!r}; connect again")
        await self._tell(Notification("notifications/initialized", NotificationParams()))

    def _follow(self) -> None:
        """Read what the server says unasked from here on, on a stream of the session that there is."""
        if self._following is not None:
            self._following.cancel()
        if self._session is not None and not self._closed:
            self._following = scope = anyio.CancelScope()
            self._tasks.start_soon(self._follow_unasked, scope)

    async def _follow_unasked(self, scope: anyio.CancelScope) -> None:
        """Keep a stream open for as long as the server means to have one. Without it, everything else still works."""
        cursor = _Cursor()
        failures = pauses = 0
        opened = False
        with scope:
            while failures < RECONNECTS:
                since = anyio.current_time()
                generation = self._generation
                cursor.heard = False
                failures += 1
                try:
                    with connection_errors():
                        headers = await self._stream_headers(cursor)
                        async with self._client.request("GET", self._url, headers=headers) as response:
                            if response.status == 404 and opened:
                                await self._renew(generation)  # which begins this anew, and ends this one
                                return
                            if _kind(response) != "text/event-stream" or response.status != 200:
                                if response.status < 300 or not _passes(response.status):
                                    return  # 405: it has nothing to say unasked
                            else:
                                opened = True
                                await self._read(response, cursor, self._take_unasked)
                except HttpError:
                    pass
                except ConnectFailed:
                    failures -= 1  # nobody is there to be bothered
                except ConnectionLost as lost:
                    logger.debug("the stream for what the server says unasked broke: %s", lost)
                if cursor.heard or (opened and anyio.current_time() - since >= LIVED_SECONDS):
                    failures = pauses = 0
                await anyio.sleep(_pause(pauses, cursor.retry_ms))
                pauses += 1
            logger.warning("the server ends the stream for what it says unasked as soon as it begins: gave up on it")

    async def _take_unasked(self, message: Message) -> bool:
        if isinstance(message, Request):
            await self._incoming.send(Envelope(message, self._answer_to(message)))
        elif isinstance(message, Malformed):
            await self._incoming.send(Envelope(message))
        elif isinstance(message, Notification):
            if message.method == "notifications/cancelled":
                self._cancelled(message)
            elif message.method != "notifications/progress":
                await self._incoming.send(Envelope(message))
            else:
                self._progressed(message)
        return False

    def _progressed(self, message: Notification) -> None:
        """A server that answers with plain JSON can send the progress of a request only here."""
        try:
            params = NOTIFICATIONS[message.method].decode_params(message.params)
        except RemoteProtocolError:
            return  # garbled progress tells nothing
        inbox = self._running.get(params.progress_token)
        if inbox is not None and not inbox.full:
            inbox.put(Envelope(message))

    def _answer_to(self, request: Request) -> ReplyChannel:
        reply = _Answer(self, request.id)
        self._asked[request.id] = reply
        return reply

    def _cancelled(self, notification: Notification) -> None:
        try:
            params = NOTIFICATIONS["notifications/cancelled"].decode_params(notification.params)
        except RemoteProtocolError:
            return  # nobody can answer a notification, and what it was about is unknown
        reply = None if params.request_id is None else self._asked.get(params.request_id)
        if reply is not None:
            reply.close(params.reason)

    async def _tell(self, message: Message) -> None:
        """Post what gets no answer. Raises `ConnectionLost`: `HttpError` when it is refused."""
        body = encode(message)
        with connection_errors(), anyio.move_on_after(TELL_SECONDS) as patience:
            headers = (*await self._headers(_ACCEPT, _JSON), *self._session_headers())
            async with self._client.request("POST", self._url, headers=headers, body=body) as response:
                if response.status >= 300:
                    raise await read_refusal(response)
        if patience.cancelled_caught:
            raise ConnectionLost(f"the server did not accept a message within {TELL_SECONDS:g} s")

    # ------------------------------------------------------------------ HTTP+SSE

    async def _fall_back(self, envelope: Envelope) -> None:
        """Speak to a server of 2024-11-05 from here on."""
        pipe: Multiplexer = await self._tasks.start(self._live_on_events)
        self._pipe = pipe
        self._incoming.close()
        await pipe.send(envelope)

    async def _live_on_events(self, *, task_status: TaskStatus[Multiplexer]) -> None:
        """The task that owns the event stream, for as long as the connection lasts."""
        reported = False
        try:
            with sole_error():
                async with open_stream(self._client, self._url, self._headers) as pipe:
                    async with Multiplexer(pipe, origin=Origin(transport="sse")) as channel:
                        reported = True
                        task_status.started(channel)
                        await anyio.sleep_forever()
        except ConnectionLost:
            if not reported:
                raise
            return  # whoever reads or writes is told by the multiplexer

    # ------------------------------------------------------------------ headers

    async def _headers(self, *own: tuple[str, str]) -> tuple[tuple[str, str], ...]:
        """The headers of one request: what the caller gave, what `auth` says at this moment, and `own` before both."""
        found = dict(self._fixed)
        if self._auth is not None:
            try:
                given = await self._auth.headers()
            except ConnectionLost:
                raise
            except Exception as error:
                raise ConnectFailed(f"auth.headers() failed with {type(error).__name__}; nothing was sent") from error
            found.update((name.lower(), value) for name, value in given.items())
        found.update((name.lower(), value) for name, value in own)
        return tuple(found.items())

    def _session_headers(self) -> tuple[tuple[str, str], ...]:
        found: list[tuple[str, str]] = []
        if self._session is not None:
            found.append(("mcp-session-id", self._session))
        if self._is_session and self.revision is not None and self.revision.at_least(Revision.R2025_06_18):
            found.append(("mcp-protocol-version", str(self.revision)))
        return tuple(found)

    async def _stream_headers(self, cursor: "_Cursor") -> tuple[tuple[str, str], ...]:
        found = (*await self._headers(_EVENTS), *self._session_headers())
        if cursor.last_id is None:
            return found
        # WHATWG HTML, 9.2.3: the id as UTF-8, which a header holds as Latin-1.
        return (*found, ("last-event-id", cursor.last_id.encode().decode("latin-1")))

    def _is_modern(self, post: "_Post") -> bool:
        return META_PROTOCOL_VERSION in _meta(post.request)

    def _standard_headers(self, post: "_Post") -> Iterable[tuple[str, str]]:
        request = post.request
        meta = _meta(request)
        if META_PROTOCOL_VERSION not in meta:
            return ()
        named = NAMED_METHODS.get(request.method)
        name = None if named is None else getattr(request.params, named)
        mirrored = {} if post.envelope.origin is None else post.envelope.origin.headers
        return (*mirrored.items(), *request_headers(request.method, name, meta[META_PROTOCOL_VERSION]).items())


class _Post(msgspec.Struct, frozen=True):
    """One request of ours."""

    request: Request
    envelope: Envelope
    inbox: Inbox
    body: bytes


class _Initialized(msgspec.Struct):
    """The part of an `InitializeResult` that another session must have in common with the one before."""

    protocolVersion: str  # noqa: N815 - as on the wire


class _Renewal:
    """One attempt to begin another session, and who waits for it."""

    def __init__(self) -> None:
        self.over = anyio.Event()
        self.failure: str | None = None

    async def wait(self) -> None:
        await self.over.wait()
        if self.failure is not None:
            raise ConnectFailed(f"the server lost the session, and there is no other: {self.failure}")


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
        answers = isinstance(envelope.message, Response | ErrorResponse)
        try:
            await self._channel._tell(envelope.message)
        except ConnectionLost as lost:
            # The server waits for it in vain; the session that asks here goes on.
            logger.warning("the server did not take %s: %s", "an answer" if answers else "a message", lost)
            return False
        finally:
            if answers:
                self._forget()
        return True

    def close(self, reason: str | None = None) -> None:
        self._forget()
        super().close(reason)

    def _forget(self) -> None:
        if self._channel._asked.get(self._id) is self:
            del self._channel._asked[self._id]


class _Cursor:
    """How far an event stream has been read."""

    def __init__(self) -> None:
        self.last_id: str | None = None
        self.retry_ms: int | None = None
        self.heard = False
        """Whether a message came since this was last set."""

    def move(self, decoder: EventDecoder) -> None:
        if decoder.last_event_id:
            self.last_id = decoder.last_event_id
        if decoder.retry_ms is not None:
            self.retry_ms = decoder.retry_ms


def _meta(request: Request) -> Mapping[str, Any]:
    meta = getattr(request.params, "meta", None)
    return meta if meta is not None else {}


def _kind(response: HttpResponse) -> str:
    """The media type of a response."""
    return response.headers.get("content-type", "").partition(";")[0].strip().lower()


def _messages(data: bytes) -> Sequence[Message]:
    """What one event or body holds; nothing when it is there for the sake of its id (2025-11-25)."""
    if not data:
        return ()
    message = decode(data)
    return message.messages if isinstance(message, Batch) else (message,)


def _answer_in(body: bytes, request: Request, status: int) -> Response | ErrorResponse | Malformed | None:
    """The answer to a request in a JSON body. An error may come with any status but those that ask for a login."""
    for message in _messages(body):
        if isinstance(message, ErrorResponse) and status not in _LOGIN:
            known = message.id == request.id
            # Servers that refuse before they read the request know no id, or put one of their own.
            if known or status < 300 or (status in _NO_ENDPOINT and not _begins_elsewhere(message, request, status)):
                return message
        elif isinstance(message, Response | Malformed) and message.id == request.id and status < 300:
            return message
    return None


def _begins_elsewhere(error: ErrorResponse, request: Request, status: int) -> bool:
    """Whether this may be a server of HTTP+SSE that refuses an `initialize`: 2026-07-28 rules out its own codes."""
    modern = error.error.code == CODE_METHOD_NOT_FOUND or error.error.code in range(-32099, -32019)
    return request.method == "initialize" and status in (400, 404, 405) and not modern


def _is_about(answer: Message | None, request: Request, code: int) -> bool:
    return isinstance(answer, ErrorResponse) and answer.id == request.id and answer.error.code == code


def _passes(status: int) -> bool:
    """Whether a refusal may be over soon."""
    return status >= 500 or status == 429


def _pause(attempt: int, retry_ms: int | None) -> float:
    """Seconds before a reconnect: what the server asked for, or twice as long each time, spread by chance."""
    if retry_ms is not None:
        return retry_ms / 1000
    return min(RECONNECT_SECONDS * float(2 ** min(attempt, 10)), MAX_RECONNECT_SECONDS) * random.uniform(0.5, 1.0)


def connect(target: str, *, headers: Mapping[str, str] | None = None, auth: Any = None) -> HttpTransport:
    """The transport for a URL (`mcpcore.transport.client_transport` looks for this name)."""
    return HttpTransport(target, headers=headers, auth=auth)
