"""`mcpcore bridge`: serve any server over another transport, as the whole program."""

from argparse import Namespace

from mcpcore.bridge.bridge import Bridge
from mcpcore.cli.served import serve_told
from mcpcore.cli.target import target_of

__all__ = ("bridge",)


def bridge(arguments: Namespace) -> int:
    """Serve what stands behind TARGET; see `serve_told`. On stdio, a server that is gone and does not come back is one
    line on stderr and 1. Raises `WrongUsage`, and what a server's own code raises."""
    target = target_of(arguments.target, arguments.config, headers=arguments.header, token=arguments.token)

    def load() -> Bridge:
        made = Bridge(target.client_target, **target.options)
        made.backend = target.backend
        return made

    return serve_told(arguments, "bridge", load)
