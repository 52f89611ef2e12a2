"""Logging in from the command line: the page's address on stderr, the browser where there is one, tokens in files."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from mcpcore.cli.target import Target
from mcpcore.cli.usage import WrongUsage

__all__ = ("login_of", "with_login")

_DISPLAYS = ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")


def with_login(target: Target, client_id: str | None = None) -> Target:
    """The target with a login where one is possible: at a URL for which no `Authorization` was given.

    Raises `WrongUsage` for a `client_id` where there is nothing to log in to.
    """
    url = target.client_target
    if not isinstance(url, str) or "authorization" in target.options.get("headers", {}):
        if client_id is not None:
            raise WrongUsage("--client-id is for a login at a URL, without --token")
        return target
    return target._replace(options={**target.options, "auth": login_of(client_id)})


def login_of(client_id: str | None = None, scopes: Sequence[str] = ()) -> Any:
    """What `Client` takes as `auth`. The secret of a client that has one is in MCPCORE_CLIENT_SECRET: what is on a
    command line can be seen by every user of the machine."""
    oauth = import_module("mcpcore_transports.oauth")
    secret = os.environ.get("MCPCORE_CLIENT_SECRET") or None

    async def open_browser(url: str) -> None:
        print(f"mcpcore: log in at\n  {url}", file=sys.stderr, flush=True)
        # A browser inside of the terminal would take it away from what runs there.
        if sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in _DISPLAYS):
            try:
                await oauth.open_in_browser(url)
            except oauth.LoginFailed:
                return  # the address is on the terminal

    return oauth.OAuth(
        client_id=client_id,
        client_secret=secret if client_id is not None else None,
        scopes=scopes,
        storage=oauth.FileStorage(),
        open_browser=open_browser,
    )
