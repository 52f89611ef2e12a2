"""Request heads as bytes (RFC 9112, 3 and 5)."""

import re

from mcpcore.errors import LocalProtocolError
from mcpcore_transports.web.exchange import Headers
from mcpcore_transports.web.proxy import Proxy
from mcpcore_transports.web.urls import Origin, Url

__all__ = ("RequestHead", "header_lines")

_DEFAULT_HEADERS = (
    ("user-agent", "mcpcore"),
    (
        "accept-encoding",
        "identity",
    ),  # nothing here decompresses: small messages gain nothing, large ones could be bombs
)
_FRAMING_HEADERS = frozenset(("connection", "content-length", "host", "proxy-authorization", "te", "transfer-encoding"))
_METHODS_WITH_BODY = frozenset(("PATCH", "POST", "PUT"))

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class RequestHead:
    """What the requests for one URL have in common, so that it is made once.

    `headers` are sent with each request that does not bring its own of the same name.
    """

    __slots__ = ("_after_method", "_common", "_lines", "_names", "origin", "proxy")

    def __init__(self, url: Url, proxy: Proxy | None, headers: Headers) -> None:
        self.origin: Origin = url.origin
        self.proxy: Proxy | None = proxy
        target = url.target
        framing = f"host: {url.origin.authority}\r\n"
        if proxy is not None and url.origin.scheme == "http":
            target = f"http://{url.origin.authority}{target}"  # RFC 9112, 3.2.2
            if proxy.authorization is not None:
                framing += f"proxy-authorization: {proxy.authorization}\r\n"
        self._after_method = f" {target} HTTP/1.1\r\n{framing}"
        defaults = [*headers]
        if url.authorization is not None and not any(name.lower() == "authorization" for name, _ in headers):
            defaults.append(("authorization", url.authorization))
        named = {name.lower() for name, _ in headers}
        defaults += [default for default in _DEFAULT_HEADERS if default[0] not in named]
        self._lines = header_lines(defaults)
        self._names = frozenset(name for name, _ in self._lines)
        self._common = "".join(line for _, line in self._lines)

    def encode(self, method: str, headers: Headers, body: bytes | None) -> bytes:
        """A whole request. Raises `LocalProtocolError` for a method or header that cannot be sent."""
        if not _TOKEN.fullmatch(method) or method == "CONNECT":
            raise LocalProtocolError(f"{method!r} is no method that this client can send")
        own = "".join(_line(name, value) for name, value in headers)
        common = self._common
        if not self._names.isdisjoint(names := {name.lower() for name, _ in headers}):
            common = "".join(line for name, line in self._lines if name not in names)
        if body is None:
            length = "content-length: 0\r\n" if method in _METHODS_WITH_BODY else ""
            body = b""
        else:
            length = f"content-length: {len(body)}\r\n"
        return f"{method}{self._after_method}{common}{own}{length}\r\n".encode("latin-1") + body


def header_lines(headers: Headers) -> list[tuple[str, str]]:
    """Each header's name in lower case, and its line. Raises `LocalProtocolError` for one that cannot be sent."""
    return [(name.lower(), _line(name, value)) for name, value in headers]


def _line(name: str, value: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise LocalProtocolError(f"{name[:100]!r} is no name of a header")
    if name.lower() in _FRAMING_HEADERS:
        raise LocalProtocolError(f"the header {name!r} is set by the HTTP client, not by its caller")
    if not _VALUE.fullmatch(value):
        # The value may be a secret.
        raise LocalProtocolError(f"the header {name!r} has a line break, a control character or one outside Latin-1")
    return f"{name}: {value.strip()}\r\n"
