"""One resource, or one family of them behind a URI template, and how reading it becomes a result."""

import inspect
from collections.abc import Callable
from typing import Any

import msgspec

from mcpcore.catalogue.handler import Handler
from mcpcore.context import Context
from mcpcore.errors import InvalidParams, LocalProtocolError, ResourceNotFound, SchemaError
from mcpcore.schema import Arguments, InvalidArguments, arguments_of
from mcpcore.threads import ThreadLimiter
from mcpcore.types import (
    Annotations,
    BlobResourceContents,
    CacheScope,
    Icon,
    Meta,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextResourceContents,
)

__all__ = ("ServedResource", "ServedTemplate")


class ServedResource:
    """A resource with one URI."""

    __slots__ = ("_handler", "_reading", "published")

    def __init__(
        self,
        uri: str,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        mime_type: str | None = None,
        size: int | None = None,
        annotations: Annotations | None = None,
        icons: list[Icon] | None = None,
        meta: Meta | None = None,
        ttl_ms: int | None = None,
        cache_scope: CacheScope | None = None,
        timeout: float | None = None,
        inline: bool = False,
    ) -> None:
        arguments = arguments_of(fn, injected_type=Context)
        if arguments.schema["properties"]:
            names = ", ".join(arguments.schema["properties"])
            raise SchemaError(f"the resource {uri!r} has no {{parts}}, so its function cannot take {names}")
        name = name or _name(fn, uri)
        self._handler = Handler(fn, name, injected=arguments.injected, inline=inline, timeout=timeout)
        self._reading = _Reading(mime_type, ttl_ms, cache_scope)
        self.published: Resource = Resource(
            uri=uri,
            name=name,
            title=title,
            description=inspect.getdoc(fn) if description is None else description,
            mime_type=mime_type,
            size=size,
            annotations=annotations,
            icons=icons,
            meta=meta,
        )

    async def read(self, context: Context, threads: ThreadLimiter) -> ReadResourceResult:
        return self._reading.result(self.published.uri, await self._handler(context, threads, {}))


class ServedTemplate:
    """A family of resources. The parts of a URI become arguments, converted to what the function's types say."""

    __slots__ = ("_allow_traversal", "_arguments", "_handler", "_has_traversal", "_reading", "_template", "published")

    def __init__(
        self,
        uri_template: str,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        mime_type: str | None = None,
        annotations: Annotations | None = None,
        icons: list[Icon] | None = None,
        meta: Meta | None = None,
        ttl_ms: int | None = None,
        cache_scope: CacheScope | None = None,
        timeout: float | None = None,
        inline: bool = False,
        allow_traversal: bool = False,
    ) -> None:
        from mcpcore.templates import UriTemplate, has_traversal  # a server without templates starts sooner

        self._template = UriTemplate(uri_template)
        self._has_traversal = has_traversal
        self._arguments: Arguments = arguments_of(fn, injected_type=Context)
        parts, parameters = set(self._template.variables), set(self._arguments.schema["properties"])
        required = set(self._arguments.schema.get("required", ()))
        if unknown := parts - parameters:
            raise SchemaError(
                f"{uri_template!r} has parts that its function does not take: {', '.join(sorted(unknown))}"
            )
        if missing := required - parts:
            raise SchemaError(f"{uri_template!r} has no part for the arguments {', '.join(sorted(missing))}")
        name = name or _name(fn, uri_template)
        self._handler = Handler(fn, name, injected=self._arguments.injected, inline=inline, timeout=timeout)
        self._reading = _Reading(mime_type, ttl_ms, cache_scope)
        self._allow_traversal = allow_traversal
        self.published: ResourceTemplate = ResourceTemplate(
            uri_template=uri_template,
            name=name,
            title=title,
            description=inspect.getdoc(fn) if description is None else description,
            mime_type=mime_type,
            annotations=annotations,
            icons=icons,
            meta=meta,
        )

    def match(self, uri: str) -> dict[str, str] | None:
        """The parts of a URI of this family; None for one of another."""
        return self._template.match(uri)

    async def read(
        self, context: Context, threads: ThreadLimiter, uri: str, parts: dict[str, str]
    ) -> ReadResourceResult:
        """Raises `ResourceNotFound` for a part that climbs out of its directory or does not fit its type."""
        if not self._allow_traversal and any(map(self._has_traversal, parts.values())):
            raise ResourceNotFound(uri)
        try:
            arguments = self._arguments.decode_texts(parts)
        except InvalidArguments as error:
            raise InvalidParams(f"the URI {uri!r} does not fit its template: {error}") from None
        return self._reading.result(uri, await self._handler(context, threads, arguments))


class _Reading(msgspec.Struct, frozen=True):
    """How what a function returned becomes a result."""

    mime_type: str | None
    ttl_ms: int | None
    cache_scope: CacheScope | None

    def result(self, uri: str, returned: Any) -> ReadResourceResult:
        if isinstance(returned, ReadResourceResult):
            return returned
        several = isinstance(returned, list) and returned and all(map(_is_contents, returned))
        items: list[Any] = returned if several else [returned]
        contents = [item if _is_contents(item) else self._contents(uri, item) for item in items]
        return ReadResourceResult(contents=contents, ttl_ms=self.ttl_ms, cache_scope=self.cache_scope)

    def _contents(self, uri: str, value: Any) -> TextResourceContents | BlobResourceContents:
        if value is None:
            raise ResourceNotFound(uri)
        if isinstance(value, str):
            return TextResourceContents(uri=uri, mime_type=self.mime_type or "text/plain", text=value)
        if isinstance(value, bytes | bytearray | memoryview):
            return BlobResourceContents(
                uri=uri, mime_type=self.mime_type or "application/octet-stream", blob=bytes(value)
            )
        text = msgspec.json.encode(value).decode()
        return TextResourceContents(uri=uri, mime_type=self.mime_type or "application/json", text=text)


def _is_contents(value: Any) -> bool:
    return isinstance(value, TextResourceContents | BlobResourceContents)


def _name(fn: Callable[..., Any], uri: str) -> str:
    name = getattr(fn, "__name__", "")
    if not name or name == "<lambda>":
        raise LocalProtocolError(f"the resource {uri!r} needs a name: pass name=")
    return name
