"""One visit to a server: connect, do one thing, leave; and the exit code it ends with."""

import signal
import sys
import traceback
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import anyio

from mcpcore.cli.progress import Reports
from mcpcore.cli.release import version
from mcpcore.cli.render import one_line
from mcpcore.cli.source import print_to_stderr
from mcpcore.cli.target import Target
from mcpcore.cli.usage import EXIT_FAILED, EXIT_INTERRUPTED, one_of
from mcpcore.client import Client
from mcpcore.errors import ConnectionLost, DeadlineExceeded, LocalProtocolError, PeerError, RemoteProtocolError
from mcpcore.groups import sole_error
from mcpcore.revisions import REVISIONS
from mcpcore.serving import BACKENDS

__all__ = ("era_choice", "visit")

_TOLD = (ConnectionLost, DeadlineExceeded, PeerError, LocalProtocolError, RemoteProtocolError)
"""What can go wrong with a peer: one line each."""

era_choice: Callable[[str], str] = one_of("auto", "modern", "legacy", *REVISIONS)
"""Reads the `--era` of a client."""


def visit(
    target: Target,
    work: Callable[[Any], Awaitable[int]],
    reports: Reports,
    *,
    backend: str | None = None,
    debug: bool = False,
    make: Callable[..., Any] = Client,
    **options: Any,
) -> int:
    """Run `work` with a client connected to the target and return its exit code. `options` are those of `Client`, and
    `make` is it, or what is used like it.

    Without a `backend`, what the server says it needs counts, then asyncio. SIGINT and SIGTERM cancel the work,
    which tells the server, and give 130; the second one does not wait for the server. What goes wrong with the
    peer is one line on stderr (`debug`: a traceback) and 1. What a server of this process prints goes to stderr.
    """
    backend = backend or target.backend or BACKENDS[0]
    try:
        with print_to_stderr(), sole_error():
            options = {**options, **target.options, "on_log": reports.log}
            return anyio.run(partial(_visit, partial(make, target.client_target), work, options), backend=backend)
    except _TOLD as error:
        reports.finish()
        if debug:
            traceback.print_exception(error)
        reports.note(f"mcpcore: {one_line(error)}")
        return EXIT_FAILED
    finally:
        reports.finish()


async def _visit(make: Callable[..., Any], work: Callable[[Any], Awaitable[int]], options: dict[str, Any]) -> int:
    code = EXIT_INTERRUPTED
    async with anyio.create_task_group() as tasks:
        # What a signal cancels: all of it while connecting, and only the work while there is somebody to tell.
        scope = tasks.cancel_scope

        async def stop_on_signal() -> None:
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                asked = False
                async for _ in signals:
                    (tasks.cancel_scope if asked else scope).cancel()
                    asked = True

        if sys.platform != "win32":  # where Ctrl+C arrives as KeyboardInterrupt by itself
            tasks.start_soon(stop_on_signal)
        async with make(name="mcpcore", version=version(), **options) as client:
            with anyio.CancelScope() as scope:
                code = await work(client)
            scope = tasks.cancel_scope
        tasks.cancel_scope.cancel()
    return code
