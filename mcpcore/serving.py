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

__all__ = ("BACKENDS", "HTTP_SERVERS", "SSE_PATH", "Runnable", "run_server", "serve")

BACKENDS = ("asyncio", "trio")

HTTP_SERVERS: dict[str, str] = {"h11": "server", "hypercorn": "under_hypercorn"}
"""What may listen for HTTP, and the module of the transport that has it do so."""

SSE_PATH = "/sse"
"""Where clients of 2024-11-05 connect, unless told otherwise."""


class Runnable(Protocol):
    """A server, as much of it as running it takes: `mcpcore.Server` is one."""

    @property
    def backend(self) -> Literal["asyncio", "trio"] | None:
        """The backend it wants, if it wants one."""

    def stop(self, grace: float) -> None:
        """End all sessions within `grace` seconds."""


_HARD_STOP_SECONDS = 1.0
"""What a transport gets beyond the grace to close its connections, before everything is cancelled."""


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
    **options: Any,
) -> None:
    """Run a server as the whole program; see `Server.run`.

    `backend` is "asyncio" or "trio"; without it the server's own choice counts, then MCPCORE_BACKEND, then asyncio,
    because most tools in the wild call libraries that need it. `listening` is called with what the transport reports
    when it has started. Under hypercorn, which a client that stops reading can keep from returning, a signal ends the
    process itself once the grace and another second are over.
    """
    backend = backend or server.backend or os.environ.get("MCPCORE_BACKEND") or "asyncio"
    if backend not in BACKENDS:
        raise LocalProtocolError(f"backend is {' or '.join(BACKENDS)}, not {backend!r}")
    main = partial(_main, server, transport, grace, listening, options)
    if anyio.run(main, backend=backend) is signal.SIGINT:
        raise KeyboardInterrupt


async def _main(
    server: Runnable,
    transport: TransportName,
    grace: float,
    listening: Callable[[Any], None] | None,
    options: dict[str, Any],
) -> signal.Signals | None:
    stopped_by: signal.Signals | None = None

    def end_process() -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # closed, or there is none
                stream.flush()
        os._exit(128 + signal.SIGINT if stopped_by is signal.SIGINT else 0)

    if options.get("http_server") == "hypercorn":
        options = {**options, "when_stuck": end_process}
    with sole_error():
        async with anyio.create_task_group() as tasks:

            async def stop_on_signal() -> None:
                nonlocal stopped_by
                with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                    async for received in signals:
                        if stopped_by is not None:  # asked twice: do not wait any longer
                            tasks.cancel_scope.cancel()
                            return
                        stopped_by = received
                        server.stop(grace)
                        tasks.start_soon(_stop_hard, tasks, grace + _HARD_STOP_SECONDS)

            # Signals reach the main thread only, and on Windows Ctrl+C arrives as KeyboardInterrupt by itself.
            if sys.platform != "win32" and threading.current_thread() is threading.main_thread():
                tasks.start_soon(stop_on_signal)
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


async def _stop_hard(tasks: TaskGroup, seconds: float) -> None:
    await anyio.sleep(seconds)
    tasks.cancel_scope.cancel()
