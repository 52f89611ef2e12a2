"""Streamable HTTP of the handshake era, 2025-03-26 to 2025-11-25: sessions, their streams, and coming back to them."""

from collections.abc import Collection
from functools import partial

import anyio

from mcpcore.channel import Origin
from mcpcore.errors import CODE_INVALID_REQUEST, CODE_SERVER_BUSY, ConnectionLost, RequestError
from mcpcore.jsonrpc import Batch, ErrorResponse, Malformed, Message, Request, Response, encode, error_response
from mcpcore.revisions import HANDSHAKE_REVISIONS, Revision
from mcpcore_transports.framing.eventstream import KEEP_ALIVE, encode_event, encode_priming_event, encode_retry
from mcpcore_transports.http.expiry import Expiries
from mcpcore_transports.http.options import HttpOptions
from mcpcore_transports.http.replies import EVENT_STREAM_HEADERS, JSON_HEADERS, refuse, send_error, status_of
from mcpcore_transports.http.sessions import HttpSession, SessionTable
from mcpcore_transports.http.streams import Item, Reader, Stream
from mcpcore_transports.web.exchange import Headers, WebRequest, WebResponse

__all__ = ("SESSION_HEADER", "STREAM_AFTER_SECONDS", "HandshakeExchange")

SESSION_HEADER = "mcp-session-id"

STREAM_AFTER_SECONDS = 1.0
"""A request that takes longer is answered with an event stream although nothing has happened yet: its keep-alive
comments hold the connection open, and from 2025-11-25 on there is an event id to come back with."""

_NO_SESSION = "there is no such session (any more): send initialize again"


