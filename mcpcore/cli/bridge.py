"""`mcpcore bridge`: serve any server over another transport, as the whole program."""

from argparse import Namespace

from mcpcore.bridge.bridge import TIMEOUT_SECONDS, Bridge
from mcpcore.cli.authorizing import with_login
from mcpcore.cli.served import serve_told
from mcpcore.cli.target import target_of
from mcpcore.cli.usage import count, seconds, setting

__all__ = ("bridge",)


def bridge(arguments: Namespace) -> int:
    """Serve what stands behind TARGET; see `serve_told`. On stdio, a server that is gone and does not come back is one
    line on stderr and 1. Raises `WrongUsage`, and what a server's own code raises."""
    timeout = setting(arguments.timeout, "--timeout", seconds)
    limit = setting(arguments.max_upstreams, "--max-upstreams", count, variable="MCPCORE_MAX_UPSTREAMS")

    def load() -> Bridge:
        target = with_login(
            target_of(arguments.target, arguments.config, headers=arguments.header, token=arguments.token),
            arguments.client_id,
        )
        made = Bridge(
            target.client_target,
            timeout=TIMEOUT_SECONDS if timeout is None else timeout,
            max_upstreams=limit,
            **target.options,
        )
        made.backend = target.backend
        return made

    return serve_told(arguments, "bridge", load)
