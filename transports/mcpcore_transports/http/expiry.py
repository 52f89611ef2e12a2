"""Streams that end with the token that opened them: a request is authorized when it comes, and a stream lasts hours."""

import time
from collections.abc import Callable

import anyio

from mcpcore.principal import Principal

__all__ = ("LOOK_SECONDS", "Expiries", "Expiry")

LOOK_SECONDS = 60.0
"""How often the clock is looked at, whatever it said: somebody may set it."""


class Expiry:
    """When one stream ends, as a context manager around it; `renew` puts that off."""

    __slots__ = ("_all", "end", "expires")

    def __init__(self, expires: float | None, end: Callable[[], None], all: "Expiries") -> None:
        self.expires = expires
        self.end: Callable[[], None] = end
        self._all = all

    def __enter__(self) -> "Expiry":
        if self.expires is not None:
            self._all.begin(self)
        return self

    def __exit__(self, *error: object) -> None:
        self._all.discard(self)

    def renew(self, principal: Principal | None) -> None:
        """Go on for as long as this later token of the same caller is good."""
        if principal is None or self.expires is None:
            return
        self.expires = None if principal.expires is None else max(self.expires, principal.expires)
        self._all.look()


class Expiries:
    """The streams of one endpoint. `run` has to run while there are any."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._open: set[Expiry] = set()
        self._changed: anyio.Event | None = None

    def __len__(self) -> int:
        return len(self._open)

    def ending(self, principal: Principal | None, end: Callable[[], None]) -> Expiry:
        """A context manager: call `end`, which must not wait, if the principal's token expires in it."""
        return Expiry(None if principal is None else principal.expires, end, self)

    def begin(self, expiry: Expiry) -> None:
        """From here on it ends when it is due."""
        self._open.add(expiry)
        self.look()

    def discard(self, expiry: Expiry) -> None:
        """Its stream is over."""
        self._open.discard(expiry)

    def look(self) -> None:
        """Find out anew what is due first."""
        if self._changed is not None:
            self._changed.set()

    async def run(self) -> None:
        """End what has to end, until this is cancelled."""
        while True:
            self._changed = anyio.Event()
            now = self._now()
            times = []
            for expiry in tuple(self._open):
                if expiry.expires is None or expiry.expires > now:
                    times.append(expiry.expires)
                else:
                    self._open.discard(expiry)
                    expiry.end()
            first = min((one for one in times if one is not None), default=None)
            # Without anything that expires there is nothing to look at the clock for.
            with anyio.move_on_after(None if first is None else min(LOOK_SECONDS, first - now)):
                await self._changed.wait()
