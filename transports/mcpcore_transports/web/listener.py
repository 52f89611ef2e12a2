"""Our HTTP/1.1 host: listening sockets, one task per connection, and one sweeper for every deadline."""

import errno
import logging
import socket
import ssl
import time
from collections.abc import Callable, Sequence

import anyio
from anyio.abc import TaskGroup, TaskStatus

from mcpcore.groups import sole_error
from mcpcore_transports.web.access import AccessEntry, AccessLog
from mcpcore_transports.web.connection import Connection
from mcpcore_transports.web.departures import open_departures
from mcpcore_transports.web.exchange import Application
from mcpcore_transports.web.head import Head
from mcpcore_transports.web.incoming import ConnectionRequest
from mcpcore_transports.web.limits import HttpLimits
from mcpcore_transports.web.parser import Parser
from mcpcore_transports.web.parsers import choose_parser
from mcpcore_transports.web.peer import Peer
from mcpcore_transports.web.reply import ConnectionReply
from mcpcore_transports.web.sockets import BACKLOG, Address, address_of, close_sockets, open_sockets

__all__ = ("ACCEPT_BATCH", "ACCEPT_PAUSE_SECONDS", "GRACE_SECONDS", "KEPT_SECONDS", "SWEEP_SECONDS", "serve_http")

GRACE_SECONDS = 5.0
"""What running requests get when the listener stops. Supervisors commonly kill a few seconds after that."""

KEPT_SECONDS = 0.5
"""How much of the grace a connection without a request is kept for when the listener stops. A proxy that is sending
one, or uses its connections one after the other, gets an answer which says that it was the last, and no reset."""

SWEEP_SECONDS = 0.1
"""How often deadlines are looked at. The shortest default is ten times as long."""

ACCEPT_BATCH = 64
"""Connections accepted before other tasks get a turn."""

ACCEPT_PAUSE_SECONDS = 0.1
"""Pause after the system refused a connection, e.g. for want of file descriptors: trying at once fails again."""

_log = logging.getLogger("mcpcore.http")

# accept() reports what went wrong with the one connection it was about to give out.
_ONE_CONNECTION_FAILED = frozenset(
    getattr(errno, name, -1)
    for name in (
        *("ECONNABORTED", "ECONNRESET", "EPROTO", "EPERM", "EINTR", "ETIMEDOUT", "EOPNOTSUPP", "ENOPROTOOPT"),
        *("ENETDOWN", "ENETUNREACH", "EHOSTDOWN", "EHOSTUNREACH", "ENONET"),
    )
)


