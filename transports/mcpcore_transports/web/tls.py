"""A peer behind TLS: the same socket, with the records of an `ssl` object in between."""

import contextlib
import socket
import ssl

from mcpcore.errors import ConnectionLost
from mcpcore_transports.web.peer import READ_BYTES, Peer

__all__ = ("TlsPeer",)


class TlsPeer(Peer):
    """The handshake happens in the first `receive`, under the deadline of a request's head."""

    must_be_asked = True

    def __init__(self, connected: socket.socket, context: ssl.SSLContext) -> None:
        super().__init__(connected)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._early = b""  # what `left` came across
        self._receiving = False
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    async def receive(self) -> bytes:
        self._receiving = True
        try:
            while True:
                data = self._decrypt()
                try:
                    if not super().push(self._outgoing.read()):
                        await self.drain()
                except ConnectionLost:
                    return b""
                if data is not None:
                    return data
                self._feed(await super().receive())
        finally:
            self._receiving = False

    def left(self) -> bool:
        """Also whether the client said goodbye in TLS only, waiting for us to do the same (RFC 8446, 6.1)."""
        if self._receiving or len(self._early) >= READ_BYTES:
            return False  # `receive` finds out; or the client keeps sending requests
        try:
            self._feed(self._socket.recv(READ_BYTES))
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True
        while data := self._read():
            self._early += data
        return data == b""

    def _decrypt(self) -> bytes | None:
        """The next bytes, None when more have to come first."""
        if self._early:
            early, self._early = self._early, b""
            return early
        return self._read()

    def _read(self) -> bytes | None:
        try:
            return self._tls.read(READ_BYTES)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLError:
            return b""  # no TLS, a version or cipher that we do not have, or a forged record

    def _feed(self, received: bytes) -> None:
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
