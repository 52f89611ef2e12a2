"""Completion of prompt arguments and resource template parameters."""

from typing import TypeAlias

from mcpcore.types.base import Model, RequestParams, Result
from mcpcore.types.shapes import Number, Tagged

__all__ = (
    "CompleteRequestParams",
    "CompleteResult",
    "Completion",
    "CompletionArgument",
    "CompletionContext",
    "CompletionReference",
    "PromptReference",
    "ResourceTemplateReference",
)


class PromptReference(Tagged, frozen=True, kw_only=True, tag_field="type", tag="ref/prompt"):
    name: str
    title: str | None = None


class ResourceTemplateReference(Tagged, frozen=True, kw_only=True, tag_field="type", tag="ref/resource"):
    uri: str
    """A URI or a URI template."""


CompletionReference: TypeAlias = PromptReference | ResourceTemplateReference


class CompletionArgument(Model, frozen=True, kw_only=True):
    name: str
    value: str
    """What the user typed so far."""


class CompletionContext(Model, frozen=True, kw_only=True):
    """2025-06-18 and later."""

    arguments: dict[str, str] | None = None
    """Arguments that are settled already."""


class CompleteRequestParams(RequestParams, frozen=True, kw_only=True):
    ref: CompletionReference
    argument: CompletionArgument
    context: CompletionContext | None = None


class Completion(Model, frozen=True, kw_only=True):
    values: list[str]
    """At most 100."""

    total: Number | None = None
    has_more: bool | None = None


class CompleteResult(Result, frozen=True, kw_only=True):
    completion: Completion
