"""TARGET of `list` and `call`: where a server is, as one word on the command line."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from mcpcore.cli.source import load_server, source_of
from mcpcore.cli.usage import WrongUsage, setting
from mcpcore.transport import client_transport

__all__ = ("Target", "target_of")

_STDIO = "stdio:"
_URLS = ("http://", "https://")

_URL_TYPES = frozenset(("http", "sse", "streamable-http", "streamablehttp"))
"""How configurations call what is behind a URL. Which generation it is, is found out."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, 2.1


class Target(NamedTuple):
    client_target: Any
    """What `Client` takes."""

    backend: Literal["asyncio", "trio"] | None = None
    """What a server of this process says it needs."""

    options: Mapping[str, Any] = {}
    """Further options of `Client`."""


class _Entry(msgspec.Struct):
    """One entry of mcpServers: a command, or a URL."""

    command: str | None = None
    args: list[str] = []
    env: dict[str, str] = {}
    cwd: str | None = None
    url: str | None = None
    headers: dict[str, str] = {}
    type: str | None = None


class _Config(msgspec.Struct, rename="camel"):
    mcp_servers: dict[str, msgspec.Raw]


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
        servers = msgspec.json.decode(path.read_bytes(), type=_Config).mcp_servers
    except OSError as error:
        raise WrongUsage(f"--config {path}: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WrongUsage(f"--config {path}: {error}") from None
    if name not in servers:
        raise WrongUsage(f"--config {path} has no server {name!r}; it has {', '.join(servers) or 'none'}")
    try:
        entry = msgspec.json.decode(servers[name], type=_Entry)
    except msgspec.ValidationError as error:
        raise WrongUsage(f"--config {path}, server {name!r}: {error}") from None
    where = f"--config {path}, server {name!r}"
    kind = entry.type or ("http" if entry.command is None and entry.url is not None else "stdio")
    if kind.lower() in _URL_TYPES:
        if entry.url is None or not entry.url.startswith(_URLS):
            raise WrongUsage(f'{where}: it needs a "url" that begins with http:// or https://')
        return _at_url(entry.url, entry.headers, headers, token)
    if kind != "stdio":
        raise WrongUsage(f"{where}: its type {kind!r} is none of stdio, http, sse")
    if entry.command is None:
        raise WrongUsage(f'{where}: it needs a "command" or a "url"')
    if headers or token:
        raise WrongUsage(f"{'--header' if headers else '--token'} is for a server behind a URL; {name!r} is a command")
    return Target(client_transport("stdio")([entry.command, *entry.args], env=entry.env, cwd=entry.cwd))
