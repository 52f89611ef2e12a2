"""Prompts: listing and getting them."""

from mcpcore.types.base import BaseMetadata, Icon, Meta, Model, PaginatedResult, Result, Role
from mcpcore.types.content import ContentBlock
from mcpcore.types.input_required import InputResponseRequestParams

__all__ = (
    "GetPromptRequestParams",
    "GetPromptResult",
    "ListPromptsResult",
    "Prompt",
    "PromptArgument",
    "PromptMessage",
)


class PromptArgument(BaseMetadata, frozen=True, kw_only=True):
    description: str | None = None
    required: bool | None = None


class Prompt(BaseMetadata, frozen=True, kw_only=True):
    """A prompt as a server lists it."""

    description: str | None = None
    arguments: list[PromptArgument] | None = None
    icons: list[Icon] | None = None
    meta: Meta | None = None


class PromptMessage(Model, frozen=True, kw_only=True):
    role: Role
    content: ContentBlock


class ListPromptsResult(PaginatedResult, frozen=True, kw_only=True):
    prompts: list[Prompt]


class GetPromptRequestParams(InputResponseRequestParams, frozen=True, kw_only=True):
    name: str
    arguments: dict[str, str] | None = None


class GetPromptResult(Result, frozen=True, kw_only=True):
    messages: list[PromptMessage]
    description: str | None = None
