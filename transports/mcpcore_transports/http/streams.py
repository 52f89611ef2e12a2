"""One event stream of a handshake session: what answers one POST, or what belongs to none.

The far end of its reply channel is this stream and not the socket: a connection that breaks cancels nothing, and the
client may come back for the rest (2025-03-26 … 2025-11-25, "Resumability and Redelivery").
"""

from collections.abc import Callable

import anyio
import msgspec

from mcpcore.channel import Envelope, Inbox, ReplyChannel
from mcpcore.jsonrpc import ErrorResponse, Notification, Request, Response, encode
from mcpcore.wakeup import Wakeup, make_wakeup
from mcpcore_transports.http.exchanges import SessionExchange
from mcpcore_transports.http.replay import ReplayStore

__all__ = ("AWAY_SECONDS", "STREAM_BYTES", "Item", "Reader", "Stream")

STREAM_BYTES = 256 * 1024
"""Bytes that wait for an attached reader before the handler waits for it."""

AWAY_SECONDS = 300.0
"""How long a handler that leaves nothing out waits for a client which lost its connection. A laptop that changes
networks is back within a minute; one that is asleep for longer begins anew."""


class Item(msgspec.Struct, frozen=True):
    """Something to send on a stream."""

    data: bytes
    id: str | None
    """Its event id, where the session has a replay store."""

    final: bool = False
    """It is the last one: the answer."""

    error: ErrorResponse | None = None
    """The answer, when it is an error."""

    retry_ms: int | None = None
    """Milliseconds after which the client should come back."""


class Reader:
    """One HTTP response that reads a stream. The newest one wins; an older one is told that it has been replaced."""

    __slots__ = ("_arrived", "_items", "_left", "_size", "ended")

    def __init__(self) -> None:
        self._items: list[Item] = []  # a deque would take a kilobyte of every stream that waits
        self._size = 0
        self._arrived: Wakeup | None = None
        self._left: anyio.Event | None = None
        self.ended: bool = False

    async def next(self) -> Item | None:
        """The next item; None when this reader has been replaced or the stream is over."""
        while not self._items:
            if self.ended:
                return None
            if self._arrived is None:
                self._arrived = make_wakeup()
            await self._arrived.wait()
        item = self._items.pop(0)
        self._size -= len(item.data)
        if self._left is not None:
            self._left.set()
            self._left = None
        return item

    def put(self, item: Item) -> None:
        self._items.append(item)
        self._size += len(item.data)
        if self._arrived is not None:
            self._arrived.set()

    async def wait_not_full(self) -> None:
        """Wait while more than `STREAM_BYTES` are unread and somebody may still read them."""
        while self._size > STREAM_BYTES and not self.ended:
            if self._left is None:
                self._left = anyio.Event()
            await self._left.wait()

    def end(self) -> None:
        self.ended = True
        if self._arrived is not None:
            self._arrived.set()
        if self._left is not None:
            self._left.set()


