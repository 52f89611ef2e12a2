"""Serving as the whole program, as the flags and their variables say: what `run` and `bridge` have in common."""

import sys
import traceback
from argparse import Namespace
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from mcpcore.cli.access import write_access
from mcpcore.cli.ending import exit_code
from mcpcore.cli.flags import said_by_variables, serving_options
from mcpcore.cli.protection import with_protection
from mcpcore.cli.render import one_line
from mcpcore.cli.usage import EXIT_FAILED, WrongUsage, one_of, seconds, setting
from mcpcore.eras import ALL_ERAS
from mcpcore.errors import ConnectionLost, LocalProtocolError
from mcpcore.revisions import Era
from mcpcore.serving import BACKENDS, Runnable, run_server, run_workers
from mcpcore.transport import server_transport

__all__ = ("Servable", "serve_told")


class Servable(Runnable, Protocol):
    """What can be served, and told which eras it is to speak."""

    eras: frozenset[Era]


def serve_told(arguments: Namespace, command: str, load: Callable[[], Servable]) -> int:
    """Serve until the client is done (0) or the process is told to stop: 0 after SIGTERM, KeyboardInterrupt after
    SIGINT. A host that is gone while there is something to tell it, and an address that cannot be had, are one line on
    stderr and 1. Each process that serves calls `load`. Raises `WrongUsage` before anything is served, and what `load`
    raises."""
    transports = setting(arguments.transport, "--transport", _transports, variable="MCPCORE_TRANSPORT") or ["stdio"]
    backend = setting(arguments.backend, "--backend", one_of(*BACKENDS), variable="MCPCORE_BACKEND")
    grace = setting(arguments.grace, "--grace", seconds, variable="MCPCORE_GRACE")
    eras = setting(arguments.era, "--era", one_of("all", *(era.value for era in Era)), variable="MCPCORE_ERA")
    options = with_protection(serving_options(arguments, transports))
    if options.pop("access_log", False):
        options["access_log"] = write_access
    if grace is not None:
        options["grace"] = grace
    workers = options.pop("workers", 1)
    one = partial(_run_one, arguments, load, None if eras is None else _eras(eras), ",".join(transports))
    if workers == 1:
        return one(backend=backend, **options)

    def work(sockets: Any, listening: Callable[[Any], None]) -> int:
        """What one process does. It imports the server by itself: the one that started it never does."""
        more = {"sockets": sockets, "listening": listening, "backend": backend}
        return exit_code(command, partial(one, **more, **options))

    return _told(arguments, partial(run_workers, workers, work, ",".join(transports), **options))


def _run_one(
    arguments: Namespace,
    load: Callable[[], Servable],
    eras: frozenset[Era] | None,
    transport: str,
    *,
    listening: Callable[[Any], None] | None = None,
    **options: Any,
) -> int:
    """Load the server and serve it in this process."""
    server = load()
    if eras is not None:
        server.eras = eras
    started = False

    def heard(urls: Any) -> None:
        nonlocal started
        started = True
        if listening is not None:
            listening(urls)

    def work() -> int:
        try:
            run_server(server, transport, listening=heard, **options)
        except LocalProtocolError as error:
            if started:
                raise
            if arguments.debug:
                traceback.print_exception(error)
            raise WrongUsage(said_by_variables(one_line(error), arguments)) from None
        return 0

    return _told(arguments, work)


def _told(arguments: Namespace, work: Callable[[], int]) -> int:
    try:
        return work()
    except ConnectionLost as lost:
        if arguments.debug:
            traceback.print_exception(lost)
        print(f"mcpcore: {one_line(lost)}", file=sys.stderr)
        return EXIT_FAILED


def _transports(text: str) -> list[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in ("http", "sse"):  # which are one transport
            try:
                server_transport(name)
            except LocalProtocolError as error:
                raise ValueError(str(error)) from None
    return names


def _eras(name: str) -> frozenset[Era]:
    return frozenset(ALL_ERAS if name == "all" else (Era(name),))
