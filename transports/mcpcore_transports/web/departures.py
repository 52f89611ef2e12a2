"""Noticing that clients leave while their requests run, for a whole listener at a time.

Where the kernel can say "the peer has closed its side" apart from "there is something to read" (Linux), every
connection is registered for that once, when it is accepted: a request costs nothing, a departure is noticed at once,
and pipelined requests stay in the kernel's buffer. Elsewhere the connections whose requests have run for a while are
asked one by one.
"""

import select
import sys
import time
from abc import ABC, abstractmethod

import anyio

from mcpcore_transports.web.limits import YOUNG_SECONDS
from mcpcore_transports.web.peer import Peer

__all__ = ("Departures", "Watched", "open_departures")

_ASKING_SECONDS = 0.02
"""How often connections are asked where the kernel does not tell."""


class Watched(ABC):
    """A connection, as this module sees it."""

    peer: Peer
    running_since: float
    """When the request that is running began (`time.monotonic`); 0.0 when none is."""

    @abstractmethod
    def leave(self) -> None:
        """The client has left while a request was running."""


class Departures(ABC):
    """Calls `leave` of connections whose clients close their side while a request has run for YOUNG_SECONDS."""

    @abstractmethod
    def add(self, connection: Watched) -> None:
        """Watch a connection from its beginning."""

    @abstractmethod
    def discard(self, connection: Watched) -> None:
        """Stop watching; before its socket is closed."""

    @abstractmethod
    async def run(self) -> None:
        """Watch until cancelled."""

    @abstractmethod
    def close(self) -> None:
        """Release what was opened. After `run` has ended."""


def open_departures() -> Departures:
    """The best way this platform has."""
    return _KernelDepartures() if sys.platform == "linux" else _AskedDepartures()


if sys.platform == "linux":

    class _KernelDepartures(Departures):
        def __init__(self) -> None:
            self._epoll = select.epoll()
            self._connections: dict[int, Watched] = {}
            self._departed: set[Watched] = set()

        def add(self, connection: Watched) -> None:
            fd = connection.peer.fileno()
            self._connections[fd] = connection
            self._epoll.register(fd, select.EPOLLRDHUP | select.EPOLLET)

        def discard(self, connection: Watched) -> None:
            fd = connection.peer.fileno()
            if self._connections.pop(fd, None) is not None:
                self._epoll.unregister(fd)
            self._departed.discard(connection)

        async def run(self) -> None:
            while True:
                if not self._departed:
                    await anyio.wait_readable(self._epoll.fileno())
                for fd, _events in self._epoll.poll(0):
                    self._departed.add(self._connections[fd])
                now = time.monotonic()
                for connection in list(self._departed):
                    # One without a running request reads the end by itself, after the requests it sent before.
                    if connection.running_since and now - connection.running_since >= YOUNG_SECONDS:
                        self._departed.discard(connection)
                        connection.leave()
                if self._departed:  # they are looked at again when their requests are older
                    await anyio.sleep(YOUNG_SECONDS)

        def close(self) -> None:
            self._epoll.close()


class _AskedDepartures(Departures):
    def __init__(self) -> None:
        self._connections: set[Watched] = set()

    def add(self, connection: Watched) -> None:
        self._connections.add(connection)

    def discard(self, connection: Watched) -> None:
        self._connections.discard(connection)

    def close(self) -> None:
        self._connections.clear()

    async def run(self) -> None:
        while True:
            await anyio.sleep(_ASKING_SECONDS)
            before = time.monotonic() - YOUNG_SECONDS
            for connection in list(self._connections):
                if 0.0 < connection.running_since <= before and connection.peer.left():
                    connection.leave()
