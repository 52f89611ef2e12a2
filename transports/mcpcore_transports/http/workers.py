"""Several processes that serve the same port, and the one that starts them, replaces them and stops them.

On Linux each worker has a listening socket of its own on the shared port (SO_REUSEPORT), between which the kernel
divides the connections; elsewhere, and on a Unix socket, they accept from one. The parent keeps every socket open, so
that connections wait for a worker that is being replaced instead of being refused.

A connection goes to any worker, so what lives in one process is not for clients to come back to: sessions of the
handshake era and HTTP+SSE need a proxy that sends a client to the same process. The stateless era needs nothing: the
key that seals `requestState` is the same in all of them.
"""

import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn, TypeAlias

from mcpcore.errors import LocalProtocolError
from mcpcore_transports.http.server import say_urls
from mcpcore_transports.web.sockets import bind_address, bind_path, close_sockets, naming_address, prepare

__all__ = (
    "MAX_RESTART_SECONDS",
    "RESTART_SECONDS",
    "STABLE_SECONDS",
    "STATE_KEY_VARIABLE",
    "STOP_SECONDS",
    "Work",
    "supervise",
)

RESTART_SECONDS = 0.2
"""Pause before a worker that died is replaced; it doubles each time, so that one that cannot start costs little."""

MAX_RESTART_SECONDS = 10.0

STABLE_SECONDS = 30.0
"""A worker that lived this long was fine: its end does not count with those before."""

STOP_SECONDS = 1.0
"""What workers get beyond the grace before they are killed."""

STATE_KEY_VARIABLE = "MCPCORE_STATE_KEY"
_STATE_KEY_BYTES = 32

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

Work: TypeAlias = Callable[[Sequence[socket.socket], Callable[[Sequence[str]], None]], int]
"""What a worker does: serve on the sockets, call back with its URLs when it listens, and return its exit code."""

_TOLD_BYTES = 64 * 1024
"""The most that a pipe holds; a worker says a few lines."""


def supervise(
    count: int,
    work: Work,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    uds: str | None = None,
    grace: float,
) -> int:
    """Run `work` in `count` processes until SIGTERM or SIGINT, which all of them get; the exit code is 0 or 130.

    Starts one worker first and says on stderr where it listens when it does. If that one ends before, its
    exit code is returned. Later, a worker that ends is replaced after a pause. After a signal no worker outlives
    `grace` + STOP_SECONDS, and none outlives its parent. Call this from the main thread, before there are others: it
    forks, and sets signal handlers until it returns.

    Raises `OSError` when the address cannot be had, `LocalProtocolError` where processes cannot be forked.
    """
    if not hasattr(os, "fork"):
        raise LocalProtocolError("workers need a system that can fork; start several programs behind a proxy instead")
    if not os.environ.get(STATE_KEY_VARIABLE):
        os.environ[STATE_KEY_VARIABLE] = secrets.token_hex(_STATE_KEY_BYTES)
    with naming_address(host, port, uds):
        sets = _open(count, host, port, uds)
    try:
        return _Crew(work, sets, grace).run()
    finally:
        for one in sets:
            close_sockets(one)


def _open(count: int, host: str, port: int, uds: str | None) -> list[list[socket.socket]]:
    """The listening sockets of each worker."""
    if uds is not None:
        shared = [bind_path(uds)]
        prepare(shared[0])
        return [shared] * count
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    own = sys.platform == "linux"
    sets: list[list[socket.socket]] = [[] for _ in range(count if own else 1)]
    try:
        for family, address in addresses:
            # Without sharing first: another program's port would be shared just as well.
            probe = bind_address(family, (address[0], port, *address[2:]))
            port = probe.getsockname()[1]
            if own:
                probe.close()
            for one in sets:
                chosen = (address[0], port, *address[2:])
                one.append(bind_address(family, chosen, share_port=True) if own else probe)
                prepare(one[-1])
    except BaseException:
        for one in sets:
            close_sockets(one)
        raise
    return sets if own else sets * count


class _Worker:
    """One place in the crew and the process that holds it."""

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        self.sockets = sockets
        self.process: BaseProcess | None = None
        self.started = 0.0
        self.start_at = 0.0
        self.pause = RESTART_SECONDS


