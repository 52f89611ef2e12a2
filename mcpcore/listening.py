"""Changes on a server, as a client hears them: one stream of them, in either era."""

from collections.abc import AsyncIterator
from typing import Literal

import anyio
import msgspec

from mcpcore.changes import LIST_CHANGED, RESOURCE_UPDATED
from mcpcore.errors import ConnectionLost
from mcpcore.jsonrpc import Notification
from mcpcore.methods import NOTIFICATIONS

__all__ = ("Changed", "Listener", "changed_by")


class Changed(msgspec.Struct, frozen=True):
    """Something that was read before is out of date."""

    kind: Literal["tools", "prompts", "resources", "resource"]
    """A list, or one resource."""

    uri: str | None = None
    """The resource, when it is one."""


_KINDS: dict[str, Literal["tools", "prompts", "resources"]] = {
    LIST_CHANGED["tools"]: "tools",
    LIST_CHANGED["prompts"]: "prompts",
    LIST_CHANGED["resources"]: "resources",
}


def changed_by(notification: Notification) -> Changed | None:
    """What a notification says has changed; None for one that says nothing of the kind. Raises `RemoteProtocolError`."""
    if notification.method in _KINDS:
        return Changed(_KINDS[notification.method])
    if notification.method == RESOURCE_UPDATED:
        return Changed("resource", NOTIFICATIONS[RESOURCE_UPDATED].decode_params(notification.params).uri)
    return None


class Listener:
    """An async iterator of changes. A change that was not fetched yet is not repeated, so that it stays small.

    Ends when the server ends the subscription; raises `ConnectionLost` when the connection does.
    """

    def __init__(self, *, lists: frozenset[str], uris: frozenset[str]) -> None:
        self._lists = lists
        self._uris = uris
        self._pending: dict[Changed, None] = {}
        self._arrived: anyio.Event | None = None
        self._ended = False
        self._failure: ConnectionLost | None = None

    def offer(self, change: Changed) -> None:
        wanted = change.kind in self._lists if change.uri is None else change.uri in self._uris
        if wanted and not self._ended:
            self._pending[change] = None
            self._wake()

    def end(self, failure: ConnectionLost | None = None) -> None:
        self._ended = True
        self._failure = failure
        self._wake()

    def __aiter__(self) -> AsyncIterator[Changed]:
        return self

    async def __anext__(self) -> Changed:
        while not self._pending:
            if self._failure is not None:
                raise self._failure
            if self._ended:
                raise StopAsyncIteration
            self._arrived = anyio.Event()
            await self._arrived.wait()
        change = next(iter(self._pending))
        del self._pending[change]
        return change

    def _wake(self) -> None:
        if self._arrived is not None:
            self._arrived.set()
            self._arrived = None
