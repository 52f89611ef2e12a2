"""Several servers used as one: connected at once, each on its own, with names that say whose a tool is."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

import anyio
import msgspec
from anyio.abc import TaskGroup

from mcpcore.client import Client, OnProgress
from mcpcore.configuration import ServerEntry, Servers, entry_of, raw_entries
from mcpcore.errors import (
    ConnectionLost,
    DeadlineExceeded,
    LocalProtocolError,
    PeerError,
    RemoteProtocolError,
    SchemaError,
)
from mcpcore.group.member import Member, target_of
from mcpcore.groups import sole_error
from mcpcore.prefixing import prefixed
from mcpcore.templates import UriTemplate
from mcpcore.types import (
    CallToolResult,
    GetPromptResult,
    Meta,
    Prompt,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    Tool,
)

__all__ = ("CLOSE_SECONDS", "START_SECONDS", "ClientGroup")

START_SECONDS = 30.0
"""How long entering the group waits for its servers. One that takes longer goes on connecting, and is used from then
on."""

CLOSE_SECONDS = 10.0
"""How long closing the group waits for its servers, all at once; then what is left is cancelled."""

_UNUSABLE = (ConnectionLost, DeadlineExceeded, PeerError, RemoteProtocolError)

T = TypeVar("T")
Named = TypeVar("Named", Tool, Prompt)

logger: logging.Logger = logging.getLogger("mcpcore.group")


class _Place(NamedTuple):
    """Where something is: the server, and what it is called there."""

    server: str
    name: str


class ClientGroup:
    """The servers of an `mcpServers` configuration, or of a dict of targets, used as one.

    `async with ClientGroup("mcp.json") as group` connects to all of them at once. One that fails takes no other down:
    `errors` says what is wrong with it, and it is connected to again and again, after pauses that grow. Every server
    has a task of its own in the group; while the group is open, everything may be called from any task.

    Tools and prompts are called `server__tool` (see `mcpcore.prefixing`). `options` are those of `Client`, for each of
    them. A value that is no entry of a configuration is taken for a target of `Client`, such as a server object.

    Raises `LocalProtocolError` for a configuration that cannot be read, and `OSError`; one entry that is wrong is an
    error of that server.
    """

    def __init__(
        self,
        servers: Servers = {},  # noqa: B006 - it is only read
        *,
        environment: Mapping[str, str] | None = None,
        start_timeout: float = START_SECONDS,
        **options: Any,
    ) -> None:
        self._given = raw_entries(servers)
        self._environment = environment
        self._start_timeout = start_timeout
        self._options = options
        self._members: dict[str, Member] = {}
        self._wrong: dict[str, Exception] = {}
        self._disabled: set[str] = set()
        self._tasks: TaskGroup | None = None
        self._tools: dict[str, _Place] = {}
        self._prompts: dict[str, _Place] = {}
        self._resources: dict[str, str] = {}
        self._templates: dict[str, list[UriTemplate]] = {}
        self._contained: AbstractAsyncContextManager[None] | None = None

    # ------------------------------------------------------------------ connecting

    async def __aenter__(self) -> "ClientGroup":
        if self._contained is not None:
            raise LocalProtocolError("this group is open already; make another one")
        self._contained = self._contain()
        try:
            await self._contained.__aenter__()
        except BaseException:
            self._contained = None
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        contained, self._contained = self._contained, None
        assert contained is not None
        return await contained.__aexit__(kind, error, traceback)

    @asynccontextmanager
    async def _contain(self) -> AsyncIterator[None]:
        with sole_error():
            async with anyio.create_task_group() as tasks:
                self._tasks = tasks
                try:
                    for name, given in self._given.items():
                        self._begin(name, given)
                    with anyio.move_on_after(self._start_timeout):
                        for member in list(self._members.values()):
                            await member.tried.wait()
                    yield
                    await self._close_all()
                finally:
                    self._tasks = None
                    tasks.cancel_scope.cancel()

    async def _close_all(self) -> None:
        with anyio.move_on_after(CLOSE_SECONDS):
            async with anyio.create_task_group() as closing:
                for member in self._members.values():
                    closing.start_soon(member.aclose)

    def _begin(self, name: str, given: Any) -> Member | None:
        """Start to connect to one server. Without a task of its own it is one that is wrong, or not wanted."""
        assert self._tasks is not None
        try:
            if isinstance(given, Mapping | msgspec.Raw | ServerEntry):
                entry = entry_of(name, given, environment=self._environment)
                if entry.disabled:
                    self._disabled.add(name)
                    return None
                target, options = target_of(entry)
            else:
                target, options = given, {}
        except LocalProtocolError as error:
            self._wrong[name] = error
            logger.info("%s", error)
            return None
        member = Member(name, target, {**self._options, **options})
        self._members[name] = member
        self._tasks.start_soon(member.own)
        return member

    async def add(self, name: str, entry: Any) -> None:
        """Add a server: an entry as the configuration has it, or a target of `Client`.

        Returns when it is connected, or the first attempt has failed, which `errors` tells. Raises
        `LocalProtocolError` for a name that is taken or an entry that is wrong.
        """
        if self._tasks is None:
            raise anyio.ClosedResourceError
        if name in self._members or name in self._wrong or name in self._disabled:
            raise LocalProtocolError(f"there is a server {name!r} already: remove it first")
        member = self._begin(name, entry)
        if name in self._wrong:
            raise self._wrong.pop(name)
        if member is not None:
            with anyio.move_on_after(self._start_timeout):
                await member.tried.wait()

    async def remove(self, name: str) -> None:
        """Close the connection to a server and forget it. Raises `LocalProtocolError` for one that is not there."""
        member = self._members.pop(name, None)
        if self._wrong.pop(name, None) is None and name not in self._disabled and member is None:
            raise self._unknown_server(name)
        self._disabled.discard(name)
        for places in (self._tools, self._prompts):
            for shown in [shown for shown, place in places.items() if place.server == name]:
                del places[shown]
        self._resources = {uri: server for uri, server in self._resources.items() if server != name}
        self._templates.pop(name, None)
        if member is not None:
            with anyio.move_on_after(CLOSE_SECONDS):
                await member.aclose()

    # ------------------------------------------------------------------ the servers

    @property
    def clients(self) -> dict[str, Client]:
        """The servers that are connected at this moment, by name. After a reconnection a server has another client."""
        return {name: member.client for name, member in self._members.items() if member.connected}

    @property
    def errors(self) -> dict[str, Exception]:
        """What is wrong with each server that is not connected. One that is lost is being connected to again."""
        found = dict(self._wrong)
        for name, member in self._members.items():
            if not member.connected:
                found[name] = member.error or ConnectionLost(f"server {name!r} is still being connected to")
        return found

    @property
    def disabled(self) -> frozenset[str]:
        """The servers that the configuration says not to use."""
        return frozenset(self._disabled)

    def client(self, name: str) -> Client:
        """Raises `ConnectionLost` while the server is not connected, `LocalProtocolError` when there is none."""
        member = self._members.get(name)
        if member is None:
            raise self._wrong.get(name) or self._unknown_server(name)
        return member.client

    def _unknown_server(self, name: str) -> LocalProtocolError:
        there = ", ".join([*self._members, *self._wrong, *self._disabled]) or "none"
        return LocalProtocolError(f"there is no server {name!r}; there are {there}")

    # ------------------------------------------------------------------ what they offer

    async def list_tools(self) -> list[Tool]:
        """The tools of all servers that are connected, with their prefixed names. What one fails to tell is left out,
        and is told in the log."""
        return await self._named("tools", Client.list_tools, self._tools)

    async def list_prompts(self) -> list[Prompt]:
        return await self._named("prompts", Client.list_prompts, self._prompts)

    async def list_resources(self) -> list[Resource]:
        """The resources of all servers. Of several with the same URI the first server's, in the configuration's order,
        is the one that `read_resource` reads."""
        found = await self._of_each("resources", Client.list_resources)
        known: dict[str, Resource] = {}
        self._resources = {}
        for server, resources in found.items():
            for resource in resources:
                if resource.uri not in known:
                    known[resource.uri] = resource
                    self._resources[resource.uri] = server
        return list(known.values())

    async def list_templates(self) -> list[ResourceTemplate]:
        found = await self._of_each("resources", Client.list_templates)
        self._templates = {server: _readable(templates) for server, templates in found.items()}
        return [template for templates in found.values() for template in templates]

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | msgspec.Struct | None = None,
        *,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
        meta: Meta | None = None,
    ) -> CallToolResult:
        """Call the tool with this prefixed name; see `Client.call_tool`. Raises `ConnectionLost` when its server is not
        connected, `LocalProtocolError` for a name that no server has."""
        place = await self._find("tool", name, self._tools, self.list_tools)
        client = self.client(place.server)
        return await client.call_tool(place.name, arguments, on_progress=on_progress, timeout=timeout, meta=meta)

    async def get_prompt(
        self, name: str, arguments: Mapping[str, str] | None = None, *, timeout: float | None = None
    ) -> GetPromptResult:
        """As `call_tool`, for a prompt."""
        place = await self._find("prompt", name, self._prompts, self.list_prompts)
        return await self.client(place.server).get_prompt(place.name, arguments, timeout=timeout)

    async def read_resource(
        self, uri: str, *, on_progress: OnProgress | None = None, timeout: float | None = None
    ) -> ReadResourceResult:
        """Read a resource of whichever server has it: one that lists it, or has a template for it."""
        server = await self.server_of(uri)
        return await self.client(server).read_resource(uri, on_progress=on_progress, timeout=timeout)

    async def server_of(self, uri: str) -> str:
        """The name of the server that a resource is read from. Raises `LocalProtocolError` when none has it."""
        if uri not in self._resources:
            await self.list_resources()
        if uri in self._resources:
            return self._resources[uri]
        await self.list_templates()
        for server, templates in self._templates.items():
            if any(template.match(uri) is not None for template in templates):
                return server
        raise LocalProtocolError(f"no server that is connected has the resource {uri!r}{self._missing()}")

    async def _find(
        self, what: str, name: str, places: dict[str, _Place], look: Callable[[], Awaitable[Any]]
    ) -> _Place:
        if name not in places:
            await look()
        if name not in places:
            raise LocalProtocolError(f"no server that is connected has the {what} {name!r}{self._missing()}")
        return places[name]

    def _missing(self) -> str:
        return f"; not connected: {', '.join(self.errors)}" if self.errors else ""

    async def _named(
        self, kind: str, listing: Callable[[Client], Awaitable[list[Named]]], places: dict[str, _Place]
    ) -> list[Named]:
        """What each server lists, under prefixed names; what a server that answered has no more is forgotten."""
        found = await self._of_each(kind, listing)
        for shown in [shown for shown, place in places.items() if place.server in found]:
            del places[shown]
        offers: list[Named] = []
        for server, offered in found.items():
            for offer in offered:
                shown = prefixed(server, offer.name)
                if shown in places:
                    logger.warning("server %r has two %s of the name %r: the first counts", server, kind, shown)
                    continue
                places[shown] = _Place(server, offer.name)
                offers.append(msgspec.structs.replace(offer, name=shown))
        return offers

    async def _of_each(self, kind: str, listing: Callable[[Client], Awaitable[list[T]]]) -> dict[str, list[T]]:
        """What each server answers that says it has something of this kind, in the configuration's order."""
        found: dict[str, list[T]] = {}

        async def ask(name: str, client: Client) -> None:
            try:
                found[name] = [] if getattr(client.capabilities, kind) is None else await listing(client)
            except (*_UNUSABLE, anyio.ClosedResourceError) as error:
                logger.warning("server %r did not list its %s: %.500s", name, kind, error)

        with sole_error():
            async with anyio.create_task_group() as tasks:
                for name, client in self.clients.items():
                    tasks.start_soon(ask, name, client)
        return {name: found[name] for name in self._members if name in found}


def _readable(templates: list[ResourceTemplate]) -> list[UriTemplate]:
    found = []
    for template in templates:
        try:
            found.append(UriTemplate(template.uri_template))
        except SchemaError:
            continue  # nothing can be matched against it
    return found
