"""Which Host and Origin an HTTP listener accepts, and what it lets pages of other origins read. Pure rules.

A web page can make its visitor's browser send requests to a server on that visitor's machine: directly, which the
`Origin` header shows, or under a name of its own that it lets DNS resolve to 127.0.0.1 (DNS rebinding), which the
`Host` header shows. So both are checked on every request, of every era and path (MCP, "Security"; CVE-2025-66414).
Every refusal names the setting that would allow the request, so that nobody turns the check off instead.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mcpcore.errors import LocalProtocolError

__all__ = ("PREFLIGHT_SECONDS", "AccessPolicy")

PREFLIGHT_SECONDS = 600
"""Seconds for which a browser may remember the answer to a preflight: long enough not to double every request, short
enough that a changed setting shows soon."""

_KNOWN_HOSTS = 64
"""Values of `Host` remembered as accepted. Clients of one server use few; the rest are parsed each time."""

_ALLOWED_HEADERS = (
    "Authorization",
    "DPoP",
    "Content-Type",
    "Accept",
    "MCP-Protocol-Version",
    "Mcp-Method",
    "Mcp-Name",
    "Mcp-Session-Id",
    "Last-Event-ID",
)
_EXPOSED_HEADERS = "Mcp-Session-Id, WWW-Authenticate, MCP-Protocol-Version, DPoP-Nonce"
_METHODS = "GET, POST, DELETE, OPTIONS"

_PARAMETER = re.compile(r"mcp-param-[!#$%&'*+.^_`|~0-9a-z-]+", re.IGNORECASE)
_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?")
_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:]*)(?::([0-9]{0,5}))?")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_SHOWN_CHARACTERS = 100  # of a peer's header in a refusal: enough to recognise it


class _Authority(NamedTuple):
    host: str
    """Lower case, without a trailing dot; IP addresses in their shortest form, without brackets."""
    port: int | None

    @property
    def text(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"


class _Origin(NamedTuple):
    scheme: str
    host: str
    port: int | None
    """The scheme's own where none was written; None where the scheme has none."""


