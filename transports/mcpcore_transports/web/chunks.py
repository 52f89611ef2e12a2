"""The chunks of a request body (RFC 9112, 7.1), without input or output.

On h11, whatever parser read the head: clients of MCP know how long a message is and send few chunked bodies, so that
what counts here is that there is one reading of them.
"""

import h11

from mcpcore_transports.web.head import BadRequest

__all__ = ("CHUNK_LINE_BYTES", "ChunkedBody")

CHUNK_LINE_BYTES = 16 * 1024
"""Bytes of a chunk's size line, and of the trailers after the last chunk. Nobody uses either for anything."""

_HEAD = b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n"


class ChunkedBody:
    """One chunked body."""

    __slots__ = ("_h11",)

    def __init__(self) -> None:
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=CHUNK_LINE_BYTES)
        self._h11.receive_data(_HEAD)
        self._h11.next_event()

    def feed(self, data: bytes) -> None:
        """Take bytes that arrived."""
        self._h11.receive_data(data)

    def next(self) -> bytes | None:
        """The next piece of the body: None when more has to be fed, b"" at its end. Raises `BadRequest`."""
        try:
            event = self._h11.next_event()
        except h11.RemoteProtocolError as broken:
            raise BadRequest(broken.error_status_hint, "the chunks of the request body are malformed") from broken
        if isinstance(event, h11.Data):
            return bytes(event.data)
        return b"" if isinstance(event, h11.EndOfMessage) else None

    @property
    def rest(self) -> bytes:
        """What was fed beyond the end."""
        return self._h11.trailing_data[0]
