"""The connections of one client: those in use, and those kept for a next request."""

import time
from collections.abc import Awaitable, Callable

import anyio

from mcpcore_transports.web.client_limits import ClientLimits
from mcpcore_transports.web.urls import Origin
from mcpcore_transports.web.wire import Wire

__all__ = ("Pool",)


class Pool:
    """Owns every connection that `dial` opens. Belongs to no task and no event loop; none of its own work waits."""

    def __init__(self, limits: ClientLimits) -> None:
        self._limits = limits
        self._idle: dict[Origin, list[tuple[Wire, float]]] = {}
        """Each with the time until which it is kept (`time.monotonic`); the one used last is at the end."""
        self._used: dict[Wire, Origin] = {}
        self._dialing: set[anyio.CancelScope] = set()
        self._closed = False

    def __repr__(self) -> str:
        idle = sum(map(len, self._idle.values()))
        state = "closed" if self._closed else "open"
        return f"<Pool {state}: {len(self._used)} in use, {idle} idle, {len(self._dialing)} dialing>"

    def check_open(self) -> None:
        """Raises `anyio.ClosedResourceError` after `close`."""
        if self._closed:
            raise anyio.ClosedResourceError

    def take(self, origin: Origin) -> Wire | None:
        """The idle connection that was used last and is still there; None if there is none.

        One with anything to read is of no use: the server has closed it, or sends what nobody asked for.
        """
        self.check_open()
        idle = self._idle.get(origin)
        if idle:
            now = time.monotonic()
            while idle:
                wire, until = idle.pop()
                if until > now and wire.receive_now() is None:
                    self._used[wire] = origin
                    return wire
                wire.close()
        return None

    async def open(self, origin: Origin, dial: Callable[[], Awaitable[Wire]]) -> Wire:
        """A connection that nobody has used yet. Raises what `dial` does, `anyio.ClosedResourceError` after `close`."""
        self.check_open()
        self._close_expired()
        wire = None
        scope = anyio.CancelScope()
        self._dialing.add(scope)
        try:
            with scope:
                wire = await dial()
        finally:
            self._dialing.discard(scope)
        if wire is None or self._closed:
            if wire is not None:
                wire.close()
            raise anyio.ClosedResourceError
        self._used[wire] = origin
        return wire

    def release(self, wire: Wire, reusable: bool) -> None:
        """Take a connection back, to be kept if it is `reusable`."""
        origin = self._used.pop(wire)
        if not reusable or self._closed:
            wire.close()
            return
        idle = self._idle.setdefault(origin, [])
        idle.append((wire, time.monotonic() + self._limits.idle_seconds))
        if len(idle) > self._limits.idle_per_origin:
            idle.pop(0)[0].close()

    def close(self) -> None:
        """Close what is idle and break what is in use: whoever waits there gets `anyio.ClosedResourceError`."""
        self._closed = True
        for scope in self._dialing:
            scope.cancel()
        for idle in self._idle.values():
            for wire, _ in idle:
                wire.close()
        self._idle.clear()
        for wire in self._used:
            wire.abort()  # its user closes it

    def _close_expired(self) -> None:
        now = time.monotonic()
        for origin, idle in list(self._idle.items()):
            while idle and idle[0][1] <= now:
                idle.pop(0)[0].close()
            if not idle:
                del self._idle[origin]
