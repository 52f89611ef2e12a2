"""The HTTP application: which request goes where, and what is refused before any of it is looked at.

One endpoint serves both eras of Streamable HTTP, and HTTP+SSE beside them when it is asked for. A request belongs to
the stateless era when its header or its body says so; everything else follows the rules of the handshake era, where
a session id names what came before.
"""

import logging
from functools import partial
from typing import Any
from urllib.parse import parse_qs

import msgspec
from anyio.abc import TaskGroup

from mcpcore.channel import Envelope, Origin
from mcpcore.errors import CODE_INVALID_REQUEST, ConnectionLost, RequestError
from mcpcore.jsonrpc import (
    Batch,
    Malformed,
    Message,
    Notification,
    Request,
    decode,
    error_response,
)
from mcpcore.revisions import Era
from mcpcore.traffic import Traffic
from mcpcore.types import META_PROTOCOL_VERSION
from mcpcore_transports.http.admission import Admission, Caller
from mcpcore_transports.http.expiry import Expiries
from mcpcore_transports.http.handshake import SESSION_HEADER, HandshakeExchange
from mcpcore_transports.http.measured import Measured, MeasuredResponse, send_metrics
from mcpcore_transports.http.negotiation import accepted, is_json, is_modern
from mcpcore_transports.http.options import HttpOptions
from mcpcore_transports.http.patience import Patience
from mcpcore_transports.http.replies import ExchangeReply, refuse, send_error
from mcpcore_transports.http.served import Served
from mcpcore_transports.http.sessions import SessionTable
from mcpcore_transports.http.verifying import HeaderVerifier
from mcpcore_transports.sse.server import SseServer
from mcpcore_transports.web.exchange import BodyTooLarge, Headers, WebRequest, WebResponse

__all__ = ("Endpoint",)

_USUAL_SSE_PATHS = ("/sse", "/sse/messages")

_ENVELOPE_KEY = META_PROTOCOL_VERSION.encode()

logger: logging.Logger = logging.getLogger("mcpcore.http")


