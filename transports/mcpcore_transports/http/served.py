"""What the HTTP transports need of a server."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from mcpcore.channel import Channel, Envelope
from mcpcore.jsonrpc import Request
from mcpcore.revisions import Era
from mcpcore_transports.http.measured import Measured

__all__ = ("Served",)


class Served(Protocol):
    """A server, seen from below: `mcpcore.Server` is one."""

    @property
    def eras(self) -> frozenset[Era]: ...

    @property
    def auth(self) -> Any:
        """Who may use it, unless whoever serves it says otherwise; None for everybody."""

    @property
    def scoped(self) -> bool:
        """Whether anything it offers needs a scope of its own."""
        ...

    def scopes_for(self, request: Request) -> frozenset[str]:
        """The scopes of its own that a request needs."""
        ...

    def running(self) -> AbstractAsyncContextManager[Any]:
        """Its lifespan."""
        ...

    def metrics(self) -> Measured:
        """Its metrics. Raises `LocalProtocolError` when there is nothing to make them with."""
        ...

    async def serve_channel(self, channel: Channel, *, grace: float) -> None:
        """Serve a session until its peer is done."""

    async def answer(self, envelope: Envelope) -> None:
        """Answer one request that needs no session."""

    def stop(self, grace: float) -> None:
        """End all sessions within `grace` seconds."""

    @property
    def on_stop(self) -> set[Callable[[float], None]]:
        """Called with the grace in seconds when `stop` is called."""
        ...
