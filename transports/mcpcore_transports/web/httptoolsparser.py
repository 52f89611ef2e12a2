"""The parser on httptools (llhttp), which takes ordinary heads apart in a fraction of the time.

llhttp forgives more than h11 does, and refuses some of what h11 reads. Nobody can be asked to know both, so it only
gets heads that leave nothing to forgive, and whatever is to be refused goes to h11: every head has one reading, that of
h11.
"""

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from mcpcore_transports.web.h11parser import read_head
from mcpcore_transports.web.head import BadRequest, Head, make_head
from mcpcore_transports.web.parser import Parser

__all__ = ("HttptoolsParser",)

_ORDINARY = bytes(range(0x20, 0x7F)) + b"\r\n"
"""Visible ASCII, spaces, and the line endings that have been checked."""

_HTTP1 = b" HTTP/1."

_KNOWN_NAMES = 256
"""Spellings of header names that are remembered. Clients use a few dozen; others are decoded each time."""

_NAMES: dict[bytes, str] = {}


class HttptoolsParser(Parser):
    """Reads as `H11Parser` does, and mostly without it."""

    __slots__ = ()

    def read_head(self, raw: bytes) -> Head:
        head = _ordinary_head(raw)
        return read_head(raw) if head is None else head


class _Found:
    """What llhttp reports of one head, in the words of its callbacks."""

    __slots__ = ("headers", "target")

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))


def _ordinary_head(raw: bytes) -> Head | None:
    """The head if it is an ordinary one, with nothing to refuse; None if that is for h11 to say."""
    start = raw.index(b"\r")
    if raw.translate(None, _ORDINARY) or raw.count(b" ", 0, start) != 2 or not raw.startswith(_HTTP1, start - 9):
        return None
    found = _Found()
    parser = HttpRequestParser(found)
    try:
        parser.feed_data(raw)
        method, target, version = parser.get_method(), found.target, parser.get_http_version()
        head = make_head(method.decode("ascii"), target.decode("ascii"), version, _decoded(found.headers))
    except (HttpParserError, HttpParserUpgrade, BadRequest):
        return None
    return head if head.content_length >= 0 else None


def _decoded(headers: list[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    names = _NAMES
    decoded = []
    for spelling, value in headers:
        name = names.get(spelling)
        if name is None:
            name = spelling.decode("ascii").lower()
            if len(names) < _KNOWN_NAMES:
                names[spelling] = name
        decoded.append((name, value.decode("ascii").strip(" ")))
    return decoded
