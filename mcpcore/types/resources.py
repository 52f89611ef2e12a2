"""Resources: listing, reading and watching them."""

from mcpcore.types.base import (
    Annotations,
    BaseMetadata,
    CacheableResult,
    Icon,
    Meta,
    NotificationParams,
    PaginatedResult,
    RequestParams,
)
from mcpcore.types.content import EitherResourceContents, Resource
from mcpcore.types.input_required import InputResponseRequestParams

__all__ = (
    "ListResourceTemplatesResult",
    "ListResourcesResult",
    "ReadResourceRequestParams",
    "ReadResourceResult",
    "ResourceTemplate",
    "ResourceUpdatedNotificationParams",
    "SubscribeRequestParams",
    "UnsubscribeRequestParams",
)


class ResourceTemplate(BaseMetadata, frozen=True, kw_only=True):
    """A family of resources whose URIs follow a template (RFC 6570)."""

    uri_template: str
    description: str | None = None
    mime_type: str | None = None
    annotations: Annotations | None = None
    icons: list[Icon] | None = None
    meta: Meta | None = None


class ListResourcesResult(PaginatedResult, frozen=True, kw_only=True):
    resources: list[Resource]


class ListResourceTemplatesResult(PaginatedResult, frozen=True, kw_only=True):
    resource_templates: list[ResourceTemplate]


class ReadResourceRequestParams(InputResponseRequestParams, frozen=True, kw_only=True):
    uri: str


class ReadResourceResult(CacheableResult, frozen=True, kw_only=True):
    contents: list[EitherResourceContents]


class SubscribeRequestParams(RequestParams, frozen=True, kw_only=True):
    """Up to 2025-11-25."""

    uri: str


class UnsubscribeRequestParams(RequestParams, frozen=True, kw_only=True):
    """Up to 2025-11-25."""

    uri: str


class ResourceUpdatedNotificationParams(NotificationParams, frozen=True, kw_only=True):
    uri: str
    """May name a part of the resource that was subscribed to."""
