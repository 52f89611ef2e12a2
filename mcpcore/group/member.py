"""One server of a group, in one owner task: connected, connected again when it is lost, closed."""

import logging
import random
from typing import Any

import anyio

from mcpcore.client import Client
from mcpcore.configuration import ServerEntry
from mcpcore.errors import (
    ConnectionLost,
    DeadlineExceeded,
    LocalProtocolError,
    PeerError,
    RemoteProtocolError,
)
from mcpcore.groups import sole_error
from mcpcore.transport import client_transport

__all__ = ("LIVED_SECONDS", "MAX_RECONNECT_SECONDS", "RECONNECT_SECONDS", "Member", "target_of")

RECONNECT_SECONDS = 0.5
"""Pause before a lost server is connected to again; it doubles each time, with jitter."""

MAX_RECONNECT_SECONDS = 60.0
"""The longest such pause."""

LIVED_SECONDS = 5.0
"""A connection that lasted this long was a working one: the next pause is a short one."""

_UNUSABLE = (ConnectionLost, DeadlineExceeded, PeerError, RemoteProtocolError)

logger: logging.Logger = logging.getLogger("mcpcore.group")


class Member:
    """Keeps one server connected. `own` is its task; everything else may be called from any task."""

    def __init__(self, name: str, target: Any, options: dict[str, Any]) -> None:
        self.name = name
        self._target = target
        self._options = options
        self._client: Client | None = None
        self._closing = anyio.Event()
        self.tried: anyio.Event = anyio.Event()
        """Set when the first attempt is over, one way or the other."""
        self.closed: anyio.Event = anyio.Event()
        self.error: Exception | None = None
        """Why there is no connection at the moment, or was none the last time."""

    @property
    def connected(self) -> bool:
        return self._client is not None

    @property
    def client(self) -> Client:
        """Raises `ConnectionLost`, which says why, while there is no connection."""
        if self._client is None:
            why = f": {self.error}" if self.error is not None else " yet"
            raise ConnectionLost(f"server {self.name!r} is not connected{why}") from self.error
        return self._client

    async def own(self) -> None:
        """Connect, and connect again whenever the connection is lost, until `close`. Raises nothing of a server's."""
        failures = 0
        try:
            while not self._closing.is_set():
                began = anyio.current_time()
                try:
                    await self._connect()
                    self.error = ConnectionLost("the connection was lost")
                except _UNUSABLE as error:
                    self.error = error
                except LocalProtocolError as error:
                    self.error = error  # it would be as wrong the next time
                    return
                finally:
                    self._client = None
                    self.tried.set()
                if self._closing.is_set():
                    return
                failures = 1 if anyio.current_time() - began >= LIVED_SECONDS else failures + 1
                pause = min(RECONNECT_SECONDS * 2.0 ** min(failures - 1, 16), MAX_RECONNECT_SECONDS)
                logger.info("server %r: %.500s", self.name, self.error)
                with anyio.move_on_after(pause * random.uniform(0.5, 1.0)):
                    await self._closing.wait()
        finally:
            self.closed.set()

    async def _connect(self) -> None:
        """One connection, from its beginning to its end."""
        client = Client(self._target, **self._options)
        with sole_error():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._close, client, tasks.cancel_scope)
                async with anyio.create_task_group() as living:
                    await client.connect(living)
                    self._client, self.error = client, None
                    self.tried.set()
                    # Leaving this waits for the connection's own task, which ends when it is lost or closed.
                tasks.cancel_scope.cancel()

    async def _close(self, client: Client, connecting: anyio.CancelScope) -> None:
        """Close the connection when the member is told to; one that is still being made is given up."""
        await self._closing.wait()
        if self._client is client:
            await client.aclose()
        else:
            connecting.cancel()

    async def aclose(self) -> None:
        """Close the connection and make no other one. From any task; closing twice does nothing."""
        self._closing.set()
        await self.closed.wait()


def target_of(entry: ServerEntry) -> tuple[Any, dict[str, Any]]:
    """What `Client` takes for an entry of a configuration: a target and options."""
    if entry.url is not None:
        return entry.url, {"headers": entry.headers} if entry.headers else {}
    assert entry.command is not None
    command = [entry.command, *entry.args]
    return client_transport("stdio")(command, env=entry.env, cwd=entry.cwd), {}
