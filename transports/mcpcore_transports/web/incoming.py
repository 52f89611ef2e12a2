"""The request side of our listener's exchange."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import unquote, urlsplit

from mcpcore.errors import ConnectionLost
from mcpcore_transports.web.connection import Connection
from mcpcore_transports.web.encoder import CONTINUE
from mcpcore_transports.web.exchange import BodyTooLarge, WebRequest
from mcpcore_transports.web.head import BadRequest, Head, join_headers

__all__ = ("ConnectionRequest",)


class ConnectionRequest(WebRequest):
    """A request whose body is still on `connection`. Raises `BadRequest` for a target that is neither path nor URL."""

    mount: str = ""

    _body: bytes | None = None

    def __init__(self, connection: Connection, head: Head) -> None:
        self._connection = connection
        self._head = head
        self._pairs = head.headers
        self.headers: Mapping[str, str] = head.fields
        self.method: str = head.method
        self.scheme: str = connection.host.scheme
        self.client: str = connection.client
        target = head.target
        if not target.startswith("/"):
            target = self._accept_url(target)
        path, _, query = target.partition("?")
        self.query: str = query
        self.path: str = unquote(path) if "%" in path else path

    def header_values(self, name: str) -> Sequence[str]:
        if len(self.headers) == len(self._pairs):  # no name comes twice
            value = self.headers.get(name)
            return () if value is None else (value,)
        return [value for key, value in self._pairs if key == name]

    async def body(self, limit: int) -> bytes:
        body = self._body
        if body is None:
            body = self._body = await self._read(limit)
        if len(body) > limit:
            raise BodyTooLarge
        return body

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
            while not parser.ended:
                piece = parser.body()
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
        self.headers = join_headers(self._pairs)
        return f"{parts.path or '/'}?{parts.query}"
