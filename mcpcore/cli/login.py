"""`mcpcore login` and `mcpcore logout`: the tokens of servers at URLs, kept in files for the other commands."""

import sys
from argparse import Namespace
from collections.abc import Awaitable, Callable
from functools import partial
from importlib import import_module
from typing import Any

import anyio

from mcpcore.cli.authorizing import login_of
from mcpcore.cli.progress import Reports
from mcpcore.cli.render import one_line
from mcpcore.cli.target import Target, target_of
from mcpcore.cli.usage import EXIT_FAILED, WrongUsage, one_of, setting
from mcpcore.cli.visit import visit
from mcpcore.client import Client
from mcpcore.errors import ConnectionLost, LocalProtocolError
from mcpcore.serving import BACKENDS

__all__ = ("login", "logout")


def login(arguments: Namespace) -> int:
    """Log in, whether or not there is a token. Raises `WrongUsage`."""
    target = _url_of(arguments)
    auth = login_of(arguments.client_id, arguments.scope or ())
    url = target.client_target
    code = _run(arguments, partial(auth.logout, url))

    async def work(client: Client) -> int:
        done = f"logged in to {url}" if await auth.logged_in(url) else f"{url} needs no login"
        print(f"mcpcore: {done}", file=sys.stderr)
        return 0

    target = target._replace(options={**target.options, "auth": auth})
    return code or visit(target, work, Reports(), backend=_backend_of(arguments), debug=arguments.debug)


def logout(arguments: Namespace) -> int:
    """Forget the token of a server. Raises `WrongUsage`."""
    url = _url_of(arguments).client_target

    async def work() -> None:
        had = await login_of().logout(url)
        print(f"mcpcore: {'logged out of' if had else 'there was no login at'} {url}", file=sys.stderr)

    return _run(arguments, work)


def _run(arguments: Namespace, work: Callable[[], Awaitable[Any]]) -> int:
    try:
        anyio.run(work, backend=_backend_of(arguments) or BACKENDS[0])
    except ConnectionLost as error:
        print(f"mcpcore: {one_line(error)}", file=sys.stderr)
        return EXIT_FAILED
    return 0


def _url_of(arguments: Namespace) -> Target:
    """The server, without the token that other commands would send there."""
    target = target_of(arguments.target, arguments.config)
    if not isinstance(target.client_target, str):
        raise WrongUsage(f"{arguments.target!r} is no URL: only those are logged in to")
    try:
        import_module("mcpcore_transports.web.urls").parse_url(target.client_target)
    except LocalProtocolError as error:
        raise WrongUsage(str(error)) from None
    headers = {name: value for name, value in target.options["headers"].items() if name != "authorization"}
    return target._replace(options={"headers": headers})


def _backend_of(arguments: Namespace) -> str | None:
    return setting(arguments.backend, "--backend", one_of(*BACKENDS), variable="MCPCORE_BACKEND")
