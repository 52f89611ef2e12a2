"""The client side of reading HTTP/1.1 (RFC 9112), without input or output: bytes in, one head and its body out."""

from collections.abc import Sequence
from typing import NamedTuple

import h11

from mcpcore.errors import ConnectionLost, RemoteProtocolError

__all__ = ("MAX_INTERIM_RESPONSES", "ResponseHead", "ResponseParser")

MAX_INTERIM_RESPONSES = 20
"""Responses such as "103 Early Hints" before the one that counts; nobody sends more than a few (RFC 9110, 15.2)."""

_SHOWN_CHARACTERS = 120  # of what a server did wrong: enough to recognise what it speaks instead

_END = h11.EndOfMessage()

# h11 reads a response by what it was told of the request, and of that only the method changes anything (RFC 9112, 6.3).
# So it is told of a request that was checked once; the bytes of the real one are made elsewhere. Measured: that and a
# parser for each response take 220 microseconds where telling h11 of each request takes 380.
_TOLD = {
    method: h11.Request(method=method, target="/", headers=[("host", "localhost"), ("content-length", "0")])
    for method in ("CONNECT", "GET", "HEAD")
}


class ResponseHead(NamedTuple):
    """A status line and its headers."""

    status: int
    reason: bytes
    headers: Sequence[tuple[bytes, bytes]]
    """Names in lower case, in the order they came."""


class ResponseParser:
    """Reads the one response to a request with this `method`; `peer` is who sends it, for the text of errors.

    `head` and `body` raise `RemoteProtocolError` when the server breaks HTTP, and `ConnectionLost` when the end was fed
    before the response was complete.
    """

    __slots__ = ("_ended", "_h11", "_head_bytes", "_interim", "_peer", "begun")

    def __init__(self, peer: str, method: str, head_bytes: int) -> None:
        self._h11 = told = h11.Connection(h11.CLIENT, max_incomplete_event_size=head_bytes)
        told.send(_TOLD.get(method) or _TOLD["GET"])
        told.send(_END)
        self._peer = peer
        self._head_bytes = head_bytes
        self._interim = 0
        self._ended = False
        self.begun: bool = False
        """Whether any byte of the response has arrived."""

    def feed(self, data: bytes) -> None:
        """Take bytes that arrived, b"" for the end of the connection. They are parsed by the other methods."""
        if data:
            self.begun = True
        else:
            self._ended = True
        self._h11.receive_data(data)

    def head(self) -> ResponseHead | None:
        """The head, None until it is complete. Interim responses are passed over."""
        while True:
            event = self._next()
            if type(event) is h11.Response:
                return ResponseHead(event.status_code, bytes(event.reason), event.headers)
            if type(event) is not h11.InformationalResponse:
                return None
            self._interim += 1
            if self._interim > MAX_INTERIM_RESPONSES:
                raise RemoteProtocolError(
                    f"{self._peer} sent more than {MAX_INTERIM_RESPONSES} interim responses (status 1xx)"
                )

    def body(self) -> bytes | None:
        """The next piece of the body: None when more has to be fed, b"" at its end."""
        event = self._next()
        if type(event) is h11.Data:
            return bytes(event.data)
        return b"" if type(event) is h11.EndOfMessage else None

    @property
    def reusable(self) -> bool:
        """Whether another request may follow on the connection; after `body` gave b""."""
        parser = self._h11
        # Whoever sends more than it was asked for would answer the next request with it.
        return parser.our_state is h11.DONE and parser.their_state is h11.DONE and parser.trailing_data == (b"", False)

    def _next(self) -> object:
        try:
            return self._h11.next_event()
        except h11.RemoteProtocolError as broken:
            if self._ended:  # which h11 takes for a broken rule
                before = "the response was complete" if self.begun else "it answered"
                raise ConnectionLost(f"{self._peer} closed the connection before {before}") from None
            if broken.error_status_hint == 431:
                text = f"the head of the response from {self._peer} is larger than {self._head_bytes} bytes"
            else:
                reason = str(broken)
                if len(reason) > _SHOWN_CHARACTERS:
                    reason = f"{reason[:_SHOWN_CHARACTERS]}…"
                text = f"{self._peer} does not answer in valid HTTP/1.1: {reason}"
            raise RemoteProtocolError(text) from None
