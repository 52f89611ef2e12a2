"""What a child process says on its stderr: read for ever, passed on, and the end of it kept for error texts.

A child's stderr is diagnostics and no failure (MCP, "Transports", stdio). Whoever does not read it stops the
child after some 64 KiB, in the middle of an answer.
"""

import logging
import os
import sys
from collections.abc import Callable

import anyio
from anyio.abc import ByteReceiveStream

from mcpcore_transports.stdio.pipe import READ_BYTES

__all__ = ("STDERR_TAIL_BYTES", "STDERR_TEXT_CHARACTERS", "Diagnostics", "OwnStderr")

STDERR_TAIL_BYTES = 64 * 1024
"""Bytes of the child's stderr that are kept: several tracebacks."""

STDERR_TEXT_CHARACTERS = 2000
"""Characters of it that an error text quotes: one traceback."""

_STDERR = 2

_log = logging.getLogger("mcpcore.stdio")


class Diagnostics:
    """Reads `stream` until it ends, in chunks of whatever size, and hands each chunk to `listener`."""

    def __init__(self, stream: ByteReceiveStream, listener: Callable[[bytes], None]) -> None:
        self._stream = stream
        self._listener: Callable[[bytes], None] | None = listener
        self._tail = bytearray()
        self.ended: anyio.Event = anyio.Event()
        """Set when the child and all that inherited its stderr have closed it."""

    async def drain(self) -> None:
        """Read until the end. Nothing is lost when this is cancelled and called again."""
        try:
            while True:
                chunk = await self._stream.receive(READ_BYTES)
                self._tail += chunk
                del self._tail[:-STDERR_TAIL_BYTES]
                self._tell(chunk)
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
            self.ended.set()

    def text(self) -> str:
        """The end of what was read, whole lines, at most STDERR_TEXT_CHARACTERS; "" if there was nothing."""
        text = self._tail.decode(errors="replace").strip()
        if len(text) <= STDERR_TEXT_CHARACTERS:
            return text
        text = text[-STDERR_TEXT_CHARACTERS:]
        return text[text.find("\n") + 1 :]

    def _tell(self, chunk: bytes) -> None:
        if self._listener is None:
            return
        try:
            self._listener(chunk)
        except Exception:
            # The child must not be blocked, nor the connection lost, because a listener is broken.
            self._listener = None
            _log.exception("the stderr listener raised; it is not called again for this connection")


class OwnStderr:
    """Passes bytes on to this process's stderr, dropping them rather than waiting for whoever reads that."""

    def __init__(self) -> None:
        self.dropped: int = 0
        """Bytes."""
        if sys.platform == "win32":
            from mcpcore_transports.stdio.threads import Call, CallThread

            self._new_call = Call
            self._thread = CallThread("mcpcore stderr", _STDERR)
            self._call: Call[int] | None = None
        else:
            from mcpcore_transports.stdio.descriptors import OutputDescriptor

            self._output = OutputDescriptor(_STDERR)

    def write(self, chunk: bytes) -> None:
        if sys.platform == "win32":
            if self._call is None or self._call.done.is_set():
                self._call = self._new_call(lambda: os.write(self._thread.fd, chunk))
                self._thread.put(self._call)
            else:
                self.dropped += len(chunk)
        else:
            rest = memoryview(chunk)
            try:
                while rest:
                    rest = rest[self._output.write_some(rest) :]
            except OSError:  # BlockingIOError, or ConnectionLost when nobody reads it any more
                self.dropped += len(rest)

    def close(self) -> None:
        if sys.platform == "win32":
            self._thread.close()
        else:
            self._output.close()
