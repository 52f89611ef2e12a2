"""Tools: listing and calling them."""

from typing import Any, Literal

import msgspec

from mcpcore.types.base import BaseMetadata, Icon, Meta, Model, PaginatedResult, Result
from mcpcore.types.content import ContentBlock
from mcpcore.types.input_required import InputResponseRequestParams
from mcpcore.types.shapes import RawJSON
from mcpcore.types.tasks import TaskMetadata

__all__ = ("CallToolRequestParams", "CallToolResult", "ListToolsResult", "Tool", "ToolAnnotations", "ToolExecution")


class ToolAnnotations(Model, frozen=True, kw_only=True):
    """Untrusted hints about what a tool does. 2025-03-26 and later."""

    title: str | None = None
    read_only_hint: bool | None = None
    """Absent means false."""

    destructive_hint: bool | None = None
    """Absent means true."""

    idempotent_hint: bool | None = None
    """Absent means false."""

    open_world_hint: bool | None = None
    """Absent means true."""


class ToolExecution(Model, frozen=True, kw_only=True):
    """2025-11-25 only."""

    task_support: Literal["forbidden", "optional", "required"] | None = None


class Tool(BaseMetadata, frozen=True, kw_only=True):
    """A tool as a server lists it. Both schemas are kept whole, every keyword of them."""

    input_schema: dict[str, Any]
    description: str | None = None
    output_schema: dict[str, Any] | None = None
    annotations: ToolAnnotations | None = None
    icons: list[Icon] | None = None
    execution: ToolExecution | None = None
    meta: Meta | None = None


class ListToolsResult(PaginatedResult, frozen=True, kw_only=True):
    tools: list[Tool]


class CallToolRequestParams(InputResponseRequestParams, frozen=True, kw_only=True):
    """A call. A decoder leaves `arguments` as `msgspec.Raw`, so that the tool's own decoder reads them once.

    Absent arguments are the empty Raw (`bytes(arguments) == b""`), which must not be encoded on its own;
    a peer may also send `null`. Local callers pass a dict.
    """

    name: str
    arguments: RawJSON = msgspec.Raw()
    task: TaskMetadata | None = None
    """2025-11-25 only: run this call as a task."""


class CallToolResult(Result, frozen=True, kw_only=True):
    content: list[ContentBlock]
    structured_content: Any | msgspec.UnsetType = msgspec.UNSET
    """Any JSON value, null included; UNSET when there is none. An object up to 2025-11-25."""

    is_error: bool | None = None
