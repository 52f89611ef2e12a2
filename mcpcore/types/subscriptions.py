"""Listening for changes: one long request instead of subscriptions per resource. 2026-07-28 and later."""

from mcpcore.types.base import Model, NotificationParams, RequestParams, Result

__all__ = (
    "SubscriptionFilter",
    "SubscriptionsAcknowledgedNotificationParams",
    "SubscriptionsListenRequestParams",
    "SubscriptionsListenResult",
)


class SubscriptionFilter(Model, frozen=True, kw_only=True):
    """The kinds of notification a client wants, or a server agreed to send. Absent means no."""

    tools_list_changed: bool | None = None
    prompts_list_changed: bool | None = None
    resources_list_changed: bool | None = None
    resource_subscriptions: list[str] | None = None
    """URIs whose updates are wanted."""

    task_ids: list[str] | None = None
    """Of the tasks extension: tasks whose state is wanted."""


class SubscriptionsListenRequestParams(RequestParams, frozen=True, kw_only=True):
    notifications: SubscriptionFilter


class SubscriptionsAcknowledgedNotificationParams(NotificationParams, frozen=True, kw_only=True):
    """The first notification of a subscription: the part of the filter that the server honours."""

    notifications: SubscriptionFilter


class SubscriptionsListenResult(Result, frozen=True, kw_only=True):
    """The server ended the subscription; `_meta` has `META_SUBSCRIPTION_ID`."""
