"""The credentials of a request: one token, in one header (RFC 6750, 2; RFC 9110, 11.6.2)."""

import re
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import parse_qsl

from mcpcore_transports.web.exchange import WebRequest

__all__ = ("MAX_TOKEN_BYTES", "BadCredentials", "Credentials", "credentials_of")

MAX_TOKEN_BYTES = 16 * 1024
"""Bytes of one token. Those of a user in hundreds of groups have some kilobytes; a head is limited to 64 KiB."""

_SCHEMES = {"bearer": "Bearer", "dpop": "DPoP"}
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_KEY = re.compile(r"[\x21-\x7e]+")
_IN_QUERY = "access_token"


class BadCredentials(Exception):
    """The request does not follow the rules: 400. The text goes to the client, and has nothing of the token."""


class Credentials(NamedTuple):
    scheme: str
    """"Bearer" or "DPoP", or the name of a header (lower case) that has the token by itself."""

    token: str

    def __repr__(self) -> str:
        return f"<Credentials {self.scheme}>"


def credentials_of(request: WebRequest, headers: Iterable[str] = ()) -> Credentials | None:
    """What a request shows, in `Authorization` or in one of these headers (lower case); None when it shows nothing, or
    something that is not about tokens, as `Basic`.

    Raises `BadCredentials` when there is more than one token, when it is in the URL, where every log would have it, or
    when it is no token at all.
    """
    if request.query and any(name == _IN_QUERY for name, _ in parse_qsl(request.query, True)):
        raise BadCredentials("a token does not belong into a URL: send Authorization: Bearer")
    shown = request.header_values("authorization")
    found = [Credentials("authorization", value) for value in shown if len(shown) > 1 or _scheme_of(value) in _SCHEMES]
    for name in headers:
        found += [Credentials(name, value) for value in request.header_values(name)]
    if len(found) > 1:
        raise BadCredentials("the request shows more than one token: send one")
    if not found:
        return None
    name, value = found[0]
    if name != "authorization":
        token = value.strip()
        if not _KEY.fullmatch(token):
            raise BadCredentials(f"the header {name} has no key in it")
        return Credentials(name, token)
    known = _SCHEMES[_scheme_of(value)]
    token = value.strip().partition(" ")[2].strip(" ")
    if not _TOKEN.fullmatch(token):
        raise BadCredentials(f"Authorization: {known} has no token after it")
    return Credentials(known, token)


def _scheme_of(value: str) -> str:
    return value.strip().partition(" ")[0].lower()
