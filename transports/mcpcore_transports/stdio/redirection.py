"""Standard input and output for the protocol alone."""

import errno
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mcpcore.errors import ConnectFailed, LocalProtocolError

__all__ = ("STDERR", "STDIN", "STDOUT", "private_stdio")

STDIN, STDOUT, STDERR = 0, 1, 2

# Descriptors 0 and 1 belong to the whole process, so whoever serves on them holds this.
_taken = threading.Lock()


@contextmanager
def private_stdio() -> Iterator[tuple[int, int]]:
    """Move the descriptors 0 and 1 away and yield `(input, output)`, private duplicates no child inherits.

    Meanwhile reading descriptor 0 gives the end of file and descriptor 1 leads to stderr, so that neither a
    `print`, nor C code, nor a child process can put a byte on the wire or take one from it. At the end both are
    put back. `sys.stdout` is flushed before either switch.

    Raises `LocalProtocolError` when this process serves on its standard input and output already, and
    `ConnectFailed` when it has none.
    """
    if not _taken.acquire(blocking=False):
        raise LocalProtocolError(
            "this process already serves on its standard input and output, and it has only one of each; "
            "serve the second one over another transport"
        )
    try:
        _flush_stdout()
        try:
            input_fd = _duplicate(STDIN, sys.__stdin__)
        except OSError as closed:
            raise ConnectFailed("standard input is closed: start the server with a pipe on it") from closed
        try:
            output_fd = _duplicate(STDOUT, sys.__stdout__)
        except OSError as closed:
            os.close(input_fd)
            raise ConnectFailed("standard output is closed: start the server with a pipe on it") from closed
        try:
            _point_at_null(STDIN, os.O_RDONLY)
            try:
                os.dup2(STDERR, STDOUT)
            except OSError:
                _point_at_null(STDOUT, os.O_WRONLY)  # there is no stderr
            yield input_fd, output_fd
        finally:
            _flush_stdout()
            os.dup2(input_fd, STDIN)
            os.dup2(output_fd, STDOUT)
            os.close(input_fd)
            os.close(output_fd)
    finally:
        _taken.release()


def _duplicate(fd: int, stream: object) -> int:
    """A duplicate that no child inherits and that cannot land on a standard descriptor that happens to be free.

    Without a `stream` Python found the descriptor closed when it started: the file with its number is another one.
    """
    if stream is None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    if sys.platform == "win32":
        import msvcrt

        private = os.dup(fd)
        msvcrt.setmode(private, os.O_BINARY)
        return private
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, STDERR + 1)


def _point_at_null(fd: int, flags: int) -> None:
    null = os.open(os.devnull, flags)
    os.dup2(null, fd)
    if null != fd:
        os.close(null)


def _flush_stdout() -> None:
    # None where there is no console; a closed file raises ValueError. What cannot be flushed has no reader.
    with suppress(OSError, ValueError):
        if sys.stdout is not None:
            sys.stdout.flush()