class _Crew:
    def __init__(self, work: Work, sets: Sequence[Sequence[socket.socket]], grace: float) -> None:
        self._work = work
        self._grace = grace
        self._workers = [_Worker(one) for one in sets]
        self._context: Any = get_context("fork")
        self._received: list[signal.Signals] = []
        self._wake, self._waken = socket.socketpair()
        self._alive, self._held = os.pipe()
        """A pipe that ends with the parent."""
        self._told, self._tells = os.pipe()
        """Where a worker says that it listens."""
        for end in (self._wake, self._waken):
            end.setblocking(False)

    def run(self) -> int:
        before = {one: signal.signal(one, self._hear) for one in _SIGNALS}
        wakeup = signal.set_wakeup_fd(self._waken.fileno(), warn_on_full_buffer=False)
        try:
            first = self._workers[0]
            self._start(first)
            assert first.process is not None
            while not self._received:
                ready = wait([first.process.sentinel, self._told, self._wake])
                self._clear()
                if self._told in ready:
                    say_urls(os.read(self._told, _TOLD_BYTES).decode().splitlines())
                    self._keep()
                elif not first.process.is_alive():
                    return _code(first.process)
            self._stop()
            return 130 if self._received[0] is signal.SIGINT else 0
        finally:
            self._kill()
            signal.set_wakeup_fd(wakeup)
            for one, handler in before.items():
                signal.signal(one, handler)
            for end in (self._wake, self._waken):
                end.close()
            for pipe in (self._alive, self._held, self._told, self._tells):
                os.close(pipe)

    def _hear(self, number: int, _: object) -> None:
        self._received.append(signal.Signals(number))

    def _clear(self) -> None:
        with suppress(BlockingIOError):
            self._wake.recv(4096)

    def _running(self) -> list[BaseProcess]:
        return [one.process for one in self._workers if one.process is not None and one.process.is_alive()]

    def _keep(self) -> None:
        """Have every place filled until there is a signal."""
        while not self._received:
            now = time.monotonic()
            for worker in self._workers:
                if worker.process is not None and not worker.process.is_alive():
                    self._lost(worker, now)
                if worker.process is None and worker.start_at <= now:
                    self._start(worker)
            due = [worker.start_at - now for worker in self._workers if worker.process is None]
            # Also of one that has died by now, which its own look at the system did not show yet.
            sentinels = [worker.process.sentinel for worker in self._workers if worker.process is not None]
            ready = wait([*sentinels, self._told, self._wake], max(0.0, min(due)) if due else None)
            if self._told in ready:
                os.read(self._told, _TOLD_BYTES)  # of one that has replaced another: nobody is waiting for it
            self._clear()

    def _lost(self, worker: _Worker, now: float) -> None:
        assert worker.process is not None
        if now - worker.started >= STABLE_SECONDS:
            worker.pause = RESTART_SECONDS
        worker.start_at = now + worker.pause
        code = worker.process.exitcode or 0
        how = f"with exit code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"
        again = f"another one starts in {worker.pause:g} s"
        print(f"mcpcore: worker {worker.process.pid} ended {how}; {again}", file=sys.stderr, flush=True)
        worker.pause = min(worker.pause * 2, MAX_RESTART_SECONDS)
        worker.process.join()
        worker.process = None

    def _start(self, worker: _Worker) -> None:
        process = worker.process = self._context.Process(target=self._become, args=(worker,), name="mcpcore-worker")
        worker.started = time.monotonic()
        # Until the child has its own handlers, a signal would be heard by ours in it, which is nobody's.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)

    def _stop(self) -> None:
        """Pass the signal on; a second one, too. Returns when all are gone or their time is over."""
        for worker in self._workers:
            close_sockets(worker.sockets)  # so that nobody connects to where no worker is any more
        deadline = time.monotonic() + self._grace + STOP_SECONDS
        passed_on = 0
        while (running := self._running()) and (left := deadline - time.monotonic()) > 0:
            for received in self._received[passed_on:]:
                passed_on += 1
                for process in running:
                    with suppress(ProcessLookupError):
                        os.kill(process.pid or 0, received)
            wait([*(process.sentinel for process in running), self._wake], left)
            self._clear()

    def _kill(self) -> None:
        for process in self._running():
            process.kill()
            process.join()

    # -------------------------------------------------------------------------------------------- in the child

    def _become(self, worker: _Worker) -> NoReturn:
        """Be a worker. Never returns to the parent's code."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # Ctrl+C goes to all of the terminal's group; the parent passes it on, and twice would mean "at once".
        with suppress(PermissionError):
            os.setpgid(0, 0)
        os.close(self._held)
        os.close(self._told)
        for end in (self._wake, self._waken):
            end.close()
        for other in self._workers:
            if other.sockets is not worker.sockets:
                close_sockets(other.sockets, unlink=False)
        threading.Thread(target=self._leave_with_parent, name="mcpcore-parent", daemon=True).start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        try:
            code = self._work(worker.sockets, self._tell)
        except KeyboardInterrupt:
            code = 130
        raise SystemExit(code)

    def _tell(self, urls: Sequence[str]) -> None:
        os.write(self._tells, "".join(f"{url}\n" for url in urls).encode())

    def _leave_with_parent(self) -> None:
        with suppress(OSError):
            os.read(self._alive, 1)
        os.kill(os.getpid(), signal.SIGTERM)


def _code(process: BaseProcess) -> int:
    """The exit code of a worker that did not come up, as a shell has it."""
    process.join()
    code = process.exitcode
    return 1 if not code else code if code > 0 else 128 - code
