"""The chunks of a request body (RFC 9112, 7.1), without input or output.

Read here, whatever parser read the head: h11 takes bare line feeds for the end of a trailer, and carriage returns for
a part of a chunk extension. A proxy in front of us that does not would see a body where we see the next request.
"""

import re

from mcpcore_transports.web.head import BadRequest

__all__ = ("CHUNK_LINE_BYTES", "ChunkedBody")

CHUNK_LINE_BYTES = 16 * 1024
"""Bytes of a chunk's size line, and of the trailers after the last chunk. Nobody uses either for anything."""

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,20})(?:;[\t\x20-\x7e\x80-\xff]*)?[ \t]*")
_TRAILER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*")
_END = b"\r\n"


class ChunkedBody:
    """One chunked body."""

    __slots__ = ("_buffer", "_ended", "_framing", "_in_chunk", "_left", "_trailing")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._left = 0  # bytes of the chunk that have not been given out
        self._in_chunk = False  # until the line ending after its data
        self._trailing = False
        self._framing = 0  # bytes of the size line, or of all trailers, that are read
        self._ended = False

    def feed(self, data: bytes) -> None:
        """Take bytes that arrived."""
        self._buffer += data

    def next(self) -> bytes | None:
        """The next piece of the body: None when more has to be fed, b"" at its end. Raises `BadRequest`."""
        while not self._ended:
            if self._left:
                return self._data()
            line = self._line()
            if line is None:
                return None
            if self._in_chunk:
                self._in_chunk = False
                if line:
                    raise _malformed()
            elif not self._trailing:
                self._begin_chunk(line)
            elif not line:
                self._ended = True
            elif _TRAILER.fullmatch(line) is None:
                raise _malformed()
        return b""

    @property
    def rest(self) -> bytes:
        """What was fed beyond the end."""
        return bytes(self._buffer)

    def _data(self) -> bytes | None:
        piece = bytes(self._buffer[: self._left])
        del self._buffer[: self._left]
        self._left -= len(piece)
        return piece or None

    def _begin_chunk(self, line: bytes) -> None:
        size = _SIZE.fullmatch(line)
        if size is None:
            raise _malformed()
        self._framing = 0
        self._left = int(size[1], 16)
        self._in_chunk = self._left > 0
        self._trailing = self._left == 0

    def _line(self) -> bytes | None:
        """The next line, without its ending; None until it is complete."""
        buffer = self._buffer
        if self._in_chunk and not _END.startswith(buffer[:2]):
            raise _malformed()
        end = buffer.find(b"\n")
        if end < 0:
            if self._framing + len(buffer) > CHUNK_LINE_BYTES:
                raise _too_long()
            return None
        self._framing += end + 1
        if self._framing > CHUNK_LINE_BYTES:
            raise _too_long()
        if buffer[end - 1 : end] != b"\r":
            raise _malformed()
        line = bytes(buffer[: end - 1])
        del buffer[: end + 1]
        return line


def _malformed() -> BadRequest:
    return BadRequest(400, "the chunks of the request body are malformed")


def _too_long() -> BadRequest:
    return BadRequest(431, f"a chunk's size or the trailers are longer than {CHUNK_LINE_BYTES} bytes")
