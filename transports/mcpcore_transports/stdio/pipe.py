"""A `Pipe` of lines over any stream of bytes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import anyio

from mcpcore.errors import ConnectionLost
from mcpcore.jsonrpc import Oversize
from mcpcore.multiplex import Pipe
from mcpcore_transports.framing.lines import MAX_LINE_BYTES, LineDecoder, encode_lines

__all__ = ("READ_BYTES", "WRITE_DEADLINE_SECONDS", "ByteStream", "LinePipe")

READ_BYTES = 64 * 1024
"""Bytes asked for in one read: what a Linux pipe holds, so a larger read would not bring more."""

WRITE_DEADLINE_SECONDS = 300.0
"""Seconds a peer may leave its end unread while we have something to write. Long, because a suspended host is
no dead host; finite, because a write that waits for ever keeps everything behind it in memory."""


class ByteStream(ABC):
    """Bytes in both directions, as a `LinePipe` needs them. One task reads and one task writes at a time."""

    @abstractmethod
    async def read(self) -> bytes:
        """The next bytes, b"" at the end. Raises `ConnectionLost` when broken. Loses nothing when cancelled."""

    @abstractmethod
    async def write(self, data: bytes) -> None:
        """Write all of `data`; some of it may be written when this is cancelled. Raises `ConnectionLost`."""

    def write_nowait(self, data: bytes) -> bool:
        """Write `data` if that can be done whole and without waiting. False, with nothing written, if it cannot."""
        return False

    @abstractmethod
    async def aclose(self) -> None:
        """Close both directions without waiting for the peer. Closing twice does nothing."""


class LinePipe(Pipe):
    """Frames as lines over `stream`; lines longer than `max_line_bytes` are skipped and reported."""

    def __init__(self, stream: ByteStream, *, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._stream = stream
        self._decoder = LineDecoder(max_line_bytes)
        self._ended = False
        self._closed = False
        self._cut_short = False

    async def receive(self) -> Sequence[bytes | Oversize]:
        while not self._ended:
            if self._closed:
                raise anyio.ClosedResourceError
            chunk = await self._stream.read()
            if chunk:
                frames = self._decoder.feed(chunk)
                if frames:
                    return frames
            else:
                self._ended = True
                last = self._decoder.finish()
                if last is not None:
                    return [last]
        raise anyio.EndOfStream

    async def send(self, frames: Sequence[bytes]) -> None:
        if self._closed:
            raise anyio.ClosedResourceError
        if self._cut_short:
            raise ConnectionLost("an earlier write stopped in the middle of a line, so no line can follow it")
        self._cut_short = True
        await self._stream.write(encode_lines(frames))
        self._cut_short = False

    def send_nowait(self, frame: bytes) -> bool:
        return not (self._closed or self._cut_short) and self._stream.write_nowait(encode_lines((frame,)))

    async def aclose(self) -> None:
        self._closed = True
        await self._stream.aclose()