class AccessPolicy:
    """The Host and Origin rules of one listener. `check_host` and `check_origin` say None, or why not.

    host
        The address or name that the listener is bound to; None where that is somebody else's business, as for an
        application mounted in another server.
    public_url
        The URL that clients use, where a proxy stands in front: its host and its origin are accepted.
    allow_hosts
        Further hosts: "mcp.example.com" with any port, "mcp.example.com:8443" with this one, "*" for every host.
    allow_origins
        Further origins: "https://app.example.com", "http://app.example.com:*" with any port, "null", "*" for all.
    authenticated
        Whether every request must bring a token. A page that rebinds a name has none, so a listener that is not
        bound to loopback then accepts every host if it was given neither `public_url` nor `allow_hosts`.

    Accepted without being listed are the names of this machine itself (localhost, 127.0.0.0/8, ::1) where the
    listener is bound to loopback or to every address, the host it is bound to, origins of this machine where it is
    bound to loopback, and the origin that equals the request's own Host, unless that Host passed by `*` alone.
    Raises `LocalProtocolError` for a setting that is no host, origin or URL.
    """

    def __init__(
        self,
        host: str | None = None,
        *,
        public_url: str | None = None,
        allow_hosts: Iterable[str] = (),
        allow_origins: Iterable[str] = (),
        authenticated: bool = False,
    ) -> None:
        bound = _bound_host(host)
        self._loopback_origins = bound is None or _is_loopback(bound)
        self._loopback_hosts = self._loopback_origins or bound == ""
        self._any_host = self._any_origin = self._null_origin = False
        self._hosts: set[_Authority] = {_Authority(bound, None)} if bound else set()
        self._origins: set[_Origin] = set()
        self._origin_hosts: set[tuple[str, str]] = set()
        """Scheme and host of the origins that are accepted with any port."""
        self._known: set[str] = set()
        listed = public_url is not None
        for text in allow_hosts:
            listed = True
            if text == "*":
                self._any_host = True
            else:
                self._hosts.add(_host_setting(text))
        for text in allow_origins:
            self._allow_origin(text)
        if public_url is not None:
            public = _url_origin(public_url)
            self._hosts.add(_Authority(public.host, None))
            self._origins.add(public)
        if authenticated and not listed and not self._loopback_origins:
            self._any_host = True
        self._authenticated = authenticated

    @classmethod
    def for_bind(
        cls,
        host: str,
        *,
        public_url: str | None = None,
        allow_hosts: Iterable[str] = (),
        allow_origins: Iterable[str] = (),
        authenticated: bool = False,
    ) -> "AccessPolicy":
        """The policy of a listener about to be bound to `host`.

        Raises `LocalProtocolError` if others than this machine could reach it and nothing says who may: neither
        authentication, nor a public URL, nor a list of hosts.
        """
        allow_hosts = tuple(allow_hosts)
        bound = _bound_host(host)
        if not (authenticated or public_url is not None or allow_hosts or (bound and _is_loopback(bound))):
            raise LocalProtocolError(
                f"binding to {host or 'every address'} would let everybody who can reach this machine use the server. "
                "Say under which name clients reach it: --allow-host NAME (allow_hosts=) or --public-url URL "
                "(public_url=); --allow-host '*' allows every name. Or require authentication, or bind to 127.0.0.1"
            )
        return cls(
            host,
            public_url=public_url,
            allow_hosts=allow_hosts,
            allow_origins=allow_origins,
            authenticated=authenticated,
        )

    @property
    def lets_others_in(self) -> bool:
        """Whether it accepts requests that were not made on this machine and for a name of its own."""
        return self._any_host or not self._loopback_origins or not all(_is_loopback(one.host) for one in self._hosts)

    def check_host(self, host_header: str | None) -> str | None:
        """None if a request with this `Host` is accepted, else the text of the refusal (HTTP 421)."""
        if self._any_host or host_header in self._known:
            return None
        if host_header is None:
            return "The request has no Host header, so it cannot be told which server it is for."
        authority = _parse_authority(host_header)
        if authority is None:
            return f"The Host header {_shown(host_header)} is no host name or address with an optional port."
        if self._accepts(authority):
            if len(self._known) < _KNOWN_HOSTS:
                self._known.add(host_header)
            return None
        return (
            f"The host {_shown(authority.text)} is not served here, which protects against DNS rebinding. If clients "
            f"are meant to use it, start the server with --allow-host {authority.host[:_SHOWN_CHARACTERS]} "
            "(allow_hosts=), or with --public-url (public_url=) set to the URL that they use."
        )

    def check_origin(self, origin: str | None, host: str | None) -> str | None:
        """None if a request from a page of `origin` is accepted, else the text of the refusal (HTTP 403).

        `host` is the same request's `Host` header, after `check_host`. Without `origin` the request does not come
        from a page of another origin, and is accepted.
        """
        if origin is None or (self._any_origin and origin.isascii() and origin.isprintable()):
            return None
        if origin == "null":
            if self._null_origin:
                return None
            return "Pages without an origin are not served here. --allow-origin null (allow_origins=) allows them all."
        parsed = _parse_origin(origin)
        if parsed is None:
            return f"The Origin header {_shown(origin)} is no origin: SCHEME://HOST, with an optional port."
        if parsed in self._origins or (parsed.scheme, parsed.host) in self._origin_hosts:
            return None
        if parsed.scheme in _DEFAULT_PORTS:
            if self._loopback_origins and _is_loopback(parsed.host):
                return None
            authority = None if host is None else _parse_authority(host)
            # That both name the same host says nothing where a page may have chosen that name: see DNS rebinding.
            if authority and (self._authenticated or self._accepts(authority)) and _same_origin(parsed, authority):
                return None
        return (
            f"Pages of the origin {_shown(origin)} are not served here. If they are meant to be, start the server "
            f"with --allow-origin {origin.lower()[:_SHOWN_CHARACTERS]} (allow_origins=), or with --public-url "
            "(public_url=) if that is the origin of the server itself."
        )

    def response_headers(self, origin: str | None) -> tuple[tuple[str, str], ...]:
        """The CORS headers that let a page of `origin`, which `check_origin` has accepted, read a response.

        None when the request has no origin. Cookies are never asked for.
        """
        if origin is None:
            return ()
        return (
            ("access-control-allow-origin", origin),
            ("access-control-expose-headers", _EXPOSED_HEADERS),
            ("vary", "Origin"),
        )

    def preflight_headers(self, headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        """The CORS headers of the answer to an OPTIONS request with these headers (names in lower case).

        Its origin was accepted by `check_origin`. Of the headers that the page asks to send, `Mcp-Param-*` are
        allowed as they come, since each tool has its own; the others are always the same.
        """
        origin = headers.get("origin")
        if origin is None:
            return ()
        requested = (name.strip(" \t") for name in headers.get("access-control-request-headers", "").split(","))
        allowed = (*_ALLOWED_HEADERS, *(name for name in requested if _PARAMETER.fullmatch(name)))
        return (
            ("access-control-allow-origin", origin),
            ("access-control-allow-methods", _METHODS),
            ("access-control-allow-headers", ", ".join(allowed)),
            ("access-control-max-age", str(PREFLIGHT_SECONDS)),
            ("vary", "Origin, Access-Control-Request-Headers"),
        )

    def _accepts(self, authority: _Authority) -> bool:
        if self._loopback_hosts and _is_loopback(authority.host):
            return True
        if authority in self._hosts or _Authority(authority.host, None) in self._hosts:
            return True
        # A client leaves its scheme's own port out, and which scheme that was only the proxy in front knows.
        return authority.port is None and any(
            _Authority(authority.host, port) in self._hosts for port in _DEFAULT_PORTS.values()
        )

    def _allow_origin(self, text: str) -> None:
        if text == "*":
            self._any_origin = True
        elif text == "null":
            self._null_origin = True
        else:
            stem = text.rstrip("/").removesuffix(":*")
            parsed = _parse_origin(stem)
            if parsed is None:
                raise LocalProtocolError(
                    f"{text!r} is no origin: write SCHEME://HOST or SCHEME://HOST:PORT, with * as the port for any "
                    "(--allow-origin, allow_origins=)"
                )
            if stem == text.rstrip("/"):
                self._origins.add(parsed)
            else:
                self._origin_hosts.add((parsed.scheme, parsed.host))


def _parse_authority(text: str) -> _Authority | None:
    """The host and port of a `Host` header (RFC 9110, 7.2). User information, paths and spaces are no part of it."""
    found = _AUTHORITY.fullmatch(text.lower()) if text.isascii() else None
    if found is None:
        return None
    host = _normal_host(found[1])
    port = int(found[2]) if found[2] else None
    if host is None or (port is not None and port > 0xFFFF):
        return None
    return _Authority(host, port)


def _normal_host(text: str) -> str | None:
    """One spelling for each host, given in lower case and with brackets around an IPv6 address."""
    if text.startswith("["):
        try:
            address = ipaddress.IPv6Address(text[1:-1])
        except ValueError:
            return None
        return str(address.ipv4_mapped or address)
    name = text.removesuffix(".")
    return name if _NAME.fullmatch(name) else None


def _parse_origin(text: str) -> _Origin | None:
    """An origin as browsers write it (RFC 6454, 6.2): no path, no user information, one origin only."""
    scheme, separator, rest = text.lower().partition("://")
    authority = _parse_authority(rest)
    if not separator or authority is None or not _SCHEME.fullmatch(scheme):
        return None
    port = _DEFAULT_PORTS.get(scheme) if authority.port is None else authority.port
    return _Origin(scheme, authority.host, port)


def _same_origin(origin: _Origin, authority: _Authority) -> bool:
    # Behind a proxy that ends TLS the scheme is not known here: the origin's own says which port is left out.
    port = _DEFAULT_PORTS[origin.scheme] if authority.port is None else authority.port
    return (origin.host, origin.port) == (authority.host, port)


def _url_origin(url: str) -> _Origin:
    scheme, separator, rest = url.partition("://")
    parsed = _parse_origin(scheme + separator + re.split(r"[/?#]", rest, maxsplit=1)[0])
    if parsed is None or parsed.scheme not in _DEFAULT_PORTS:
        raise LocalProtocolError(
            f"{url!r} is no URL of a server: write https://HOST/PATH or http://HOST:PORT/PATH "
            "(--public-url, public_url=)"
        )
    return parsed


def _host_setting(text: str) -> _Authority:
    # An IPv6 address has no port to be confused with here, so the brackets may be left out.
    authority = _parse_authority(f"[{text}]" if text.count(":") > 1 and "[" not in text else text.removesuffix(":*"))
    if authority is None:
        raise LocalProtocolError(
            f"{text!r} is no host: write a name or an address, with :PORT to allow this port only, or * alone for "
            "every host (--allow-host, allow_hosts=)"
        )
    return authority


def _bound_host(host: str | None) -> str | None:
    """The host of a bind address in its one spelling; "" for every address of this machine, None for none given."""
    if host is None:
        return None
    text = host.lower().strip("[]")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text.removesuffix(".")
    if address.is_unspecified:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or address)
    return str(address)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _shown(text: str) -> str:
    shown = ascii(text)
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}…"
