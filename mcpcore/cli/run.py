"""`mcpcore run`: serve the server of a file or module as the whole program."""

from argparse import Namespace
from functools import partial

from mcpcore.cli.served import serve_told
from mcpcore.cli.source import load_server, source_of
from mcpcore.cli.usage import WrongUsage

__all__ = ("run",)


def run(arguments: Namespace) -> int:
    """Serve it; see `serve_told`. Raises `WrongUsage`, and what the server's own code raises."""
    source = source_of(arguments.source)
    if source is None:
        raise WrongUsage(f"{arguments.source!r} is neither FILE.py[:name] nor pkg.mod[:name]")
    return serve_told(arguments, "run", partial(load_server, source))
