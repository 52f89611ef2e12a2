"""One tool: its published description, and how a call of it becomes a result."""

import inspect
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from types import NoneType
from typing import Any
from uuid import uuid4

import anyio
import msgspec

from mcpcore.asking import sole_fault
from mcpcore.catalogue.handler import Handler, HandlerTimeout
from mcpcore.context import Context
from mcpcore.errors import (
    DeadlineExceeded,
    InvalidParams,
    MissingCapability,
    RequestError,
    ResourceNotFound,
    SchemaError,
    ToolError,
)
from mcpcore.principal import scope_set
from mcpcore.revisions import Era
from mcpcore.schema import Arguments, InvalidArguments, Output, arguments_of, output_of
from mcpcore.threads import ThreadLimiter
from mcpcore.types import (
    AudioContent,
    CallToolResult,
    EmbeddedResource,
    Icon,
    ImageContent,
    InputRequiredResult,
    Meta,
    ResourceLink,
    TextContent,
    Tool,
    ToolAnnotations,
)

__all__ = ("MAX_STREAMED_ITEMS", "ServedTool")

MAX_STREAMED_ITEMS = 1_000_000
"""Items of one streaming tool. All of them are in the result as well, so an endless stream would fill the memory;
one that is meant to be endless ends by cancellation and reports with `ctx.progress`."""

_OBJECT_STARTS = (b"{", b"", b"n")
"""How raw arguments begin that are an object, left out, or null, which some clients write for none."""

_PLAIN = frozenset((NoneType, bool, dict, float, int, list, str))
"""What tools mostly return. None of it is an iterator, which is expensive to find out."""

_RESULTS = (CallToolResult, InputRequiredResult)

_BLOCKS = (TextContent, ImageContent, AudioContent, ResourceLink, EmbeddedResource)

logger: logging.Logger = logging.getLogger("mcpcore.tool")


