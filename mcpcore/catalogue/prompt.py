"""One prompt, and how getting it becomes messages."""

import inspect
from collections.abc import Callable
from typing import Any

from mcpcore.catalogue.handler import Handler
from mcpcore.context import Context
from mcpcore.errors import InvalidParams, LocalProtocolError, SchemaError
from mcpcore.schema import Arguments, InvalidArguments, arguments_of
from mcpcore.threads import ThreadLimiter
from mcpcore.types import (
    AudioContent,
    EmbeddedResource,
    GetPromptResult,
    Icon,
    ImageContent,
    Meta,
    Prompt,
    PromptArgument,
    PromptMessage,
    ResourceLink,
    TextContent,
)

__all__ = ("ServedPrompt",)

_BLOCKS = (TextContent, ImageContent, AudioContent, ResourceLink, EmbeddedResource)


class ServedPrompt:
    """A prompt that a server offers. The protocol's prompt arguments are strings; a parameter of another type is
    given the JSON that its string spells."""

    __slots__ = ("_arguments", "_handler", "published")

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        icons: list[Icon] | None = None,
        meta: Meta | None = None,
        timeout: float | None = None,
        inline: bool = False,
    ) -> None:
        name = name or getattr(fn, "__name__", "")
        if not name or name == "<lambda>":
            raise SchemaError("a prompt needs a name: pass name=")
        self._arguments: Arguments = arguments_of(fn, injected_type=Context)
        self._handler = Handler(fn, name, injected=self._arguments.injected, inline=inline, timeout=timeout)
        required = self._arguments.schema.get("required", ())
        arguments = [
            PromptArgument(name=key, description=schema.get("description"), required=key in required)
            for key, schema in self._arguments.schema["properties"].items()
        ]
        self.published: Prompt = Prompt(
            name=name,
            title=title,
            description=inspect.getdoc(fn) if description is None else description,
            arguments=arguments or None,
            icons=icons,
            meta=meta,
        )

    @property
    def name(self) -> str:
        return self.published.name

    async def get(self, context: Context, threads: ThreadLimiter, given: dict[str, str] | None) -> GetPromptResult:
        """Raises `InvalidParams` when the arguments do not fit."""
        try:
            arguments = self._arguments.decode_texts(given or {})
        except InvalidArguments as error:
            raise InvalidParams(f"prompt {self.name!r}: {error}") from None
        returned = await self._handler(context, threads, arguments)
        if isinstance(returned, GetPromptResult):
            return returned
        messages = [_message(item) for item in (returned if isinstance(returned, list) else [returned])]
        return GetPromptResult(messages=messages, description=self.published.description)


def _message(item: Any) -> PromptMessage:
    if isinstance(item, PromptMessage):
        return item
    if isinstance(item, str):
        return PromptMessage(role="user", content=TextContent(text=item))
    if isinstance(item, _BLOCKS):
        return PromptMessage(role="user", content=item)
    raise LocalProtocolError(f"a prompt returns strings, content blocks or PromptMessages, not {type(item).__name__}")
