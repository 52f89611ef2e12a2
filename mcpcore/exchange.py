"""What is in flight on one shared pipe: who may answer, and what a cancellation means. Pure: no I/O.

On a pipe that many requests share (stdio, a WebSocket, the event stream of 2024-11-05), a message finds its reply
channel by its request's id, in one of two tables: the peer's requests that we still owe an answer, and our own that
the peer still owes us one. One struct holds both and each method is one event on the pipe, so that a cancellation
and a response that cross each other have one winner: whoever takes the entry out of the table.

A progress token of ours is always the id of the request it belongs to, and so is the subscription id of a
2026-07-28 listen; both therefore find their way home like a response does.
"""

from typing import Generic, TypeVar

import msgspec

from mcpcore.errors import LocalProtocolError
from mcpcore.types.base import RequestId

__all__ = ("Exchange", "ExchangeStatistics")


Theirs = TypeVar("Theirs")
Ours = TypeVar("Ours")


class ExchangeStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of one pipe. Everything dropped was dropped because nobody waits for it any more."""

    owed: int
    """Requests of the peer that are not answered yet."""

    awaited: int
    """Our requests that the peer has not answered yet."""

    duplicates: int
    """Requests refused because one with the same id was in flight."""

    orphans: int
    """Responses and progress that belonged to no request of ours in flight."""

    late: int
    """Answers of ours that were not sent because the peer had cancelled."""


class Exchange(Generic[Theirs, Ours]):
    """The two tables of one pipe: `Theirs` is how we answer the peer, `Ours` where its answers go."""

    __slots__ = ("_awaited", "_duplicates", "_late", "_orphans", "_owed", "_silent")

    def __init__(self) -> None:
        self._owed: dict[RequestId, Theirs] = {}
        self._awaited: dict[RequestId, Ours] = {}
        self._silent: dict[RequestId, None] = {}
        self._duplicates = self._orphans = self._late = 0

    def accept(self, id: RequestId, reply: Theirs) -> bool:
        """The peer asks. False when a request with this id is in flight: refuse the second, keep the first."""
        if id in self._owed:
            self._duplicates += 1
            return False
        self._owed[id] = reply
        return True

    def answer(self, id: RequestId, reply: Theirs) -> bool:
        """We answer. False when the peer has cancelled, or `id` means a later request by now: send nothing."""
        if self._owed.get(id) is not reply:
            self._late += 1
            return False
        del self._owed[id]
        return True

    def cancelled(self, id: RequestId) -> Theirs | None:
        """The peer cancels its request. None when that is not in flight, which is no error: it raced our answer."""
        return self._owed.pop(id, None)

    def ask(self, id: RequestId, home: Ours, *, cancellable: bool = True) -> None:
        """We ask. `cancellable=False` for `initialize`, which a client must never cancel."""
        if id in self._awaited:
            raise LocalProtocolError(f"a request with the id {id!r} is in flight; give each request its own id")
        self._awaited[id] = home
        if not cancellable:
            self._silent[id] = None

    def answered(self, id: RequestId | None) -> Ours | None:
        """The peer answers. None when nobody waits for it."""
        home = None
        if id is not None:
            home = self._awaited.pop(id, None)
            self._silent.pop(id, None)
        if home is None:
            self._orphans += 1
        return home

    def withdraw(self, id: RequestId) -> bool:
        """Our caller gave up. True when the peer must be told."""
        silent = id in self._silent
        self._silent.pop(id, None)
        return self._awaited.pop(id, None) is not None and not silent

    def home_of(self, token: RequestId | None) -> Ours | None:
        """Where progress or a listen notification with this token goes. None when nobody waits for it."""
        home = None if token is None else self._awaited.get(token)
        if home is None:
            self._orphans += 1
        return home

    @property
    def idle(self) -> bool:
        return not self._owed and not self._awaited

    def statistics(self) -> ExchangeStatistics:
        return ExchangeStatistics(
            owed=len(self._owed),
            awaited=len(self._awaited),
            duplicates=self._duplicates,
            orphans=self._orphans,
            late=self._late,
        )
