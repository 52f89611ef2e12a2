"""Changes on their way to whoever listens: one publication reaches both eras.

A change is a level, not an event: "this list is no longer what you read". So a subscriber holds each change once,
however often it is published before the subscriber gets to send it, and a slow one costs nobody else anything.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from mcpcore.types import Meta, NotificationParams, ResourceUpdatedNotificationParams

__all__ = ("LIST_CHANGED", "RESOURCE_UPDATED", "Change", "Publisher", "Subscriber")

RESOURCE_UPDATED = "notifications/resources/updated"
LIST_CHANGED = {
    "tools": "notifications/tools/list_changed",
    "prompts": "notifications/prompts/list_changed",
    "resources": "notifications/resources/list_changed",
}


class Change(NamedTuple):
    """What changed: a list, or the resource with a URI."""

    method: str
    uri: str | None = None

    def params(self, meta: Meta | None = None) -> Any:
        """The parameters of the notification that says so."""
        if self.uri is None:
            return NotificationParams(meta=meta)
        return ResourceUpdatedNotificationParams(uri=self.uri, meta=meta)


class Subscriber:
    """One receiver of changes. `wake` is called when there is something to take; it must not wait."""

    __slots__ = ("_pending", "_wake", "lists", "uris")

    def __init__(self, lists: frozenset[str], uris: dict[str, None], wake: Callable[[], None]) -> None:
        self.lists: frozenset[str] = lists
        """Methods of the list changes that are wanted."""
        self.uris: dict[str, None] = uris
        """URIs of the resources whose updates are wanted, as keys: an empty set would take three times as much."""
        self._wake = wake
        self._pending: dict[Change, None] = {}

    def offer(self, change: Change) -> None:
        wanted = change.method in self.lists if change.uri is None else change.uri in self.uris
        if wanted:
            self._pending[change] = None
            self._wake()

    def take(self) -> list[Change]:
        """What has changed since the last call, each thing once."""
        taken = list(self._pending)
        self._pending.clear()
        return taken


class Publisher:
    """Hands each change to every subscriber that wants it. Called from the event loop's thread only."""

    def __init__(self) -> None:
        self._subscribers: dict[Subscriber, None] = {}

    def __len__(self) -> int:
        return len(self._subscribers)

    def subscribe(self, subscriber: Subscriber) -> None:
        self._subscribers[subscriber] = None

    def unsubscribe(self, subscriber: Subscriber) -> None:
        self._subscribers.pop(subscriber, None)

    def publish(self, change: Change) -> None:
        for subscriber in tuple(self._subscribers):
            subscriber.offer(change)
