"""Content blocks: what prompts, tool results and sampling messages consist of.

Which kinds and members a revision knows is in `mcpcore.adaptation`. `data` and `blob` are bytes here and base64
on the wire.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import msgspec

from mcpcore.types.base import Annotations, BaseMetadata, Icon, Meta, Model
from mcpcore.types.shapes import ByShape, Number, Tagged

__all__ = (
    "AudioContent",
    "BlobResourceContents",
    "ContentBlock",
    "EitherResourceContents",
    "EmbeddedResource",
    "ImageContent",
    "Resource",
    "ResourceContents",
    "ResourceLink",
    "SamplingMessageContentBlock",
    "TextContent",
    "TextResourceContents",
    "ToolResultContent",
    "ToolUseContent",
)


class TextContent(Tagged, frozen=True, kw_only=True, tag_field="type", tag="text"):
    text: str
    annotations: Annotations | None = None
    meta: Meta | None = None


class ImageContent(Tagged, frozen=True, kw_only=True, tag_field="type", tag="image"):
    data: bytes
    mime_type: str
    annotations: Annotations | None = None
    meta: Meta | None = None


class AudioContent(Tagged, frozen=True, kw_only=True, tag_field="type", tag="audio"):
    """2025-03-26 and later."""

    data: bytes
    mime_type: str
    annotations: Annotations | None = None
    meta: Meta | None = None


class ResourceContents(Model, frozen=True, kw_only=True):
    """What text and binary contents have in common."""

    uri: str
    mime_type: str | None = None
    meta: Meta | None = None


class TextResourceContents(ResourceContents, frozen=True, kw_only=True):
    text: str


class BlobResourceContents(ResourceContents, frozen=True, kw_only=True):
    blob: bytes


class _ResourceContentsShape(ByShape):
    structs: ClassVar[tuple[type[Model], ...]] = (TextResourceContents, BlobResourceContents)

    @classmethod
    def pick(cls, members: Mapping[str, Any]) -> type[Model]:
        if members.get("text") is not None:
            return TextResourceContents
        if members.get("blob") is not None:
            return BlobResourceContents
        raise ValueError("Resource contents have neither `text` nor `blob`")


for _struct in _ResourceContentsShape.structs:
    _ResourceContentsShape.register(_struct)

if TYPE_CHECKING:
    EitherResourceContents: TypeAlias = TextResourceContents | BlobResourceContents
else:
    EitherResourceContents = _ResourceContentsShape


class Resource(BaseMetadata, frozen=True, kw_only=True):
    """A resource as a server lists it."""

    uri: str
    description: str | None = None
    mime_type: str | None = None
    size: Number | None = None
    """Bytes before any encoding."""

    annotations: Annotations | None = None
    icons: list[Icon] | None = None
    meta: Meta | None = None


class ResourceLink(Resource, Tagged, frozen=True, kw_only=True, tag_field="type", tag="resource_link"):
    """A resource the client may read; it need not be in any list. 2025-06-18 and later."""


class EmbeddedResource(Tagged, frozen=True, kw_only=True, tag_field="type", tag="resource"):
    resource: EitherResourceContents
    annotations: Annotations | None = None
    meta: Meta | None = None


ContentBlock: TypeAlias = TextContent | ImageContent | AudioContent | ResourceLink | EmbeddedResource


class ToolUseContent(Tagged, frozen=True, kw_only=True, tag_field="type", tag="tool_use"):
    """In sampling: the model asks for a tool to be run. 2025-11-25 and later."""

    id: str
    name: str
    input: dict[str, Any]
    meta: Meta | None = None


class ToolResultContent(Tagged, frozen=True, kw_only=True, tag_field="type", tag="tool_result"):
    """In sampling: what the tool run for the `ToolUseContent` of this id returned. 2025-11-25 and later."""

    tool_use_id: str
    content: list[ContentBlock]
    structured_content: Any | msgspec.UnsetType = msgspec.UNSET
    """Any JSON value, null included; UNSET when there is none."""

    is_error: bool | None = None
    meta: Meta | None = None


SamplingMessageContentBlock: TypeAlias = TextContent | ImageContent | AudioContent | ToolUseContent | ToolResultContent
