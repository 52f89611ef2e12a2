"""Serving over a transport: inside a program that runs already, or as the whole program."""

import os
import signal
import sys
import threading
from functools import partial
from typing import Any, Literal, Protocol

import anyio
from anyio.abc import TaskGroup, TaskStatus

from mcpcore.errors import LocalProtocolError
from mcpcore.groups import sole_error
from mcpcore.session import GRACE_SECONDS
from mcpcore.transport import TransportName, server_transport

__all__ = ("BACKENDS", "Runnable", "run_server", "serve")

BACKENDS = ("asyncio", "trio")


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
    """
    await server_transport(transport)(server, task_status=task_status, **options)


def run_server(
    server: Runnable,
    transport: TransportName = "stdio",
    *,
    backend: str | None = None,
    grace: float = GRACE_SECONDS,
    **options: Any,
) -> None:
    """Run a server as the whole program; see `Server.run`.

    `backend` is "asyncio" or "trio"; without it the server's own choice counts, then MCPCORE_BACKEND, then asyncio,
    because most tools in the wild call libraries that need it.
    """
    backend = backend or server.backend or os.environ.get("MCPCORE_BACKEND") or "asyncio"
    if backend not in BACKENDS:
        raise LocalProtocolError(f"backend is {' or '.join(BACKENDS)}, not {backend!r}")
    main = partial(_main, server, transport, grace, options)
    if anyio.run(main, backend=backend) is signal.SIGINT:
        raise KeyboardInterrupt


async def _main(
    server: Runnable, transport: TransportName, grace: float, options: dict[str, Any]
) -> signal.Signals | None:
    stopped_by: signal.Signals | None = None
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
            await serve(server, transport, grace=grace, **options)
            tasks.cancel_scope.cancel()
    return stopped_by


async def _stop_hard(tasks: TaskGroup, seconds: float) -> None:
    await anyio.sleep(seconds)
    tasks.cancel_scope.cancel()
