"""The request side of our listener's exchange."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import unquote, urlsplit

from mcpcore.errors import ConnectionLost
from mcpcore_transports.web.connection import Connection
from mcpcore_transports.web.encoder import CONTINUE
from mcpcore_transports.web.exchange import BodyTooLarge, WebRequest
from mcpcore_transports.web.parser import BadRequest, Head

__all__ = ("ConnectionRequest", "join_headers")


class ConnectionRequest(WebRequest):
    """A request whose body is still on `connection`. Raises `BadRequest` for a target that is neither path nor URL."""

    mount: str = ""

    def __init__(self, connection: Connection, head: Head) -> None:
        self._connection = connection
        self._head = head
        self._pairs = head.headers
        self._body: bytes | None = None
        self.method: str = head.method
        self.scheme: str = connection.host.scheme
        self.client: str = connection.client
        target = head.target
        if not target.startswith("/"):
            target = self._accept_url(target)
        path, _, query = target.partition("?")
        self.query: str = query
        self.path: str = unquote(path) if "%" in path else path
        self.headers: Mapping[str, str] = join_headers(self._pairs)

    def header_values(self, name: str) -> Sequence[str]:
        return [value for key, value in self._pairs if key == name]

    async def body(self, limit: int) -> bytes:
        if self._body is None:
            self._body = await self._read(limit)
        if len(self._body) > limit:
            raise BodyTooLarge
        return self._body

    def when_gone(self, callback: Callable[[], None] | None) -> None:
        self._connection.when_gone = callback

    async def _read(self, limit: int) -> bytes:
        connection, parser = self._connection, self._connection.parser
        if self._head.content_length > limit:
            raise BodyTooLarge
        pieces: list[bytes] = []
        size = 0
        until = math.inf
        try:
            while (piece := parser.body()) != b"":
                if piece is not None:
                    size += len(piece)
                    if size > limit:
                        raise BodyTooLarge
                    pieces.append(piece)
                    continue
                if until == math.inf:
                    until = time.monotonic() + connection.host.limits.body_seconds
                    if self._head.expects_continue and not pieces:
                        await connection.write(CONTINUE)
                data = await connection.receive(until=until)
                if not data:
                    raise connection.lose("the client left before its request was complete")
                parser.feed(data)
        except BadRequest as refusal:
            connection.refusal = refusal
            raise ConnectionLost(str(refusal)) from refusal
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _accept_url(self, url: str) -> str:
        """The path and query of a URL; its authority takes the place of the Host header (RFC 9112, 3.2.2)."""
        if url == "*":
            return url
        try:
            parts = urlsplit(url)
        except ValueError as broken:
            raise BadRequest(400, "the request target is not a URL") from broken
        if parts.scheme not in ("http", "https") or not parts.netloc or "@" in parts.netloc:
            raise BadRequest(400, "the request target is neither a path nor an http URL")
        self._pairs = [("host", parts.netloc), *(pair for pair in self._pairs if pair[0] != "host")]
        return f"{parts.path or '/'}?{parts.query}"


def join_headers(pairs: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    """The headers as a mapping; values of a repeated name are joined with ", " (RFC 9110, 5.3)."""
    headers = dict(pairs)
    if len(headers) != len(pairs):
        headers = {name: ", ".join(value for key, value in pairs if key == name) for name in headers}
    return headers
