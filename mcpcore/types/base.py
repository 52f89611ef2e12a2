"""What every MCP payload is: an immutable struct whose Python names map onto the wire's.

Reading is lenient and writing is strict. Unknown members are ignored, because a newer peer may send them;
`_meta` is kept whole, unknown keys included; an optional member that a peer sends as null reads as absent.
Members that a revision does not know are taken out before sending (`mcpcore.adaptation`), not here.
"""

from functools import cache
from typing import Any, Literal, TypeAlias

import msgspec

__all__ = (
    "Annotations",
    "BaseMetadata",
    "CacheScope",
    "CacheableResult",
    "EmptyResult",
    "Icon",
    "Implementation",
    "Meta",
    "Model",
    "NotificationParams",
    "PaginatedRequestParams",
    "PaginatedResult",
    "ProgressToken",
    "RequestId",
    "RequestParams",
    "Result",
    "Role",
    "wire_name",
)

Meta: TypeAlias = dict[str, Any]
"""A `_meta` object. Keys below `io.modelcontextprotocol/` belong to the protocol."""

RequestId: TypeAlias = int | str
ProgressToken: TypeAlias = int | str
Role: TypeAlias = Literal["user", "assistant"]
CacheScope: TypeAlias = Literal["public", "private"]


@cache
def wire_name(name: str) -> str:
    """The JSON member for a Python attribute: `meta` is `_meta`, the rest is camel case."""
    if name == "meta":
        return "_meta"
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


class Model(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename=wire_name):
    """Base of all payloads. `msgspec.structs.replace` makes a changed copy.

    Each subclass repeats `frozen=True, kw_only=True`: msgspec does not inherit the second, type checkers want both.
    """


class RequestParams(Model, frozen=True, kw_only=True):
    """Parameters of a request that takes none of its own."""

    meta: Meta | None = None


class NotificationParams(Model, frozen=True, kw_only=True):
    meta: Meta | None = None


class PaginatedRequestParams(RequestParams, frozen=True, kw_only=True):
    cursor: str | None = None
    """Opaque position from an earlier `next_cursor`; None asks for the first page."""


class Result(Model, frozen=True, kw_only=True):
    """What every result may carry."""

    meta: Meta | None = None
    result_type: str | None = None
    """2026-07-28 and later: "complete" or "input_required". Absent means complete."""


class EmptyResult(Result, frozen=True, kw_only=True):
    pass


class CacheableResult(Result, frozen=True, kw_only=True):
    """2026-07-28: how long a client may keep the result."""

    ttl_ms: int | None = None
    """Milliseconds the result stays fresh; 0 or absent means not at all."""

    cache_scope: CacheScope | None = None
    """Whether users may share it; absent means private."""


class PaginatedResult(CacheableResult, frozen=True, kw_only=True):
    next_cursor: str | None = None
    """Where the next page begins; None (never the empty string) means there is none."""


class Icon(Model, frozen=True, kw_only=True):
    src: str
    """An `https:` or `data:` URI."""

    mime_type: str | None = None
    sizes: list[str] | None = None
    """e.g. `["48x48"]`, or `["any"]` for a scalable one."""

    theme: Literal["light", "dark"] | None = None


class BaseMetadata(Model, frozen=True, kw_only=True):
    """A name for programs and a title for people."""

    name: str
    title: str | None = None


class Implementation(BaseMetadata, frozen=True, kw_only=True):
    """Name and version of a client or server program."""

    version: str
    description: str | None = None
    icons: list[Icon] | None = None
    website_url: str | None = None


class Annotations(Model, frozen=True, kw_only=True):
    """Hints for the client on who content is for and how much it matters."""

    audience: list[Role] | None = None
    priority: float | None = None
    """From 0 (optional) to 1 (required)."""

    last_modified: str | None = None
    """ISO 8601."""
