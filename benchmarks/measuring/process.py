"""Processes under test: on a core of their own, with their CPU time in nanoseconds. Linux only."""

import contextlib
import os
import random
import resource
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import IO

__all__ = (
    "DRIVER_CORE",
    "START_SECONDS",
    "TESTED_CORE",
    "NotInstalled",
    "Tested",
    "free_port",
    "many_descriptors",
    "pin",
    "resident_bytes",
    "said_ns",
    "started",
)

TESTED_CORE = 0
DRIVER_CORE = 1

START_SECONDS = 60.0
"""How long a server may take to accept a connection; the slowest peer takes two on an idle machine."""

_STOP_SECONDS = 5.0
"""How long a process has to end after SIGTERM before it is killed."""


_PORTS = (20_000, 32_000)
"""Below those that Linux hands out."""


class NotInstalled(Exception):
    """A peer that is not on this machine. Says how to get it."""


def pin(core: int) -> None:
    """Keep this process on one core, where there are two."""
    available = os.sched_getaffinity(0)
    if len(available) > 1:
        os.sched_setaffinity(0, {sorted(available)[min(core, len(available) - 1)]})


class Tested:
    """A process on `TESTED_CORE`. Its descriptors 0 and 1 are pipes when it speaks over them."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int | None, report: int) -> None:
        self._process = process
        self.pid: int = process.pid
        self.port = port
        self.report = report
        """The end of a pipe on which the server says when things happened, in nanoseconds of the monotonic clock."""
        self._clock = (~process.pid << 3) | 2  # CPUCLOCK_SCHED of a process: all threads, those that ended too

    @property
    def stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def cpu_ns(self) -> int:
        """CPU time so far, user and system, of all its threads, in nanoseconds."""
        return time.clock_gettime_ns(self._clock)

    def ended(self) -> bool:
        return self._process.poll() is not None

    def wait_listening(self) -> None:
        """Until its port accepts a connection. Raises RuntimeError when it ends before, or takes `START_SECONDS`."""
        assert self.port is not None
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                if self.ended() or time.monotonic() > deadline:
                    raise RuntimeError(f"nothing listens: it ended with {self._process.poll()}") from None
                time.sleep(0.02)

    def stop(self) -> None:
        """Ends it, by force after `_STOP_SECONDS`."""
        if not self.ended():
            self._process.send_signal(signal.SIGTERM)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self.report)


def start(
    command: Sequence[str], environment: Mapping[str, str], *, port: int | None = None, core: int = TESTED_CORE
) -> Tested:
    """Start a process: over pipes when `port` is None, else told to listen there. Its diagnostics are discarded unless
    BENCHMARK_STDERR is set."""
    seen, told = os.pipe()
    try:
        process = subprocess.Popen(
            command if port is None else [*command, "--port", str(port)],
            stdin=subprocess.PIPE if port is None else subprocess.DEVNULL,
            stdout=subprocess.PIPE if port is None else subprocess.DEVNULL,
            stderr=None if os.environ.get("BENCHMARK_STDERR") else subprocess.DEVNULL,
            env={**environment, "BENCHMARK_REPORT_FD": str(told)},
            pass_fds=(told,),
            preexec_fn=partial(pin, core),
            bufsize=0,
        )
    except FileNotFoundError as missing:
        os.close(seen)
        raise NotInstalled(f"{missing.filename} is missing") from None
    finally:
        os.close(told)
    return Tested(process, port, seen)


@contextlib.contextmanager
def started(
    command: Sequence[str], environment: Mapping[str, str], *, port: int | None = None, core: int = TESTED_CORE
) -> Iterator[Tested]:
    """A process for as long as the block lasts."""
    process = start(command, environment, port=port, core=core)
    try:
        yield process
    finally:
        process.stop()


def many_descriptors() -> None:
    """Let this process, and what it starts, have as many open files as the system allows."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def said_ns(process: Tested, seconds: float) -> int:
    """The next moment that a server reports. Raises RuntimeError when it reports none in that time."""
    if not select.select([process.report], [], [], seconds)[0]:
        raise RuntimeError(f"nothing for {seconds:g} s")
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(process.report, 1)
        if not byte:
            raise RuntimeError("the server ended")
        line += byte
    return int(line)


def free_port() -> int:
    """A port that nobody listens on at this moment, and that nobody is given who asks for any: a slow server must not
    find it taken."""
    while True:
        port = random.randrange(*_PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def resident_bytes(pid: int) -> int:
    """What a process keeps in memory: its private pages and its part of shared ones are not told apart."""
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")
