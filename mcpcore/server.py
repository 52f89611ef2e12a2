"""A server: a catalogue that answers, over any number of channels at once."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

import anyio
import anyio.lowlevel
import msgspec

from mcpcore.asking import ASK_SECONDS
from mcpcore.catalogue import Catalogue, ServedCompletion, ServedPrompt, ServedResource, ServedTemplate, ServedTool
from mcpcore.catalogue.catalogue import PAGE_SIZE
from mcpcore.changes import LIST_CHANGED, RESOURCE_UPDATED, Change, Publisher
from mcpcore.channel import Channel, Envelope, memory_pair
from mcpcore.dispatch import Dispatch, Observer
from mcpcore.eras import ALL_ERAS, Terms
from mcpcore.errors import CODE_SERVER_BUSY, LocalProtocolError, RequestError
from mcpcore.jsonrpc import Request
from mcpcore.methods import NOTIFICATIONS
from mcpcore.middleware import Inbound, MethodHandler, Outbound
from mcpcore.revisions import Era
from mcpcore.sealing import StateSealer
from mcpcore.session import GRACE_SECONDS, Limits, Session, SessionStatistics
from mcpcore.threads import MAX_THREADS, ThreadLimiter, ThreadStatistics, call_in_loop
from mcpcore.transport import TransportName
from mcpcore.types import (
    Annotations,
    CacheScope,
    CallToolRequestParams,
    Icon,
    Implementation,
    LoggingLevel,
    Meta,
    ServerCapabilities,
    ToolAnnotations,
)

if TYPE_CHECKING:
    from mcpcore.metrics import Metrics

__all__ = ("LEAVE_SECONDS", "MAX_CLIENT_NAMES", "MAX_ERROR_CODES", "MAX_SERVER_RUNNING", "Server", "ServerStatistics")

F = TypeVar("F", bound=Callable[..., Any])

MAX_SERVER_RUNNING = 2000
"""Requests of all clients together that run at the same time; the next one is refused with `CODE_SERVER_BUSY`."""

MAX_CLIENT_NAMES = 1000
"""Kinds of clients that are counted apart: a client chooses its name, so their number needs a limit."""

MAX_ERROR_CODES = 100
"""Error codes that are counted apart: handlers may choose any, and further ones are counted as 0."""

LEAVE_SECONDS = 5.0
"""How long the end of a lifespan waits for channels that others still serve."""


class ServerStatistics(msgspec.Struct, frozen=True, kw_only=True):
    sessions: int
    """Channels that are being served."""
    running: int
    requests: dict[str, int]
    """Requests answered or running so far, by revision."""
    clients: dict[str, int]
    """The same by transport, revision and the name that the client gives itself, e.g. "sse 2025-06-18 desktop": who
    still uses what is about to be switched off. Names beyond the first `MAX_CLIENT_NAMES` are counted as "others"."""
    errors: dict[int, int]
    """Requests answered with a JSON-RPC error so far, by its code; see `MAX_ERROR_CODES`."""
    cancelled: int
    """Requests that were given up so far, by their clients or with their connection."""
    listeners: int
    """Sessions and listens that are sent changes."""
    threads: ThreadStatistics


class _Entered:
    """A lifespan that has been entered, and who shares it."""

    __slots__ = ("left", "users", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self.users = 0
        """Beside the one that entered it."""
        self.left = anyio.Event()


class _Visit:
    """`Server.running` as a context manager. A generator would weigh on every session for as long as it lasts."""

    __slots__ = ("_entered", "_first", "_server")

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._entered: _Entered | None = None
        self._first: AbstractAsyncContextManager[Any] | None = None

    async def __aenter__(self) -> Any:
        server = self._server
        while server._entering is not None:  # if that fails, the next one tries
            await server._entering.wait()
        if server._entered is None and server._lifespan is None:
            server._entered = _Entered(None)
        entered = self._entered = server._entered
        if entered is None:
            self._first = server._first()
            return await self._first.__aenter__()
        entered.users += 1
        return entered.value

    async def __aexit__(self, *error: Any) -> bool | None:
        server, entered = self._server, self._entered
        if self._first is not None:
            return await self._first.__aexit__(*error)
        assert entered is not None
        entered.users -= 1
        entered.left.set()
        if server._lifespan is None and not entered.users:
            server._entered = server._stateless = None
        return None


class Server:
    """What it offers is the same for every client, transport and revision.

    Configuring it starts nothing. `serve_channel` serves one channel; `run` and `mcpcore.serve` do so over a
    transport. `lifespan` is an async context manager called with the server; what it yields is `ctx.lifespan` of
    every handler, and it is entered once however many channels are served.

    `state_keys` seal what a 2026-07-28 client carries between rounds: give all workers the same ones, newest first
    (or set MCPCORE_STATE_KEY, comma-separated). `inbound` middleware surrounds every request but `initialize` and
    `ping`, `outbound` everything that a handler sends before its result. `auth` says who may use the server over HTTP:
    see `mcpcore_transports.protected`. In memory and over stdio it means nothing.
    """

    def __init__(
        self,
        name: str,
        *,
        version: str = "0.0.0",
        title: str | None = None,
        description: str | None = None,
        instructions: str | None = None,
        icons: list[Icon] | None = None,
        website_url: str | None = None,
        lifespan: Callable[["Server"], AbstractAsyncContextManager[Any]] | None = None,
        backend: Literal["asyncio", "trio"] | None = None,
        eras: Iterable[Era] = ALL_ERAS,
        log_level: LoggingLevel = "info",
        page_size: int = PAGE_SIZE,
        limits: Limits | None = None,
        max_running: int = MAX_SERVER_RUNNING,
        max_threads: int = MAX_THREADS,
        ask_timeout: float = ASK_SECONDS,
        state_keys: Sequence[bytes] | None = None,
        inbound: Iterable[Inbound] = (),
        outbound: Iterable[Outbound] = (),
        auth: Any = None,
    ) -> None:
        self.info: Implementation = Implementation(
            name=name, version=version, title=title, description=description, icons=icons, website_url=website_url
        )
        self.instructions = instructions
        self.backend: Literal["asyncio", "trio"] | None = backend
        self.eras: frozenset[Era] = frozenset(eras)
        if not self.eras:
            raise LocalProtocolError("a server that speaks no era answers nobody: give at least one in eras=")
        self.log_level: LoggingLevel = log_level
        """The least severe level sent to a handshake session that has not chosen one."""
        self.limits: Limits = limits or Limits()
        self.ask_timeout = ask_timeout
        self.inbound: list[Inbound] = list(inbound)
        self.outbound: list[Outbound] = list(outbound)
        self.auth: Any = auth
        """For the transports that ask who calls; nothing here looks inside."""
        self.scoped: bool = False
        """Whether any tool has had scopes of its own."""
        self.publisher: Publisher = Publisher()
        self.sealer: StateSealer = StateSealer(state_keys or _keys_from_environment())
        self._threads = ThreadLimiter(max_threads)
        self.catalogue: Catalogue = Catalogue(page_size=page_size, threads=self._threads, changed=self._list_changed)
        self._own_handlers: dict[str, MethodHandler] = {}
        self._own_capabilities: dict[str, Any] = {}
        self._notification_handlers: dict[str, Callable[[Any], Awaitable[None]]] = {}
        self._handlers: Mapping[str, MethodHandler] | None = None
        self._capabilities: ServerCapabilities | None = None
        self._lifespan = lifespan
        self._max_running = max_running
        self._running = 0
        self._requests: dict[str, int] = {}
        self._clients: dict[str, int] = {}
        self._client_keys: dict[tuple[str, str, str], str] = {}
        self._errors: dict[int, int] = {}
        self._cancelled = 0
        self._metrics: Metrics | None = None
        self.observer: Observer | None = None
        self._sessions: set[Session] = set()
        self._entering: anyio.Event | None = None
        self._entered: _Entered | None = None
        self.on_stop: set[Callable[[float], None]] = set()
        """Called with the grace in seconds when the server is told to stop; must not wait."""
        self._stateless: Session | None = None

    # ------------------------------------------------------------------ what it offers

    @overload
    def tool(self, fn: F, /) -> F: ...
    @overload
    def tool(
        self,
        fn: None = None,
        /,
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
    ) -> Callable[[F], F]: ...
    def tool(self, fn: Any = None, /, **options: Any) -> Any:
        """Offer a function as a tool.

        Its name, docstring and signature become name, description and schemas. A parameter annotated `Context` is
        given the context. A plain function runs in a worker thread unless `inline`; an async generator is a streaming
        tool. `timeout` is in seconds. With `input_schema` (JSON Schema, any 2020-12 keyword) the function takes one
        dict of arguments, unchecked. Raises `SchemaError` for a signature that JSON Schema cannot express.

        `scopes` are what a caller's token has to grant, beside what `auth` wants of everybody: over HTTP the call is
        refused with 403 otherwise. The tool is listed all the same. In memory and over stdio, where the caller is the
        one who started the server, nobody has scopes and none are asked for.
        """

        def register(fn: F) -> F:
            tool = ServedTool(fn, **options)
            self.catalogue.tools.add(tool.name, tool)
            self.scoped = self.scoped or bool(tool.scopes)
            return fn

        return register if fn is None else register(fn)

    def resource(
        self,
        uri: str,
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
        allow_traversal: bool = False,
    ) -> Callable[[F], F]:
        """Offer what a function returns as a resource; with `{parts}` in the URI, as a template (RFC 6570).

        A string is text, bytes are a blob, anything else is JSON, None means that there is no such resource. Parts
        that climb out of a directory are refused unless `allow_traversal`. `ttl_ms` (milliseconds) and `cache_scope`
        tell 2026-07-28 clients how long to keep it and for whom.
        """
        common: dict[str, Any] = {
            "name": name,
            "title": title,
            "description": description,
            "mime_type": mime_type,
            "annotations": annotations,
            "icons": icons,
            "meta": meta,
            "ttl_ms": ttl_ms,
            "cache_scope": cache_scope,
            "timeout": timeout,
            "inline": inline,
        }

        def register(fn: F) -> F:
            if "{" in uri:
                template = ServedTemplate(uri, fn, allow_traversal=allow_traversal, **common)
                self.catalogue.templates.add(uri, template)
            else:
                self.catalogue.resources.add(uri, ServedResource(uri, fn, size=size, **common))
            return fn

        return register

    @overload
    def prompt(self, fn: F, /) -> F: ...
    @overload
    def prompt(
        self,
        fn: None = None,
        /,
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        icons: list[Icon] | None = None,
        meta: Meta | None = None,
        timeout: float | None = None,
        inline: bool = False,
    ) -> Callable[[F], F]: ...
    def prompt(self, fn: Any = None, /, **options: Any) -> Any:
        """Offer a function as a prompt. It returns a string, a content block, a `PromptMessage`, or a list of them."""

        def register(fn: F) -> F:
            prompt = ServedPrompt(fn, **options)
            self.catalogue.prompts.add(prompt.name, prompt)
            return fn

        return register if fn is None else register(fn)

    def completion(self, name: str, argument: str, *, inline: bool = False) -> Callable[[F], F]:
        """Offer a function that completes an argument of the prompt `name`, or of the resource template `name`."""

        def register(fn: F) -> F:
            self.catalogue.completions[(name, argument)] = ServedCompletion(fn, inline=inline)
            self._forget()
            return fn

        return register

    def method(
        self, name: str, *, capabilities: Mapping[str, Any] | None = None
    ) -> Callable[[MethodHandler], MethodHandler]:
        """Answer a method yourself: the layer for those who bring their own catalogue, schemas or extension.

        The handler takes a `Context` and the method's parameter struct (`ExtensionParams` for a method that the
        protocol does not have), and returns its result struct, or a dict that is sent as it is. It replaces the
        catalogue's handler of that method. `capabilities` are declared on its behalf, as `ServerCapabilities` has
        them.
        """

        def register(handler: MethodHandler) -> MethodHandler:
            self._own_handlers[name] = handler
            self._own_capabilities |= capabilities or {}
            self._forget()
            return handler

        return register

    def notification(self, name: str) -> Callable[[Callable[[Any], Awaitable[None]]], Callable[[Any], Awaitable[None]]]:
        """Hear a notification of the client, e.g. "notifications/roots/list_changed", whose handler takes its
        parameters."""

        def register(handler: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
            spec = NOTIFICATIONS.get(name)

            async def decoded(params: Any) -> None:
                await handler(params if spec is None else spec.decode_params(params))

            self._notification_handlers[name] = decoded
            return handler

        return register

    def remove_tool(self, name: str) -> None:
        self.catalogue.tools.remove(name)

    def remove_resource(self, uri: str) -> None:
        """Remove the resource, or the template, with this URI."""
        (self.catalogue.templates if "{" in uri else self.catalogue.resources).remove(uri)

    def remove_prompt(self, name: str) -> None:
        self.catalogue.prompts.remove(name)

    async def notify_resource_updated(self, uri: str) -> None:
        """Tell every client that watches this resource, in either era. Never waits for a slow one."""
        self.publisher.publish(Change(RESOURCE_UPDATED, uri))
        await anyio.lowlevel.checkpoint()

    # ------------------------------------------------------------------ running it

    def running(self) -> AbstractAsyncContextManager[Any]:
        """Enter the lifespan, or share it when it is entered already; yields what it yielded.

        Whoever entered it first leaves it last: on leaving, it waits `LEAVE_SECONDS` for the others.
        """
        return _Visit(self)

    @asynccontextmanager
    async def _first(self) -> AsyncIterator[Any]:
        assert self._lifespan is not None
        async with AsyncExitStack() as stack:
            self._entering = anyio.Event()
            try:
                entered = _Entered(await stack.enter_async_context(self._lifespan(self)))
                self._entered = entered
            finally:
                self._entering.set()
                self._entering = None
            try:
                yield entered.value
            finally:
                with anyio.move_on_after(LEAVE_SECONDS, shield=True):
                    while entered.users:
                        entered.left = anyio.Event()
                        await entered.left.wait()
                # Whoever comes from here on enters it anew.
                self._entered = self._stateless = None

    async def serve_channel(self, channel: Channel, *, grace: float = GRACE_SECONDS) -> None:
        """Serve one channel until its peer is done, then finish what it asked for, within `grace` seconds.

        The channel is closed by whoever opened it. Raises `ConnectionLost` when the connection broke. When this is
        cancelled, every request on the channel is cancelled too.
        """
        async with self.running() as lifespan:
            dispatch = Dispatch(self, lifespan)
            session = Session(channel, dispatch, limits=self.limits)
            dispatch.attach(session)
            self._sessions.add(session)
            try:
                await session.run(grace=grace)
            finally:
                self._sessions.discard(session)
                dispatch.detach()

    async def answer(self, envelope: Envelope) -> None:
        """Answer one request that brings its own terms (2026-07-28), in the calling task; only while `running`.

        What a transport calls that has no connection to speak of. Closing the reply channel's far end cancels it.
        """
        if self._stateless is None:
            if self._entered is None:
                raise LocalProtocolError("answer requests inside `async with server.running()`")
            dispatch = Dispatch(self, self._entered.value, stateless=True)
            self._stateless = Session(memory_pair()[0], dispatch, limits=self.limits)
            dispatch.attach(self._stateless)
        await self._stateless.answer(envelope)

    def stop(self, grace: float = GRACE_SECONDS) -> None:
        """End all sessions: what runs may finish within `grace` seconds, everything else is refused."""
        for callback in tuple(self.on_stop):
            callback(grace)
        if self._stateless is not None:
            self._stateless.end()
        for session in tuple(self._sessions):
            session.stop(grace)

    def run(self, transport: TransportName = "stdio", **options: Any) -> None:
        """Serve over a transport until its client is done or the process is told to stop. Blocks.

        The options are those of `mcpcore run`, e.g. `grace=5.0`; `backend` chooses "trio" or "asyncio". SIGINT and
        SIGTERM end it within `grace` seconds; after SIGINT it raises `KeyboardInterrupt`.
        """
        from mcpcore.serving import run_server

        run_server(self, transport, **options)

    async def serve(self, transport: TransportName = "stdio", **options: Any) -> None:
        """Serve over a transport inside a program that already runs; `mcpcore.serve` is the same."""
        from mcpcore.serving import serve

        await serve(self, transport, **options)

    def statistics(self) -> ServerStatistics:
        return ServerStatistics(
            sessions=len(self._sessions),
            running=self._running,
            requests=dict(self._requests),
            clients=dict(self._clients),
            errors=dict(self._errors),
            cancelled=self._cancelled,
            listeners=len(self.publisher),
            threads=self._threads.statistics(),
        )

    def metrics(self, *, tool_names: bool = False) -> "Metrics":
        """Prometheus metrics of this server, which count from the first call on; later ones return the same.

        What `serve(metrics=True)` and `metrics_port=` show. `tool_names`, which counts in the first call, tells tools
        apart. Raises `LocalProtocolError` without the extra mcpcore[metrics].
        """
        from mcpcore.metrics import Metrics

        if self._metrics is None:
            self._metrics = Metrics(self, tool_names=tool_names)
            self.observer = self._metrics
        return self._metrics

    def session_statistics(self) -> list[SessionStatistics]:
        """One entry for each channel that is being served."""
        return [session.statistics() for session in self._sessions]

    # ------------------------------------------------------------------ what its sessions ask of it (dispatch.Host)

    def handlers(self) -> Mapping[str, MethodHandler]:
        if self._handlers is None:
            self._handlers = {**self.catalogue.methods(), **self._own_handlers}
        return self._handlers

    def capabilities(self) -> ServerCapabilities:
        if self._capabilities is None:
            found = msgspec.structs.replace(self.catalogue.capabilities(), logging={})
            if self._own_capabilities:
                found = msgspec.convert({**msgspec.to_builtins(found), **self._own_capabilities}, ServerCapabilities)
            self._capabilities = found
        return self._capabilities

    def input_schema(self, params: CallToolRequestParams) -> dict[str, Any] | None:
        tool = self.catalogue.tools.get(params.name)
        return None if tool is None else tool.published.input_schema

    def output_schema(self, params: CallToolRequestParams) -> dict[str, Any] | None:
        tool = self.catalogue.tools.get(params.name)
        return None if tool is None else tool.published.output_schema

    def scopes(self, tool: str) -> frozenset[str]:
        """What a caller's token has to grant for this tool, beside what everybody needs; empty if there is none."""
        if not self.scoped:
            return _NO_SCOPES
        found = self.catalogue.tools.get(tool)
        return _NO_SCOPES if found is None else found.scopes

    def scopes_for(self, request: Request) -> frozenset[str]:
        """The same for a request as it came, for transports that answer it themselves if it is not granted."""
        if not self.scoped or request.method != "tools/call":
            return _NO_SCOPES
        try:
            return self.scopes(_decode_named(request.params).name)
        except (TypeError, ValueError, RecursionError):
            return _NO_SCOPES  # the session says what is wrong with it

    def notification_handler(self, method: str) -> Callable[[Any], Awaitable[None]] | None:
        return self._notification_handlers.get(method)

    def began(self, terms: Terms, transport: str, lasting: bool) -> None:
        # What stays open by design has a limit of its own in each session and takes no place here.
        if not lasting:
            if self._running >= self._max_running:
                busy = f"{self._running} requests run, which is the limit; ask again later"
                raise RequestError(CODE_SERVER_BUSY, busy)
            self._running += 1
        self._requests[terms.revision] = self._requests.get(terms.revision, 0) + 1
        client = (transport, terms.revision, "" if terms.client_info is None else terms.client_info.name[:64])
        key = self._client_keys.get(client)
        if key is None:
            key = self._client_key(*client)
        self._clients[key] = self._clients.get(key, 0) + 1

    def _client_key(self, transport: str, revision: str, name: str) -> str:
        if len(self._client_keys) >= MAX_CLIENT_NAMES:
            return f"{transport} {revision} others"
        # The name is the client's to choose: it must not break a line of a report, or fill it.
        shown = "".join(character if character.isprintable() else "?" for character in name) or "unnamed"
        return self._client_keys.setdefault((transport, revision, name), f"{transport} {revision} {shown}")

    def ended(self, lasting: bool) -> None:
        if not lasting:
            self._running -= 1

    def failed(self, code: int | None) -> None:
        if code is None:
            self._cancelled += 1
        else:
            known = code if code in self._errors or len(self._errors) < MAX_ERROR_CODES else 0
            self._errors[known] = self._errors.get(known, 0) + 1

    def _list_changed(self, kind: str) -> None:
        self._forget()
        call_in_loop(partial(self.publisher.publish, Change(LIST_CHANGED[kind])))

    def _forget(self) -> None:
        self._handlers = self._capabilities = None

    def __repr__(self) -> str:
        return f"<Server {self.info.name!r} {len(self.catalogue.tools)} tools, {len(self._sessions)} sessions>"


_NO_SCOPES: frozenset[str] = frozenset()


class _Named(msgspec.Struct):
    name: str


_decode_named = msgspec.json.Decoder(_Named).decode


def _keys_from_environment() -> list[bytes] | None:
    text = os.environ.get("MCPCORE_STATE_KEY", "")
    return [key.strip().encode() for key in text.split(",")] if text else None
