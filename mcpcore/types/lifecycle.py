"""Who the peers are and what they can do: the handshake, discovery, cancellation and progress."""

from typing import Any, TypeAlias

from mcpcore.types.base import (
    CacheableResult,
    Implementation,
    Model,
    NotificationParams,
    ProgressToken,
    RequestId,
    RequestParams,
    Result,
)
from mcpcore.types.shapes import Number

__all__ = (
    "CancelledNotificationParams",
    "ClientCapabilities",
    "DiscoverResult",
    "ElicitationCapability",
    "InitializeRequestParams",
    "InitializeResult",
    "ListChangedCapability",
    "MissingRequiredClientCapabilityErrorData",
    "OpenObject",
    "ProgressNotificationParams",
    "ResourcesCapability",
    "RootsCapability",
    "SamplingCapability",
    "ServerCapabilities",
    "UnsupportedProtocolVersionErrorData",
)

OpenObject: TypeAlias = dict[str, Any]
"""An object whose presence is what counts; what is in it is kept."""


class RootsCapability(Model, frozen=True, kw_only=True):
    list_changed: bool | None = None
    """Up to 2025-11-25."""


class SamplingCapability(Model, frozen=True, kw_only=True):
    """The members are of 2025-11-25 and later."""

    tools: OpenObject | None = None
    context: OpenObject | None = None


class ElicitationCapability(Model, frozen=True, kw_only=True):
    """The members are of 2025-11-25 and later; with neither, forms are meant."""

    form: OpenObject | None = None
    url: OpenObject | None = None


class ClientCapabilities(Model, frozen=True, kw_only=True):
    experimental: dict[str, OpenObject] | None = None
    roots: RootsCapability | None = None
    sampling: SamplingCapability | None = None
    elicitation: ElicitationCapability | None = None
    tasks: OpenObject | None = None
    """2025-11-25 only."""

    extensions: dict[str, OpenObject] | None = None


class ListChangedCapability(Model, frozen=True, kw_only=True):
    """Of tools and prompts."""

    list_changed: bool | None = None


class ResourcesCapability(ListChangedCapability, frozen=True, kw_only=True):
    subscribe: bool | None = None


class ServerCapabilities(Model, frozen=True, kw_only=True):
    experimental: dict[str, OpenObject] | None = None
    logging: OpenObject | None = None
    completions: OpenObject | None = None
    prompts: ListChangedCapability | None = None
    resources: ResourcesCapability | None = None
    tools: ListChangedCapability | None = None
    tasks: OpenObject | None = None
    """2025-11-25 only."""

    extensions: dict[str, OpenObject] | None = None


class InitializeRequestParams(RequestParams, frozen=True, kw_only=True):
    """Up to 2025-11-25."""

    protocol_version: str
    capabilities: ClientCapabilities
    client_info: Implementation


class InitializeResult(Result, frozen=True, kw_only=True):
    """Up to 2025-11-25."""

    protocol_version: str
    capabilities: ServerCapabilities
    server_info: Implementation
    instructions: str | None = None


class DiscoverResult(CacheableResult, frozen=True, kw_only=True):
    """2026-07-28 and later; `_meta` has `META_SERVER_INFO`."""

    supported_versions: list[str]
    capabilities: ServerCapabilities
    instructions: str | None = None


class CancelledNotificationParams(NotificationParams, frozen=True, kw_only=True):
    request_id: RequestId | None = None
    """Optional in 2025-11-25, required in every other revision."""

    reason: str | None = None


class ProgressNotificationParams(NotificationParams, frozen=True, kw_only=True):
    progress_token: ProgressToken
    progress: Number
    """Grows with each notification."""

    total: Number | None = None
    message: str | None = None
    """2025-03-26 and later."""


class UnsupportedProtocolVersionErrorData(Model, frozen=True, kw_only=True):
    """`data` of error -32022. 2026-07-28 and later."""

    supported: list[str]
    requested: str


class MissingRequiredClientCapabilityErrorData(Model, frozen=True, kw_only=True):
    """`data` of error -32021. 2026-07-28 and later."""

    required_capabilities: ClientCapabilities
