"""The named things a server offers, their lists in pages, and the method that calls each."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

from mcpcore.catalogue.completion import ServedCompletion
from mcpcore.catalogue.prompt import ServedPrompt
from mcpcore.catalogue.resource import ServedResource, ServedTemplate
from mcpcore.catalogue.tool import ServedTool
from mcpcore.context import Context
from mcpcore.errors import InvalidParams, LocalProtocolError, ResourceNotFound
from mcpcore.threads import ThreadLimiter
from mcpcore.types import (
    CallToolRequestParams,
    CallToolResult,
    CompleteRequestParams,
    CompleteResult,
    GetPromptRequestParams,
    GetPromptResult,
    InputRequiredResult,
    ListChangedCapability,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    PromptReference,
    ReadResourceRequestParams,
    ReadResourceResult,
    ResourcesCapability,
    ServerCapabilities,
)

__all__ = ("PAGE_SIZE", "Catalogue", "Kind", "Shelf")

PAGE_SIZE = 1000
"""Entries of one page of a list: a page stays below a megabyte, and few servers need a second one."""

Entry = TypeVar("Entry")
Kind = str
"""What changed: "tools", "prompts" or "resources"."""


class Catalogue:
    """Tools, resources, templates, prompts and completions by name.

    `changed` is called with a `Kind` whenever a list changes, by whoever changed it, in whatever thread; it must not
    wait.
    """

    def __init__(self, *, page_size: int, threads: ThreadLimiter, changed: Callable[[Kind], None]) -> None:
        self._threads = threads
        self.tools: Shelf[ServedTool] = Shelf("tool", page_size, lambda: changed("tools"))
        self.resources: Shelf[ServedResource] = Shelf("resource", page_size, lambda: changed("resources"))
        self.templates: Shelf[ServedTemplate] = Shelf("resource template", page_size, lambda: changed("resources"))
        self.prompts: Shelf[ServedPrompt] = Shelf("prompt", page_size, lambda: changed("prompts"))
        self.completions: dict[tuple[str, str], ServedCompletion] = {}

    def capabilities(self) -> ServerCapabilities:
        """What the contents amount to: a feature that never had anything in it is not declared."""
        changes = ListChangedCapability(list_changed=True)
        return ServerCapabilities(
            tools=changes if self.tools.used else None,
            prompts=changes if self.prompts.used else None,
            resources=ResourcesCapability(list_changed=True, subscribe=True)
            if self.resources.used or self.templates.used
            else None,
            completions={} if self.completions else None,
        )

    def methods(self) -> dict[str, Callable[[Context, Any], Any]]:
        """The handler of each method that the contents support."""
        handlers: dict[str, Callable[[Context, Any], Any]] = {}
        if self.tools.used:
            handlers |= {"tools/list": self.list_tools, "tools/call": self.call_tool}
        if self.prompts.used:
            handlers |= {"prompts/list": self.list_prompts, "prompts/get": self.get_prompt}
        if self.resources.used or self.templates.used:
            handlers |= {
                "resources/list": self.list_resources,
                "resources/templates/list": self.list_templates,
                "resources/read": self.read_resource,
            }
        if self.completions:
            handlers["completion/complete"] = self.complete
        return handlers

    async def list_tools(self, context: Context, params: PaginatedRequestParams) -> ListToolsResult:
        entries, cursor = self.tools.page(params.cursor)
        return ListToolsResult(tools=[entry.published for entry in entries], next_cursor=cursor)

    async def list_prompts(self, context: Context, params: PaginatedRequestParams) -> ListPromptsResult:
        entries, cursor = self.prompts.page(params.cursor)
        return ListPromptsResult(prompts=[entry.published for entry in entries], next_cursor=cursor)

    async def list_resources(self, context: Context, params: PaginatedRequestParams) -> ListResourcesResult:
        entries, cursor = self.resources.page(params.cursor)
        return ListResourcesResult(resources=[entry.published for entry in entries], next_cursor=cursor)

    async def list_templates(self, context: Context, params: PaginatedRequestParams) -> ListResourceTemplatesResult:
        entries, cursor = self.templates.page(params.cursor)
        return ListResourceTemplatesResult(
            resource_templates=[entry.published for entry in entries], next_cursor=cursor
        )

    async def call_tool(self, context: Context, params: CallToolRequestParams) -> CallToolResult | InputRequiredResult:
        """Raises `InvalidParams` for a tool that is not there."""
        tool = self.tools.get(params.name)
        if tool is None:
            raise InvalidParams(f"there is no tool {params.name!r}")
        return await tool.call(context, self._threads, params.arguments)

    async def get_prompt(self, context: Context, params: GetPromptRequestParams) -> GetPromptResult:
        """Raises `InvalidParams` for a prompt that is not there."""
        prompt = self.prompts.get(params.name)
        if prompt is None:
            raise InvalidParams(f"there is no prompt {params.name!r}")
        return await prompt.get(context, self._threads, params.arguments)

    async def read_resource(self, context: Context, params: ReadResourceRequestParams) -> ReadResourceResult:
        """Raises `ResourceNotFound`."""
        resource = self.resources.get(params.uri)
        if resource is not None:
            return await resource.read(context, self._threads)
        for template in self.templates:
            parts = template.match(params.uri)
            if parts is not None:
                return await template.read(context, self._threads, params.uri, parts)
        raise ResourceNotFound(params.uri)

    async def complete(self, context: Context, params: CompleteRequestParams) -> CompleteResult:
        """Raises `InvalidParams` for an argument that nothing completes."""
        ref = params.ref
        name = ref.name if isinstance(ref, PromptReference) else ref.uri
        completion = self.completions.get((name, params.argument.name))
        if completion is None:
            raise InvalidParams(f"nothing completes the argument {params.argument.name!r} of {name!r}")
        settled = params.context.arguments if params.context is not None else None
        return await completion.complete(context, self._threads, params.argument.value, settled)


class Shelf(Generic[Entry]):
    """Entries by name, in the order they were added, which is the order they are listed in."""

    def __init__(self, noun: str, page_size: int, changed: Callable[[], None]) -> None:
        if page_size < 1:
            raise LocalProtocolError("page_size must be at least 1 entry")
        self._noun = noun
        self._page_size = page_size
        self._changed = changed
        self._entries: dict[str, Entry] = {}
        self.used: bool = False
        """Whether it has ever had an entry. What was declared for it stays true when the last one is removed: its list
        is then empty, not unknown."""

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def get(self, name: str) -> Entry | None:
        return self._entries.get(name)

    def add(self, name: str, entry: Entry) -> None:
        """Raises `LocalProtocolError` when the name is taken."""
        if name in self._entries:
            raise LocalProtocolError(
                f"there is a {self._noun} {name!r} already; remove it first or choose another name"
            )
        self._entries[name] = entry
        self.used = True
        self._changed()

    def remove(self, name: str) -> None:
        """Raises `LocalProtocolError` when there is none of that name."""
        if self._entries.pop(name, None) is None:
            raise LocalProtocolError(f"there is no {self._noun} {name!r} to remove")
        self._changed()

    def page(self, cursor: str | None) -> tuple[Iterable[Entry], str | None]:
        """One page and the cursor of the next. A cursor names the entry it follows, so that entries added or removed
        meanwhile move no page. Raises `InvalidParams` for one that is none of ours."""
        names = list(self._entries)
        start = 0 if cursor is None else self._position(names, cursor)
        chosen = names[start : start + self._page_size]
        more = start + self._page_size < len(names)
        return [self._entries[name] for name in chosen], _cursor(chosen[-1]) if more else None

    def _position(self, names: list[str], cursor: str) -> int:
        try:
            return names.index(urlsafe_b64decode(cursor.encode("ascii")).decode()) + 1
        except ValueError:
            raise InvalidParams("this cursor is not valid here; list again from the start") from None


def _cursor(name: str) -> str:
    return urlsafe_b64encode(name.encode()).decode("ascii")
