"""The parser on h11: it reads heads and chunked bodies; bodies of a known length need no parser.

h11 never learns of our responses. Its connection object is made anew for each request, which costs 5 microseconds where
telling it of the response costs 40.
"""

import h11

from mcpcore_transports.web.limits import HEAD_BYTES, HEADER_LINES
from mcpcore_transports.web.parser import BadRequest, Head, Parser, check_head_lines, make_head

__all__ = ("CHUNK_LINE_BYTES", "H11Parser")

CHUNK_LINE_BYTES = 16 * 1024
"""Bytes of a chunk's size line, and of the trailers after the last chunk. Nobody uses either for anything."""

_END_OF_HEAD = b"\r\n\r\n"


class H11Parser(Parser):
    """Reads heads of `head_bytes` at most."""

    __slots__ = ("_buffer", "_chunks", "_head", "_head_bytes", "_left", "_searched")

    def __init__(self, head_bytes: int = HEAD_BYTES) -> None:
        self._head_bytes = head_bytes
        self._buffer = b""
        self._searched = 0  # bytes of the buffer that are known not to end a head
        self._head: Head | None = None
        self._left = 0  # bytes of the body that have not been given out
        self._chunks: h11.Connection | None = None

    @property
    def begun(self) -> bool:
        return bool(self._buffer)

    def feed(self, data: bytes) -> None:
        if self._chunks is not None:
            self._chunks.receive_data(data)
        else:
            self._buffer = self._buffer + data if self._buffer else data

    def head(self) -> Head | None:
        if self._head is not None:
            return self._head
        end = self._find_end()
        if end < 0:
            return None
        raw = self._buffer[:end]
        check_head_lines(raw, HEADER_LINES)
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=max(self._head_bytes, CHUNK_LINE_BYTES))
        connection.receive_data(raw)
        try:
            request = connection.next_event()
        except h11.RemoteProtocolError as broken:
            raise BadRequest(broken.error_status_hint, _reason(broken.error_status_hint)) from broken
        if not isinstance(request, h11.Request):
            raise BadRequest(400, _reason(400))
        head = self._head = make_head(
            request.method.decode("ascii"),
            request.target.decode("ascii"),
            request.http_version.decode("ascii"),
            [(name.decode("ascii"), value.decode("latin-1")) for name, value in request.headers],
        )
        self._left = head.content_length
        rest = self._buffer[end:]
        if self._left < 0:
            self._chunks = connection
            if rest:
                connection.receive_data(rest)
            rest = b""
        self._buffer = rest
        self._searched = 0
        return head

    def body(self) -> bytes | None:
        if self._chunks is not None:
            return self._chunk(self._chunks)
        if self._left == 0:
            return b""
        if not self._buffer:
            return None
        piece, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
        self._left -= len(piece)
        return piece

    def next_request(self) -> None:
        self._head = None

    def _chunk(self, chunks: h11.Connection) -> bytes | None:
        try:
            event = chunks.next_event()
        except h11.RemoteProtocolError as broken:
            raise BadRequest(broken.error_status_hint, "the chunks of the request body are malformed") from broken
        if isinstance(event, h11.Data):
            return bytes(event.data)
        if not isinstance(event, h11.EndOfMessage):
            return None
        self._buffer = chunks.trailing_data[0]
        self._chunks = None
        self._left = 0
        return b""

    def _find_end(self) -> int:
        """Where the head ends in the buffer, -1 when that is not there yet."""
        if not self._searched and self._buffer[:1] in b"\r\n":
            # RFC 9112, 2.2: empty lines before a request line are to be ignored; some clients end a body with one.
            while self._buffer.startswith(b"\r\n"):
                self._buffer = self._buffer[2:]
            if not self._buffer or self._buffer == b"\r":
                return -1
        end = self._buffer.find(_END_OF_HEAD, self._searched)
        if 0 <= end <= self._head_bytes - len(_END_OF_HEAD):
            return end + len(_END_OF_HEAD)
        if end >= 0 or len(self._buffer) >= self._head_bytes:
            raise BadRequest(431, f"the request head is larger than {self._head_bytes} bytes")
        line_end = self._buffer.find(b"\n", self._searched)
        if line_end >= 0 and self._buffer[line_end - 1 : line_end] != b"\r":
            raise BadRequest(400, "a line of the request head does not end with CR LF")
        self._searched = max(0, len(self._buffer) - len(_END_OF_HEAD) + 1)
        return -1


def _reason(status: int) -> str:
    if status == 501:
        return "the only transfer-encoding understood here is one 'chunked'"
    return "the request line or a header is malformed"
