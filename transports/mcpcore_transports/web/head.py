"""The head of a request as a server reads it: what it says, and what RFC 9112 tells a server to refuse.

What two servers could read differently is refused as well, because a proxy in front of us may have read it the other
way: content-length together with transfer-encoding, line endings other than CR LF, folded headers.
"""

from collections.abc import Mapping, Sequence

import msgspec

__all__ = ("BadRequest", "Head", "check_head_lines", "join_headers", "make_head")


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

    fields: Mapping[str, str]
    """The headers by name; values of a repeated name are joined with ", "."""

    content_length: int
    """Bytes of the body; -1 when it is chunked."""

    keep_alive: bool
    """Whether the client lets the connection live on after the response."""

    expects_continue: bool
    """Whether the client waits for "100 Continue" before it sends the body."""


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
    """The head of a request with these parts, each of them well-formed; header names in lower case.

    Decides how the body is delimited (RFC 9112, 6.3) and whether the connection is kept (9.3). Raises `BadRequest`.
    """
    if version not in ("1.1", "1.0"):
        raise BadRequest(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    if method == "CONNECT":
        raise BadRequest(400, "this server is not a proxy")
    fields = join_headers(headers)
    current = version == "1.1"
    if "host" not in fields:
        if current:
            raise BadRequest(400, _ONE_HOST)
    elif len(fields) != len(headers) and sum(name == "host" for name, _ in headers) > 1:
        raise BadRequest(400, _ONE_HOST)
    length = 0
    declared = fields.get("content-length")
    if declared is not None:
        # Two different ones were joined, and are no number any more.
        if not (declared.isascii() and declared.isdigit() and len(declared) < 19):
            raise BadRequest(400, "content-length is not a number of bytes")
        length = int(declared)
    coding = fields.get("transfer-encoding")
    if coding is not None:
        if coding.lower() != "chunked":
            raise BadRequest(501, "the only transfer-encoding understood here is one 'chunked'")
        if declared is not None:
            raise BadRequest(400, "the request has both content-length and transfer-encoding")
        if not current:
            raise BadRequest(400, "HTTP/1.0 has no transfer-encoding")
        length = -1
    connection = fields.get("connection")
    return Head(
        method=method,
        target=target,
        minor=1 if current else 0,
        headers=headers,
        fields=fields,
        content_length=length,
        keep_alive=current and (connection is None or not _closes(connection)),
        expects_continue=current and length != 0 and fields.get("expect", "").lower() == "100-continue",
    )


def join_headers(pairs: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    """The headers as a mapping; values of a repeated name are joined with ", " (RFC 9110, 5.3)."""
    headers = dict(pairs)
    if len(headers) != len(pairs):
        headers = {name: ", ".join(value for key, value in pairs if key == name) for name in headers}
    return headers


_ONE_HOST = "a request needs exactly one Host header"


def _closes(connection: str) -> bool:
    return connection != "keep-alive" and "close" in [option.strip() for option in connection.lower().split(",")]
