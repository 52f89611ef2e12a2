"""Serving over transports: inside a program that runs already, or as the whole program."""

import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any, Literal, Protocol

import anyio
from anyio.abc import TaskGroup, TaskStatus

from mcpcore.errors import LocalProtocolError
from mcpcore.groups import sole_error
from mcpcore.session import GRACE_SECONDS
from mcpcore.transport import TransportName, server_transport

__all__ = ("BACKENDS", "HTTP_SERVERS", "SSE_PATH", "Runnable", "run_server", "run_workers", "serve")

BACKENDS = ("asyncio", "trio")

HTTP_SERVERS: dict[str, str] = {"h11": "server", "hypercorn": "under_hypercorn"}
"""What may listen for HTTP, and the module of the transport that has it do so."""

SSE_PATH = "/sse"
"""Where clients of 2024-11-05 connect, unless told otherwise."""


_INTERRUPTED = 128 + signal.SIGINT
"""The exit code of a process that was ended by Ctrl+C, as shells count it."""


class Runnable(Protocol):
    """A server, as much of it as running it takes: `mcpcore.Server` is one."""

    @property
    def backend(self) -> Literal["asyncio", "trio"] | None:
        """The backend it wants, if it wants one."""

    def stop(self, grace: float) -> None:
        """End all sessions within `grace` seconds."""


_HARD_STOP_SECONDS = 1.0
"""What a transport gets beyond the grace to close its connections, before everything is cancelled."""

_ALARM_SECONDS = 0.9
"""What a process that a client can hold up gets beyond the grace: with its exit, it is gone within a second."""


async def serve(
    server: Runnable,
    transport: TransportName = "stdio",
    *,
    task_status: TaskStatus[Any] = anyio.TASK_STATUS_IGNORED,
    **options: Any,
) -> None:
    """Serve over a transport until its client is done, or until this is cancelled. Runs on either backend.

    The options are those of `mcpcore run`, e.g. `grace` (seconds that accepted work may take when the client is
    done). Reports started when it listens. Installs no signal handlers: the program's stopping is the program's.

    Several transports are separated by commas: "http,sse" serves both generations from one port, and beside "stdio"
    everything stops when one of them is done. Then all of them get `grace`, and the other options are those of HTTP.
    """
    parts = _parts(transport, options)
    if len(parts) == 1:
        serve_one, own = parts[0]
        await serve_one(server, task_status=task_status, **own)
        return
    grace = options.get("grace", GRACE_SECONDS)
    with sole_error():
        async with anyio.create_task_group() as tasks:

            async def serve_part(
                serve_one: Callable[..., Awaitable[None]], own: Mapping[str, Any], *, task_status: TaskStatus[Any]
            ) -> None:
                await serve_one(server, task_status=task_status, **own)
                server.stop(grace)
                tasks.cancel_scope.deadline = min(
                    tasks.cancel_scope.deadline, anyio.current_time() + grace + _HARD_STOP_SECONDS
                )

            task_status.started([await tasks.start(serve_part, serve_one, own) for serve_one, own in parts])


def _parts(transport: TransportName, options: dict[str, Any]) -> list[tuple[Callable[..., Awaitable[None]], Any]]:
    """What to call for each of the transports, with its options: HTTP first, whose lifespan then lasts longest."""
    names = dict.fromkeys(name.strip() for name in transport.split(","))
    others = [name for name in names if name not in ("http", "sse")]
    if len(others) == len(names):
        return [(server_transport(name), options) for name in others]
    own = dict(options)
    host = own.pop("http_server", "h11")
    if host not in HTTP_SERVERS:
        raise LocalProtocolError(f"http_server is {' or '.join(HTTP_SERVERS)}, not {host!r}")
    if "sse" in names and own.get("sse_path") is None:
        own["sse_path"] = SSE_PATH
    if "http" not in names:
        own["path"] = None
    shared = {name: value for name, value in options.items() if name == "grace"}
    web = (server_transport("http", HTTP_SERVERS[host]), own)
    return [web, *((server_transport(name), shared) for name in others)]


def run_server(
    server: Runnable,
    transport: TransportName = "stdio",
    *,
    backend: str | None = None,
    grace: float = GRACE_SECONDS,
    listening: Callable[[Any], None] | None = None,
    workers: int = 1,
    uvloop: bool | None = None,
    **options: Any,
) -> None:
    """Run a server as the whole program; see `Server.run`.

    `backend` is "asyncio" or "trio"; without it the server's own choice counts, then MCPCORE_BACKEND, then asyncio,
    because most tools in the wild call libraries that need it. With asyncio, HTTP runs on uvloop's event loop where it
    is installed; `uvloop=False`, or MCPCORE_UVLOOP=no, keeps the standard library's. `listening` is called with what
    the transport reports when it has started. Under hypercorn, which a client that stops reading can keep from
    returning, a signal ends the process itself when the grace and another second are over. `workers` are processes
    that share an HTTP port.
    """
    if workers != 1:

        def work(sockets: Any, listening: Callable[[Any], None]) -> int:
            more = {"sockets": sockets, "listening": listening, "backend": backend, "grace": grace, "uvloop": uvloop}
            run_server(server, transport, **more, **options)
            return 0

        code = run_workers(workers, work, transport, grace=grace, **options)
        if code == _INTERRUPTED:
            raise KeyboardInterrupt
        if code:
            raise SystemExit(code)
        return
    backend = backend or server.backend or os.environ.get("MCPCORE_BACKEND") or "asyncio"
    if backend not in BACKENDS:
        raise LocalProtocolError(f"backend is {' or '.join(BACKENDS)}, not {backend!r}")
    alarm = _Alarm(grace + _ALARM_SECONDS) if options.get("http_server") == "hypercorn" else None
    main = partial(_main, server, transport, grace, listening, alarm, options)
    try:
        stopped_by = anyio.run(main, backend=backend, backend_options=_loop_options(backend, transport, uvloop))
    finally:
        if alarm is not None:
            alarm.cancel()
    if stopped_by is signal.SIGINT:
        raise KeyboardInterrupt


