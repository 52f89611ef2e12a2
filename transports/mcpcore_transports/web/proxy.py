"""HTTP proxies, as the environment names them: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, in upper or lower case.

There is no standard for these variables. The rules here are those of curl where programs differ.
"""

import ipaddress
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from mcpcore.errors import ConnectFailed, LocalProtocolError
from mcpcore_transports.web.urls import Origin, credentials_in_url, parse_authority

__all__ = ("Proxies", "Proxy")

_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Proxy(NamedTuple):
    """A proxy to connect to."""

    origin: Origin
    authorization: str | None
    """The value of a `Proxy-Authorization` header."""

    variable: str
    """The environment variable that names it, for the text of errors."""


class Proxies:
    """Which proxy leads to which server, by the environment as it is when this is made.

    NO_PROXY is a list of exceptions, divided by commas or spaces: `*` for every server; a name, which its subdomains
    share, with or without a leading dot; an address or a network in CIDR notation; each may have `:PORT`.
    This machine (localhost, 127.0.0.0/8, ::1) and Unix sockets are never reached through a proxy.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._found: dict[str, Proxy | ConnectFailed] = {}
        for scheme in ("http", "https"):
            for variable in (f"{scheme}_proxy", f"{scheme.upper()}_PROXY", "all_proxy", "ALL_PROXY"):
                # In a CGI program the variable is a header of the request: Proxy: … (CVE-2016-5385).
                if variable == "HTTP_PROXY" and "REQUEST_METHOD" in environment:
                    continue
                if value := environment.get(variable, "").strip():
                    self._found[scheme] = _parse_proxy(value, variable)
                    break
        self._exceptions: list[_Exception] = []
        self._no_proxy = False
        for entry in (environment.get("no_proxy") or environment.get("NO_PROXY", "")).replace(",", " ").split():
            if entry == "*":
                self._no_proxy = True
            elif (exception := _parse_exception(entry)) is not None:
                self._exceptions.append(exception)

    def proxy_for(self, origin: Origin) -> Proxy | None:
        """The proxy to use, None to connect directly. Raises `ConnectFailed` if the variable cannot be understood."""
        proxy = self._found.get(origin.scheme)
        if proxy is None or self._no_proxy or self._is_excepted(origin):
            return None
        if isinstance(proxy, ConnectFailed):
            raise ConnectFailed(str(proxy))
        return proxy

    def _is_excepted(self, origin: Origin) -> bool:
        host = origin.host.rstrip(".")
        if host == "localhost" or host.endswith(".localhost"):
            return True
        address = _address(host)
        if address is not None and address.is_loopback:
            return True
        return any(exception.covers(host, address, origin.port) for exception in self._exceptions)


class _Exception(NamedTuple):
    name: str
    network: _Network | None
    port: int | None

    def covers(self, host: str, address: _Address | None, port: int) -> bool:
        if self.port is not None and self.port != port:
            return False
        if self.network is not None:
            return address is not None and address in self.network
        return address is None and (host == self.name or host.endswith(f".{self.name}"))


def _parse_exception(entry: str) -> _Exception | None:
    """None for an entry that names nothing."""
    network = _network(entry)
    if network is not None:
        return _Exception("", network, None)
    host, colon, digits = entry.rpartition(":")
    port = int(digits) if colon and digits.isascii() and digits.isdigit() else None
    if port is None:
        host = entry
    host = host.removeprefix("*")
    name = host.lower().strip(".")
    network = _network(host)
    return _Exception(name, network, port) if name else None


def _network(text: str) -> _Network | None:
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None


def _address(host: str) -> _Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _parse_proxy(value: str, variable: str) -> Proxy | ConnectFailed:
    scheme, separator, rest = value.partition("://")
    if not separator:
        scheme, rest = "http", value
    scheme = scheme.lower()
    if scheme not in _DEFAULT_PORTS:
        kind = f" of the kind {scheme}" if scheme.isalnum() else ""  # anything else may be part of a password
        return ConnectFailed(
            f"the environment variable {variable} names a proxy{kind}; only http:// and https:// "
            "proxies are spoken. Name such a one, or list the server in NO_PROXY"
        )
    user_information, at, authority = rest.partition("/")[0].rpartition("@")
    try:
        host, port = parse_authority(authority, _DEFAULT_PORTS[scheme], f"the environment variable {variable}")
    except LocalProtocolError as wrong:
        return ConnectFailed(f"{wrong}; write http://HOST:PORT")
    return Proxy(Origin(scheme, host, port), credentials_in_url(user_information) if at else None, variable)
