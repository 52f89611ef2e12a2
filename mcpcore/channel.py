"""The one idea: every message carries its way back.

What travels between a transport and a session is an `Envelope`: a message plus the reply channel on which
everything that answers it goes home: progress, logs, questions, and at last the response. So nobody looks up
which stream an answer belongs to, a slow reader holds up exactly the work it asked for, and closing the far end
of a reply channel cancels that work, whatever made it close.

A transport supplies a `Channel`. `memory_pair()` is the smallest one: two queues and no wire.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import anyio
import msgspec

from mcpcore.errors import ConnectionLost
from mcpcore.jsonrpc import Message
from mcpcore.principal import Principal
from mcpcore.revisions import Revision
from mcpcore.wakeup import Wakeup, make_wakeup

__all__ = (
    "CHANNEL_MESSAGES",
    "INBOX_MESSAGES",
    "Channel",
    "Envelope",
    "Inbox",
    "MemoryChannel",
    "Origin",
    "ReplyChannel",
    "Verifier",
    "memory_pair",
)

INBOX_MESSAGES = 64
"""Messages that may wait in one caller's inbox before the sender waits: enough for a burst of progress, and at
most a few hundred kilobytes for a caller that has stopped reading."""

CHANNEL_MESSAGES = 64
"""Messages that may wait in each direction of a memory channel before the sender waits."""


class Verifier(ABC):
    """What a transport has to compare with a message before it is acted on, e.g. HTTP headers with the body.

    Raises `RemoteProtocolError` for a message that is not what was announced. Must not wait.
    """

    @abstractmethod
    def check(self, method: str, meta: Mapping[str, Any], params: Any) -> None:
        """Called when the request's `_meta` is known to be complete and before its revision is looked at. `params`
        is the parameter struct, or None when the parameters are faulty, which is told next."""

    @abstractmethod
    def check_arguments(self, input_schema: Mapping[str, Any], arguments: Any) -> None:
        """Called for tools/call when the tool is known; `arguments` is raw JSON or a dict."""


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """What the transport knows about where a message came from."""

    transport: str = "memory"
    principal: Principal | None = None
    """Who was authenticated; None for nobody. State is bound to its identity."""

    headers: Mapping[str, str] = {}
    """HTTP request headers, names in lower case; empty on transports that have none."""

    verifier: Verifier | None = None


class Envelope(msgspec.Struct, frozen=True):
    """A message and its way back."""

    message: Message
    reply: "ReplyChannel | None" = None
    """Where everything that answers `message` goes; None for one that nothing can answer."""

    origin: Origin | None = None

    alone: bool = False
    """Nothing else is about to be sent that this could share a write with, so whoever collects need not wait for it."""


class ReplyChannel(ABC):
    """The way home for whatever answers one message.

    Two ends: the near end `send`s, the far end reads and may `close`. A close means that nobody will read any
    more, and the near end hears of it through `when_closed`; there is no other form of cancellation.
    """

    __slots__ = ("_watcher", "closed", "reason")

    def __init__(self) -> None:
        self.closed: bool = False
        self.reason: str | None = None
        """Why the far end closed it, if it said so."""
        self._watcher: Callable[[], None] | None = None

    @abstractmethod
    async def send(self, envelope: Envelope) -> bool:
        """Hand `envelope` over, waiting while the far end is slow.

        Returns False, and drops the envelope, when the far end is closed: a late progress message or a response
        to a cancelled request is nothing to fail over. After a cancellation it was handed over or it was not.
        """

    async def release(self, retry_ms: int | None = None) -> bool:
        """Let the far end's connection go without closing the channel, if its client can come back for the rest.

        `retry_ms` is when it should, in milliseconds. Returns False, and does nothing, where that is impossible.
        """
        return False

    def wait_for_reader(self) -> bool:
        """From here on let `send` wait while the far end's connection is away, where it otherwise leaves out what only
        says how things are going. Returns False, and does nothing, where a far end cannot be away and come back."""
        return False

    def when_closed(self, watcher: Callable[[], None] | None) -> None:
        """Call `watcher` once when the far end closes; at once if it is closed already. Replaces an earlier one."""
        self._watcher = watcher
        if self.closed and watcher is not None:
            watcher()

    def close(self, reason: str | None = None) -> None:
        """Close the far end: nobody reads from here on. Closing twice does nothing."""
        if self.closed:
            return
        self.closed = True
        self.reason = reason
        if self._watcher is not None:
            self._watcher()


class Inbox(ReplyChannel):
    """A caller's own reply channel: a bounded queue with one reader."""

    __slots__ = ("_arrived", "_failure", "_left", "_limit", "_waiting", "dropped")

    def __init__(self, limit: int = INBOX_MESSAGES) -> None:
        super().__init__()
        self._limit = limit
        self._waiting: list[Envelope] = []  # short, and a deque would take a kilobyte of every idle session
        self._failure: ConnectionLost | None = None
        self._arrived: Wakeup | None = None
        self._left: anyio.Event | None = None
        self.dropped: int = 0
        """Messages that a transport discarded because this inbox stayed full."""

    @property
    def size(self) -> int:
        """Messages that wait to be read."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        return len(self._waiting) >= self._limit

    async def send(self, envelope: Envelope) -> bool:
        while len(self._waiting) >= self._limit and not self.closed:
            await self.wait_not_full()
        return self.put(envelope)

    async def wait_not_full(self) -> None:
        """Wait until there is room or the inbox is closed."""
        while len(self._waiting) >= self._limit and not self.closed:
            if self._left is None:
                self._left = anyio.Event()
            await self._left.wait()

    def put(self, envelope: Envelope) -> bool:
        """Hand `envelope` over at once, past the limit if need be: for a response, of which there is one."""
        if self.closed:
            return False
        self._waiting.append(envelope)
        if self._arrived is not None:
            self._arrived.set()
        return True

    def holds(self, wanted: Callable[[Message], bool]) -> bool:
        """Whether a message that `wanted` accepts is waiting to be read."""
        return any(wanted(envelope.message) for envelope in self._waiting)

    async def receive(self) -> Envelope:
        """The next envelope, waiting for one if there is none.

        Raises `ConnectionLost` when the connection ended first, `anyio.ClosedResourceError` when this inbox was
        closed by its owner. Nothing is lost when the wait is cancelled.
        """
        while not self._waiting:
            if self._failure is not None:
                raise self._failure
            if self.closed:
                raise anyio.ClosedResourceError
            if self._arrived is None:
                self._arrived = make_wakeup()
            await self._arrived.wait()
        envelope = self._waiting.pop(0)
        if self._left is not None:
            self._left.set()
            self._left = None
        return envelope

    def fail(self, failure: ConnectionLost) -> None:
        """End the wait of `receive` with `failure`, once what has arrived is read."""
        self._failure = failure
        if self._arrived is not None:
            self._arrived.set()

    def close(self, reason: str | None = None) -> None:
        if self.closed:
            return
        self._waiting.clear()
        super().close(reason)
        if self._arrived is not None:
            self._arrived.set()
        if self._left is not None:
            self._left.set()


class Channel(ABC):
    """What a transport supplies: envelopes in, envelopes out, for one peer.

    `receive` is called by one task at a time; `send` and `aclose` may be called by any task, while another
    receives. A transport never looks into a payload: revisions, sessions and handlers are not its business.
    """

    batches = False
    """Set by the session when the negotiated revision allows JSON-RPC batches (2025-03-26)."""

    revision: Revision | None = None
    """Set by the session when a revision is agreed on for all that follows, for transports that have to repeat it."""

    renewed: Callable[[], None] | None = None
    """Called by a transport that had to begin another session with the peer: what the old one was told is forgotten
    there. Set by whoever told it; must not wait."""

    @abstractmethod
    async def receive(self) -> Envelope:
        """The next envelope that answers nothing of ours.

        Raises `anyio.EndOfStream` when the peer will send no more, `ConnectionLost` when the connection broke.
        Nothing is lost when the wait is cancelled.
        """

    @abstractmethod
    async def send(self, envelope: Envelope) -> None:
        """Send a request or notification of our own, waiting while the peer is slow.

        A request's reply channel must be an `Inbox`. Raises `ConnectionLost`, or `LocalProtocolError` when
        a request with the same id is still in flight. After a cancellation it was sent or it was not.
        """

    @abstractmethod
    async def aclose(self) -> None:
        """Flush what was accepted, within a deadline, and close. Closing twice does nothing."""

    def statistics(self) -> dict[str, Any]:
        """Counters for an operator; which ones is up to the transport."""
        return {}


class MemoryChannel(Channel):
    """One end of an in-memory connection. Envelopes cross as they are: nothing is encoded."""

    def __init__(self, limit: int = CHANNEL_MESSAGES) -> None:
        self._incoming = Inbox(limit)
        self._peer: MemoryChannel = self
        self._ended = False

    async def receive(self) -> Envelope:
        try:
            return await self._incoming.receive()
        except ConnectionLost:
            raise anyio.EndOfStream from None

    async def send(self, envelope: Envelope) -> None:
        if self._ended:
            raise anyio.ClosedResourceError
        if not await self._peer._incoming.send(envelope):
            raise ConnectionLost("the other end of the memory channel is closed")

    async def aclose(self) -> None:
        self._ended = True
        self._incoming.close()
        self._peer._incoming.fail(ConnectionLost("the other end of the memory channel is closed"))

    async def send_eof(self) -> None:
        """Say that nothing more will be sent, and go on receiving: the half close of a pipe."""
        self._ended = True
        self._peer._incoming.fail(ConnectionLost("the other end of the memory channel sends no more"))


def memory_pair(limit: int = CHANNEL_MESSAGES) -> tuple[MemoryChannel, MemoryChannel]:
    """Two channels joined back to back: what one sends the other receives, up to `limit` messages ahead."""
    one, other = MemoryChannel(limit), MemoryChannel(limit)
    one._peer, other._peer = other, one
    return one, other
