"""What goes wrong on a wire, as pipes around a pipe. They stack: `drop_after(slow_reader(pipe), 1000)`."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import anyio

from mcpcore.errors import ConnectionLost
from mcpcore.jsonrpc import Oversize
from mcpcore.multiplex import Pipe

__all__ = ("cut_in_half", "drop_after", "garble", "half_close", "inject", "slow_reader")


class _Around(Pipe):
    """Passes everything through; a fault changes one thing."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    async def receive(self) -> Sequence[bytes | Oversize]:
        return await self._pipe.receive()

    async def send(self, frames: Sequence[bytes]) -> None:
        await self._pipe.send(frames)

    async def aclose(self) -> None:
        await self._pipe.aclose()


class _OneByOne(_Around):
    """Hands out one frame at a time, and keeps the others for later."""

    def __init__(self, pipe: Pipe) -> None:
        super().__init__(pipe)
        self._held: deque[bytes | Oversize] = deque()

    async def _fill(self) -> None:
        if not self._held:
            self._held.extend(await self._pipe.receive())


class _SlowReader(_OneByOne):
    def __init__(self, pipe: Pipe, seconds: float) -> None:
        super().__init__(pipe)
        self._seconds = seconds

    async def receive(self) -> Sequence[bytes | Oversize]:
        await anyio.sleep(self._seconds)
        await self._fill()
        return (self._held.popleft(),)


class _DropAfter(_OneByOne):
    def __init__(self, pipe: Pipe, nbytes: int, way: Literal["sent", "received"]) -> None:
        super().__init__(pipe)
        self._left = nbytes
        self._way = way
        self._why: str | None = None
        self._text = f"the connection died at byte {nbytes} of what was {way}"

    async def receive(self) -> Sequence[bytes | Oversize]:
        if self._why is not None:
            raise ConnectionLost(self._why)
        try:
            await self._fill()
        except (anyio.ClosedResourceError, anyio.EndOfStream):
            if self._why is not None:  # the other direction died while this one waited
                raise ConnectionLost(self._why) from None
            raise
        frame = self._held.popleft()
        if self._way == "received":
            size = 1 + (len(frame) if isinstance(frame, bytes) else frame.size)
            if size > self._left:
                await self._die()
            self._left -= size
        return (frame,)

    async def send(self, frames: Sequence[bytes]) -> None:
        if self._why is not None:
            raise ConnectionLost(self._why)
        if self._way == "received":
            await self._pipe.send(frames)
            return
        for frame in frames:
            if len(frame) + 1 > self._left:
                if self._left:
                    await self._pipe.send([frame[: self._left]])
                await self._die()
            self._left -= len(frame) + 1
            await self._pipe.send([frame])

    async def _die(self) -> None:
        self._left = 0
        self._why = self._text
        await self._pipe.aclose()
        raise ConnectionLost(self._why)


class _HalfClose(_OneByOne):
    def __init__(self, pipe: Pipe, frames: int) -> None:
        super().__init__(pipe)
        self._left = frames

    async def receive(self) -> Sequence[bytes | Oversize]:
        if not self._left:
            raise anyio.EndOfStream
        await self._fill()
        self._left -= 1
        return (self._held.popleft(),)


class _Garble(_Around):
    def __init__(self, pipe: Pipe, damage: Callable[[bytes], bytes | None]) -> None:
        super().__init__(pipe)
        self._damage = damage

    async def receive(self) -> Sequence[bytes | Oversize]:
        while True:
            damaged = [self._damage(f) if isinstance(f, bytes) else f for f in await self._pipe.receive()]
            frames = [frame for frame in damaged if frame is not None]
            if frames:
                return frames


class _Inject(_OneByOne):
    def __init__(self, pipe: Pipe, frames: Iterable[bytes | Oversize], after: int) -> None:
        super().__init__(pipe)
        self._injected = tuple(frames)
        self._left = after

    async def receive(self) -> Sequence[bytes | Oversize]:
        if not self._left and self._injected:
            frames, self._injected = self._injected, ()
            return frames
        await self._fill()
        self._left = max(0, self._left - 1)
        return (self._held.popleft(),)


def slow_reader(pipe: Pipe, seconds: float = 1.0) -> Pipe:
    """This end reads one frame, and waits `seconds` before each. Loses nothing when cancelled. Use virtual time."""
    return _SlowReader(pipe, seconds)


def drop_after(pipe: Pipe, nbytes: int, way: Literal["sent", "received"] = "sent") -> Pipe:
    """The connection dies at byte `nbytes` of what this end sent, or received; the line feed of a frame counts.

    This end hears `ConnectionLost` from then on, in both directions. The other end gets what was through, the first
    part of a frame included, as a reader of lines would, and then the end.
    """
    return _DropAfter(pipe, nbytes, way)


def half_close(pipe: Pipe, frames: int = 0) -> Pipe:
    """The other end seems to say, after `frames` frames, that it sends no more; what this end sends still passes."""
    return _HalfClose(pipe, frames)


def cut_in_half(frame: bytes) -> bytes:
    """The first half of a frame: what a peer sends that dies while it writes."""
    return frame[: len(frame) // 2]


def garble(pipe: Pipe, damage: Callable[[bytes], bytes | None] = cut_in_half) -> Pipe:
    """Each frame arrives as what `damage` makes of it; None takes it out."""
    return _Garble(pipe, damage)


def inject(pipe: Pipe, frames: Iterable[bytes | Oversize], *, after: int = 0) -> Pipe:
    """`frames` arrive in addition, all at once, when `after` frames of the other end have."""
    return _Inject(pipe, frames, after)
