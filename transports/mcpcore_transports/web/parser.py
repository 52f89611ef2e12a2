"""The server side of reading HTTP/1.1, without input or output: bytes in, heads and bodies out.

    feed(data)         bytes as they come off the connection
    head()             the next request's head, None until it is complete
    body()             the next piece of its body, None until there is one, b"" at its end
    next_request()     go on to the next head, with what was fed beyond this request

Where a head ends, how long it may be and how a body is delimited is decided here, once for every library that takes
a head apart.
"""

from abc import ABC, abstractmethod

from mcpcore_transports.web.chunks import ChunkedBody
from mcpcore_transports.web.head import BadRequest, Head, check_head_lines
from mcpcore_transports.web.limits import HEAD_BYTES, HEADER_LINES

__all__ = ("Parser",)

_END_OF_HEAD = b"\r\n\r\n"


class Parser(ABC):
    """Reads the requests of one connection, one after the other, with heads of `head_bytes` at most.

    Raises `BadRequest` for everything RFC 9112 tells a server to refuse; after that it is of no use any more.
    """

    __slots__ = ("_buffer", "_chunks", "_head", "_head_bytes", "_left", "_searched", "ended")

    def __init__(self, head_bytes: int = HEAD_BYTES) -> None:
        self._head_bytes = head_bytes
        self._buffer = b""
        self._searched = 0  # bytes of the buffer that are known not to end a head
        self._head: Head | None = None
        self._left = 0  # bytes of the body that have not been given out
        self._chunks: ChunkedBody | None = None
        self.ended: bool = True
        """Whether the body has been given out, all of it."""

    @abstractmethod
    def read_head(self, raw: bytes) -> Head:
        """Take a head apart. `raw` ends with its empty line, and has passed `check_head_lines`. Raises `BadRequest`."""

    @property
    def begun(self) -> bool:
        """Whether any byte of the next head is there."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take bytes that arrived. They are parsed by the other methods, so this raises nothing."""
        if self._chunks is not None:
            self._chunks.feed(data)
        else:
            self._buffer = self._buffer + data if self._buffer else data

    def head(self) -> Head | None:
        """The head of the current request once it is complete. Raises `BadRequest`."""
        if self._head is not None:
            return self._head
        end = self._find_end()
        if end < 0:
            return None
        raw, rest = self._buffer[:end], self._buffer[end:]
        check_head_lines(raw, HEADER_LINES)
        head = self._head = self.read_head(raw)
        self._left = head.content_length
        self.ended = self._left == 0
        if self._left < 0:
            self._chunks = ChunkedBody()
            if rest:
                self._chunks.feed(rest)
            rest = b""
        self._buffer = rest
        self._searched = 0
        return head

    def body(self) -> bytes | None:
        """The next piece of the body: None when more has to be fed, b"" at its end. Raises `BadRequest`."""
        if self.ended:
            return b""
        if self._chunks is not None:
            return self._chunk(self._chunks)
        piece = self._buffer
        if not piece:
            return None
        left = self._left - len(piece)
        if left < 0:
            self._buffer = piece[left:]
            piece = piece[:left]
            left = 0
        else:
            self._buffer = b""
        self._left = left
        self.ended = left == 0
        return piece

    def next_request(self) -> None:
        """Begin with the next request. Only when the body has `ended`."""
        self._head = None

    def _chunk(self, chunks: ChunkedBody) -> bytes | None:
        piece = chunks.next()
        if piece == b"":
            self._buffer = chunks.rest
            self._chunks = None
            self.ended = True
        return piece

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
        if self._buffer.count(b"\n", self._searched) != self._buffer.count(b"\r\n", max(0, self._searched - 1)):
            # Said at once: a client that ends its lines so waits for an answer, and will not end its head otherwise.
            raise BadRequest(400, "a line of the request head does not end with CR LF")
        self._searched = max(0, len(self._buffer) - len(_END_OF_HEAD) + 1)
        return -1