async def serve_http(
    app: Application,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    uds: str | None = None,
    sockets: Sequence[socket.socket] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    limits: HttpLimits | None = None,
    stopping: anyio.Event | None = None,
    grace: float = GRACE_SECONDS,
    access_log: Callable[[AccessEntry], None] | None = None,
    parser: str = "auto",
    task_status: TaskStatus[list[Address]] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` over HTTP/1.1 on host and port, on a Unix socket `uds`, or on bound `sockets`, which this closes
    (the file of a Unix socket stays to whoever bound it).

    Reports the addresses it listens on when it does; port 0 is any free one. When `stopping` is set, the
    connections that wait to be accepted are, and no others. Each connection takes one request more, idle ones until
    `KEPT_SECONDS` of the grace are over. All requests have `grace` seconds, and this returns when they are done or
    cancelled. Cancelling this ends everything at once. A client that half-closes its connection counts as gone once
    its request has run for 10 ms. `access_log` gets an entry per finished request. `parser` is one of `PARSERS`.

    Raises `OSError` when an address cannot be had, `LocalProtocolError` when the parser cannot.
    """
    kind = choose_parser(parser)
    listening = await open_sockets(host, port, uds, sockets)
    addresses = [address_of(one) for one in listening]
    access = AccessLog(access_log) if access_log else None
    listener = _Listener(app, limits or HttpLimits(), ssl_context, access, kind)
    try:
        with sole_error():
            async with anyio.create_task_group() as background:
                background.start_soon(listener.sweep)
                background.start_soon(listener.departures.run)
                if listener.access is not None:
                    background.start_soon(listener.access.run)
                async with anyio.create_task_group() as connections:
                    async with anyio.create_task_group() as accepting:
                        for one in listening:
                            accepting.start_soon(listener.accept, one, connections)
                        task_status.started(addresses)
                        if stopping is None:
                            await anyio.sleep_forever()
                        else:
                            await stopping.wait()
                        accepting.cancel_scope.cancel()
                    listener.drain(listening, connections)
                    close_sockets(listening, unlink=sockets is None)
                    background.start_soon(listener.close_idle, min(grace, KEPT_SECONDS))
                    connections.cancel_scope.deadline = anyio.current_time() + grace
                background.cancel_scope.cancel()
    finally:
        close_sockets(listening, unlink=sockets is None)
        listener.departures.close()


class _Listener:
    """The `Host` of its connections."""

    def __init__(
        self,
        app: Application,
        limits: HttpLimits,
        ssl_context: ssl.SSLContext | None,
        access: AccessLog | None,
        parser: type[Parser],
    ) -> None:
        self.app = app
        self.limits = limits
        self.access = access
        self.departures = open_departures()
        self.scheme = "http" if ssl_context is None else "https"
        self._stopping = False
        self._warned = False
        self._ssl_context = ssl_context
        self._parser = parser
        self._connections: set[Connection] = set()
        self._first: anyio.Event | None = None  # the sweeper waits for a connection
        self._room: anyio.Event | None = None  # the acceptors wait for one to end

    @property
    def closing(self) -> bool:
        return self._stopping or self._room is not None

    def make_parser(self) -> Parser:
        return self._parser(self.limits.head_bytes)

    def make_exchange(self, connection: Connection, head: Head) -> tuple[ConnectionRequest, ConnectionReply]:
        return ConnectionRequest(connection, head), ConnectionReply(connection, head)

    def discard(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self.departures.discard(connection)
        room, self._room = self._room, None
        if room is not None:
            room.set()

    def drain(self, listening: Sequence[socket.socket], connections: TaskGroup) -> None:
        """Let each connection serve one request at most, those included that the kernel has completed already."""
        self._stopping = True
        for one in listening:
            for _ in range(min(BACKLOG, self.limits.max_connections - len(self._connections))):
                try:
                    accepted, address = one.accept()
                except OSError as failed:
                    if failed.errno in _ONE_CONNECTION_FAILED:
                        continue
                    break  # there is none, or the system gives out no more
                self._start(accepted, address, connections)

    async def close_idle(self, seconds: float) -> None:
        """Close the connections that have brought no request `seconds` from here on."""
        await anyio.sleep(seconds)
        for connection in self._connections:
            connection.close_unless_running()

    async def sweep(self) -> None:
        """Enforce the deadlines of all connections until cancelled. Sleeps when there are none."""
        while True:
            if not self._connections:
                self._first = anyio.Event()
                await self._first.wait()
                self._first = None
            await anyio.sleep(SWEEP_SECONDS)
            now = time.monotonic()
            for connection in list(self._connections):
                connection.sweep(now)

    async def accept(self, listening: socket.socket, connections: TaskGroup) -> None:
        """Start a task for each connection that comes in, until cancelled."""
        refused = False
        while True:
            await anyio.wait_readable(listening)
            await self._wait_for_room()
            try:
                for _ in range(min(ACCEPT_BATCH, self.limits.max_connections - len(self._connections))):
                    accepted, address = listening.accept()
                    self._start(accepted, address, connections)
                    refused = False
            except BlockingIOError:
                continue
            except OSError as failed:
                if failed.errno in _ONE_CONNECTION_FAILED:
                    continue
                if not refused:
                    refused = True
                    _log.error("cannot accept HTTP connections, trying again: %s", failed.strerror)
                self._close_one_idle()
                await anyio.sleep(ACCEPT_PAUSE_SECONDS)

    def _start(self, accepted: socket.socket, address: object, connections: TaskGroup) -> None:
        try:
            peer = self._make_peer(accepted)
            connection = Connection(peer, str(address[0]) if isinstance(address, tuple) else "", self)
            self.departures.add(connection)
        except BaseException:
            accepted.close()
            raise
        self._connections.add(connection)
        if self._first is not None:
            self._first.set()
        connections.start_soon(connection.run)

    def _make_peer(self, accepted: socket.socket) -> Peer:
        if self._ssl_context is None:
            return Peer(accepted)
        from mcpcore_transports.web.tls import TlsPeer

        return TlsPeer(accepted, self._ssl_context)

    async def _wait_for_room(self) -> None:
        """Wait while there are as many connections as may be; clients wait in the kernel's backlog meanwhile."""
        while len(self._connections) >= self.limits.max_connections:
            if self._room is None:
                self._room = anyio.Event()
            if not self._warned:
                self._warned = True
                _log.warning("%d HTTP connections are open, which is the limit", len(self._connections))
            self._close_one_idle()
            await self._room.wait()

    def _close_one_idle(self) -> None:
        for connection in self._connections:
            if connection.idle:
                connection.idle = False
                connection.close_unless_running()
                return
