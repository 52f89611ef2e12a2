"""Results a client may use again, for as long as the server said (MCP 2026-07-28, Caching)."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

__all__ = ("MAX_ENTRIES", "ResultCache")

MAX_ENTRIES = 256
"""Results of one client that are kept; the one not used for longest goes first. A page of a list is one entry."""


class ResultCache:
    """Results by method and parameters. One belongs to one client, so nothing is shared between users.

    `clock` gives seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float], limit: int = MAX_ENTRIES) -> None:
        self._clock = clock
        self._limit = limit
        self._entries: OrderedDict[tuple[str, Hashable], tuple[float, Any]] = OrderedDict()

    def get(self, method: str, key: Hashable) -> Any | None:
        """A result that is still fresh, or None."""
        entry = self._entries.get((method, key))
        if entry is None:
            return None
        if self._clock() >= entry[0]:
            del self._entries[(method, key)]
            return None
        self._entries.move_to_end((method, key))
        return entry[1]

    def put(self, method: str, key: Hashable, result: Any, ttl_ms: int | None) -> None:
        """Keep a result for `ttl_ms` milliseconds; nothing is kept for 0, less, or None."""
        if ttl_ms is None or ttl_ms <= 0:
            return
        self._entries[(method, key)] = (self._clock() + ttl_ms / 1000, result)
        self._entries.move_to_end((method, key))
        while len(self._entries) > self._limit:
            self._entries.popitem(last=False)

    def forget(self, method: str, key: Hashable = None) -> None:
        """Drop what is kept for a method, or for one of its keys."""
        for entry in [e for e in self._entries if e[0] == method and (key is None or e[1] == key)]:
            del self._entries[entry]
