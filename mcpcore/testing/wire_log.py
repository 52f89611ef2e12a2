"""What went over a pipe, both ways, in order."""

from collections import deque
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from mcpcore.jsonrpc import Oversize
from mcpcore.multiplex import Pipe

__all__ = ("LOGGED_FRAMES", "Logged", "WireLog", "wire_log")

LOGGED_FRAMES = 10_000
"""Frames that one log keeps; older ones are dropped, and counted. A test that needs more asserts as it goes."""


class Logged(msgspec.Struct, frozen=True):
    """One frame that passed."""

    way: Literal["sent", "received"]
    frame: bytes

    def json(self) -> Any:
        """The frame as plain Python values. Raises `msgspec.DecodeError` for one that is no JSON."""
        return msgspec.json.decode(self.frame)


class WireLog(Pipe):
    """Passes everything through and remembers it."""

    def __init__(self, pipe: Pipe, limit: int = LOGGED_FRAMES) -> None:
        self._pipe = pipe
        self._frames: deque[Logged] = deque(maxlen=limit)
        self.dropped: int = 0
        """Frames that the log no longer holds."""

    @property
    def frames(self) -> tuple[Logged, ...]:
        """What passed, oldest first. A frame that was being sent when the pipe failed is not in it."""
        return tuple(self._frames)

    @property
    def sent(self) -> list[Any]:
        """What was sent from this end, as plain Python values."""
        return [logged.json() for logged in self._frames if logged.way == "sent"]

    @property
    def received(self) -> list[Any]:
        """What arrived at this end, as plain Python values."""
        return [logged.json() for logged in self._frames if logged.way == "received"]

    def transcript(self) -> str:
        """One line for each frame: `->` for what this end sent, `<-` for what it received."""
        return "".join(
            f"{'->' if logged.way == 'sent' else '<-'} {logged.frame.decode('utf-8', 'backslashreplace')}\n"
            for logged in self._frames
        )

    def clear(self) -> None:
        """Forget what passed so far, e.g. the handshake."""
        self._frames.clear()

    async def receive(self) -> Sequence[bytes | Oversize]:
        frames = await self._pipe.receive()
        for frame in frames:
            if isinstance(frame, bytes):
                self._add(Logged("received", frame))
        return frames

    async def send(self, frames: Sequence[bytes]) -> None:
        await self._pipe.send(frames)
        for frame in frames:
            self._add(Logged("sent", frame))

    async def aclose(self) -> None:
        await self._pipe.aclose()

    def _add(self, logged: Logged) -> None:
        if len(self._frames) == self._frames.maxlen:
            self.dropped += 1
        self._frames.append(logged)


def wire_log(pipe: Pipe) -> WireLog:
    """A pipe that does what `pipe` does and keeps what passed, for assertions and transcripts."""
    return WireLog(pipe)
