"""Two pipes joined in memory: what a `Multiplexer` needs, without a process or a socket."""

from collections import deque
from collections.abc import Callable, Sequence

import anyio

from mcpcore.errors import ConnectionLost
from mcpcore.jsonrpc import Oversize
from mcpcore.multiplex import Pipe

__all__ = ("PIPE_BYTES", "WRITE_SECONDS", "MemoryPipe", "memory_pipes")

PIPE_BYTES = 64 * 1024
"""Bytes that may be on their way in one direction before `send` waits: what a Linux pipe holds."""

WRITE_SECONDS = 30.0
"""How long `send` waits for a peer that does not read. Long beside any test, so that reaching it is a finding."""


class _Direction:
    """Frames on their way from one end to the other."""

    def __init__(self, limit: int) -> None:
        self.limit: int = limit
        self.frames: deque[bytes] = deque()
        self.size: int = 0
        self.ended: bool = False
        """The writer said that nothing follows."""
        self.lost: str | None = None
        """Why the connection broke, in the words that both ends hear."""
        self.deaf: bool = False
        """The reader is gone."""
        self._changed: anyio.Event = anyio.Event()

    def has_room(self, frame: bytes) -> bool:
        return not self.size or self.size + len(frame) <= self.limit

    def add(self, frame: bytes) -> None:
        self.frames.append(frame)
        self.size += len(frame)
        self.changed()

    def changed(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def wait_until(self, met: Callable[[], bool]) -> None:
        while not met():
            await self._changed.wait()


class MemoryPipe(Pipe):
    """One end of two joined pipes; `memory_pipes` makes both.

    Frames that were sent before the end of a direction are still received, as with a pipe of the operating system.
    """

    def __init__(self, incoming: _Direction, outgoing: _Direction, write_deadline: float) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._deadline = write_deadline
        self._closed = False
        self.writes: int = 0
        """Calls of `send` and `send_nowait` so far: how many system calls a real pipe would have cost."""

    @property
    def unread_bytes(self) -> int:
        """Bytes sent from this end that the other one has not received."""
        return self._outgoing.size

    async def receive(self) -> Sequence[bytes | Oversize]:
        """All frames that have arrived, at least one. Loses nothing when cancelled.

        Raises `anyio.EndOfStream` when the other end is closed or said that nothing follows, `ConnectionLost` after
        `break_off`, `anyio.ClosedResourceError` when this end is closed.
        """
        way = self._incoming
        await way.wait_until(lambda: bool(way.frames) or way.ended or way.lost is not None or self._closed)
        if self._closed:
            raise anyio.ClosedResourceError
        if way.frames:
            frames = tuple(way.frames)
            way.frames.clear()
            way.size = 0
            way.changed()
            return frames
        if way.lost is not None:
            raise ConnectionLost(way.lost)
        raise anyio.EndOfStream

    async def send(self, frames: Sequence[bytes]) -> None:
        """Hand all `frames` over, waiting while the other end leaves too many bytes unread.

        A frame above the limit goes when nothing else is on its way. After a cancellation some frames were sent,
        each of them whole. Raises `ConnectionLost` when the other end is closed, or left everything unread for the
        write deadline; `anyio.ClosedResourceError` when this end is closed or `send_eof` was called.
        """
        self.writes += 1
        for frame in frames:
            await self._send_frame(frame)

    def send_nowait(self, frame: bytes) -> bool:
        """Hand `frame` over if there is room and the other end is there. False, with nothing sent, if not."""
        way = self._outgoing
        if way.ended or way.deaf or way.lost is not None or not way.has_room(frame):
            return False
        self.writes += 1
        way.add(frame)
        return True

    async def send_eof(self) -> None:
        """Say that nothing follows, and go on receiving: the half close of a pipe."""
        self._outgoing.ended = True
        self._outgoing.changed()

    def break_off(self, why: str = "the connection was broken off") -> None:
        """Break the connection in both directions: each end hears `ConnectionLost` once it has read what arrived."""
        for way in (self._incoming, self._outgoing):
            way.lost = way.lost or why
            way.changed()

    async def aclose(self) -> None:
        """Close both directions. The other end reads what was sent and then hears the end. Twice does nothing."""
        self._closed = True
        self._outgoing.ended = True
        self._incoming.deaf = True
        for way in (self._incoming, self._outgoing):
            way.changed()

    async def _send_frame(self, frame: bytes) -> None:
        way = self._outgoing
        with anyio.move_on_after(self._deadline):
            await way.wait_until(lambda: way.has_room(frame) or way.ended or way.deaf or way.lost is not None)
        if way.ended:
            raise anyio.ClosedResourceError
        if way.lost is not None:
            raise ConnectionLost(way.lost)
        if way.deaf:
            raise ConnectionLost("the other end of the memory pipe is closed")
        if not way.has_room(frame):
            raise ConnectionLost(f"the peer has not read for {self._deadline:g} s")
        way.add(frame)


def memory_pipes(
    limit_bytes: int = PIPE_BYTES, *, write_deadline: float = WRITE_SECONDS
) -> tuple[MemoryPipe, MemoryPipe]:
    """Two pipes joined back to back: what one sends the other receives, up to `limit_bytes` ahead in each direction.

    A peer that reads nothing for `write_deadline` seconds is given up, as every real pipe has to. Call it while an
    event loop runs.

        ours, theirs = memory_pipes()
        async with Multiplexer(ours) as client, Multiplexer(theirs) as server:
            ...
    """
    out, back = _Direction(limit_bytes), _Direction(limit_bytes)
    return MemoryPipe(back, out, write_deadline), MemoryPipe(out, back, write_deadline)
