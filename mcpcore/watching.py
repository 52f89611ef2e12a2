"""What one client watches on a server, and how it is told: unasked in the handshake era, on a listen after it."""

from collections.abc import Callable
from typing import Any

import anyio

from mcpcore.changes import LIST_CHANGED, Change, Publisher, Subscriber
from mcpcore.context import Context
from mcpcore.errors import InvalidParams
from mcpcore.session import Session
from mcpcore.types import (
    META_SUBSCRIPTION_ID,
    EmptyResult,
    ServerCapabilities,
    SubscriptionFilter,
    SubscriptionsAcknowledgedNotificationParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
)

__all__ = ("MAX_SUBSCRIPTIONS", "Watching")

MAX_SUBSCRIPTIONS = 1000
"""Resource URIs that one session or one listen may watch."""

_EVERY_LIST = frozenset(LIST_CHANGED.values())


class Watching:
    """The subscriptions of one session."""

    def __init__(self, publisher: Publisher, capabilities: Callable[[], ServerCapabilities], session: Session) -> None:
        self._publisher = publisher
        self._capabilities = capabilities
        self._session = session
        self._subscriber: Subscriber | None = None
        self._pumping = False

    def close(self) -> None:
        """The session is over: nothing is sent to it any more."""
        if self._subscriber is not None:
            self._publisher.unsubscribe(self._subscriber)

    # ------------------------------------------------------------------ handshake era

    def follow(self) -> Subscriber:
        """What a handshake session is told: every list change from the start, resources as it subscribes."""
        if self._subscriber is None:
            self._subscriber = Subscriber(_EVERY_LIST, {}, self._wake)
            self._publisher.subscribe(self._subscriber)
        return self._subscriber

    async def subscribe(self, context: Context, params: Any) -> EmptyResult:
        """Answers resources/subscribe."""
        uris = self.follow().uris
        if len(uris) >= MAX_SUBSCRIPTIONS and params.uri not in uris:
            raise InvalidParams(f"{MAX_SUBSCRIPTIONS} resources are watched, which is the limit; unsubscribe first")
        uris[params.uri] = None
        return EmptyResult()

    async def unsubscribe(self, context: Context, params: Any) -> EmptyResult:
        """Answers resources/unsubscribe."""
        self.follow().uris.pop(params.uri, None)
        return EmptyResult()

    def _wake(self) -> None:
        # A task only while there is something to send: an idle session has none.
        if not self._pumping:
            self._pumping = True
            self._session.start_soon(self._pump)

    async def _pump(self) -> None:
        assert self._subscriber is not None
        try:
            while changes := self._subscriber.take():
                for change in changes:
                    if self._declared(change):
                        await self._session.notify(change.method, change.params())
        finally:
            self._pumping = False

    def _declared(self, change: Change) -> bool:
        offered = self._capabilities()
        feature = {LIST_CHANGED["tools"]: offered.tools, LIST_CHANGED["prompts"]: offered.prompts}
        return feature.get(change.method, offered.resources) is not None

    # ------------------------------------------------------------------ from 2026-07-28 on

    async def listen(self, context: Context, params: SubscriptionsListenRequestParams) -> SubscriptionsListenResult:
        """Answers subscriptions/listen: sends the changes asked for until the client, or the session, ends."""
        honoured = _honoured(params.notifications, self._capabilities())
        meta = {META_SUBSCRIPTION_ID: context.request_id}
        changed = anyio.Event()

        def wake() -> None:
            changed.set()

        wanted = {
            "tools": honoured.tools_list_changed,
            "prompts": honoured.prompts_list_changed,
            "resources": honoured.resources_list_changed,
        }
        lists = frozenset(LIST_CHANGED[kind] for kind, yes in wanted.items() if yes)
        subscriber = Subscriber(lists, dict.fromkeys(honoured.resource_subscriptions or ()), wake)
        self._publisher.subscribe(subscriber)
        self._session.when_ending.add(wake)
        try:
            acknowledged = SubscriptionsAcknowledgedNotificationParams(notifications=honoured, meta=meta)
            await context.send("notifications/subscriptions/acknowledged", acknowledged)
            while not self._session.ending:
                await changed.wait()
                changed = anyio.Event()
                for change in subscriber.take():
                    await context.send(change.method, change.params(meta))
            return SubscriptionsListenResult(meta=meta)
        finally:
            self._session.when_ending.discard(wake)
            self._publisher.unsubscribe(subscriber)


def _honoured(wanted: SubscriptionFilter, offered: ServerCapabilities) -> SubscriptionFilter:
    """The part of a filter that this server can fulfil."""
    uris = wanted.resource_subscriptions
    if uris is not None and len(uris) > MAX_SUBSCRIPTIONS:
        raise InvalidParams(f"one listen watches at most {MAX_SUBSCRIPTIONS} resources, not {len(uris)}")
    return SubscriptionFilter(
        tools_list_changed=(wanted.tools_list_changed and offered.tools is not None) or None,
        prompts_list_changed=(wanted.prompts_list_changed and offered.prompts is not None) or None,
        resources_list_changed=(wanted.resources_list_changed and offered.resources is not None) or None,
        resource_subscriptions=uris if offered.resources is not None else None,
    )
