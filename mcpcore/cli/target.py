"""TARGET of `list` and `call`: where a server is, as one word on the command line."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mcpcore.cli.source import load_server, source_of
from mcpcore.cli.usage import WrongUsage, setting
from mcpcore.configuration import entry_of, raw_entries
from mcpcore.errors import LocalProtocolError
from mcpcore.transport import client_transport

__all__ = ("Target", "target_of")

_STDIO = "stdio:"
_URLS = ("http://", "https://")

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, 2.1


class Target(NamedTuple):
    client_target: Any
    """What `Client` takes."""

    backend: Literal["asyncio", "trio"] | None = None
    """What a server of this process says it needs."""

    options: Mapping[str, Any] = {}
    """Further options of `Client`."""


def target_of(
    text: str, config: str | None = None, *, headers: Sequence[str] | None = None, token: str | None = None
) -> Target:
    """A URL, `stdio:COMMAND ARGS…` (words quoted as in a POSIX shell), `FILE.py[:name]`, `pkg.mod[:name]`, or, with
    `config`, the name of an entry in that mcpServers JSON. `headers` (`NAME:VALUE`) and the bearer `token` are for a
    URL.

    Raises `WrongUsage` for anything else, and what `load_server` raises.
    """
    if text.startswith(_URLS):
        return _at_url(text, {}, headers, token)
    if config is not None and not text.startswith(_STDIO):
        return _configured(text, Path(config), headers, token)
    if headers or token:
        raise WrongUsage(f"{'--header' if headers else '--token'} is for a server behind a URL, and {text!r} is none")
    if text.startswith(_STDIO):
        return Target(_words(text.removeprefix(_STDIO)))
    source = source_of(text)
    if source is None:
        raise WrongUsage(
            f"{text!r} is no target: give a URL, 'stdio:COMMAND ARGS…', FILE.py, pkg.mod, or a name with --config FILE"
        )
    server = load_server(source)
    return Target(server, server.backend)


def _words(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise WrongUsage(f"stdio:{command}: {str(error).lower()}") from None
    if not words:
        raise WrongUsage("stdio: needs the command that starts the server, e.g. 'stdio:python server.py'")
    return words


def _at_url(url: str, fixed: Mapping[str, str], headers: Sequence[str] | None, token: str | None) -> Target:
    """A server behind a URL; what the command line says counts before what the configuration does."""
    found = {name.lower(): value for name, value in fixed.items()}
    for text in headers or ():
        name, colon, value = text.partition(":")
        if not colon or not _HEADER_NAME.fullmatch(name.strip()):
            raise WrongUsage(f"--header {text!r} is no header: write NAME:VALUE")
        found[name.strip().lower()] = value.strip()
    for name, value in found.items():
        if not _HEADER_NAME.fullmatch(name) or not value.isprintable() or not value.isascii():
            raise WrongUsage(f"the header {name!r} cannot be sent: a value is printable ASCII")
    token = setting(token, "--token", str, variable="MCPCORE_TOKEN")
    if token is not None:
        if not _TOKEN.fullmatch(token):
            raise WrongUsage("the token is no bearer token: letters, digits and -._~+/ with = at its end")
        found["authorization"] = f"Bearer {token}"
    return Target(url, options={"headers": found})


def _configured(name: str, path: Path, headers: Sequence[str] | None, token: str | None) -> Target:
    try:
        servers = raw_entries(path)
        if name not in servers:
            raise WrongUsage(f"--config {path} has no server {name!r}; it has {', '.join(servers) or 'none'}")
        entry = entry_of(name, servers[name])
    except OSError as error:
        raise WrongUsage(f"--config {path}: {error.strerror}") from None
    except LocalProtocolError as error:
        raise WrongUsage(f"--config {path}, {error}" if name in str(error) else f"--config {error}") from None
    if entry.url is not None:
        return _at_url(entry.url, entry.headers, headers, token)
    if headers or token:
        raise WrongUsage(f"{'--header' if headers else '--token'} is for a server behind a URL; {name!r} is a command")
    return Target(client_transport("stdio")([entry.command, *entry.args], env=entry.env, cwd=entry.cwd))
