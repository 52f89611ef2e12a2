"""Reading and writing file descriptors in threads, where readiness cannot be had (Windows pipes).

The threads are daemons that call `os.read` and `os.write` and hold no lock of Python's file objects: one that is
stuck in the kernel can be left behind, and keeps neither a cancelled task nor the end of the process waiting.
"""

import os
import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel

from mcpcore.errors import ConnectionLost
from mcpcore_transports.stdio.pipe import READ_BYTES, WRITE_DEADLINE_SECONDS, ByteStream

__all__ = ("WRITE_BYTES", "Call", "CallThread", "ThreadStream")

WRITE_BYTES = 64 * 1024
"""Bytes written in one call; the deadline is for each."""

T = TypeVar("T")


class Call(Generic[T]):
    """One blocking call and its outcome, which is there when `done` is set."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._function = function
        self._results: list[T] = []
        self._error: OSError | None = None
        self.done: anyio.Event = anyio.Event()

    def make(self) -> None:
        try:
            self._results.append(self._function())
        except OSError as error:
            self._error = error

    def result(self) -> T:
        """What the call returned; raises the `OSError` that it raised."""
        if self._error is not None:
            raise self._error
        return self._results[0]


class CallThread:
    """A daemon thread that makes blocking calls on a duplicate of `fd`, one after the other.

    The duplicate is the thread's own and is closed by it: the Windows C runtime locks a descriptor while a call on
    it is in progress, so closing or duplicating the original would otherwise wait for a peer.
    """

    def __init__(self, name: str, fd: int) -> None:
        self.fd: int = os.dup(fd)
        self._token = anyio.lowlevel.current_token()
        self._calls: queue.SimpleQueue[Call[int] | Call[bytes] | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def put(self, call: Call[int] | Call[bytes]) -> None:
        self._calls.put(call)

    def close(self) -> None:
        """End the thread once the call that it is in returns."""
        self._calls.put(None)

    def _work(self) -> None:
        try:
            while (call := self._calls.get()) is not None:
                call.make()
                anyio.from_thread.run_sync(call.done.set, token=self._token)
        except RuntimeError:
            pass  # the event loop is over, so nobody waits
        finally:
            os.close(self.fd)


class ThreadStream(ByteStream):
    """Two descriptors as one stream, with a thread for each. Both stay the caller's to close."""

    def __init__(self, input_fd: int, output_fd: int, *, write_deadline: float = WRITE_DEADLINE_SECONDS) -> None:
        self._deadline = write_deadline
        self._reader = CallThread("mcpcore stdin", input_fd)
        self._writer = CallThread("mcpcore stdout", output_fd)
        self._reading: Call[bytes] | None = None

    async def read(self) -> bytes:
        # A call that outlives the cancelled task that asked for it is the next one's.
        if self._reading is None:
            self._reading = Call(lambda: os.read(self._reader.fd, READ_BYTES))
            self._reader.put(self._reading)
        await self._reading.done.wait()
        call, self._reading = self._reading, None
        try:
            return call.result()
        except OSError as broken:
            raise ConnectionLost(f"the peer broke off what it was sending: {broken.strerror}") from broken

    async def write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[await self._write_some(rest[:WRITE_BYTES]) :]

    async def aclose(self) -> None:
        self._reader.close()
        self._writer.close()

    async def _write_some(self, piece: memoryview) -> int:
        call = Call(lambda: os.write(self._writer.fd, piece))
        self._writer.put(call)
        with anyio.move_on_after(self._deadline):
            await call.done.wait()
            try:
                return call.result()
            except OSError as broken:
                raise ConnectionLost(f"the peer no longer reads what we send: {broken.strerror}") from broken
        raise ConnectionLost(f"the peer has not read for {self._deadline:g} s")
