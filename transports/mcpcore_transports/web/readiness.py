"""Waiting until there is something to read from a socket, in the cheapest way that the event loop has.

Trio waits for a socket once for each time it is asked to. An event loop that works by callbacks (asyncio, uvloop) is
told of a socket and told to forget it, and doing both for each read costs as much as a small request. So there a socket
stays registered until something arrives that nobody waits for.
"""

import socket
import sys
from abc import ABC, abstractmethod
from typing import Any

import anyio
import anyio.lowlevel

__all__ = ("Readiness", "readiness_of")


class Readiness(ABC):
    """One socket's. One task waits at a time; `close` comes before the socket is closed, and nobody waits then."""

    __slots__ = ()

    @abstractmethod
    async def wait(self) -> None:
        """Wait until a read would not block. May return too early, as whoever waits by readiness expects."""

    @abstractmethod
    def close(self) -> None:
        """Have the event loop forget the socket."""


def readiness_of(connected: socket.socket) -> Readiness:
    """For a non-blocking socket, in the event loop that runs."""
    loop: Any = anyio.lowlevel.current_token().native_token
    if sys.platform != "win32" and hasattr(loop, "add_reader"):
        return _Registered(connected, loop)
    return _Asked(connected)


class _Asked(Readiness):
    __slots__ = ("_socket",)

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected

    async def wait(self) -> None:
        await anyio.wait_readable(self._socket)

    def close(self) -> None:
        pass


class _Registered(Readiness):
    __slots__ = ("_fd", "_loop", "_registered", "_waiter")

    def __init__(self, connected: socket.socket, loop: Any) -> None:
        self._fd = connected.fileno()
        self._loop = loop
        self._registered = False
        self._waiter: Any = None

    async def wait(self) -> None:
        if not self._registered:
            self._registered = True
            self._loop.add_reader(self._fd, self._arrived)
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        finally:
            self._waiter = None

    def close(self) -> None:
        if self._registered:
            self._registered = False
            self._loop.remove_reader(self._fd)

    def _arrived(self) -> None:
        waiter = self._waiter
        if waiter is None:
            self.close()  # it would be reported again at once, and for ever
        elif not waiter.done():
            waiter.set_result(None)
