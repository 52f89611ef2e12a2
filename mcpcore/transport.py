"""Transports by name. A transport is found when it is asked for, so an unused one costs nothing.

The ones of this distribution are in a table of names, not of imports: they live above the core and use only what
anybody's transport may use. Others announce themselves as entry points in the group "mcpcore.transports", whose
value is a package with two modules: `server` has `serve(server, **options)`, `client` has `connect(target, **options)`.
"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from importlib import import_module
from typing import Any, Protocol, TypeAlias, runtime_checkable

from mcpcore.channel import Channel
from mcpcore.errors import LocalProtocolError
from mcpcore.types import Tool

__all__ = ("MirrorsArguments", "Transport", "TransportName", "client_transport", "server_transport")

TransportName: TypeAlias = str

_OURS = {"http": "mcpcore_transports.http", "stdio": "mcpcore_transports.stdio"}


@runtime_checkable
class MirrorsArguments(Protocol):
    """A transport that repeats arguments of a call beside its message, as HTTP does in headers (2026-07-28)."""

    def refuses(self, tool: Tool) -> str | None:
        """Why a tool cannot be called over this transport; None for one that can."""

    def headers_for(self, tool: Tool, arguments: Mapping[str, Any]) -> Mapping[str, str]:
        """What goes along with a call, as `Origin.headers`."""
        ...


@runtime_checkable
class Transport(Protocol):
    """A way to reach a server. One with an attribute `extensions` has the client declare these: identifiers of MCP
    extensions, each with its settings."""

    def connect(self) -> AbstractAsyncContextManager[Channel]:
        """Open the connection; leaving the context closes it, within a deadline, whatever the peer does.

        Entered and left by one task. Raises `ConnectFailed` when it never came up.
        """
        ...


def server_transport(name: str, module: str = "server") -> Callable[..., Awaitable[None]]:
    """The `serve(server, **options)` of a transport. Raises `LocalProtocolError` for a name that nobody has.

    A transport with more than one way to serve has a `module` for each.
    """
    serve: Callable[..., Awaitable[None]] = import_module(f"{_package(name)}.{module}").serve
    return serve


def client_transport(name: str) -> Callable[..., Transport]:
    """The `connect(target, **options)` of a transport. Raises `LocalProtocolError` for a name that nobody has."""
    connect: Callable[..., Transport] = import_module(f"{_package(name)}.client").connect
    return connect


def _package(name: str) -> str:
    if name in _OURS:
        return _OURS[name]
    from importlib.metadata import entry_points  # takes longer to import than all of the core

    for entry in entry_points(group="mcpcore.transports", name=name):
        return entry.value
    known = ", ".join(sorted({*_OURS, "sse"}))
    raise LocalProtocolError(f"there is no transport {name!r}; this installation has {known}")
