"""Reading and writing file descriptors by readiness: no thread, and every wait can be cancelled (POSIX).

Whether a descriptor blocks (O_NONBLOCK) is a property of the open file description, which a process shares with
its parent, its children, the terminal and often its own stderr. So the flag of a descriptor that was given to us
is never touched. A write that cannot block is had in another way:

    pipe (Linux), terminal    opened again by name: a description of our own, with O_NONBLOCK
    socket (Linux)            MSG_DONTWAIT, which holds for the one call
    regular file              just written: it never waits for a peer
    anything else             after poll() said that there is room, as many bytes as it promises room for

Reading needs none of this: after readiness, one read returns what is there.
"""

import errno
import os
import select
import socket
import stat
import sys
from typing import Any

import anyio
import anyio.lowlevel

from mcpcore.errors import ConnectionLost
from mcpcore_transports.stdio.pipe import READ_BYTES, WRITE_DEADLINE_SECONDS, ByteStream

assert sys.platform != "win32"

__all__ = ("FILE_WRITE_BYTES", "DescriptorStream", "InputDescriptor", "OutputDescriptor")

FILE_WRITE_BYTES = 1024 * 1024
"""Bytes written to a regular file before other tasks get a turn."""

# What epoll (EPERM) and kqueue (EINVAL, ENODEV) say of a file that is always ready, such as /dev/null.
_ALWAYS_READY = frozenset((errno.EPERM, errno.EINVAL, errno.ENODEV))

# Opening the master side of a terminal again would make a second terminal.
_TERMINAL_MASTER = os.makedev(5, 2)


