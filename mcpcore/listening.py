"""Changes on a server, as a client hears them: one stream of them, in either era."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Literal

import anyio
import msgspec

from mcpcore.cache import ResultCache
from mcpcore.changes import LIST_CHANGED, RESOURCE_UPDATED
from mcpcore.channel import Inbox
from mcpcore.connection import Connection
from mcpcore.errors import ConnectionLost, DeadlineExceeded, MissingCapability, PeerError, RemoteProtocolError
from mcpcore.jsonrpc import ErrorResponse, Malformed, Message, Notification, Response
from mcpcore.methods import NOTIFICATIONS
from mcpcore.revisions import Era
from mcpcore.session import Session
from mcpcore.types import (
    ServerCapabilities,
    SubscribeRequestParams,
    SubscriptionFilter,
    SubscriptionsListenRequestParams,
    UnsubscribeRequestParams,
)

__all__ = ("UNSUBSCRIBE_SECONDS", "Changed", "Listener", "Listening", "changed_by")

UNSUBSCRIBE_SECONDS = 5.0
"""How long leaving a `listen` waits for a server of the handshake era to confirm."""


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
    """What a notification says has changed; None for one about something else. Raises `RemoteProtocolError`."""
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


class Listening:
    """All listeners of one client, and the cache that changes make out of date."""

    def __init__(self, cache: ResultCache) -> None:
        self._cache = cache
        self._listeners: set[Listener] = set()
        self._watched: dict[str, int] = {}

    def hear(self, notification: Notification) -> None:
        """A notification that came unasked, as all of them do in the handshake era."""
        for listener in (None, *self._listeners):
            self._pass(notification, listener)

    def end(self) -> None:
        """The client is closed: every listener ends."""
        for listener in tuple(self._listeners):
            listener.end()

    @asynccontextmanager
    async def listen(
        self, connection: Connection, lists: frozenset[str], uris: frozenset[str], timeout: float
    ) -> AsyncIterator[Listener]:
        """See `Client.listen`; `timeout` is for each request that it takes."""
        _require(connection.agreement.capabilities, lists, uris)
        listener = Listener(lists=lists, uris=uris)
        modern = connection.agreement.revision.era is Era.MODERN
        async with (self._stateless if modern else self._handshake)(connection, listener, lists, uris, timeout):
            self._listeners.add(listener)
            try:
                yield listener
            finally:
                self._listeners.discard(listener)

    @asynccontextmanager
    async def _handshake(
        self, connection: Connection, listener: Listener, lists: frozenset[str], uris: frozenset[str], timeout: float
    ) -> AsyncIterator[None]:
        """List changes come by themselves; resources are subscribed to one by one, once for all listeners."""
        session = connection.session
        lost = partial(listener.end, ConnectionLost("the connection ended while listening"))
        session.when_ending.add(lost)
        connection.repeated.add(self._subscribe_again)
        mine: list[str] = []
        try:
            for uri in sorted(uris):
                self._watched[uri] = self._watched.get(uri, 0) + 1
                mine.append(uri)
                if self._watched[uri] == 1:
                    await session.request("resources/subscribe", SubscribeRequestParams(uri=uri), timeout=timeout)
            yield
        finally:
            session.when_ending.discard(lost)
            unwatched = [uri for uri in mine if self._unwatch(uri)]
            with anyio.move_on_after(UNSUBSCRIBE_SECONDS, shield=True):
                for uri in unwatched:
                    try:
                        params = UnsubscribeRequestParams(uri=uri)
                        await session.request("resources/unsubscribe", params, timeout=UNSUBSCRIBE_SECONDS)
                    except (ConnectionLost, DeadlineExceeded, PeerError):
                        continue  # a subscription nobody reads ends with the session at the latest

    def _unwatch(self, uri: str) -> bool:
        """One listener less for a resource. Whether it was the last."""
        self._watched[uri] -= 1
        if self._watched[uri]:
            return False
        del self._watched[uri]
        return True

    async def _subscribe_again(self, session: Session) -> None:
        """Subscribe in a new session to what was subscribed to in the old one; what changed meanwhile is not told."""
        for uri in list(self._watched):
            await session.request("resources/subscribe", SubscribeRequestParams(uri=uri), timeout=UNSUBSCRIBE_SECONDS)

    @asynccontextmanager
    async def _stateless(
        self, connection: Connection, listener: Listener, lists: frozenset[str], uris: frozenset[str], timeout: float
    ) -> AsyncIterator[None]:
        """One open request, whose first answer says what the server agreed to send."""
        session = connection.session
        wanted = SubscriptionFilter(
            tools_list_changed=("tools" in lists) or None,
            prompts_list_changed=("prompts" in lists) or None,
            resources_list_changed=("resources" in lists) or None,
            resource_subscriptions=sorted(uris) or None,
        )
        params = SubscriptionsListenRequestParams(notifications=wanted, meta=connection.agreement.meta)
        inbox = await session.open("subscriptions/listen", params, id=session.next_id())
        try:
            message: Message | None = None
            with anyio.move_on_after(timeout):
                message = (await inbox.receive()).message
            if message is None:
                raise DeadlineExceeded(f"subscriptions/listen was not acknowledged within {timeout:g} s")
            if isinstance(message, ErrorResponse):
                error = message.error
                raise PeerError(error.code, error.message, None if error.data is msgspec.UNSET else error.data)
            if isinstance(message, Malformed):
                raise RemoteProtocolError(f"the answer to subscriptions/listen is no message: {message.error.message}")
            if not self._ends(message, listener):
                session.start_soon(self._follow, inbox, listener)
            yield
        finally:
            session.close_inbox(inbox)

    async def _follow(self, inbox: Inbox, listener: Listener) -> None:
        """Pass on what one subscription brings, until it ends."""
        try:
            while not self._ends((await inbox.receive()).message, listener):
                pass
        except ConnectionLost as lost:
            listener.end(lost)
        except anyio.ClosedResourceError:
            listener.end()

    def _ends(self, message: Message, listener: Listener) -> bool:
        """Pass on one message of a subscription. True for its last, after which nothing comes."""
        if isinstance(message, Notification):
            self._pass(message, listener)
        elif isinstance(message, Response | ErrorResponse | Malformed):
            listener.end()
            return True
        return False

    def _pass(self, notification: Notification, listener: Listener | None) -> None:
        try:
            change = changed_by(notification)
        except RemoteProtocolError:
            return  # a garbled announcement announces nothing
        if change is None:
            return
        if change.kind == "resource":
            self._cache.forget("resources/read", change.uri)
        else:
            self._cache.forget(f"{change.kind}/list")
            if change.kind == "resources":
                self._cache.forget("resources/templates/list")
        if listener is not None:
            listener.offer(change)


def _require(offered: ServerCapabilities, lists: frozenset[str], uris: frozenset[str]) -> None:
    for kind in sorted(lists):
        feature = getattr(offered, kind)
        if feature is None or not feature.list_changed:
            raise MissingCapability(f"the server does not tell when its {kind} change", {kind: {"listChanged": True}})
    if uris and (offered.resources is None or not offered.resources.subscribe):
        raise MissingCapability("the server does not tell when a resource changes", {"resources": {"subscribe": True}})
