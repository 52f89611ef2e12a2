"""Where clients find a server: the URL that is its resource identifier, and that of its metadata (RFC 8707, RFC 9728).

A token is good for the server whose URL is in its audience, so that URL must not be taken from a request: whoever may
choose the `Host` could bring a token that was made for another server. It is configured (`resource`, `public_url`), or
it is that of our own listener on this machine, whose names and ports are known.
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

from mcpcore.errors import LocalProtocolError
from mcpcore_transports.framing.addresses import is_loopback_host, split_strictly
from mcpcore_transports.framing.wellknown import RESOURCE_METADATA

__all__ = ("Location", "Place", "canonical", "require_safe_url")

_DEFAULT_PORTS = {"http": 80, "https": 443}
_KNOWN_PLACES = 64
"""Combinations of host, prefix and path that are kept; the rest are computed each time."""


class Place(NamedTuple):
    """Where one request went, as its sender sees it."""

    path: str
    """Of the endpoint, as this application sees it."""

    url: str
    """Of the endpoint, as clients see it."""

    resource: str
    """The resource identifier of the endpoint."""

    metadata_url: str
    audiences: frozenset[str]
    """Every resource identifier of this server, in the form of `canonical`."""


class Location:
    """The URLs of one application with these endpoint paths, the first of which is what the root metadata describes.

    resource
        The resource identifier of all endpoints, as clients are told it, byte for byte.
    public_url
        What clients call the server: the whole URL of the first endpoint, or an origin alone, after which come the
        prefix that the application is mounted under and the endpoint's path.
    """

    def __init__(self, paths: Iterable[str], *, resource: str | None = None, public_url: str | None = None) -> None:
        self._paths = tuple(path.rstrip("/") for path in paths)
        self._resource = None if resource is None else require_safe_url(resource, "resource=", query=True)
        self._origin = self._prefix = ""
        self._public: str | None = None
        if resource is not None or public_url is not None:
            split = urlsplit(resource or require_safe_url(str(public_url), "public_url="))
            self._origin = f"{split.scheme.lower()}://{split.netloc}"
            path = split.path.rstrip("/")
            if path.endswith(self._paths[0]):
                self._prefix = path[: len(path) - len(self._paths[0])]
                self._public = self._origin + path
            elif path and resource is None:
                self._public = self._origin + path
        self._ports: set[int] = set()
        self._scheme = "http"
        self._known: dict[tuple[str, str, str], Place] = {}

    @property
    def fixed(self) -> bool:
        """Whether the origin is configured, and not that of a listener."""
        return bool(self._origin)

    def listens_at(self, addresses: Iterable[object], scheme: str) -> None:
        """Say where our own listener is bound, as `(host, port)`; Unix sockets have no URL."""
        self._scheme = scheme
        self._ports |= {address[1] for address in addresses if isinstance(address, tuple)}

    def place(self, path: str, *, mount: str, host: str | None) -> Place | None:
        """Of a request to the endpoint `path`; None when neither configuration nor listener say where that is."""
        path, mount = path.rstrip("/"), mount.removesuffix(RESOURCE_METADATA)
        key = (path, mount, "" if self._origin else (host or ""))
        found = self._known.get(key)
        if found is None:
            origin = self._origin or self._listener_origin(host)
            if origin is None:
                return None
            found = self._place(path, origin, mount)
            if len(self._known) < _KNOWN_PLACES:
                self._known[key] = found
        return found

    def endpoint_of(self, path: str, mount: str) -> str | None:
        """The endpoint whose metadata is asked for at `path`, None when that is no metadata of ours.

        Both forms are answered: the well-known path before the whole path of the resource, as RFC 9728 inserts it
        where this application sees the host's root, and below the prefix of its own. One that is mounted under a prefix
        can be mounted at the well-known path of the host as well; there it answers for the configured URL only.
        """
        inserted = mount.endswith(RESOURCE_METADATA)
        if inserted:
            path, mount = RESOURCE_METADATA + path, mount.removesuffix(RESOURCE_METADATA)
        rest = path.removeprefix(RESOURCE_METADATA).rstrip("/")
        if rest == path.rstrip("/"):
            return None
        if not rest:
            return self._paths[0]
        for endpoint in self._paths:
            own = urlsplit(self._resource_of(endpoint, self._origin, mount)).path.rstrip("/")
            if rest == own or (not inserted and rest in (endpoint, mount + endpoint)):
                return endpoint
        return None

    def _place(self, path: str, origin: str, mount: str) -> Place:
        resource = self._resource_of(path, origin, mount)
        own = urlsplit(resource).path.rstrip("/")
        prefix = own[: len(own) - len(path)] if own.endswith(path) else mount
        # Below the prefix, because nothing else of the host is certain to reach this application; where there is no
        # prefix, this is the form that the RFC builds.
        metadata = f"{prefix}{RESOURCE_METADATA}{path}" if own.endswith(path) else f"{RESOURCE_METADATA}{own}"
        audiences = frozenset(canonical(self._resource_of(one, origin, mount)) for one in self._paths)
        if not self._origin:
            audiences |= self._spellings(audiences)
        url = self._public if self._public is not None and path == self._paths[0] else origin + prefix + path
        return Place(path, url, resource, origin + metadata, audiences)

    def _resource_of(self, path: str, origin: str, mount: str) -> str:
        if self._resource is not None:
            return self._resource
        if self._public is not None and path == self._paths[0]:
            return self._public
        return f"{origin}{self._prefix or mount}{path}"

    def _listener_origin(self, host: str | None) -> str | None:
        try:
            split = urlsplit(f"//{host or ''}")
            name, port = split.hostname or "", _DEFAULT_PORTS[self._scheme] if split.port is None else split.port
        except ValueError:
            return None
        if port not in self._ports or not is_loopback_host(name) or "@" in str(host):
            return None
        return f"{self._scheme}://{str(host).lower()}"

    def _spellings(self, resources: Collection[str]) -> frozenset[str]:
        """The same listener by its other names: a client that calls it localhost may show a token for 127.0.0.1."""
        found = set()
        for resource in resources:
            split = urlsplit(resource)
            port = "" if split.port is None else f":{split.port}"
            found |= {f"{self._scheme}://{name}{port}{split.path}" for name in ("localhost", "127.0.0.1", "[::1]")}
        return frozenset(found)


def canonical(uri: str) -> str:
    """The form in which resource identifiers are compared: scheme and host in lower case, without the scheme's own port
    and without slashes at the end (RFC 3986, 6.2.2.1 and 6.2.3). Nothing else is normalised, so a query or an escape
    counts as it is; what is no http URL counts byte for byte."""
    scheme, separator, rest = uri.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in _DEFAULT_PORTS:
        return uri
    authority, slash, path = rest.partition("/")
    if "?" in authority or "#" in authority or "@" in authority:
        return uri
    authority = authority.lower().removesuffix(f":{_DEFAULT_PORTS[scheme]}")
    return f"{scheme}://{authority}{(slash + path).rstrip('/')}"


def require_safe_url(url: str, setting: str, *, query: bool = False) -> str:
    """The URL, if it is one that tokens and keys may depend on: https, or http to this machine, without user
    information and fragment. Raises `LocalProtocolError` naming the setting."""
    split = split_strictly(url)
    if split is None or split.scheme not in _DEFAULT_PORTS:
        raise LocalProtocolError(f"{setting} has to be a URL like https://HOST/PATH")
    if split.scheme == "http" and not is_loopback_host(split.hostname or ""):
        raise LocalProtocolError(f"{setting} has to be https: anybody on the way reads what goes over http")
    if split.fragment or "#" in url or "@" in split.netloc or (split.query and not query):
        raise LocalProtocolError(f"{setting} has to be a URL without fragment, password{'' if query else ' and query'}")
    return url
