"""How a JSON-RPC answer becomes an HTTP response: as one JSON body, or, once something comes before it, as events.

The status can be chosen until the first byte is sent, so an event stream begins with the first notification and not
before: a request that is refused at once is answered with 400 or 404 and a JSON body (MCP 2026-07-28, Streamable
HTTP).
"""

import anyio

from mcpcore.channel import Envelope, ReplyChannel
from mcpcore.errors import (
    CODE_HEADER_MISMATCH,
    CODE_INVALID_PARAMS,
    CODE_INVALID_REQUEST,
    CODE_METHOD_NOT_FOUND,
    CODE_MISSING_CAPABILITY,
    CODE_PARSE_ERROR,
    CODE_SERVER_BUSY,
    CODE_UNSUPPORTED_REVISION,
    ConnectionLost,
    RequestError,
)
from mcpcore.jsonrpc import ErrorResponse, Notification, Response, encode, error_response
from mcpcore_transports.framing.eventstream import KEEP_ALIVE, encode_event
from mcpcore_transports.web.exchange import Headers, WebResponse

__all__ = ("EVENT_STREAM_HEADERS", "JSON_HEADERS", "OUTBOX_BYTES", "ExchangeReply", "refuse", "send_error", "status_of")

OUTBOX_BYTES = 256 * 1024
"""Bytes of one event stream that may wait while an earlier part is being sent, before the handler waits."""

JSON_HEADERS: Headers = (("content-type", "application/json"),)

EVENT_STREAM_HEADERS: Headers = (
    ("content-type", "text/event-stream"),
    ("cache-control", "no-cache, no-transform"),
    # nginx buffers responses unless it is told not to, and would hold back every event.
    ("x-accel-buffering", "no"),
)

_STATUS = {
    CODE_PARSE_ERROR: 400,
    CODE_INVALID_REQUEST: 400,
    CODE_INVALID_PARAMS: 400,
    CODE_METHOD_NOT_FOUND: 404,
    CODE_HEADER_MISMATCH: 400,
    CODE_MISSING_CAPABILITY: 400,
    CODE_UNSUPPORTED_REVISION: 400,
    CODE_SERVER_BUSY: 503,
}


def status_of(answer: Response | ErrorResponse) -> int:
    """The HTTP status for an answer that is the whole response. What the specification leaves open is 200."""
    return _STATUS.get(answer.error.code, 200) if isinstance(answer, ErrorResponse) else 200


async def send_error(
    response: WebResponse, error: ErrorResponse, headers: Headers = (), *, status: int | None = None
) -> None:
    """Send an error as the whole response, with the status of its code unless `status` says another.

    Raises ConnectionLost when the client has left.
    """
    found = status_of(error) if status is None else status
    await response.send_whole(found, (*JSON_HEADERS, *headers), encode(error))


async def refuse(response: WebResponse, status: int, text: str, headers: Headers = ()) -> None:
    """Refuse before any message was looked at; JSON-RPC in the body, for clients that read nothing else.

    Raises ConnectionLost when the client has left.
    """
    await send_error(response, error_response(None, RequestError(CODE_INVALID_REQUEST, text)), headers, status=status)


class ExchangeReply(ReplyChannel):
    """The reply channel of a request without a session: its far end is the HTTP response itself.

    The host closes it when the client leaves, which cancels the request in every response mode.
    """

    __slots__ = ("_answering", "_extra", "_only_json", "_response", "_sending", "_sent", "_unsent", "answered")

    def __init__(self, response: WebResponse, *, only_json: bool, headers: Headers = ()) -> None:
        """`only_json` when the client does not accept events: notifications are then left out."""
        super().__init__()
        self._response = response
        self._only_json = only_json
        self._extra = tuple(headers)
        self._unsent: list[bytes] = []
        self._sending = self._answering = False
        self._sent: anyio.Event | None = None
        self.answered: bool = False
        """Whether the host has been given the answer."""

    async def send(self, envelope: Envelope) -> bool:
        message = envelope.message
        if self.closed:
            return False
        frame = encode(message)
        try:
            if isinstance(message, Notification):
                if self._only_json:
                    return True
                self._unsent.append(encode_event(frame, event="message"))
                await self._put()
                return not self.closed
            assert isinstance(message, Response | ErrorResponse), "2026-07-28: a server sends no requests"
            while self._sending:
                await self._wait_sent()
            self._answering = True
            if self._response.started or self._unsent:
                if not self._response.started:
                    await self._flush()
                self._unsent.append(encode_event(frame, event="message"))
                await self._response.finish(self._taken())
            else:
                status = status_of(message)
                headers = (*JSON_HEADERS, *self._extra)
                if status == 503:
                    headers = (*headers, ("retry-after", "1"))
                await self._response.send_whole(status, headers, frame)
            self.answered = True
        except ConnectionLost:
            self.close("the client has left")
            return False
        return True

    async def begin(self) -> None:
        """Make an event stream of the response although nothing has happened yet, so that something keeps it alive."""
        if self._only_json or self._sending or self._answering or self._response.started or self.closed:
            return
        try:
            await self._flush()
        except ConnectionLost:
            self.close("the client has left")

    async def _put(self) -> None:
        """Send in order, one task at a time: whoever comes while another sends leaves its event to that one."""
        while self._sending:
            if sum(map(len, self._unsent)) <= OUTBOX_BYTES:
                return
            await self._wait_sent()
        await self._flush()

    async def _flush(self) -> None:
        """Send what is unsent. When this is cancelled, the rest goes with whatever is sent next."""
        self._sending = True
        try:
            if not self._response.started:
                headers = (*EVENT_STREAM_HEADERS, *self._extra)
                await self._response.start(200, headers, first=self._taken(), idle_bytes=KEEP_ALIVE)
                self._tell_sent()
            while self._unsent:
                await self._response.send(self._taken())
                self._tell_sent()
        finally:
            self._sending = False
            self._tell_sent()

    def _taken(self) -> bytes:
        """What is unsent, for whoever sends it."""
        unsent, self._unsent = self._unsent, []
        return unsent[0] if len(unsent) == 1 else b"".join(unsent)

    async def _wait_sent(self) -> None:
        if self._sent is None:
            self._sent = anyio.Event()
        await self._sent.wait()

    def _tell_sent(self) -> None:
        if self._sent is not None:
            self._sent.set()
            self._sent = None
