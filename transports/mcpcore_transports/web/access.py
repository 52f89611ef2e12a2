"""The access log: one entry per finished request, written off the path of the requests."""

import logging
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import anyio

__all__ = ("MAX_WAITING_ENTRIES", "AccessEntry", "AccessLog")

MAX_WAITING_ENTRIES = 10_000
"""Entries that wait to be written; a few seconds of a busy server. Older ones are dropped and counted."""

_FLUSH_SECONDS = 0.1
"""How long entries are gathered, so that a busy server writes many at a time."""

_log = logging.getLogger("mcpcore.http")


class AccessEntry(NamedTuple):
    """One finished request. Neither its query string nor any header: both carry secrets."""

    method: str
    path: str
    status: int
    """0 when the client left before there was an answer."""

    sent_bytes: int
    seconds: float
    client: str


class AccessLog:
    """Hands entries to `write`, which may format and print them. It is called between other work: it must not wait."""

    def __init__(self, write: Callable[[AccessEntry], None]) -> None:
        self._write = write
        self._entries: deque[AccessEntry] = deque(maxlen=MAX_WAITING_ENTRIES)
        self._dropped = 0
        self._waiting: anyio.Event | None = None

    def add(self, entry: AccessEntry) -> None:
        """Take an entry. Never waits."""
        if len(self._entries) == MAX_WAITING_ENTRIES:
            self._dropped += 1
        self._entries.append(entry)
        if self._waiting is not None:
            self._waiting.set()
            self._waiting = None

    async def run(self) -> None:
        """Write entries until cancelled; what is left then is written as well."""
        try:
            while True:
                if not self._entries:
                    self._waiting = anyio.Event()
                    await self._waiting.wait()
                await anyio.sleep(_FLUSH_SECONDS)
                self._flush()
        finally:
            self._flush()

    def _flush(self) -> None:
        if self._dropped:
            _log.warning("%d access log entries were dropped: they came faster than they were written", self._dropped)
            self._dropped = 0
        try:
            while self._entries:
                self._write(self._entries.popleft())
        except Exception:
            _log.exception("the access log's own function failed; one entry is lost")
