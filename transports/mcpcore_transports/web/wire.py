"""A connection to a server as bytes: a plain socket, or TLS on top of another wire.

Our own sockets instead of the backends' streams: what the kernel takes at once needs no trip through the event loop,
an idle connection can be asked whether it is still there, and closing never waits, so that nothing is left open when
a task is cancelled.
"""

import socket
import ssl
from abc import ABC, abstractmethod
from contextlib import suppress

import anyio

from mcpcore.errors import ConnectionLost

__all__ = ("READ_BYTES", "SocketWire", "TlsWire", "Wire")

READ_BYTES = 64 * 1024
"""Bytes asked for in one read."""

_ANSWER_SECONDS = 10.0
"""Seconds for a server to take the few bytes with which TLS answers its own messages."""


class Wire(ABC):
    """One connection, owned by whoever holds it; used by one task at a time."""

    __slots__ = ("peer",)

    peer: str
    """Host and port, for the text of errors."""

    @abstractmethod
    async def receive(self) -> bytes:
        """The next bytes, b"" at the end. Raises `ConnectionLost`. Cancellation loses nothing."""

    @abstractmethod
    def receive_now(self) -> bytes | None:
        """What `receive` would give at once, b"" for a broken connection too; None when nothing is there."""

    @abstractmethod
    async def send(self, data: bytes, seconds: float) -> None:
        """Send all of `data`. Raises `ConnectionLost`, also when the peer takes nothing for `seconds`.

        Cancelled, an unknown part has been sent, and the wire is good for nothing but closing.
        """

    @abstractmethod
    def send_last(self, data: bytes) -> None:
        """Offer bytes that nothing will follow; what is not taken at once is lost. Never waits, raises nothing."""

    @abstractmethod
    def abort(self) -> None:
        """End both directions, which wakes the task that waits: `receive` gives what has arrived, then b""."""

    @abstractmethod
    def close(self) -> None:
        """Close it. Never waits. No task may be waiting for it."""


class SocketWire(Wire):
    """A connected socket, which it owns."""

    __slots__ = ("_socket",)

    def __init__(self, connected: socket.socket, peer: str) -> None:
        connected.setblocking(False)
        self._socket = connected
        self.peer = peer

    async def receive(self) -> bytes:
        while True:
            await anyio.wait_readable(self._socket)
            try:
                return self._socket.recv(READ_BYTES)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError as broken:
                raise self._lost(broken) from broken

    def receive_now(self) -> bytes | None:
        try:
            return self._socket.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return b""

    async def send(self, data: bytes, seconds: float) -> None:
        sent = self._send_now(data)
        if sent < len(data):
            rest = memoryview(data)[sent:]
            while rest:
                with anyio.move_on_after(seconds) as patience:
                    await anyio.wait_writable(self._socket)
                if patience.cancelled_caught:
                    raise ConnectionLost(
                        f"{self.peer} has taken nothing of what was sent to it for {seconds:g} seconds"
                    )
                rest = rest[self._send_now(rest) :]

    def send_last(self, data: bytes) -> None:
        with suppress(OSError):
            self._socket.send(data)

    def abort(self) -> None:
        with suppress(OSError):  # the peer may be faster
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._socket.close()

    def _send_now(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as broken:
            raise self._lost(broken) from broken

    def _lost(self, broken: OSError) -> ConnectionLost:
        return ConnectionLost(f"the connection to {self.peer} broke: {broken.strerror}")


class TlsWire(Wire):
    """TLS on another wire, which it owns; `host` is whose certificate is asked for. `handshake` comes first.

    A connection that ends without TLS saying so is a broken one, not an ended one: anybody could have cut it off
    (RFC 9112, 9.8). Contexts with `OP_IGNORE_UNEXPECTED_EOF` cannot tell the two apart.
    """

    __slots__ = ("_incoming", "_outgoing", "_tls", "_wire")

    def __init__(self, wire: Wire, context: ssl.SSLContext, host: str, peer: str) -> None:
        self.peer = peer
        self._wire = wire
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    async def handshake(self, seconds: float) -> None:
        """Agree on keys and check the certificate. Raises `ssl.SSLError` and `ConnectionLost`."""
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._wire.send(self._outgoing.read(), seconds)
                self._feed(await self._wire.receive())
            except ssl.SSLError:
                self._wire.send_last(self._outgoing.read())  # the alert that tells the server why
                raise
            else:
                await self._wire.send(self._outgoing.read(), seconds)
                return

    async def receive(self) -> bytes:
        while True:
            data = self._read()
            if self._outgoing.pending:
                await self._wire.send(self._outgoing.read(), _ANSWER_SECONDS)
            if data is not None:
                return data
            self._feed(await self._wire.receive())

    def receive_now(self) -> bytes | None:
        while True:
            try:
                data = self._read()
            except ConnectionLost:
                return b""
            if data is not None:
                return data
            received = self._wire.receive_now()
            if received is None:
                return None
            self._feed(received)

    async def send(self, data: bytes, seconds: float) -> None:
        try:
            self._tls.write(data)
        except ssl.SSLError as broken:
            raise self._lost(broken) from broken
        await self._wire.send(self._outgoing.read(), seconds)

    def send_last(self, data: bytes) -> None:
        with suppress(ssl.SSLError):
            self._tls.write(data)
            self._wire.send_last(self._outgoing.read())

    def abort(self) -> None:
        self._wire.abort()

    def close(self) -> None:
        with suppress(ssl.SSLError):  # it wants the server's goodbye as well, which nobody waits for
            self._tls.unwrap()
        self._wire.send_last(self._outgoing.read())
        self._wire.close()

    def _read(self) -> bytes | None:
        try:
            return self._tls.read(READ_BYTES)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLError as broken:
            raise self._lost(broken) from broken

    def _feed(self, received: bytes) -> None:
        if received:
            self._incoming.write(received)
        else:
            self._incoming.write_eof()

    def _lost(self, broken: ssl.SSLError) -> ConnectionLost:
        if isinstance(broken, ssl.SSLEOFError):
            return ConnectionLost(f"the TLS connection to {self.peer} was cut off")
        return ConnectionLost(f"the TLS connection to {self.peer} broke: {broken.reason}")
