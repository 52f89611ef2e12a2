"""`mcpServers`: the JSON in which MCP clients are told their servers. Reading it starts nothing.

    {"mcpServers": {"files": {"command": "files-server", "args": ["--root", "${HOME}"], "env": {}, "cwd": "."},
                    "web": {"url": "https://example.org/mcp", "headers": {"Authorization": "Bearer ${TOKEN}"}}}}

`${NAME}` in any text is the variable of that name, `${NAME:-text}` is the text where there is none, and `${env:NAME}`
is how some clients write the first. Members that are not known are ignored, since each client has some of its own.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from mcpcore.errors import LocalProtocolError

__all__ = ("URL_TYPES", "ServerEntry", "Servers", "entry_of", "raw_entries")

URL_TYPES = frozenset(("http", "sse", "streamable-http", "streamablehttp"))
"""How configurations call what is behind a URL. Which generation it is, is found out."""

Servers: TypeAlias = "Mapping[str, Any] | str | os.PathLike[str]"
"""The object that has `mcpServers`, the one inside it, or the path of a file that holds either."""

_VARIABLE = re.compile(r"\$\{(?:env:)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}")
_URLS = ("http://", "https://")


class ServerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One server: a command, or a URL."""

    command: str | None = None
    args: list[str] = []
    env: dict[str, str] = {}
    cwd: str | None = None
    url: str | None = None
    headers: dict[str, str] = {}
    type: str | None = None
    disabled: bool = False

    @property
    def is_url(self) -> bool:
        return self.url is not None and self.command is None


class _File(msgspec.Struct, rename="camel"):
    mcp_servers: dict[str, msgspec.Raw]


def raw_entries(servers: Servers) -> dict[str, Any]:
    """The entries by name, not looked at yet. Raises `LocalProtocolError` for what has none, and `OSError`."""
    if isinstance(servers, Mapping):
        inside = servers.get("mcpServers", servers)
        if not isinstance(inside, Mapping):
            raise LocalProtocolError("mcpServers: an object of servers by name is wanted")
        return dict(inside)
    path = Path(servers)
    try:
        return dict(msgspec.json.decode(path.read_bytes(), type=_File).mcp_servers)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise LocalProtocolError(f"{path}: {error}") from None


def entry_of(name: str, raw: Any, *, environment: Mapping[str, str] | None = None) -> ServerEntry:
    """One entry, with its variables replaced from `environment` (that of this process).

    Raises `LocalProtocolError`, which names the server and the member that is wrong, and never a value: it may be a
    secret.
    """
    where = f"server {name!r}"
    try:
        if isinstance(raw, ServerEntry):
            entry = raw
        elif isinstance(raw, msgspec.Raw):
            entry = msgspec.json.decode(raw, type=ServerEntry)
        else:
            entry = msgspec.convert(raw, ServerEntry)
    except msgspec.ValidationError as error:
        raise LocalProtocolError(f"{where}: {error}") from None
    known = os.environ if environment is None else environment

    def expand(member: str, text: str) -> str:
        def value(found: re.Match[str]) -> str:
            variable, default = found["name"], found["default"]
            text = known.get(variable) or default
            if text is None:
                raise LocalProtocolError(f"{where}, {member}: the environment has no {variable}")
            return text

        return _VARIABLE.sub(value, text)

    entry = ServerEntry(
        command=None if entry.command is None else expand("command", entry.command),
        args=[expand(f"args[{number}]", text) for number, text in enumerate(entry.args)],
        env={key: expand(f"env.{key}", text) for key, text in entry.env.items()},
        cwd=None if entry.cwd is None else expand("cwd", entry.cwd),
        url=None if entry.url is None else expand("url", entry.url),
        headers={key: expand(f"headers.{key}", text) for key, text in entry.headers.items()},
        type=entry.type,
        disabled=entry.disabled,
    )
    kind = (entry.type or ("http" if entry.is_url else "stdio")).lower()
    if kind in URL_TYPES:
        if entry.url is None or not entry.url.startswith(_URLS):
            raise LocalProtocolError(f'{where}: it needs a "url" that begins with http:// or https://')
        return msgspec.structs.replace(entry, command=None)
    if kind != "stdio":
        raise LocalProtocolError(f"{where}: its type {entry.type!r} is none of stdio, http, sse")
    if not entry.command:
        raise LocalProtocolError(f'{where}: it needs a "command" or a "url"')
    return msgspec.structs.replace(entry, url=None)
