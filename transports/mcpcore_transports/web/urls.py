"""URLs of servers: where to connect, and what the request line says.

    http://host:port/path?query      https://…       http+unix://%2Frun%2Fserver.sock/path

User information (`https://name:password@host/`) becomes Basic credentials (RFC 7617) and appears nowhere else. No error
names a URL, because paths and queries carry secrets as well.
"""

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit

from mcpcore.errors import LocalProtocolError
from mcpcore_transports.framing.basic import basic_credentials

__all__ = ("Origin", "Url", "credentials_in_url", "parse_authority", "parse_url")

_DEFAULT_PORTS = {"http": 80, "https": 443, "http+unix": 0}
_TARGET_CHARACTERS = "!$%&'()*+,-./:;=?@[]_~|"
"""What is left as it is in a path or query: some characters more than RFC 3986 allows, since servers take them."""

_NOT_IN_URLS = re.compile(r"[\x00-\x20\x7f]")
_PORT = re.compile(r"[0-9]{1,5}")
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?\.?")


class Origin(NamedTuple):
    """A server to connect to. Connections are shared by what has the same origin."""

    scheme: str
    """"http", "https" or "http+unix"."""

    host: str
    """Lower case, ASCII, an IPv6 address without brackets; of a Unix socket its path."""

    port: int

    @property
    def authority(self) -> str:
        """Host and port as a `Host` header has them (RFC 9110, 7.2)."""
        if self.scheme == "http+unix":
            return "localhost"
        host = self.host.partition("%")[0]  # a zone means something on this machine only (RFC 6874)
        if ":" in host:
            host = f"[{host}]"
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def shown(self) -> str:
        """For the text of errors."""
        if self.scheme == "http+unix":
            return f"the Unix socket {self.host}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Url(NamedTuple):
    """A URL taken apart."""

    origin: Origin
    target: str
    """Path and query, percent-encoded."""

    authorization: str | None
    """The value of an `Authorization` header, when the URL has user information."""


def parse_url(url: str) -> Url:
    """Take a URL apart; its fragment is left out (RFC 9110, 7.1). Raises `LocalProtocolError`."""
    if _NOT_IN_URLS.search(url):
        raise LocalProtocolError("the URL has a space or a control character in it; write spaces as %20")
    try:
        parts = urlsplit(url)
    except ValueError:
        raise LocalProtocolError("the URL is malformed: check the brackets and the characters of its host") from None
    scheme = parts.scheme
    if scheme not in _DEFAULT_PORTS:
        begins = f"begins with {scheme}://" if parts.netloc and scheme else "has no scheme"
        raise LocalProtocolError(
            f"the URL {begins}; what can be used is http://HOST/PATH, https://HOST/PATH and http+unix://%2FSOCKET/PATH"
        )
    path = quote(parts.path or "/", safe=_TARGET_CHARACTERS)
    target = f"{path}?{quote(parts.query, safe=_TARGET_CHARACTERS)}" if parts.query else path
    if scheme == "http+unix":
        socket_path = unquote(parts.netloc)
        if not socket_path.startswith("/") or "\0" in socket_path:
            raise LocalProtocolError("the URL names no Unix socket: write http+unix://%2Frun%2Fserver.sock/PATH")
        return Url(Origin(scheme, socket_path, 0), target, None)
    user_information, at, authority = parts.netloc.rpartition("@")
    host, port = parse_authority(authority, _DEFAULT_PORTS[scheme], "the URL")
    return Url(Origin(scheme, host, port), target, credentials_in_url(user_information) if at else None)


def parse_authority(text: str, default_port: int, where: str) -> tuple[str, int]:
    """Host and port of `host`, `host:port`, `[v6]` or `[v6]:port`; `where` says in errors what had them.

    Raises `LocalProtocolError`.
    """
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        address, percent, zone = host.partition("%")
        zone = zone.removeprefix("25")
        try:
            host = str(ipaddress.IPv6Address(address)) + (f"%{zone}" if zone else "")
        except ValueError:
            bracket = ""
        if not bracket or (rest and not rest.startswith(":")) or bool(percent) != bool(zone):
            raise LocalProtocolError(f"{where} has no IPv6 address between its brackets")
        port = rest[1:]
    else:
        host, _, port = text.partition(":")
        host = _ascii_host(unquote(host), where)
    if not port:
        return host, default_port
    if not _PORT.fullmatch(port) or not 0 < int(port) < 65536:
        raise LocalProtocolError(f"{where} has a port that is no number from 1 to 65535")
    return host, int(port)


def credentials_in_url(user_information: str) -> str:
    """The header value for the `name:password` of a URL, which is percent-encoded (RFC 7617, 2)."""
    name, _, password = user_information.partition(":")
    return basic_credentials(unquote_to_bytes(name), unquote_to_bytes(password))


def _ascii_host(host: str, where: str) -> str:
    if not host.isascii():
        import idna  # comes with anyio; takes longer to import than this module, and few hosts need it

        try:
            host = idna.encode(host, uts46=True).decode("ascii")
        except idna.IDNAError:
            host = ""
    if not _NAME.fullmatch(host):
        raise LocalProtocolError(f"{where} has no host name or address where one belongs")
    return host.lower()
