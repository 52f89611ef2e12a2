"""A client and a server of this process with a wire between them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import anyio

from mcpcore.channel import Channel, Origin
from mcpcore.client import Client
from mcpcore.errors import ConnectionLost
from mcpcore.groups import sole_error
from mcpcore.multiplex import Multiplexer, Pipe
from mcpcore.targets import Serves
from mcpcore.testing.pipes import memory_pipes

__all__ = ("PipeTransport", "connected")


class PipeTransport:
    """Reaches a server object over two memory pipes: every message is encoded, framed, decoded.

    `client_pipe` and `server_pipe` may put a fault or a log around the pipe of their end. Any number of connections;
    each has pipes of its own, and the server side ends with it.
    """

    def __init__(
        self,
        server: Serves,
        *,
        client_pipe: Callable[[Pipe], Pipe] | None = None,
        server_pipe: Callable[[Pipe], Pipe] | None = None,
    ) -> None:
        self._server = server
        self._client_pipe = client_pipe
        self._server_pipe = server_pipe

    def connect(self) -> AbstractAsyncContextManager[Channel]:
        """One connection. Leaving it closes the pipe; what the server still runs for it is cancelled."""
        return self._connect()

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[Channel]:
        ours: Pipe
        theirs: Pipe
        ours, theirs = memory_pipes()
        if self._client_pipe is not None:
            ours = self._client_pipe(ours)
        if self._server_pipe is not None:
            theirs = self._server_pipe(theirs)
        origin = Origin(transport="memory pipe")

        async def serve() -> None:
            with suppress(ConnectionLost):  # the client left first, or a fault did what it is for
                async with Multiplexer(theirs, origin=origin) as channel:
                    await self._server.serve_channel(channel, grace=0)

        with sole_error():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(serve)
                async with Multiplexer(ours, origin=origin) as channel:
                    yield channel


@asynccontextmanager
async def connected(
    server: Serves,
    *,
    client_pipe: Callable[[Pipe], Pipe] | None = None,
    server_pipe: Callable[[Pipe], Pipe] | None = None,
    **options: Any,
) -> AsyncIterator[Client]:
    """A client of `server` over memory pipes: a test at the level of the wire, without a process.

    The options are those of `Client`. `Client(server)` is quicker and skips the encoding; this one shows what only
    a wire shows: ids, framing, cancellation lines, back-pressure. To see the frames:

        logs = []
        def logged(pipe):
            logs.append(wire_log(pipe))
            return logs[-1]
        async with connected(server, client_pipe=logged) as client: ...
    """
    async with Client(PipeTransport(server, client_pipe=client_pipe, server_pipe=server_pipe), **options) as client:
        yield client
