"""The requests of one client to one server by Streamable HTTP, whatever its generation.

Every request is a POST of its own, and its response is where everything that answers it arrives: so its reply
channel is fed by one task that lives as long as the request. What a server of the handshake era says unasked comes by
GET. A server that knows only HTTP+SSE is spoken to as a pipe.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any

import anyio
import msgspec
from anyio.abc import TaskGroup, TaskStatus

from mcpcore.channel import Channel, Envelope, Inbox, Origin
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
    encode,
)
from mcpcore.methods import NOTIFICATIONS
from mcpcore.multiplex import Multiplexer
from mcpcore.revisions import Era, Revision
from mcpcore.types import META_PROTOCOL_VERSION, CancelledNotificationParams, NotificationParams
from mcpcore_transports.framing.headers import NAMED_METHODS, request_headers
from mcpcore_transports.http.authorized import Requests
from mcpcore_transports.http.events import (
    LIVED_SECONDS,
    MAX_ANSWER_BYTES,
    RECONNECTS,
    Cursor,
    media_type,
    messages_in,
    read_events,
)
from mcpcore_transports.http.failures import HttpError, HttpRefused, connection_errors, read_refusal
from mcpcore_transports.http.questions import Questions
from mcpcore_transports.sse.client import open_stream
from mcpcore_transports.web.client import HttpResponse

__all__ = ("DELETE_SECONDS", "RENEW_SECONDS", "TELL_SECONDS", "HttpChannel")

TELL_SECONDS = 30.0
"""How long a server may take to accept a message that gets no answer."""

RENEW_SECONDS = 30.0
"""How long a server that lost a session may take to begin another one."""

DELETE_SECONDS = 2.0
"""How long closing waits for a server to confirm the end of a session, or a cancelled call for it to be told."""

_ACCEPT = ("accept", "application/json, text/event-stream")
_EVENTS = ("accept", "text/event-stream")
_JSON = ("content-type", "application/json")

# What says "nothing of that kind is here" rather than "not now" or "not you" (MCP, backwards compatibility).
_NO_ENDPOINT = frozenset((400, 404, 405, 406, 415))
_LOGIN = frozenset((401, 403))

logger: logging.Logger = logging.getLogger("mcpcore.http")


class HttpChannel(Channel):
    """The requests of one client to one server. Its tasks live in `tasks`; none of them ever fails."""

    def __init__(self, url: str, client: Requests, headers: Mapping[str, str], tasks: TaskGroup) -> None:
        self._url = url
        self._client = client
        self._fixed = headers
        self._tasks = tasks
        self._incoming = Inbox(limit=1024)
        self._running: dict[int | str, Inbox] = {}
        self._questions = Questions(self._tell)
        self._first: Request | None = None
        self._session: str | None = None
        self._renewals = 0
        """Attempts to begin another session that are over."""
        self._renewal = _Renewal()
        """The one that goes on, or the last one."""
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
        begun = isinstance(message, Notification) and message.method == "notifications/initialized"
        await self._renewed()
        renewals, session = self._renewals, self._session
        try:
            await self._tell(message)
        except HttpRefused as refused:
            if refused.status != 404 or session is None or begun:
                raise
            await self._renew(renewals)
            await self._tell(message)
        if begun:
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
        renewals = await self._exchange(post)
        if renewals is not None:
            await self._renew(renewals)
            if await self._exchange(post) is not None:
                raise ConnectFailed(
                    "the server began a session and does not know it: its sessions may be spread over "
                    "processes that do not share them"
                )

    async def _exchange(self, post: "_Post", *, renews: bool = False) -> int | None:
        """Post a request and pass on what answers it: None. When nothing was done because the server does not know
        the session: how many sessions had been tried to begin by then."""
        begins = post.request.method == "initialize"
        headers = await self._headers(_ACCEPT, _JSON, *self._standard_headers(post))
        if not begins:
            await self._renewed()
            headers = (*headers, *self._session_headers())
        renewals, session = self._renewals, self._session
        cursor = Cursor()
        deliver = partial(self._deliver, post)
        repeatable = post.request.method != "tools/call"
        async with self._client.request(
            "POST", self._url, headers=headers, body=post.body, repeatable=repeatable
        ) as response:
            kind = media_type(response)
            if response.status == 200 and kind == "text/event-stream":
                self._learn(post, response)
                try:
                    if await read_events(response, cursor, deliver):
                        return None
                except ConnectionLost:
                    if cursor.last_id is None:
                        raise
            else:
                body = await response.read(MAX_ANSWER_BYTES) if kind == "application/json" else b""
                answer = _answer_in(body, post.request, response.status)
                gone = response.status == 404 and not (begins or session is None or self._is_modern(post))
                if gone and not _is_about(answer, post.request, CODE_METHOD_NOT_FOUND):
                    return renewals
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
            except ConnectionLost as neither:
                raise HttpRefused(status, error.line, also=f"and by GET: {neither}") from neither
        elif 200 <= status < 300:
            raise ConnectionLost(f"the server answered {method} with HTTP {status} and no JSON-RPC response to it")
        else:
            raise error

    async def _deliver(self, post: "_Post", message: Message) -> bool:
        """Put one message of a request's stream where it belongs. True when it was the answer."""
        inbox = post.inbox
        if isinstance(message, Response | ErrorResponse | Malformed):
            if message.id == post.request.id or (isinstance(message, ErrorResponse) and message.id is None):
                inbox.put(Envelope(message))
                return True
            logger.debug("the server sent something on a request's stream that does not answer it")
        elif isinstance(message, Request):
            await inbox.send(self._questions.ask(message))
        elif message.method == "notifications/cancelled":
            self._questions.cancel(message)
        else:
            await inbox.send(Envelope(message))
        return False

    async def _resume(self, cursor: Cursor, take: Callable[[Message], Awaitable[bool]]) -> None:
        """Take up a broken stream where it broke (2025-11-25: after the pause that the server asked for).

        The request was accepted, so whatever goes wrong here, nobody may take it for one that was not: it raises
        `ConnectionLost` and no `ConnectFailed`.
        """
        reason = ""
        while cursor.failures < RECONNECTS:
            await anyio.sleep(cursor.pause())
            cursor.heard = False
            cursor.failures += 1
            try:
                headers = (*await self._headers(_EVENTS), *self._session_headers(), *cursor.headers())
                async with self._client.request("GET", self._url, headers=headers) as response:
                    if response.status != 200 or media_type(response) != "text/event-stream":
                        refusal = await read_refusal(response)
                        reason = str(refusal)
                        if not _passes(refusal.status):
                            break
                    elif await read_events(response, cursor, take):
                        return
                    else:
                        reason = "it ended again without an answer"
                        cursor.heard |= cursor.polls
            except ConnectionLost as lost:
                reason = str(lost)
            if cursor.heard:
                cursor.settle()
        raise ConnectionLost(f"the response broke before the answer came, and could not be taken up again: {reason}")

    # ------------------------------------------------------------------ sessions of the handshake era

    @property
    def _is_session(self) -> bool:
        return self.revision is not None and self.revision.era is Era.LEGACY

    def _learn(self, post: "_Post", response: HttpResponse) -> None:
        if post.request.method == "initialize":
            self._session = response.headers.get("mcp-session-id")
            self._first = post.request

    async def _renew(self, renewals: int) -> None:
        """Begin another session, once for all who find that theirs is gone. Raises `ConnectFailed`.

        `renewals` is the count from when the request was sent that found it out: an attempt that ended since then, one
        way or the other, was for this one too.
        """
        if self._renewal.over.is_set() and self._renewals == renewals:
            # In a task of its own: whoever finds it out first may be cancelled, and the others need it all the same.
            self._renewal = _Renewal(begun=True)
            self._tasks.start_soon(self._begin_again, self._renewal)
        await self._renewal.over.wait()
        if self._renewal.failure is not None:
            raise ConnectFailed(f"the server lost the session, and there is no other: {self._renewal.failure}")

    async def _renewed(self) -> None:
        """Wait while another session is being begun. Raises `ConnectFailed` when that fails."""
        if not self._renewal.over.is_set():
            await self._renew(-1)

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
            logger.info("the server did not know the session any more; another one was begun")
            self._questions.close("the session ended")
        finally:
            self._renewals += 1
            renewal.over.set()
        if renewal.failure is None:
            self._follow()
            if self.renewed is not None:
                self.renewed()

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
        cursor = Cursor()
        opened = False
        with scope:
            while cursor.failures < RECONNECTS:
                since, renewals = anyio.current_time(), self._renewals
                cursor.heard = False
                cursor.failures += 1
                try:
                    with connection_errors():
                        headers = (*await self._headers(_EVENTS), *self._session_headers(), *cursor.headers())
                        async with self._client.request("GET", self._url, headers=headers) as response:
                            if response.status == 200 and media_type(response) == "text/event-stream":
                                opened = True
                                await read_events(response, cursor, self._take_unasked)
                            elif response.status == 404 and opened:
                                try:
                                    await self._renew(renewals)
                                except ConnectFailed as failed:
                                    raise ConnectionLost(str(failed)) from failed
                                return  # another stream is being followed, in the other session
                            elif not _passes(response.status):
                                return  # 405: it has nothing to say unasked
                except HttpError as refused:
                    logger.debug("the stream for what the server says unasked was refused: %s", refused)
                except ConnectFailed:
                    cursor.failures -= 1  # there is nobody who could be asked too often
                except ConnectionLost as lost:
                    logger.debug("the stream for what the server says unasked broke: %s", lost)
                if cursor.heard or (opened and anyio.current_time() - since >= LIVED_SECONDS):
                    cursor.settle()
                await anyio.sleep(cursor.pause())
            logger.warning("the server ends the stream for what it says unasked whenever it begins: gave up on it")

    async def _take_unasked(self, message: Message) -> bool:
        if isinstance(message, Request):
            await self._incoming.send(self._questions.ask(message))
        elif isinstance(message, Malformed):
            await self._incoming.send(Envelope(message))
        elif isinstance(message, Notification):
            if message.method == "notifications/cancelled":
                self._questions.cancel(message)
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
        """The headers of one request: what the caller gave, and `own` before it."""
        found = dict(self._fixed)
        found.update((name.lower(), value) for name, value in own)
        return tuple(found.items())

    def _session_headers(self) -> tuple[tuple[str, str], ...]:
        found: list[tuple[str, str]] = []
        if self._session is not None:
            found.append(("mcp-session-id", self._session))
        if self._is_session and self.revision is not None and self.revision.at_least(Revision.R2025_06_18):
            found.append(("mcp-protocol-version", str(self.revision)))
        return tuple(found)

    def _is_modern(self, post: "_Post") -> bool:
        return META_PROTOCOL_VERSION in _meta(post.request)

    def _standard_headers(self, post: "_Post") -> Iterable[tuple[str, str]]:
        request = post.request
        meta = _meta(request)
        if META_PROTOCOL_VERSION not in meta:
            return ()
        named = NAMED_METHODS.get(request.method)
        name = None if named is None else getattr(_outline(request), named)
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

    protocolVersion: str


class _Renewal:
    """One attempt to begin another session; one that has not `begun` is over."""

    def __init__(self, begun: bool = False) -> None:
        self.over = anyio.Event()
        self.failure: str | None = None
        if not begun:
            self.over.set()


class _Outline(msgspec.Struct):
    """What headers repeat of parameters that are passed on as raw JSON."""

    meta: dict[str, Any] | None = msgspec.field(default=None, name="_meta")
    name: str | None = None
    uri: str | None = None


_decode_outline = msgspec.json.Decoder(_Outline).decode


def _outline(request: Request) -> Any:
    params = request.params
    if not isinstance(params, msgspec.Raw) or not params:
        return params
    try:
        return _decode_outline(params)
    except (ValueError, RecursionError):
        return _Outline()  # the server says what is wrong with them


def _meta(request: Request) -> Mapping[str, Any]:
    meta = getattr(_outline(request), "meta", None)
    return meta if meta is not None else {}


def _answer_in(body: bytes, request: Request, status: int) -> Response | ErrorResponse | Malformed | None:
    """The answer to a request in a JSON body. An error may come with any status but those that ask for a login."""
    for message in messages_in(body):
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
