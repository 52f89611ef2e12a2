"""A transport of your own: one JSON message per line over TCP, both ends.

python examples/tcp_transport.py              a server and a client in one program: the tool's progress, then its result
python examples/tcp_transport.py serve 9000   only the server
python examples/tcp_transport.py call 9000    only the client

A transport turns bytes into a `Channel`. For one ordered stream of bytes `LinePipe` and `Multiplexer` do nearly all of
it; what is left is to read, to write with a deadline, to close, and to say in our words what went wrong. Sessions, both
eras, cancellation and back-pressure come with it, and `mcpcore.testing.check_channel` finds out whether they do.
"""

import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import anyio.lowlevel
from anyio import to_thread
from anyio.abc import TaskStatus

from mcpcore import Client, ConnectFailed, ConnectionLost, Context, Server
from mcpcore.channel import Channel, Origin
from mcpcore.multiplex import Multiplexer
from mcpcore_transports.stdio.pipe import ByteStream, LinePipe

WRITE_SECONDS = 30.0  # for the other end to make room; one that takes longer is given up
CONNECT_SECONDS = 10.0
MAX_CONNECTIONS = 100  # the next ones wait in the system's queue until one of these ends
READ_BYTES = 64 * 1024


class TcpStream(ByteStream):
    """A socket that is read when somebody wants to read, so that TCP holds up a sender who is too fast."""

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self._socket = connected

    async def read(self) -> bytes:
        await anyio.lowlevel.checkpoint()  # a sender who is never late must not keep other tasks from running
        while True:
            try:
                return self._socket.recv(READ_BYTES)
            except BlockingIOError:
                await anyio.wait_readable(self._socket)
            except OSError as error:
                raise ConnectionLost("the TCP connection broke") from error

    async def write(self, data: bytes) -> None:
        rest = memoryview(data)
        with anyio.move_on_after(WRITE_SECONDS):
            while rest:
                try:
                    rest = rest[self._socket.send(rest) :]
                except BlockingIOError:
                    await anyio.wait_writable(self._socket)
                except OSError as error:
                    raise ConnectionLost("the TCP connection broke") from error
            return
        raise ConnectionLost(f"the other end has not read for {WRITE_SECONDS:g} s")

    async def aclose(self) -> None:
        if self._socket.fileno() >= 0:
            anyio.notify_closing(self._socket)  # whoever waits for it stops waiting
            self._socket.close()


def channel_over(connected: socket.socket, **options: Any) -> Multiplexer:
    return Multiplexer(LinePipe(TcpStream(connected)), origin=Origin(transport="tcp"), **options)


class TcpTransport:
    """How a client reaches a server: `Client(TcpTransport(host, port))`."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Channel]:
        try:
            connected = await to_thread.run_sync(socket.create_connection, self._address, CONNECT_SECONDS)
        except OSError as error:
            raise ConnectFailed("nobody listens at {}:{}".format(*self._address)) from error
        async with channel_over(connected) as channel:
            yield channel


async def serve_tcp(server: Server, port: int, *, task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED) -> None:
    """Serve on a port of this machine until cancelled; 0 is any free one. Reports started with the port."""
    places = anyio.Semaphore(MAX_CONNECTIONS)

    async def serve_one(connected: socket.socket) -> None:
        try:
            with suppress(ConnectionLost):  # which ends this connection and no other
                async with channel_over(connected) as channel:
                    await server.serve_channel(channel, grace=5)
        finally:
            places.release()

    with socket.create_server(("127.0.0.1", port)) as listening:
        listening.setblocking(False)
        print(f"listening on port {listening.getsockname()[1]}", file=sys.stderr, flush=True)
        task_status.started(listening.getsockname()[1])
        async with anyio.create_task_group() as tasks:
            while True:
                await places.acquire()
                connected = None
                while connected is None:
                    await anyio.wait_readable(listening)
                    with suppress(BlockingIOError, ConnectionAbortedError):  # who knocked has gone again
                        connected, _ = listening.accept()
                tasks.start_soon(serve_one, connected)


server = Server("tcp", version="1.0")


@server.tool
async def count(to: int, ctx: Context) -> str:
    """Count with progress, and say over which transport."""
    for number in range(1, to + 1):
        await ctx.progress(number, total=to)
    return f"counted over {ctx.transport}"


async def call(port: int) -> None:
    async def show(progress: float, total: float | None, message: str | None) -> None:
        print(f"{progress:g} of {total:g}")

    async with Client(TcpTransport("127.0.0.1", port)) as client:
        print((await client.call_tool("count", {"to": 3}, on_progress=show)).structured_content)


async def both() -> None:
    async with anyio.create_task_group() as tasks:
        await call(await tasks.start(serve_tcp, server, 0))
        tasks.cancel_scope.cancel()


if __name__ == "__main__":
    backend = os.environ.get("MCPCORE_BACKEND", "asyncio")
    if sys.argv[1:2] == ["serve"]:
        anyio.run(serve_tcp, server, int(sys.argv[2]), backend=backend)
    elif sys.argv[1:2] == ["call"]:
        anyio.run(call, int(sys.argv[2]), backend=backend)
    else:
        anyio.run(both, backend=backend)
