"""`mcpcore run`: serve the server of a file or module as the whole program."""

import sys
import traceback
from argparse import Namespace
from typing import Any

from mcpcore.cli.release import NOT_YET, refuse_transport
from mcpcore.cli.render import one_line
from mcpcore.cli.source import load_server, source_of
from mcpcore.cli.usage import EXIT_FAILED, WrongUsage, one_of, seconds, setting
from mcpcore.eras import ALL_ERAS
from mcpcore.errors import ConnectionLost, LocalProtocolError
from mcpcore.revisions import Era
from mcpcore.serving import BACKENDS, run_server
from mcpcore.transport import server_transport

__all__ = ("run",)


def run(arguments: Namespace) -> int:
    """Serve until the client is done (0) or the process is told to stop: 0 after SIGTERM, KeyboardInterrupt after
    SIGINT. A host that is gone while there is something to tell it is one line on stderr and 1. Raises `WrongUsage`
    before anything is served, and what the server's own code raises."""
    transport = setting(arguments.transport, "--transport", str, variable="MCPCORE_TRANSPORT") or "stdio"
    backend = setting(arguments.backend, "--backend", one_of(*BACKENDS), variable="MCPCORE_BACKEND")
    grace = setting(arguments.grace, "--grace", seconds, variable="MCPCORE_GRACE")
    eras = setting(arguments.era, "--era", one_of("all", *(era.value for era in Era)), variable="MCPCORE_ERA")
    for name in transport.split(","):
        if name in NOT_YET:
            refuse_transport(name)
    try:
        server_transport(transport)
    except LocalProtocolError as error:
        raise WrongUsage(f"--transport: {error}") from None
    source = source_of(arguments.source)
    if source is None:
        raise WrongUsage(f"{arguments.source!r} is neither FILE.py[:name] nor pkg.mod[:name]")
    server = load_server(source)
    if eras is not None:
        server.eras = frozenset(ALL_ERAS if eras == "all" else (Era(eras),))
    options: dict[str, Any] = {} if grace is None else {"grace": grace}
    try:
        run_server(server, transport, backend=backend, **options)
    except ConnectionLost as lost:
        if arguments.debug:
            traceback.print_exception(lost)
        print(f"mcpcore: {one_line(lost)}", file=sys.stderr)
        return EXIT_FAILED
    return 0
