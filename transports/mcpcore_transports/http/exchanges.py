"""What is in flight in one handshake session over HTTP. Pure: no I/O.

Unlike on a pipe, the answer to a POST goes where the POST came from. So ids need not differ between the requests of a
session (some clients give every one of them the id 1), and only a cancellation, which names nothing but an id, has to
look anything up.
"""

from typing import Protocol

from mcpcore.channel import Inbox
from mcpcore.exchange import Exchange
from mcpcore.jsonrpc import Request
from mcpcore.types import CancelledNotificationParams, ProgressNotificationParams

__all__ = ("Closable", "SessionExchange")


class Closable(Protocol):
    def close(self, reason: str | None = None) -> None: ...


class SessionExchange:
    """The requests of one session, both ways."""

    __slots__ = ("_asked", "_running", "dropped")

    def __init__(self) -> None:
        self._running: dict[int | str, list[Closable]] = {}
        self._asked: Exchange[Closable, Inbox] = Exchange()
        self.dropped: int = 0
        """Notifications that nobody read in time."""

    @property
    def running(self) -> int:
        return sum(map(len, self._running.values()))

    def began(self, id: int | str, stream: Closable) -> None:
        self._running.setdefault(id, []).append(stream)

    def finished(self, id: int | str | None, stream: Closable) -> None:
        if id is None:
            return
        streams = self._running.get(id, [])
        if stream in streams:
            streams.remove(stream)
            if not streams:
                del self._running[id]
                if not self._running:
                    self._running.clear()  # one that was emptied piece by piece keeps its table

    def cancelled(self, params: CancelledNotificationParams) -> None:
        """The client cancels: every request with that id, since it names no other."""
        if params.request_id is not None:
            for stream in self._running.pop(params.request_id, ()):
                stream.close(params.reason)

    def ask(self, request: Request, inbox: Inbox, stream: Closable) -> None:
        self._asked.ask(request.id, inbox)
        inbox.when_closed(lambda: self._withdraw(request.id))

    def answered(self, id: int | str | None) -> Inbox | None:
        """Where the client's answer to a question of ours goes."""
        return self._asked.answered(id)

    def progressed(self, params: ProgressNotificationParams) -> Inbox | None:
        return self._asked.home_of(params.progress_token)

    def close(self) -> None:
        """The session is over: every request in it is cancelled."""
        for streams in list(self._running.values()):
            for stream in list(streams):
                stream.close("the session ended")
        self._running.clear()

    def _withdraw(self, id: int | str) -> None:
        self._asked.withdraw(id)