def _loop_options(backend: str, transport: str, uvloop: bool | None) -> dict[str, bool]:
    """Which event loop asyncio runs on. Raises `LocalProtocolError` when uvloop is asked for and cannot be had.

    Not for stdio: uvloop makes non-blocking what it waits for, and there the host, or its terminal, shares that.
    """
    if backend != "asyncio" or uvloop is False:
        return {}
    if others := [name for name in transport.split(",") if name.strip() not in ("http", "sse")]:
        if uvloop:
            raise LocalProtocolError(f"uvloop is for http and sse: it changes descriptors that {others[0]} shares")
        return {}
    if uvloop is None and os.environ.get("MCPCORE_UVLOOP", "").lower() in ("0", "false", "no", "off"):
        return {}
    try:
        import_module("uvloop")
    except ImportError as missing:
        if uvloop:
            raise LocalProtocolError(f"uvloop cannot be used ({missing}): install mcpcore[fast]") from missing
        return {}
    return {"use_uvloop": True}


def run_workers(
    workers: int,
    work: Callable[[Any, Callable[[Any], None]], int],
    transport: TransportName,
    *,
    grace: float = GRACE_SECONDS,
    **options: Any,
) -> int:
    """Run `work(sockets, listening)` in this many processes until a signal; returns the exit code: 0, 130, or that of
    a first worker that did not come up. See `mcpcore_transports.http.workers`."""
    if workers < 1:
        raise LocalProtocolError(f"workers is a number of processes, not {workers}")
    if others := [name for name in transport.split(",") if name.strip() not in ("http", "sse")]:
        raise LocalProtocolError(f"workers share an HTTP port, and {', '.join(others)} has none")
    supervise: Callable[..., int] = import_module("mcpcore_transports.http.workers").supervise
    place = {name: value for name, value in options.items() if name in ("host", "port", "uds")}
    return supervise(workers, work, grace=grace, **place)


async def _main(
    server: Runnable,
    transport: TransportName,
    grace: float,
    listening: Callable[[Any], None] | None,
    alarm: "_Alarm | None",
    options: dict[str, Any],
) -> signal.Signals | None:
    stopped_by: signal.Signals | None = None
    with sole_error():
        async with anyio.create_task_group() as tasks:

            async def stop_on_signal(*, task_status: TaskStatus[None]) -> None:
                nonlocal stopped_by
                with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                    task_status.started()
                    async for received in signals:
                        if stopped_by is not None:  # asked twice: do not wait any longer
                            tasks.cancel_scope.cancel()
                            return
                        stopped_by = received
                        if alarm is not None:
                            alarm.set(_INTERRUPTED if received is signal.SIGINT else 0)
                        server.stop(grace)
                        tasks.start_soon(_stop_hard, tasks, grace + _HARD_STOP_SECONDS)

            # Signals reach the main thread only, and on Windows Ctrl+C arrives as KeyboardInterrupt by itself.
            if sys.platform != "win32" and threading.current_thread() is threading.main_thread():
                await tasks.start(stop_on_signal)  # before anybody is answered, who may then want it to stop
            told = anyio.TASK_STATUS_IGNORED if listening is None else _Told(listening)
            await serve(server, transport, grace=grace, task_status=told, **options)
            tasks.cancel_scope.cancel()
    return stopped_by


class _Told(TaskStatus[Any]):
    """Passes on what a transport reports when it has started."""

    def __init__(self, listening: Callable[[Any], None]) -> None:
        self._listening = listening

    def started(self, value: Any = None) -> None:
        self._listening(value)


class _Alarm:
    """Ends the process when its event loop has not ended in time: for hosts that a client can hold up.

    A thread, because what hangs may be the event loop on its way out.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer: threading.Timer | None = None

    def set(self, code: int) -> None:
        """Exit with this code when the time is over."""
        self._timer = threading.Timer(self._seconds, self._exit, (code,))
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _exit(self, code: int) -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # closed, or there is none
                stream.flush()
        os._exit(code)


async def _stop_hard(tasks: TaskGroup, seconds: float) -> None:
    await anyio.sleep(seconds)
    tasks.cancel_scope.cancel()
