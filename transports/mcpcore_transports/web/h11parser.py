"""The parser on h11, which checks every part of a head.

A `Connection` of h11 would cut the head into these parts too, and keep the state of a connection of which our responses
tell it nothing: two and a half times the work for the same `Request`.
"""

import re

import h11

from mcpcore_transports.web.head import BadRequest, Head, make_head
from mcpcore_transports.web.parser import Parser

__all__ = ("H11Parser", "read_head")

_START = re.compile(rb"([^ ]+) ([^ ]+) HTTP/([0-9]\.[0-9])")
_MALFORMED = "the request line or a header is malformed"


class H11Parser(Parser):
    """Reads whatever is HTTP/1.1, at the cost of Python."""

    __slots__ = ()

    def read_head(self, raw: bytes) -> Head:
        return read_head(raw)


def read_head(raw: bytes) -> Head:
    """Take a head apart: see `Parser.read_head`."""
    start, *lines = raw[:-4].split(b"\r\n")
    matched = _START.fullmatch(start)
    if matched is None:
        raise BadRequest(400, _MALFORMED)
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon:
            raise BadRequest(400, _MALFORMED)
        fields.append((name, value.strip(b" \t")))
    method, target, version = matched.groups()
    try:
        request = h11.Request(method=method, target=target, headers=fields, http_version=version)
    except h11.LocalProtocolError as broken:
        if broken.error_status_hint == 501:
            raise BadRequest(501, "the only transfer-encoding understood here is one 'chunked'") from broken
        raise BadRequest(broken.error_status_hint, _MALFORMED) from broken
    return make_head(
        method.decode("ascii"),
        target.decode("ascii"),
        version.decode("ascii"),
        [(name.decode("ascii"), value.decode("latin-1")) for name, value in request.headers],
    )
