"""The response side of our listener's exchange."""

import time

import anyio.lowlevel

from mcpcore.errors import ConnectionLost, LocalProtocolError
from mcpcore_transports.web.connection import Connection, Reply
from mcpcore_transports.web.encoder import LAST_CHUNK, encode_chunk, encode_head, has_no_body, refusal_text
from mcpcore_transports.web.exchange import Headers
from mcpcore_transports.web.head import BadRequest, Head

__all__ = ("YIELD_SECONDS", "ConnectionReply")

YIELD_SECONDS = 0.001
"""How long a task may send without letting others run: a write that does not have to wait is no reason to."""


class ConnectionReply(Reply):
    """The response to `head` on `connection`.

    A streamed body is chunked, or ends with the connection for an HTTP/1.0 client, or has the length that the
    application gave as content-length.
    """

    finished: bool
    sent_bytes: int
    reusable: bool
    idle_bytes: bytes

    def __init__(self, connection: Connection, head: Head) -> None:
        self._connection = connection
        self._head = head
        self._chunked = False
        self._silent = head.method == "HEAD"
        self._left = -1  # bytes that a given content-length still promises

    async def send_whole(self, status: int, headers: Headers, body: bytes) -> None:
        length = b"" if has_no_body(status) else b"content-length: %d\r\n" % len(body)
        data = encode_head(status, headers, length + self._fate(keep=True))
        if length and body and not self._silent:
            data += body
            self.sent_bytes = len(body)
        self._begin(status)
        await self._connection.write(data)
        self.finished = True

    async def start(self, status: int, headers: Headers, *, first: bytes = b"", idle_bytes: bytes = b"") -> None:
        framing = b""
        delimited = True
        declared = [value for name, value in headers if name.lower() == "content-length"]
        if has_no_body(status):
            self._silent = True
        elif declared:
            self._left = int(declared[0])
        elif self._head.minor:
            self._chunked = True
            framing = b"transfer-encoding: chunked\r\n"
        else:
            delimited = self._silent
        data = encode_head(status, headers, framing + self._fate(keep=delimited))
        self._begin(status)
        await self._connection.write(data + self._part(first) if first else data)
        if idle_bytes and not self._silent and not declared:
            self.idle_bytes = encode_chunk(idle_bytes) if self._chunked else idle_bytes

    async def send(self, chunk: bytes) -> None:
        if not self.started or self.finished:
            raise LocalProtocolError("send is for between start and finish")
        connection = self._connection
        await anyio.lowlevel.checkpoint_if_cancelled()
        if part := self._part(chunk):
            await connection.write(part)
        now = time.monotonic()
        if now - connection.yielded > YIELD_SECONDS:
            connection.yielded = now
            await anyio.lowlevel.checkpoint()

    async def finish(self, last: bytes = b"") -> None:
        if not self.started:
            raise LocalProtocolError("finish is for after start")
        if self.finished:
            return
        end = self._part(last)
        if self._left > 0 and not self._silent:
            raise LocalProtocolError("the body is shorter than its content-length")
        self.idle_bytes = b""
        if self._chunked and not self._silent:
            end += LAST_CHUNK
        if end:
            await self._connection.write(end)
        self.finished = True

    async def send_refusal(self, refusal: BadRequest) -> None:
        body = refusal_text(refusal.status, str(refusal))
        framing = b"content-length: %d\r\nconnection: close\r\n" % len(body)
        data = encode_head(refusal.status, (("content-type", "text/plain; charset=utf-8"),), framing)
        self._begin(refusal.status)
        if not self._silent:
            data += body
            self.sent_bytes = len(body)
        try:
            await self._connection.write(data)
        except ConnectionLost:
            return
        self.finished = True
        self.reusable = False

    def _part(self, chunk: bytes) -> bytes:
        """A part of the body as it goes over the connection, counted."""
        if not chunk or self._silent:
            return b""
        if self._left >= 0:
            if len(chunk) > self._left:
                raise LocalProtocolError("the body is longer than its content-length")
            self._left -= len(chunk)
        self.sent_bytes += len(chunk)
        return encode_chunk(chunk) if self._chunked else chunk

    def _begin(self, status: int) -> None:
        if self.started:
            raise LocalProtocolError("a request has one response; this one has begun")
        self.started = True
        self.status = status

    def _fate(self, *, keep: bool) -> bytes:
        """The header that says whether the connection lives on, once that is decided."""
        connection = self._connection
        self.reusable = (
            keep
            and self._head.keep_alive
            and connection.refusal is None
            and not connection.host.closing
            and connection.request_is_read()
        )
        return b"" if self.reusable else b"connection: close\r\n"
