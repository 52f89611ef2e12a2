"""The client's end of one accepted socket: non-blocking, by readiness, the same code on both backends.

Our own sockets instead of the backends' streams, because a write that fits into the kernel's buffer then takes no trip
through the event loop, idle bytes can be offered to a stalled reader without waiting for it, and a deadline is enforced
by shutting the socket down, which wakes whoever waits for it, without a cancel scope.
"""

import contextlib
import socket
import time

import anyio

from mcpcore.errors import ConnectionLost
from mcpcore_transports.web.readiness import readiness_of

__all__ = ("READ_BYTES", "Peer")

READ_BYTES = 64 * 1024
"""Bytes asked for in one read."""


class Peer:
    """One connected socket, which it owns. One task reads and one writes at a time."""

    must_be_asked: bool = False
    """Whether the client can say goodbye without the kernel noticing, so that only `left` finds out."""

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self._socket = connected
        self._readiness = readiness_of(connected)
        self.unsent: bytes | memoryview = b""
        """What was pushed and has not been taken by the kernel."""
        self.draining: bool = False
        """Whether a task waits in `drain`. Nobody else may push then: it would wait for room that it needs no more."""
        self.progressed: float = 0.0
        """When the kernel last took something, or could not take what was then pushed (`time.monotonic`)."""

    def fileno(self) -> int:
        return self._socket.fileno()

    async def receive(self) -> bytes:
        """The next bytes; b"" at the end, which a broken connection has too. Cancellation loses nothing."""
        while True:
            await self._readiness.wait()
            try:
                return self._socket.recv(READ_BYTES)
            except (BlockingIOError, InterruptedError):
                continue
            except OSError:
                return b""

    def push(self, data: bytes) -> bool:
        """Send what the kernel takes at once and keep the rest in `unsent`; whether there is no rest.

        Raises `ConnectionLost`.
        """
        if self.unsent:
            data = bytes(self.unsent) + data if data else self.unsent  # type: ignore[assignment]
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as broken:
            raise ConnectionLost(f"the client left: {broken.strerror}") from broken
        if sent == len(data):
            self.unsent = b""
            return True
        if sent or not self.unsent:
            self.progressed = time.monotonic()
        self.unsent = memoryview(data)[sent:]
        return False

    async def drain(self) -> None:
        """Wait until the kernel has taken everything. Raises `ConnectionLost`. A cancellation keeps the rest."""
        self.draining = True
        try:
            while self.unsent:
                await anyio.wait_writable(self._socket)
                self.push(b"")
        finally:
            self.draining = False

    def left(self) -> bool:
        """Whether the client closed its side, as far as that can be told without reading what it may have sent."""
        try:
            return self._socket.recv(1, socket.MSG_PEEK) == b""
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True

    def stop_reading(self) -> None:
        """End `receive` with b"", and every later one once what has arrived is read."""
        self._shutdown(socket.SHUT_RD)

    def stop_writing(self) -> None:
        """Tell the client that nothing more will come."""
        self._shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """End both directions: `receive` gives b"", `push` and `drain` raise `ConnectionLost`."""
        self._shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket. Nobody may be waiting for it."""
        self._readiness.close()
        self._socket.close()

    def _shutdown(self, how: int) -> None:
        with contextlib.suppress(OSError):  # the client was faster
            self._socket.shutdown(how)
