"""TARGET of `list` and `call`: where a server is, as one word on the command line."""

import shlex
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from mcpcore.cli.release import refuse_url
from mcpcore.cli.source import load_server, source_of
from mcpcore.cli.usage import WrongUsage
from mcpcore.transport import client_transport

__all__ = ("Target", "target_of")

_STDIO = "stdio:"


class Target(NamedTuple):
    client_target: Any
    """What `Client` takes."""

    backend: str | None
    """What a server of this process says it needs."""


class _Command(msgspec.Struct):
    """One entry of mcpServers, as far as it starts a command."""

    command: str | None = None
    args: list[str] = []
    env: dict[str, str] = {}
    cwd: str | None = None
    url: str | None = None


class _Config(msgspec.Struct, rename="camel"):
    mcp_servers: dict[str, msgspec.Raw]


def target_of(text: str, config: str | None = None) -> Target:
    """`stdio:COMMAND ARGS…` (words quoted as in a POSIX shell), `FILE.py[:name]`, `pkg.mod[:name]`, or, with `config`,
    the name of an entry in that mcpServers JSON.

    Raises `WrongUsage` for anything else, and what `load_server` raises.
    """
    if text.startswith(("http://", "https://")):
        refuse_url(text)
    if text.startswith(_STDIO):
        return Target(_words(text.removeprefix(_STDIO)), None)
    if config is not None:
        return Target(_configured(text, Path(config)), None)
    source = source_of(text)
    if source is None:
        raise WrongUsage(
            f"{text!r} is no target: give 'stdio:COMMAND ARGS…', FILE.py, pkg.mod, or a name with --config FILE"
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


def _configured(name: str, path: Path) -> Any:
    try:
        servers = msgspec.json.decode(path.read_bytes(), type=_Config).mcp_servers
    except OSError as error:
        raise WrongUsage(f"--config {path}: {error.strerror}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise WrongUsage(f"--config {path}: {error}") from None
    if name not in servers:
        raise WrongUsage(f"--config {path} has no server {name!r}; it has {', '.join(servers) or 'none'}")
    try:
        entry = msgspec.json.decode(servers[name], type=_Command)
    except msgspec.ValidationError as error:
        raise WrongUsage(f"--config {path}, server {name!r}: {error}") from None
    if entry.command is None:
        if entry.url is not None:
            refuse_url(entry.url)
        raise WrongUsage(f'--config {path}, server {name!r}: it needs a "command"')
    return client_transport("stdio")([entry.command, *entry.args], env=entry.env, cwd=entry.cwd)