class Stream(ReplyChannel):
    """A stream of one session, and the reply channel of the request that it answers."""

    __slots__ = (
        "_attached",
        "_exchange",
        "_id",
        "_lock",
        "_on_over",
        "_reader",
        "_session",
        "_store",
        "_waits",
        "done",
        "instead",
        "name",
        "primes",
        "streaming",
    )

    def __init__(
        self,
        exchange: SessionExchange,
        store: ReplayStore,
        session: str,
        name: str,
        id: int | str | None = None,
        *,
        on_over: Callable[["Stream"], None],
    ) -> None:
        """`on_over` is called once, when the answer was sent or the stream is closed without one; it must not wait."""
        super().__init__()
        self._on_over = on_over
        self._exchange = exchange
        self._store = store
        self._session = session
        self._id = id
        self._reader: Reader | None = None
        self._waits = False
        self._attached: anyio.Event | None = None
        self._lock: anyio.Lock | None = None
        self.name: str = name
        self.streaming: bool = False
        """Whether anything has been sent but the answer, so that the response is an event stream; until then nothing
        needs to be kept."""
        self.primes: bool = False
        """Whether the stream begins with an event without data (from 2025-11-25 on): an id to come back with."""
        self.instead: Stream | None = None
        """Where questions go when this stream's response can hold nothing but the answer."""
        self.done: bool = False

    @property
    def attached(self) -> bool:
        return self._reader is not None

    def attach(self) -> Reader:
        """Read from here on. A reader that was attached before ends."""
        self.detach(self._reader)
        self._reader = Reader()
        if self.done or self.closed:
            self._reader.end()
        self._wake()
        return self._reader

    def detach(self, reader: Reader | None) -> None:
        """This response is over; the stream is not."""
        if reader is not None:
            reader.end()
            if self._reader is reader:
                self._reader = None

    @property
    def _order(self) -> anyio.Lock:
        """Held while an event gets its id and is sent. Made by the first one: most streams of sessions have none."""
        if self._lock is None:
            self._lock = anyio.Lock(fast_acquire=True)
        return self._lock

    async def begin(self) -> None:
        """Make an event stream of the response, if it is not one already."""
        async with self._order:
            await self._begin()
        if not self._order.locked():  # nobody waits for it either, and a stream may be silent from here on
            self._lock = None

    async def _begin(self) -> None:
        if not self.streaming and not self.done:
            self.streaming = True
            if self.primes:
                id = await self._store.append(self._session, self.name, b"")
                if self._reader is not None:
                    self._reader.put(Item(b"", id))

    async def send(self, envelope: Envelope) -> bool:
        message = envelope.message
        if self.closed or self.done:
            return False
        frame = encode(message)
        final = isinstance(message, Response | ErrorResponse) and self._id is not None
        if self.instead is not None and not final:
            return await self.instead.send(envelope) if isinstance(message, Request) else True
        if isinstance(message, Request):
            assert isinstance(envelope.reply, Inbox), "a request of ours is answered into an Inbox"
            self._exchange.ask(message, envelope.reply, self)
        if self._reader is None and isinstance(message, Notification):
            if not self._waits:
                # Nobody reads: what only says how things are going is out of date by the time somebody does.
                self._exchange.dropped += 1
                return True
            await self._wait_attached()
        if final:
            self._exchange.finished(self._id, self)
        async with self._order:  # event ids grow in the order in which events are sent
            if self.closed:
                return False
            if not final:
                await self._begin()
            # Kept before it is sent: the connection may break in between.
            id = None if final and not self.streaming else await self._store.append(self._session, self.name, frame)
            reader = self._reader
            if final:
                self.done = True
            if reader is not None:
                reader.put(Item(frame, id, final, message if isinstance(message, ErrorResponse) else None))
                if final:
                    reader.end()
        if final:
            self._on_over(self)
        elif reader is not None:
            await reader.wait_not_full()
        return True

    def wait_for_reader(self) -> bool:
        self._waits = True
        return True

    async def _wait_attached(self) -> None:
        """Wait until somebody reads or the stream is closed, which it is when nobody comes for `AWAY_SECONDS`."""
        with anyio.move_on_after(AWAY_SECONDS) as patience:
            while self._reader is None and not self.closed:
                if self._attached is None:
                    self._attached = anyio.Event()
                await self._attached.wait()
        if patience.cancelled_caught:
            self.close(f"the client stayed away for {AWAY_SECONDS:g} s")

    def _wake(self) -> None:
        if self._attached is not None:
            self._attached.set()
            self._attached = None

    async def release(self, retry_ms: int | None = None) -> bool:
        """End the response that reads this stream; its client may come back from the event that it began with."""
        if not self.primes or self.instead is not None or self.done:
            return False
        async with self._order:
            await self._begin()
            if self._reader is not None:
                if retry_ms is not None:
                    self._reader.put(Item(b"", None, retry_ms=retry_ms))
                self._reader.end()
                self._reader = None
        return True

    def close(self, reason: str | None = None) -> None:
        if not self.closed and not self.done:
            self._on_over(self)
        super().close(reason)
        if self._reader is not None:
            self._reader.end()
        self._wake()