class Endpoint:
    """Serves one server. `run` has to be entered while requests are handled: sessions live in its task group."""

    def __init__(self, server: Served, options: HttpOptions) -> None:
        self._server = server
        self._options = options
        self.sessions: SessionTable = SessionTable(
            partial(server.serve_channel, grace=0),
            options.store,
            max_sessions=options.max_sessions,
            idle_seconds=options.idle_seconds,
        )
        self.paths: tuple[str, ...] = tuple(path for path in (options.path, options.sse_path) if path)
        """Where clients come in, the main one first."""
        self._expiries = Expiries()
        self._handshake = HandshakeExchange(self.sessions, options, self._expiries)
        self._path = None if options.path is None else options.path.rstrip("/") or "/"
        self._sse_path = None if options.sse_path is None else options.sse_path.rstrip("/") or "/"
        self._messages_path = None if self._sse_path is None else self._sse_path.rstrip("/") + "/messages"
        self.streams: SseServer = SseServer(
            self._expiries, messages_path=self._messages_path or "", max_connections=options.max_sessions
        )
        self.measured: Measured | None = options.measured
        self._traffic = Traffic() if options.measured is None else options.measured.traffic
        self._open_streams = 0
        self._waiting = Patience()
        self.admission: Admission = Admission(server, options, [path for path in (self._path, self._sse_path) if path])
        self.draining: bool = False

    def start(self, tasks: TaskGroup) -> None:
        """Let sessions and what else outlives a request live in this task group."""
        self.sessions.start(tasks)
        tasks.start_soon(self._waiting.keep_alive)
        tasks.start_soon(self._expiries.run)

    def count_streams(self) -> int:
        """Event streams that stay open by design and are open now."""
        return self._open_streams

    def _count(self, response: WebResponse, transport: str, era: str, messages: int = 0, size: int = 0) -> None:
        """Say what a response answers, where that is measured: so many messages, in a body of `size` bytes."""
        if type(response) is MeasuredResponse:
            response.belongs(self._traffic.of(transport, era), messages, size)

    def drain(self) -> None:
        """Say at /readyz that this process is going, begin no session, and end the streams that only wait. What runs
        goes on."""
        self.draining = True
        self.sessions.drain()

    async def __call__(self, request: WebRequest, response: WebResponse) -> None:
        """Answer one HTTP request. Raises `ConnectionLost` when the client has left, as hosts want to be told."""
        path = request.path.rstrip("/") or "/"
        if self.measured is not None:
            response = MeasuredResponse(response, self._traffic.of("http", ""))
        try:
            if path == "/healthz":
                await response.send_whole(200, _TEXT, b"ok\n")
            elif path == "/readyz":
                await response.send_whole(*((503, _TEXT, b"draining\n") if self.draining else (200, _TEXT, b"ready\n")))
            else:
                await self._route(path, request, response)
        except BodyTooLarge:
            text = f"the body is over the limit of {self._options.max_body_bytes} bytes"
            await refuse(response, 413, text, self._cors(request))

    async def _route(self, path: str, request: WebRequest, response: WebResponse) -> None:
        options = self._options
        described = None
        if path not in (self._path, self._sse_path, self._messages_path, options.metrics_path):
            described = self.admission.described_at(path, request.mount)
            if described is None and path in _USUAL_SSE_PATHS and self._path is not None:
                # What its last clients see when a server stops serving them.
                place = f"{request.mount}{self._path}"
                text = "HTTP+SSE (2024-11-05) is not served here: use a client that speaks Streamable HTTP, at"
                await refuse(response, 404, f"{text} {place}", (("link", f'<{place}>; rel="successor-version"'),))
                return
            if described is None:
                await response.send_whole(404, _TEXT, b"there is nothing here\n")
                return
        if (refusal := options.policy.check_host(request.headers.get("host"))) is not None:
            await refuse(response, 421, refusal)
            return
        if described is not None:
            await self.admission.describe(request, response, described)
            return
        origin = request.headers.get("origin")
        if (refusal := options.policy.check_origin(origin, request.headers.get("host"))) is not None:
            await refuse(response, 403, refusal)
            return
        cors = self._cors(request)
        if request.method == "OPTIONS":
            await response.send_whole(204, options.policy.preflight_headers(request.headers), b"")
            return
        endpoint: str | None = path
        if path == self._messages_path:
            endpoint = self._sse_path
        elif path == options.metrics_path:
            endpoint = self._path or self._sse_path  # whoever may use the server may read them, with the same token
        caller = await self.admission.admit(request, response, endpoint or path, cors)
        if caller is None:
            return
        if path == self._path:
            await self._mcp(request, response, caller, cors)
        elif path == options.metrics_path and self.measured is not None:
            await send_metrics(self.measured, request, response, cors)
        elif path == self._sse_path:
            await self._sse(request, response, caller, cors)
        else:
            await self._sse_message(request, response, caller, cors)

    # ------------------------------------------------------------------ Streamable HTTP

    async def _mcp(self, request: WebRequest, response: WebResponse, caller: Caller, cors: Headers) -> None:
        if request.method == "POST":
            await self._post(request, response, caller, cors)
        elif request.method in ("GET", "DELETE") and Era.LEGACY in self._server.eras:
            origin = caller.origin("http")
            self._count(response, "http", "legacy")
            if request.method == "GET" and SESSION_HEADER in request.headers:
                if await self._begin_stream(response, cors):
                    try:
                        await self._handshake.without_body(request, response, origin, cors)
                    finally:
                        self._open_streams -= 1
            else:
                await self._handshake.without_body(request, response, origin, cors)
        else:
            allow = "POST, GET, DELETE, OPTIONS" if Era.LEGACY in self._server.eras else "POST, OPTIONS"
            await refuse(response, 405, f"{request.method} is not for this path", (("allow", allow), *cors))

    async def _post(self, request: WebRequest, response: WebResponse, caller: Caller, cors: Headers) -> None:
        headers = request.headers
        if not is_json(headers.get("content-type")):
            await refuse(response, 415, "the body must be application/json", cors)
            return
        accepts = accepted(headers.get("accept"))
        if not accepts:
            await refuse(response, 406, "the client must accept application/json or text/event-stream", cors)
            return
        body = await request.body(self._options.max_body_bytes)
        message = decode(body)
        modern = self._is_modern(headers.get("mcp-protocol-version"), message, body)
        count = len(message.messages) if isinstance(message, Batch) else 1
        self._count(response, "http", "modern" if modern else "legacy", count, len(body))
        if self._server.scoped and await self.admission.forbids(request, response, message, caller, cors):
            return
        if modern:
            origin = caller.origin("http", HeaderVerifier(request))
            await self._stateless(request, response, message, origin, "event-stream" in accepts, cors)
            return
        if Era.LEGACY not in self._server.eras and not isinstance(message, Malformed):
            await self._stateless(request, response, message, caller.origin("http"), False, cors)
            return
        if isinstance(message, Malformed):
            await send_error(response, error_response(message.id, message.error), cors, status=400)
            return
        origin = caller.origin("http")
        await self._handshake.post(request, response, message, origin, accepts, cors)

    def _is_modern(self, version: str | None, message: Message | Batch, body: bytes) -> bool:
        """Which era a POST belongs to: that of its header, or of the envelope in its body (spec 2026-07-28)."""
        if Era.MODERN not in self._server.eras:
            return False
        if is_modern(version):
            return True
        if isinstance(message, Request) and message.method == "server/discover":
            return True
        # A search for the bytes first: a legacy request is not decoded twice for this.
        return isinstance(message, Request | Notification) and _ENVELOPE_KEY in body and _has_envelope(message)

    async def _stateless(
        self,
        request: WebRequest,
        response: WebResponse,
        message: Message | Batch,
        origin: Origin,
        streams: bool,
        cors: Headers,
    ) -> None:
        if isinstance(message, Request):
            if message.method == "subscriptions/listen" and not streams:
                await refuse(response, 406, "subscriptions/listen is answered with text/event-stream", cors)
                return
            only_json = not streams or (self._options.json_response and message.method != "subscriptions/listen")
            reply = ExchangeReply(response, only_json=only_json, headers=cors)
            request.when_gone(reply.close)
            self._waiting.add(reply)
            try:
                if message.method == "subscriptions/listen":
                    if not await self._begin_stream(response, cors):
                        return
                    try:
                        with self._expiries.ending(origin.principal, reply.close):
                            await self._server.answer(Envelope(message, reply, origin))
                    finally:
                        self._open_streams -= 1
                else:
                    await self._server.answer(Envelope(message, reply, origin))
            finally:
                self._waiting.remove(reply)
            if not reply.answered:
                raise ConnectionLost("the client left before it was answered")
            return
        if isinstance(message, Notification):
            # Ids are the callers' own here, so a cancellation by id could only ever hit somebody else's request.
            await response.send_whole(202, cors, b"")
            return
        if isinstance(message, Malformed):
            error = message.error
            await send_error(response, error_response(message.id, error), cors, status=400)
            return
        what = "batches" if isinstance(message, Batch) else "responses"
        error = RequestError(CODE_INVALID_REQUEST, f"this revision has no {what}: post one request or notification")
        await send_error(response, error_response(None, error), cors, status=400)

    # ------------------------------------------------------------------ HTTP+SSE

    async def _sse(self, request: WebRequest, response: WebResponse, caller: Caller, cors: Headers) -> None:
        if request.method != "GET":
            await refuse(response, 405, "open the event stream with GET", (("allow", "GET"), *cors))
            return
        origin = caller.origin("sse")
        self._count(response, "sse", "legacy")
        if await self._begin_stream(response, cors):
            try:
                await self.streams.stream(self._server, request, response, origin, cors)
            finally:
                self._open_streams -= 1

    async def _sse_message(self, request: WebRequest, response: WebResponse, caller: Caller, cors: Headers) -> None:
        if request.method != "POST":
            await refuse(response, 405, "post messages here", (("allow", "POST"), *cors))
            return
        session = parse_qs(request.query).get("session_id", [""])[0]
        origin = caller.origin("sse")
        body = await request.body(self._options.max_body_bytes)
        self._count(response, "sse", "legacy", 1, len(body))
        if self._server.scoped and await self.admission.forbids(request, response, decode(body), caller, cors):
            return
        if await self.streams.post(session, origin, body):
            await response.send_whole(202, (*_TEXT, *cors), b"accepted\n")
        else:
            await refuse(response, 404, "there is no such session: open the event stream again", cors)

    async def _begin_stream(self, response: WebResponse, cors: Headers) -> bool:
        """Take a place among the streams that stay open, for the caller to give back; False when there was none and
        the request was refused. No context manager, which would weigh on each of them."""
        if self._open_streams >= self._options.max_streams:
            text = f"{self._open_streams} event streams are open, which is the limit (--max-streams); come back later"
            await refuse(response, 503, text, (("retry-after", "5"), *cors))
            return False
        self._open_streams += 1
        return True

    def _cors(self, request: WebRequest) -> Headers:
        return self._options.policy.response_headers(request.headers.get("origin"))


_TEXT: Headers = (("content-type", "text/plain; charset=utf-8"),)


class _Envelope(msgspec.Struct):
    meta: dict[str, Any] | None = msgspec.field(default=None, name="_meta")


_decode_envelope = msgspec.json.Decoder(_Envelope).decode


def _has_envelope(message: Request | Notification) -> bool:
    try:
        return META_PROTOCOL_VERSION in (_decode_envelope(message.params).meta or {})
    except (ValueError, RecursionError):
        return False