class ServedTool:
    """A tool that a server offers."""

    __slots__ = ("_arguments", "_handler", "_output", "_raw_arguments", "published", "scopes")

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        annotations: ToolAnnotations | None = None,
        icons: list[Icon] | None = None,
        meta: Meta | None = None,
        input_schema: dict[str, Any] | None = None,
        output_schema: dict[str, Any] | None = None,
        timeout: float | None = None,
        inline: bool = False,
        scopes: Iterable[str] = (),
    ) -> None:
        """See `Server.tool`. With `input_schema` the function takes all arguments as one dict instead."""
        name = name or getattr(fn, "__name__", "")
        if not name or name == "<lambda>":
            raise SchemaError("a tool needs a name: pass name=")
        self.scopes: frozenset[str] = scope_set(scopes)
        self._raw_arguments: str | None = None
        if input_schema is None:
            self._arguments: Arguments | None = arguments_of(fn, injected_type=Context)
            input_schema = self._arguments.schema
            injected = self._arguments.injected
        else:
            self._arguments = None
            if input_schema.get("type") != "object":
                raise SchemaError(f'the input schema of tool {name!r} must have "type": "object" at its root')
            self._raw_arguments, injected = _raw_parameters(fn, name)
        self._output: Output = output_of(fn)
        if output_schema is None:
            output_schema = self._output.schema
        self._handler = Handler(fn, name, injected=injected, inline=inline, timeout=timeout)
        self.published: Tool = Tool(
            name=name,
            title=title,
            description=inspect.getdoc(fn) if description is None else description,
            input_schema=input_schema,
            output_schema=output_schema,
            annotations=annotations,
            icons=icons,
            meta=meta,
        )

    @property
    def name(self) -> str:
        return self.published.name

    async def call(self, context: Context, threads: ThreadLimiter, raw: Any) -> CallToolResult | InputRequiredResult:
        """Run the tool. What is wrong with a call becomes an `isError` result that the model can act on.

        Raises `RequestError` when the tool chose to answer with a JSON-RPC error. Of any other exception only its
        place in the log reaches the client, never its text.
        """
        try:
            if self._arguments is not None:
                arguments = self._arguments.decode(raw)
            else:
                arguments = {self._raw_arguments: _as_dict(raw)} if self._raw_arguments else {}
            with sole_fault:
                returned = await self._handler(context, threads, arguments)
                if type(returned) not in _PLAIN and isinstance(returned, AsyncIterator):
                    return await self._stream(context, returned)
            return self._result(returned)
        except InvalidArguments as error:
            if isinstance(raw, msgspec.Raw) and bytes(raw).lstrip()[:1] not in _OBJECT_STARTS:
                # Not arguments that do not fit, but a request that is no tools/call: nothing a model could mend.
                raise InvalidParams("the arguments of a tool must be an object") from None
            return _failure(f"invalid arguments for tool {self.name!r}: {error}")
        except ToolError as error:
            return _failure(str(error))
        except ResourceNotFound as error:
            return _failure(f"tool {self.name!r}: {error.message}")
        except RequestError:
            raise
        except MissingCapability as error:
            if context.revision.era is Era.MODERN:
                raise
            return _failure(f"tool {self.name!r} cannot go on: {error}")
        except HandlerTimeout as limit:
            return _failure(f"tool {self.name!r} did not finish within {limit}")
        except DeadlineExceeded as error:
            return _failure(f"tool {self.name!r}: {error}")
        except Exception:
            return self._broken()

    def _broken(self) -> CallToolResult:
        reference = uuid4().hex[:8]
        logger.exception("tool %r failed (reference %s)", self.name, reference)
        return _failure(f"tool {self.name!r} failed; the server's log has the details under reference {reference}")

    async def _stream(self, context: Context, items: AsyncIterator[Any]) -> CallToolResult:
        """Send each item as it comes, and all of them in the result."""
        collected: list[Any] = []
        timeout = self._handler.timeout
        with anyio.move_on_after(timeout) as scope:
            try:
                async for item in items:
                    if len(collected) >= MAX_STREAMED_ITEMS:
                        raise ToolError(
                            f"tool {self.name!r} ended after {MAX_STREAMED_ITEMS} items, which is the limit"
                        )
                    collected.append(item)
                    await context.progress(len(collected), message=_text(item))
            finally:
                close = getattr(items, "aclose", None)
                if close is not None:
                    # An abandoned generator would be finished by the garbage collector in some other task.
                    with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
                        await close()
        if scope.cancelled_caught:
            raise HandlerTimeout(f"{timeout:g} seconds")
        structured = self._output.structured(collected)
        if structured is msgspec.UNSET and not _is_content(collected):
            structured = {"result": msgspec.to_builtins(collected, str_keys=True)}
        content = [item if isinstance(item, _BLOCKS) else TextContent(text=_text(item)) for item in collected]
        return CallToolResult(content=content, structured_content=structured)

    def _result(self, returned: Any) -> CallToolResult | InputRequiredResult:
        if isinstance(returned, _RESULTS):
            return returned
        if returned is None and self._output.schema is None:
            return CallToolResult(content=[])
        if _is_content(returned):
            content: Any = returned
            return CallToolResult(content=content if isinstance(content, list) else [content])
        structured = self._output.structured(returned)
        if structured is msgspec.UNSET:
            built = msgspec.to_builtins(returned, str_keys=True)
            structured = built if isinstance(built, dict) else {"result": built}
        return CallToolResult(content=[TextContent(text=_text(returned))], structured_content=structured)


_CLOSE_SECONDS = 5.0
"""How long a cancelled async generator may take to clean up: about what a rollback takes."""


def _failure(text: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=text)], is_error=True)


def _is_content(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(item, _BLOCKS) for item in value)
    return isinstance(value, _BLOCKS)


def _text(value: Any) -> str:
    """A value as a model reads it: a string as it is, anything else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _as_dict(raw: Any) -> dict[str, Any]:
    if isinstance(raw, msgspec.Raw):
        try:
            raw = msgspec.json.decode(raw) if raw else {}
        except (ValueError, RecursionError) as error:
            raise InvalidArguments(f"the arguments are not valid JSON: {error}") from None
    if raw is None:
        return {}
    if not isinstance(raw, dict):
        raise InvalidParams("the arguments of a tool must be an object")
    return raw


def _raw_parameters(fn: Callable[..., Any], name: str) -> tuple[str | None, str | None]:
    """The names of the parameters that take the arguments and the context."""
    arguments = injected = None
    for parameter in inspect.signature(fn, eval_str=True).parameters.values():
        if parameter.annotation is Context:
            injected = parameter.name
        elif arguments is None:
            arguments = parameter.name
        else:
            raise SchemaError(f"tool {name!r} has its own input schema, so its function takes one dict and a Context")
    return arguments, injected
