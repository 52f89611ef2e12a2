"""A `sys.stderr` that never holds the program up.

A host that does not read a server's stderr stops it after some 64 KiB, in the middle of an answer: `print` and
`logging` write to a blocking pipe. What Python code writes here goes out at once while there is room, so that the last
words of a crash are not lost, and is dropped when the host has not read for a while. Child processes and C code write
to descriptor 2 themselves and are as blocked as ever.
"""

import io
import logging
import os
import select
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ("ROOM_BYTES", "STALL_SECONDS", "patient_stderr")

STALL_SECONDS = 1.0
"""How long a host may leave stderr unread before what follows is dropped, up to the moment it reads again. Nothing
else runs meanwhile."""

ROOM_BYTES = 512
"""What a pipe that is ready for writing takes without blocking: PIPE_BUF, at least this much by POSIX."""

_STDERR = 2


@contextmanager
def patient_stderr() -> Iterator[None]:
    """Replace `sys.stderr`, also in the handlers of the root logger, when it is a pipe or socket."""
    before = sys.stderr
    try:
        mode = os.fstat(_STDERR).st_mode
    except OSError:
        mode = 0
    if sys.platform == "win32" or before is None or not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        yield
        return
    stream = io.TextIOWrapper(_Unblocked(), before.encoding, "backslashreplace", write_through=True)  # type: ignore[type-var]
    _exchange(before, stream)
    try:
        yield
    finally:
        _exchange(stream, before)


def _exchange(old: Any, new: Any) -> None:
    if sys.stderr is old:
        sys.stderr = new
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is old:
            handler.setStream(new)


class _Unblocked(io.RawIOBase):
    def __init__(self) -> None:
        self._ready = select.poll()
        self._ready.register(_STDERR, select.POLLOUT)
        # Tools print from worker threads, and of two that find room for `ROOM_BYTES` only one may have it. A signal
        # handler may print as well, in the middle of a write of its own thread.
        self._turn = threading.RLock()
        self._patience = STALL_SECONDS
        self.dropped = 0
        """Bytes."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return _STDERR

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        with self._turn:
            with suppress(OSError):  # nobody will read it any more, which is no reason to fail
                while rest and self._ready.poll(self._patience * 1000):
                    self._patience = STALL_SECONDS
                    rest = rest[os.write(_STDERR, rest[:ROOM_BYTES]) :]
            if rest:
                self._patience = 0.0
                self.dropped += len(rest)
        return size
