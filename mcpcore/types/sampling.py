"""Sampling: a server asks the client's model. Deprecated by 2026-07-28, where it only travels embedded."""

from typing import Any, Literal, TypeAlias

from mcpcore.types.base import Meta, Model, RequestParams, Result, Role
from mcpcore.types.content import SamplingMessageContentBlock
from mcpcore.types.shapes import Number
from mcpcore.types.tasks import TaskMetadata
from mcpcore.types.tools import Tool

__all__ = (
    "CreateMessageRequestParams",
    "CreateMessageResult",
    "IncludeContext",
    "ModelHint",
    "ModelPreferences",
    "SamplingMessage",
    "ToolChoice",
)

IncludeContext: TypeAlias = Literal["none", "thisServer", "allServers"]


class ModelHint(Model, frozen=True, kw_only=True):
    name: str | None = None
    """Part of a model name."""


class ModelPreferences(Model, frozen=True, kw_only=True):
    """What the server would like; priorities run from 0 to 1, and the client has the last word."""

    hints: list[ModelHint] | None = None
    cost_priority: Number | None = None
    speed_priority: Number | None = None
    intelligence_priority: Number | None = None


class ToolChoice(Model, frozen=True, kw_only=True):
    mode: Literal["auto", "required", "none"] | None = None
    """Absent means auto."""


class SamplingMessage(Model, frozen=True, kw_only=True):
    role: Role
    content: SamplingMessageContentBlock | list[SamplingMessageContentBlock]
    """One block, or from 2025-11-25 on a list of them."""

    meta: Meta | None = None

    @property
    def blocks(self) -> list[SamplingMessageContentBlock]:
        """The content as a list, however it was sent."""
        return self.content if isinstance(self.content, list) else [self.content]


class CreateMessageRequestParams(RequestParams, frozen=True, kw_only=True):
    messages: list[SamplingMessage]
    max_tokens: Number
    model_preferences: ModelPreferences | None = None
    system_prompt: str | None = None
    include_context: IncludeContext | None = None
    temperature: Number | None = None
    stop_sequences: list[str] | None = None
    metadata: dict[str, Any] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    task: TaskMetadata | None = None
    """2025-11-25 only."""


class CreateMessageResult(Result, frozen=True, kw_only=True):
    role: Role
    content: SamplingMessageContentBlock | list[SamplingMessageContentBlock]
    model: str
    stop_reason: str | None = None
    """An open set: "endTurn", "stopSequence", "maxTokens", "toolUse" (2025-11-25 and later), or the provider's."""

    @property
    def blocks(self) -> list[SamplingMessageContentBlock]:
        """The content as a list, however it was sent."""
        return self.content if isinstance(self.content, list) else [self.content]
