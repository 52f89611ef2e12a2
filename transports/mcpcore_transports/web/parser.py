"""The server side of reading HTTP/1.1, without input or output: bytes in, heads and bodies out.

    feed(data)         bytes as they come off the connection
    head()             the next request's head, None until it is complete
    body()             the next piece of its body, None until there is one, b"" at its end
    next_request()     go on to the next head, with what was fed beyond this request

A parser raises `BadRequest` for everything RFC 9112 tells a server to refuse; after that it is of no use any more. What
two servers could read differently is refused as well, because a proxy in front of us may have read it the other way:
content-length together with transfer-encoding, line endings other than CR LF, folded headers.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import msgspec

__all__ = ("BadRequest", "Head", "Parser", "check_head_lines", "make_head")


class BadRequest(Exception):
    """The client broke HTTP. `status` is the response status that says so; the text may be sent to the client."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Head(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A request line and its headers."""

    method: str
    target: str
    """As sent: a path with query, an absolute URL, or "*"."""

    minor: int
    """1 of HTTP/1.1, 0 of HTTP/1.0."""

    headers: Sequence[tuple[str, str]]
    """Names in lower case, in the order they came."""

    content_length: int
    """Bytes of the body; -1 when it is chunked."""

    keep_alive: bool
    """Whether the client lets the connection live on after the response."""

    expects_continue: bool
    """Whether the client waits for "100 Continue" before it sends the body."""


class Parser(ABC):
    """Reads the requests of one connection, one after the other."""

    @abstractmethod
    def feed(self, data: bytes) -> None:
        """Take bytes that arrived. They are parsed by the other methods, so this raises nothing."""

    @abstractmethod
    def head(self) -> Head | None:
        """The head of the current request once it is complete. Raises `BadRequest`."""

    @abstractmethod
    def body(self) -> bytes | None:
        """The next piece of the body: None when more has to be fed, b"" at its end. Raises `BadRequest`."""

    @abstractmethod
    def next_request(self) -> None:
        """Begin with the next request. Only after `body` gave b""."""

    @property
    @abstractmethod
    def begun(self) -> bool:
        """Whether any byte of the next head is there."""


def check_head_lines(head: bytes, max_lines: int) -> None:
    """Refuse a head whose lines other servers may divide differently, or that has too many of them.

    `head` ends with the empty line. RFC 9112, 2.2 (line endings) and 5.2 (folded headers).
    """
    lines = head.count(b"\n")
    if lines != head.count(b"\r\n") or lines != head.count(b"\r"):
        raise BadRequest(400, "a line of the request head does not end with CR LF")
    if b"\n " in head or b"\n\t" in head:
        raise BadRequest(400, "a header is folded over two lines")
    if lines > max_lines:
        raise BadRequest(431, f"the request has more than {max_lines} header lines")


def make_head(method: str, target: str, version: str, headers: Sequence[tuple[str, str]]) -> Head:
    """The head of a request with these parts; header names in lower case. Raises `BadRequest`.

    Decides how the body is delimited (RFC 9112, 6.3) and whether the connection is kept (9.3).
    """
    if version not in ("1.1", "1.0"):
        raise BadRequest(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    if method == "CONNECT":
        raise BadRequest(400, "this server is not a proxy")
    hosts = length = 0
    chunked = closing = expects = False
    lengths = None
    for name, value in headers:
        if name == "host":
            hosts += 1
        elif name == "content-length":
            if lengths is not None and lengths != value:
                raise BadRequest(400, "the request has two different content-length headers")
            if not (value.isascii() and value.isdigit() and len(value) < 19):
                raise BadRequest(400, "content-length is not a number of bytes")
            lengths = value
            length = int(value)
        elif name == "transfer-encoding":
            if chunked or value.lower() != "chunked":
                raise BadRequest(501, "the only transfer-encoding understood here is one 'chunked'")
            chunked = True
        elif name == "connection":
            closing = closing or "close" in [option.strip() for option in value.lower().split(",")]
        elif name == "expect":
            expects = value.lower() == "100-continue"
    if hosts != 1 and (hosts or version == "1.1"):
        raise BadRequest(400, "a request needs exactly one Host header")
    if chunked:
        if lengths is not None:
            raise BadRequest(400, "the request has both content-length and transfer-encoding")
        if version == "1.0":
            raise BadRequest(400, "HTTP/1.0 has no transfer-encoding")
        length = -1
    return Head(
        method=method,
        target=target,
        minor=int(version == "1.1"),
        headers=headers,
        content_length=length,
        keep_alive=version == "1.1" and not closing,
        expects_continue=expects and version == "1.1" and length != 0,
    )
