"""Drives a server over its pipes with lines that were built before: as little work per call as Python allows."""

import json
import os
import selectors
import time
from collections.abc import Sequence
from typing import Any

from measuring.process import Tested

__all__ = ("LineDriver", "ask")

_PATIENCE_SECONDS = 30.0
"""How long a server may be silent before it counts as stuck."""


class LineDriver:
    """Keeps `in_flight` requests on their way. Answers are counted, and the last of a slice is waited for."""

    def __init__(self, server: Tested, lines: Sequence[bytes], in_flight: int) -> None:
        """`lines` are sent in turn, each with its line end; there are at least as many as fly at once, so that no id
        is in use twice."""
        assert len(lines) >= in_flight
        self._server = server
        self._lines = lines
        self._in_flight = in_flight
        self._next = 0
        self._in, self._out = server.stdin.fileno(), server.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)

    def _take(self, count: int) -> bytes:
        start, lines = self._next, self._lines
        end = start + count
        self._next = end % len(lines)
        if end <= len(lines):
            return b"".join(lines[start:end])
        return b"".join(lines[start:]) + b"".join(lines[: self._next])

    def run(self, seconds: float) -> tuple[int, int, float]:
        """Returns calls answered, CPU of the server in nanoseconds, and seconds."""
        poll = selectors.DefaultSelector()
        poll.register(self._out, selectors.EVENT_READ)
        read_fd, write_fd = self._out, self._in
        began_cpu, began = self._server.cpu_ns(), time.perf_counter()
        deadline = began + seconds
        unsent = memoryview(self._take(self._in_flight))
        flying, answered = self._in_flight, 0
        registered = False
        try:
            while flying:
                if unsent:
                    unsent = _written(write_fd, unsent)
                if bool(unsent) != registered:
                    registered = bool(unsent)
                    if registered:
                        poll.register(write_fd, selectors.EVENT_WRITE)
                    else:
                        poll.unregister(write_fd)
                if not poll.select(_PATIENCE_SECONDS):
                    raise RuntimeError(f"silent for {_PATIENCE_SECONDS:.0f} s with {flying} calls in flight")
                try:
                    data = os.read(read_fd, 1 << 20)
                except BlockingIOError:
                    continue
                if not data:
                    raise RuntimeError("the server ended")
                done = data.count(b"\n")
                answered += done
                flying -= done
                if done and time.perf_counter() < deadline:
                    flying += done
                    more = self._take(done)
                    unsent = memoryview(bytes(unsent) + more) if unsent else memoryview(more)
        finally:
            poll.close()
        return answered, self._server.cpu_ns() - began_cpu, time.perf_counter() - began


def _written(fd: int, data: memoryview) -> memoryview:
    """Write what there is room for; returns the rest."""
    try:
        return data[os.write(fd, data) :]
    except BlockingIOError:
        return data


def ask(server: Tested, line: bytes) -> Any:
    """Send one message, return the first answer that has an id, decoded. Raises RuntimeError when none comes."""
    os.set_blocking(server.stdout.fileno(), True)
    poll = selectors.DefaultSelector()
    poll.register(server.stdout.fileno(), selectors.EVENT_READ)
    try:
        view = memoryview(line + b"\n")
        got = b""
        os.set_blocking(server.stdin.fileno(), False)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if view:
                view = _written(server.stdin.fileno(), view)
            if not poll.select(0.01 if view else _PATIENCE_SECONDS):
                continue
            data = os.read(server.stdout.fileno(), 1 << 20)
            if not data:
                raise RuntimeError("the server ended")
            got += data
            while b"\n" in got:
                first, _, got = got.partition(b"\n")
                message = json.loads(first)
                if "id" in message and "method" not in message:
                    return message
        raise RuntimeError("no answer")
    finally:
        poll.close()