class HandshakeExchange:
    """Handles the requests of clients that have, or begin, a session."""

    def __init__(self, sessions: SessionTable, options: HttpOptions, expiries: Expiries) -> None:
        self._sessions = sessions
        self._expiries = expiries
        self._options = options

    async def post(
        self,
        request: WebRequest,
        response: WebResponse,
        message: Message | Batch,
        origin: Origin,
        accepts: frozenset[str],
        cors: Headers,
    ) -> None:
        if isinstance(message, Request) and message.method == "initialize":
            await self._initialize(request, response, message, origin, accepts, cors)
            return
        session = await self._session(request, response, origin, cors)
        if session is None:
            return
        if isinstance(message, Batch):
            await self._batch(request, response, session, message, origin, cors)
            return
        if isinstance(message, Request):
            await self._request(request, response, session, message, origin, accepts, cors)
            return
        if await session.accept(message, origin):
            await response.send_whole(202, cors, b"")
        else:
            await refuse(response, 404, _NO_SESSION, cors)

    async def without_body(self, request: WebRequest, response: WebResponse, origin: Origin, cors: Headers) -> None:
        """GET opens the stream for what belongs to no request, or takes one up again; DELETE ends the session."""
        if request.headers.get(SESSION_HEADER) is None:
            text = f"{request.method} needs a session: initialize first"
            await refuse(response, 405, text, (("allow", "POST"), *cors))
            return
        session = await self._session(request, response, origin, cors)
        if session is None:
            return
        if request.method == "DELETE":
            await self._sessions.end(session)
            await response.send_whole(204, cors, b"")
            return
        last_id = request.headers.get("last-event-id")
        stream = session.unasked if last_id is None else await session.stream_to_resume(last_id)
        if stream is None:
            await refuse(response, 400, "this Last-Event-ID is not known here, or not any more", cors)
            return
        # The newest reader wins: an older one may be a connection that died without telling.
        reader = stream.attach()
        leave = partial(stream.detach, reader)
        request.when_gone(leave)
        try:
            with self._expiries.ending(origin.principal, leave):
                await response.start(200, (*EVENT_STREAM_HEADERS, *cors), idle_bytes=KEEP_ALIVE)
                seen: Collection[str] = ()
                if last_id is not None:
                    kept = await self._options.store.after(session.id, last_id) or ()
                    seen = {event.id for event in kept}
                    for event in kept:
                        await response.send(self._event(Item(event.data, event.id)))
                elif session.primes:
                    stream.primes = True
                    stream.streaming = False
                    await stream.begin()
                await self._relay(response, reader, seen)
        finally:
            stream.detach(reader)

    async def _session(
        self, request: WebRequest, response: WebResponse, origin: Origin, cors: Headers
    ) -> HttpSession | None:
        """The session that a request names; None when it was refused."""
        version = request.headers.get("mcp-protocol-version")
        if version is not None and Revision.parse(version.strip()) not in HANDSHAKE_REVISIONS:
            names = ", ".join(HANDSHAKE_REVISIONS)
            await refuse(response, 400, f"MCP-Protocol-Version {version!r} is not served in a session: {names}", cors)
            return None
        id = request.headers.get(SESSION_HEADER)
        if id is None:
            text = "Mcp-Session-Id is missing: send initialize first (or a 2026-07-28 request, which needs no session)"
            await refuse(response, 400, text, cors)
            return None
        session = self._sessions.find(id, origin.principal)
        if session is None:
            await refuse(response, 404, _NO_SESSION, cors)
        return session

    async def _initialize(
        self,
        request: WebRequest,
        response: WebResponse,
        message: Request,
        origin: Origin,
        accepts: frozenset[str],
        cors: Headers,
    ) -> None:
        if request.headers.get(SESSION_HEADER) is not None:
            session = await self._session(request, response, origin, cors)
            if session is not None:
                await self._request(request, response, session, message, origin, accepts, cors)
            return
        try:
            session = self._sessions.open(origin)
        except RequestError as busy:
            await send_error(response, error_response(message.id, busy), (("retry-after", "5"), *cors))
            return
        stream = session.open_stream(message.id)
        reader = stream.attach()
        item = await reader.next() if await session.accept(message, origin, stream) else None
        if item is None:
            ended = RequestError(CODE_SERVER_BUSY, "the session ended while it was being initialized; try again")
            await send_error(response, error_response(message.id, ended), (("retry-after", "5"), *cors))
            return
        if item.error is not None:
            await self._sessions.end(session)
            await response.send_whole(400, (*JSON_HEADERS, *cors), item.data)
            return
        await response.send_whole(200, (*JSON_HEADERS, (SESSION_HEADER, session.id), *cors), item.data)

    async def _request(
        self,
        request: WebRequest,
        response: WebResponse,
        session: HttpSession,
        message: Request,
        origin: Origin,
        accepts: frozenset[str],
        cors: Headers,
    ) -> None:
        stream = session.open_stream(message.id)
        if self._options.json_response or "event-stream" not in accepts:
            stream.instead = session.unasked
        reader = stream.attach()
        # Leaving is no cancellation in this era: the stream goes on, and the client may come back for it.
        request.when_gone(lambda: stream.detach(reader))
        try:
            if await session.accept(message, origin, stream):
                await self._respond(response, stream, reader, cors)
            else:
                await refuse(response, 404, _NO_SESSION, cors)
        finally:
            stream.detach(reader)

    async def _respond(self, response: WebResponse, stream: Stream, reader: Reader, cors: Headers) -> None:
        """One JSON body when the answer comes first; an event stream as soon as anything else does."""
        item: Item | None = None
        with anyio.move_on_after(None if stream.instead is not None else STREAM_AFTER_SECONDS) as waiting:
            item = await reader.next()
        if waiting.cancelled_caught:
            await stream.begin()
        elif item is None:
            if not stream.closed:
                raise ConnectionLost("the client left before it was answered")
            await response.send_whole(202, cors, b"")  # it was cancelled, and gets no answer
            return
        elif item.final:
            if item.error is not None and status_of(item.error) == 503:
                await response.send_whole(503, (*JSON_HEADERS, ("retry-after", "1"), *cors), item.data)
            else:  # every other error is for the session's client to read from the body
                await response.send_whole(200, (*JSON_HEADERS, *cors), item.data)
            return
        first = b"" if item is None else self._event(item)
        await response.start(200, (*EVENT_STREAM_HEADERS, *cors), first=first, idle_bytes=KEEP_ALIVE)
        await self._relay(response, reader, ())

    async def _relay(self, response: WebResponse, reader: Reader, seen: Collection[str]) -> None:
        """Send what comes, until the stream is over or another response reads it."""
        last = b""
        while (item := await reader.next()) is not None:
            event = b"" if item.id is not None and item.id in seen else self._event(item)
            if item.final:
                last = event
                break
            await response.send(event)
        await response.finish(last)

    def _event(self, item: Item) -> bytes:
        if item.retry_ms is not None:
            return encode_retry(item.retry_ms)
        if not item.data and item.id is not None:
            return encode_priming_event(item.id, retry_ms=self._options.retry_ms)
        return encode_event(item.data, event="message", id=item.id)

    async def _batch(
        self,
        request: WebRequest,
        response: WebResponse,
        session: HttpSession,
        batch: Batch,
        origin: Origin,
        cors: Headers,
    ) -> None:
        """2025-03-26 only: requests and notifications, or responses, together; answered together too."""
        kinds = {isinstance(message, Response | ErrorResponse) for message in batch.messages}
        if not session.batches or len(kinds) > 1:
            why = (
                "a batch holds requests and notifications, or responses" if session.batches else "there are no batches"
            )
            error = RequestError(CODE_INVALID_REQUEST, f"not in this revision: {why}")
            await send_error(response, error_response(None, error), cors)
            return
        answers: list[bytes] = []
        readers: list[Reader] = []
        for message in batch.messages:
            if isinstance(message, Request):
                stream = session.open_stream(message.id)
                stream.instead = session.unasked
                readers.append(stream.attach())
                await session.accept(message, origin, stream)
            elif isinstance(message, Malformed) and not message.answers:
                answers.append(encode(error_response(message.id, message.error)))
            else:
                await session.accept(message, origin)
        for reader in readers:
            item = await reader.next()
            if item is not None:
                answers.append(item.data)
        if answers:
            await response.send_whole(200, (*JSON_HEADERS, *cors), b"[" + b",".join(answers) + b"]")
        else:
            await response.send_whole(202, cors, b"")
