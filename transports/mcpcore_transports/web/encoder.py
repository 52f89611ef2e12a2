"""Response heads as bytes (RFC 9112, 4 to 6)."""

import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from mcpcore.errors import LocalProtocolError
from mcpcore_transports.web.exchange import Headers

__all__ = ("CONTINUE", "KNOWN_HEADERS", "LAST_CHUNK", "encode_chunk", "encode_head", "has_no_body", "refusal_text")

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"

KNOWN_HEADERS = 64
"""Sets of response headers whose lines are remembered. An application has a dozen, and some that are used once."""

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_FRAMING_HEADERS = frozenset(("connection", "date", "transfer-encoding"))

_date_second = 0
_date_line = b""


def encode_head(status: int, headers: Headers, framing: bytes) -> bytes:
    """The bytes of a head. `framing` are whole header lines of the host's own, e.g. "connection: close" with CR LF.

    Raises `LocalProtocolError` for a header that cannot be sent, or that is the host's to decide.
    """
    global _date_second, _date_line
    now = int(time.time())
    if now != _date_second:
        _date_second, _date_line = now, f"date: {formatdate(now, usegmt=True)}\r\n".encode()
    start = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
    return b"%b%b%b%b\r\n" % (start, _date_line, _lines(tuple(headers)), framing)


@lru_cache(KNOWN_HEADERS)
def _lines(headers: Headers) -> bytes:
    lines = []
    for name, value in headers:
        if name.lower() in _FRAMING_HEADERS:
            raise LocalProtocolError(f"the header {name!r} is set by the HTTP host, not by the application")
        lines.append(f"{name}: {value}\r\n")
    text = "".join(lines)
    if text.count("\n") != len(lines) or text.count("\r") != len(lines) or "\0" in text:
        raise LocalProtocolError("a response header contains a line break or a NUL")
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as refused:
        raise LocalProtocolError("a response header contains characters outside Latin-1") from refused


def encode_chunk(data: bytes) -> bytes:
    """One chunk of a chunked body; `data` must not be empty, because that would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def has_no_body(status: int) -> bool:
    """Whether a response with this status never has a body (RFC 9110, 6.4.1)."""
    return status in (204, 304) or status < 200


def refusal_text(status: int, message: str) -> bytes:
    """The body of an answer that the host gives by itself."""
    return f"{status}: {message}\n".encode()