class InputDescriptor:
    """Reads `fd`, which stays the caller's to close. May read ahead what one read returns."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._always_ready = stat.S_ISREG(os.fstat(fd).st_mode)
        self._watch: _Watch | None = None
        self._has_begun = False

    async def read(self) -> bytes:
        """The next bytes, at most READ_BYTES; b"" at the end. Raises `ConnectionLost` when reading fails."""
        if not self._has_begun:
            self._begin()
        while True:
            try:
                if self._watch is not None:
                    await self._watch.wait()
                elif self._always_ready:
                    await anyio.lowlevel.checkpoint()
                else:
                    await anyio.wait_readable(self._fd)
            except OSError as refused:
                if refused.errno not in _ALWAYS_READY:
                    raise ConnectionLost(f"cannot wait for input: {refused.strerror}") from refused
                self._always_ready = True
                self._watch = None
                continue
            try:
                return os.read(self._fd, READ_BYTES) if self._watch is None else self._watch.take()
            except BlockingIOError:
                continue  # another process reads the same file, set O_NONBLOCK on it, and was faster
            except OSError as broken:
                if broken.errno == errno.EIO and os.isatty(self._fd):
                    return b""  # the terminal is gone
                raise ConnectionLost(f"the peer broke off what it was sending: {broken.strerror}") from broken

    def close(self) -> None:
        """End a wait of `read` in another task with `anyio.ClosedResourceError`. Leaves the descriptor open."""
        if self._watch is not None:
            self._watch.close()
        anyio.notify_closing(self._fd)

    def _begin(self) -> None:
        self._has_begun = True
        loop: Any = anyio.lowlevel.current_token().native_token
        if not self._always_ready and hasattr(loop, "add_reader"):
            self._watch = _Watch(self._fd, loop)


class _Watch:
    """Reads `fd` whenever an event loop that works by callbacks (asyncio) says that there is something to read.

    On such a loop a wait registers the descriptor and takes it off again, which costs as much as a small request.
    This leaves it registered; for that it has to read in the callback, since a readable descriptor would be reported
    until somebody does. What was read and not taken holds up the peer.
    """

    def __init__(self, fd: int, loop: Any) -> None:
        self._fd = fd
        self._loop = loop
        self._registered = False
        self._closed = False
        self._read: bytes | OSError | None = None
        self._arrived: Any = None
        """A future of that event loop."""

    async def wait(self) -> None:
        """Wait until there is something to take. Raises `OSError` for what cannot be waited for."""
        while self._read is None:
            if self._closed:
                raise anyio.ClosedResourceError
            if not self._registered:
                self._loop.add_reader(self._fd, self._on_readable)
                self._registered = True
            self._arrived = self._loop.create_future()
            await self._arrived

    def take(self) -> bytes:
        """What was read; raises the `OSError` that reading raised."""
        read, self._read = self._read, None
        assert read is not None
        if isinstance(read, OSError):
            raise read
        return read

    def close(self) -> None:
        self._closed = True
        self._pause()
        self._wake()

    def _on_readable(self) -> None:
        if self._read is not None:
            self._pause()
            return
        try:
            self._read = os.read(self._fd, READ_BYTES)
        except OSError as error:
            self._read = error
        if not isinstance(self._read, bytes) or not self._read:
            self._pause()  # at the end, and when broken, it would be reported for ever
        self._wake()

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():  # it is done when the wait was cancelled
            self._arrived.set_result(None)

    def _pause(self) -> None:
        if self._registered:
            self._registered = False
            self._loop.remove_reader(self._fd)


class OutputDescriptor:
    """Writes to `fd`, which stays the caller's to close; never changes what others see of it.

    `write_deadline` is how many seconds the peer may leave it unread while there is something to write.
    """

    def __init__(self, fd: int, *, write_deadline: float = WRITE_DEADLINE_SECONDS) -> None:
        self._deadline = write_deadline
        self._given = fd
        self._own: int | None = None
        self._socket: socket.socket | None = None
        self._poll: select.poll | None = None
        file = os.fstat(fd)
        self._whole = select.PIPE_BUF if stat.S_ISFIFO(file.st_mode) else 0
        """Bytes that are written all together or not at all (POSIX, write)."""
        self._piece = FILE_WRITE_BYTES
        if stat.S_ISREG(file.st_mode):
            pass
        elif sys.platform == "linux" and stat.S_ISSOCK(file.st_mode):
            self._socket = socket.socket(fileno=os.dup(fd))
        else:
            self._own = _reopen(fd, file)
            if self._own is None:
                self._poll = select.poll()
                self._poll.register(fd, select.POLLOUT)
                # Room in a pipe or socket means PIPE_BUF bytes of it; room in a terminal may be a single byte.
                self._piece = 1 if os.isatty(fd) else select.PIPE_BUF
        self._fd = fd if self._own is None else self._own

    def write_some(self, data: memoryview) -> int:
        """Write what there is room for and return how many bytes that was; `BlockingIOError` for no room.

        Raises `ConnectionLost` when nobody will read any more.
        """
        try:
            if self._socket is not None:
                return self._socket.send(data, socket.MSG_DONTWAIT)
            if self._poll is not None and not self._poll.poll(0):
                raise BlockingIOError
            return os.write(self._fd, data[: self._piece])
        except BlockingIOError:
            raise
        except OSError as broken:
            raise ConnectionLost(f"the peer no longer reads what we send: {broken.strerror}") from broken

    def write_nowait(self, data: bytes) -> bool:
        """Write `data` if there is room for all of it. False, with nothing written, if not, or if that is unknown."""
        if len(data) > self._whole:
            return False
        try:
            self.write_some(memoryview(data))
        except (BlockingIOError, ConnectionLost):
            return False  # what is wrong is found out again by whoever waits for it
        return True

    async def write(self, data: bytes) -> None:
        """Write all of `data`. Does not yield to other tasks when there is room for it at once.

        Raises `ConnectionLost` when nobody will read any more, or has not read for the deadline. When this is
        cancelled, some of `data` may be written.
        """
        await anyio.lowlevel.checkpoint_if_cancelled()
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[self.write_some(rest) :]
            except BlockingIOError:
                await self._wait_for_room()
            else:
                if rest:
                    await anyio.lowlevel.checkpoint()

    def close(self) -> None:
        """End a wait of `write` in another task, and close what was opened here; not the descriptor given."""
        anyio.notify_closing(self._fd)
        if self._socket is not None:
            self._socket.close()
        if self._own is not None:
            os.close(self._own)
            self._own = None
            self._fd = self._given

    async def _wait_for_room(self) -> None:
        with anyio.move_on_after(self._deadline):
            await anyio.wait_writable(self._fd)
            return
        raise ConnectionLost(f"the peer has not read for {self._deadline:g} s")


class DescriptorStream(ByteStream):
    """Two descriptors as one stream. Both stay the caller's to close, after `aclose`."""

    def __init__(self, input_fd: int, output_fd: int, *, write_deadline: float = WRITE_DEADLINE_SECONDS) -> None:
        self._input = InputDescriptor(input_fd)
        self._output = OutputDescriptor(output_fd, write_deadline=write_deadline)
        self._closed = False

    async def read(self) -> bytes:
        return await self._input.read()

    async def write(self, data: bytes) -> None:
        await self._output.write(data)

    def write_nowait(self, data: bytes) -> bool:
        return not self._closed and self._output.write_nowait(data)

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            self._input.close()
            self._output.close()


def _reopen(fd: int, file: os.stat_result) -> int | None:
    """A non-blocking description of our own of the pipe or terminal behind `fd`; None where that cannot be had."""
    terminal = os.isatty(fd) and file.st_rdev != _TERMINAL_MASTER
    if not (terminal or stat.S_ISFIFO(file.st_mode)):
        return None
    try:
        if sys.platform == "linux":
            name = f"/proc/self/fd/{fd}"
        elif terminal:
            name = os.ttyname(fd)
        else:
            return None  # a pipe has a name on Linux only
        return os.open(name, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None  # no /proc, a pipe or terminal of another user, or nobody at its other end
