"""What a client can be pointed at, and the transport that reaches it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Protocol, runtime_checkable

import anyio

from mcpcore.channel import Channel, memory_pair
from mcpcore.errors import ConnectionLost, LocalProtocolError
from mcpcore.groups import sole_error
from mcpcore.transport import Transport, client_transport

__all__ = ("Serves", "transport_to")


@runtime_checkable
class Serves(Protocol):
    """A server in this process: what it takes to be talked to in memory."""

    async def serve_channel(self, channel: Channel, *, grace: float) -> None: ...


class _InMemory:
    """Reaches a server object of this process without any wire."""

    def __init__(self, server: Serves) -> None:
        self._server = server

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Channel]:
        ours, theirs = memory_pair()

        async def serve() -> None:
            try:
                with suppress(ConnectionLost):  # the client's end was closed first, which is how a client leaves
                    await self._server.serve_channel(theirs, grace=0)
            finally:
                await theirs.aclose()

        with sole_error():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(serve)
                try:
                    yield ours
                finally:
                    await ours.aclose()


def transport_to(target: Any, *, headers: Mapping[str, str] | None = None, auth: Any = None) -> Transport:
    """The transport that reaches a target.

    Raises `LocalProtocolError` for what is none, and for `headers` or `auth` where they would go nowhere.
    """
    if isinstance(target, str) and target.startswith(("http://", "https://")):
        return client_transport("http")(target, headers=headers, auth=auth)
    if headers or auth is not None:
        raise LocalProtocolError("headers= and auth= belong to a URL; give them to the transport itself otherwise")
    if isinstance(target, Transport):
        return target
    if isinstance(target, Serves):
        return _InMemory(target)
    if isinstance(target, list | tuple) and target:
        return client_transport("stdio")([str(word) for word in target])
    raise LocalProtocolError(
        f"{target!r} is no target: give a URL, a command as a list of words, a server object, or a transport"
    )
