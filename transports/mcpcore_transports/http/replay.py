"""What a session's streams have sent, kept for a client that lost its connection and asks for the rest.

A store holds the events of one server's sessions. Every call names the session, and an event id means nothing in
another one: nobody can be replayed what was meant for somebody else.
"""

from abc import ABC, abstractmethod
from collections import OrderedDict, deque
from collections.abc import Sequence

import msgspec

__all__ = ("MAX_SESSION_BYTES", "MAX_STREAM_EVENTS", "MemoryReplayStore", "ReplayStore", "StoredEvent")

MAX_SESSION_BYTES = 4 * 1024 * 1024
"""Bytes of events kept for one session; the oldest go first. A client that lost its connection comes back within
seconds, and a result that is larger than this is not worth keeping for one that does not."""

MAX_STREAM_EVENTS = 10_000
"""Events kept for one session, for streams of very small ones: each costs memory beside its bytes."""


class StoredEvent(msgspec.Struct, frozen=True):
    id: str
    stream: str
    data: bytes
    """A JSON-RPC message; empty for the event that only primes a stream."""


class ReplayStore(ABC):
    """Keeps events. May wait for a disk or a network, within its own deadlines."""

    @abstractmethod
    async def append(self, session: str, stream: str, data: bytes) -> str:
        """Keep an event before it is sent, and return its id: unique in the session, visible ASCII, no white space."""

    @abstractmethod
    async def stream_of(self, session: str, event_id: str) -> str | None:
        """The stream that an event of this session belongs to; None when it is not kept, or not of this session."""

    @abstractmethod
    async def after(self, session: str, event_id: str) -> Sequence[StoredEvent] | None:
        """The events that followed one on its stream, oldest first; None as in `stream_of`."""

    @abstractmethod
    async def forget(self, session: str, stream: str | None = None) -> None:
        """Drop a stream, or all of a session."""


class MemoryReplayStore(ReplayStore):
    """Keeps events in this process, within limits of bytes and events for each session."""

    def __init__(self, *, max_bytes: int = MAX_SESSION_BYTES, max_events: int = MAX_STREAM_EVENTS) -> None:
        self._max_bytes = max_bytes
        self._max_events = max_events
        self._sessions: dict[str, _Kept] = {}

    async def append(self, session: str, stream: str, data: bytes) -> str:
        kept = self._sessions.setdefault(session, _Kept())
        kept.last += 1
        event = StoredEvent(f"{stream}.{kept.last}", stream, data)
        kept.events[event.id] = event
        kept.size += len(data)
        while kept.events and (kept.size > self._max_bytes or len(kept.events) > self._max_events):
            _, oldest = kept.events.popitem(last=False)
            kept.size -= len(oldest.data)
        return event.id

    async def stream_of(self, session: str, event_id: str) -> str | None:
        kept = self._sessions.get(session)
        event = None if kept is None else kept.events.get(event_id)
        return None if event is None else event.stream

    async def after(self, session: str, event_id: str) -> Sequence[StoredEvent] | None:
        kept = self._sessions.get(session)
        if kept is None or event_id not in kept.events:
            return None
        stream = kept.events[event_id].stream
        found: deque[StoredEvent] = deque()
        # From the newest back: what is asked for is almost always the end.
        for event in reversed(kept.events.values()):
            if event.id == event_id:
                break
            if event.stream == stream:
                found.appendleft(event)
        return list(found)

    async def forget(self, session: str, stream: str | None = None) -> None:
        if stream is None:
            self._sessions.pop(session, None)
            return
        kept = self._sessions.get(session)
        if kept is not None:
            for event in [e for e in kept.events.values() if e.stream == stream]:
                del kept.events[event.id]
                kept.size -= len(event.data)


class _Kept:
    __slots__ = ("events", "last", "size")

    def __init__(self) -> None:
        self.events: OrderedDict[str, StoredEvent] = OrderedDict()
        self.last = 0
        self.size = 0
