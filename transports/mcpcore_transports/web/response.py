"""The response to one request of the client: its head, and its body as it comes."""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import anyio
import h11

from mcpcore.errors import ConnectionLost, DeadlineExceeded, RemoteProtocolError
from mcpcore_transports.web.wire import Wire

__all__ = ("MAX_INTERIM_RESPONSES", "HttpResponse")

MAX_INTERIM_RESPONSES = 20
"""Responses such as "103 Early Hints" before the one that counts; nobody sends more than a few (RFC 9110, 15.2)."""

_NONE_YET = h11.Response(status_code=200, headers=[])
_END = h11.EndOfMessage()

# h11 reads a response by what it was told of the request, and of that only the method changes anything (RFC 9112, 6.3).
# So it is told of one that costs no time to check; the bytes of the real one are made elsewhere.
_TOLD_HEADERS = [("host", "localhost"), ("content-length", "0")]
_TOLD = {method: h11.Request(method=method, target="/", headers=_TOLD_HEADERS) for method in ("CONNECT", "GET", "HEAD")}


class HttpResponse:
    """A response whose head has arrived. Used by one task at a time, inside the `async with` that gave it."""

    status: int
    """Three digits; redirects are responses like any other."""

    def __init__(
        self,
        wire: Wire,
        method: str,
        *,
        head_bytes: int,
        body_seconds: float | None,
        release: Callable[[Wire, bool], None],
        is_closed: Callable[[], bool],
    ) -> None:
        self._wire = wire
        self._body_seconds = body_seconds
        self._release = release
        self._is_closed = is_closed
        self._parser = parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=head_bytes)
        parser.send(_TOLD.get(method) or _TOLD["GET"])
        parser.send(_END)
        self._method = method
        self._head_bytes = head_bytes
        self._head = _NONE_YET
        self._headers: dict[str, str] | None = None
        self._held = True  # whether the connection is this response's
        self._ended = False  # whether the body has been read to its end
        self.begun = False
        """Whether any byte of the response has arrived."""

    @property
    def reason(self) -> str:
        """The text beside the status; servers may leave it out."""
        return self._head.reason.decode("latin-1")

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case. Values of a repeated name are joined with ", ": see `header_values`."""
        if self._headers is None:
            self._headers = joined = {}
            for raw_name, raw_value in self._head.headers:
                name = raw_name.decode("ascii")
                value = raw_value.decode("latin-1")
                joined[name] = f"{joined[name]}, {value}" if name in joined else value
        return self._headers

    def header_values(self, name: str) -> Sequence[str]:
        """Every value of a header (lower-case name), as they came."""
        wanted = name.encode("ascii")
        return [value.decode("latin-1") for found, value in self._head.headers if found == wanted]

    async def read(self, limit: int) -> bytes:
        """The rest of the body, `limit` bytes at most.

        Raises `BodyTooLarge`, by the declared length or while counting what comes; `ConnectionLost` when the connection
        ends before the body or falls silent; `RemoteProtocolError`; `anyio.ClosedResourceError` when the client is
        closed. After each of them, and after leaving the `async with`, the connection is closed.
        """
        length = self.headers.get("content-length", "0")
        if self._method != "HEAD" and int(length) > limit:
            raise self._too_large(limit)
        data = await self.receive()
        if not data:
            return b""
        pieces = [data]
        count = len(data)
        while count <= limit:
            data = await self.receive()
            if not data:
                return b"".join(pieces) if len(pieces) > 1 else pieces[0]
            pieces.append(data)
            count += len(data)
        raise self._too_large(limit)

    def stream(self) -> AsyncIterator[bytes]:
        """The pieces of the body as they come, none of them empty. May be left at any point. Raises as `read`."""
        return _Stream(self)

    async def receive(self) -> bytes:
        """The next piece of the body, b"" at its end. Raises as `read`. Cancellation loses nothing."""
        if self._ended:
            return b""
        if not self._held:
            raise anyio.ClosedResourceError
        try:
            while True:
                event = self._next_event()
                if type(event) is h11.Data:
                    return bytes(event.data)
                if type(event) is h11.EndOfMessage:
                    self._end()
                    return b""
                await self._feed(self._body_seconds)
        except (ConnectionLost, RemoteProtocolError):
            self.close()
            raise

    async def receive_head(self, seconds: float | None) -> None:
        """Wait for the head; for who made this. Closes nothing.

        Raises `ConnectionLost`, `RemoteProtocolError`, `anyio.ClosedResourceError`, and `DeadlineExceeded` after `seconds`.
        """
        interim = 0
        until = None if seconds is None else time.monotonic() + seconds
        while True:
            event = self._next_event()
            if type(event) is h11.Response:
                self._head = event
                self.status = event.status_code
                return
            if type(event) is h11.InformationalResponse:
                interim += 1
                if interim > MAX_INTERIM_RESPONSES:
                    raise RemoteProtocolError(
                        f"{self._wire.peer} sent more than {MAX_INTERIM_RESPONSES} interim responses (status 1xx)"
                    )
                continue
            try:
                await self._feed(None if until is None else max(0.0, until - time.monotonic()), head=True)
            except TimeoutError:
                raise DeadlineExceeded(f"{self._wire.peer} did not answer within {seconds:g} seconds") from None

    def close(self) -> None:
        """Give the connection up. It is kept for another request if the whole body has arrived by itself. Never waits."""
        if not self._held:
            return
        try:
            while type(event := self._next_event()) is h11.Data:
                pass
        except (ConnectionLost, RemoteProtocolError, anyio.ClosedResourceError):
            event = None
        if type(event) is h11.EndOfMessage:
            self._end()
        else:
            self._held = False
            self._release(self._wire, False)

    def _end(self) -> None:
        parser = self._parser
        self._ended = True
        self._held = False
        # Whoever sends more than it was asked for would answer the next request with it.
        reusable = parser.our_state is h11.DONE and parser.their_state is h11.DONE and not parser.trailing_data[0]
        self._release(self._wire, reusable)

    def _next_event(self) -> object:
        try:
            return self._parser.next_event()
        except h11.RemoteProtocolError as broken:
            if self._parser.trailing_data[1]:
                # The end came before the end of the message: h11 takes that for a broken rule, it is a broken connection.
                what = "the whole response" if self.begun else "it answered"
                raise self._lost(f"{self._wire.peer} closed the connection before {what}") from None
            if broken.error_status_hint == 431:
                text = f"the head of the response from {self._wire.peer} is larger than {self._head_bytes} bytes"
            else:
                text = f"{self._wire.peer} does not answer in HTTP/1.1: {broken}"
            raise RemoteProtocolError(text) from broken
