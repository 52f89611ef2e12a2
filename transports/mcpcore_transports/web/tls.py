"""A peer behind TLS: the same socket, with the records of an `ssl` object in between."""

import contextlib
import socket
import ssl

from mcpcore.errors import ConnectionLost
from mcpcore_transports.web.peer import READ_BYTES, Peer

__all__ = ("TlsPeer",)


class TlsPeer(Peer):
    """The handshake happens in the first `receive`, under the deadline of a request's head."""

    def __init__(self, connected: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(connected)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    async def receive(self) -> bytes:
        while True:
            try:
                data = self._tls.read(READ_BYTES)
            except ssl.SSLWantReadError:
                data = None
            except ssl.SSLError:
                data = b""  # no TLS, a version or cipher we do not have, or a forged record: the alert goes out below
            try:
                if not super().push(self._outgoing.read()):
                    await self.drain()
            except ConnectionLost:
                return b""
            if data is not None:
                return data
            received = await super().receive()
            if received:
                self._incoming.write(received)
            else:
                self._incoming.write_eof()

    def push(self, data: bytes) -> bool:
        if data:
            try:
                self._tls.write(data)
            except ssl.SSLError as broken:
                raise ConnectionLost(f"the TLS connection is broken: {broken.reason}") from broken
        return super().push(self._outgoing.read())

    def stop_writing(self) -> None:
        with contextlib.suppress(ssl.SSLError):  # it wants the client's goodbye as well, which nobody waits for
            self._tls.unwrap()
        try:
            super().push(self._outgoing.read())
        except ConnectionLost:
            return
        super().stop_writing()

    def close(self) -> None:
        if not self.unsent:
            self.stop_writing()
        super().close()
