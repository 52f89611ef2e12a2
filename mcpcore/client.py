"""A client: a session that asks."""

import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
from anyio.abc import TaskGroup

from mcpcore.adaptation import adapt
from mcpcore.answering import Answering, OnElicit, OnElicitUrl, OnLog, OnSample, Roots
from mcpcore.cache import ResultCache
from mcpcore.calling import Asked, Asking, ask_through
from mcpcore.channel import Origin
from mcpcore.connection import Connection, EraChoice
from mcpcore.errors import (
    CODE_HEADER_MISMATCH,
    DeadlineExceeded,
    LocalProtocolError,
    PeerError,
    RemoteProtocolError,
)
from mcpcore.groups import sole_error
from mcpcore.jsonrpc import Notification
from mcpcore.listening import Listener, Listening
from mcpcore.methods import MULTI_ROUND, NOTIFICATIONS, REQUESTS
from mcpcore.revisions import Era, Revision
from mcpcore.session import SessionStatistics
from mcpcore.targets import transport_to
from mcpcore.transport import MirrorsArguments
from mcpcore.types import (
    META_PROGRESS_TOKEN,
    CallToolRequestParams,
    CallToolResult,
    CompleteRequestParams,
    Completion,
    CompletionArgument,
    CompletionContext,
    GetPromptRequestParams,
    GetPromptResult,
    Implementation,
    InputRequiredResult,
    LoggingLevel,
    Meta,
    NotificationParams,
    PaginatedRequestParams,
    Prompt,
    PromptReference,
    ReadResourceRequestParams,
    ReadResourceResult,
    RequestParams,
    Resource,
    ResourceTemplate,
    ResourceTemplateReference,
    ServerCapabilities,
    SetLevelRequestParams,
    Tool,
)
from mcpcore.validation import OutputChecks, available

__all__ = (
    "CALL_SECONDS",
    "MAX_IN_FLIGHT",
    "MAX_PAGES",
    "MAX_QUESTIONS",
    "MAX_ROUNDS",
    "ROUND_PAUSE_SECONDS",
    "Client",
    "OnProgress",
    "open_client",
)

CALL_SECONDS = 120.0
"""How long a server may take to answer a request, unless the call says otherwise. Tools that fetch and build take
a minute; one that takes longer should be given its own timeout by whoever knows it."""

MAX_IN_FLIGHT = 200
"""Requests that one client has outstanding; further calls wait for a place. Fewer than a server runs for one client
by default (`mcpcore.session.MAX_RUNNING`), so that calls wait here, where they cost nobody anything."""

MAX_PAGES = 1000
"""Pages of one list that are fetched: a server that never stops handing out cursors ends here."""

MAX_ROUNDS = 20
"""Times one request may be answered with questions before the client gives up on it."""

MAX_QUESTIONS = 64
"""Questions in one such answer: each may open a dialog, and all of them are asked side by side."""

ROUND_PAUSE_SECONDS = 0.5
"""Pause before a retry that was asked for without a question; it doubles each time, with jitter."""

OnProgress = Callable[[float, float | None, str | None], Awaitable[None]]
"""Told progress, total and message, in order; the call waits for it."""


logger: logging.Logger = logging.getLogger("mcpcore.client")


class Client:
    """A server, as the program that uses it sees it.

    The target is a URL, a command (a list of words), a server object of this process, or a `Transport`. `async with`
    connects and closes; `open_client` is for when these happen in different tasks. While connected, every method
    may be called from any task.

    `timeout` (seconds) is how long any request may take, and how long it may wait for its turn before. What may go
    wrong is told apart by type: `PeerError` is an error that the server sent, `ConnectionLost` a broken connection,
    `DeadlineExceeded` a server too slow, `LocalProtocolError` a mistake on this side, `RemoteProtocolError` one of the
    server. `outbound` middleware surrounds every request that the methods below send.
    """

    def __init__(
        self,
        target: Any,
        *,
        era: EraChoice = "auto",
        on_elicit: OnElicit | None = None,
        on_elicit_url: OnElicitUrl | None = None,
        on_sample: OnSample | None = None,
        sample_tools: bool = False,
        on_log: OnLog | None = None,
        log_level: LoggingLevel | None = None,
        roots: Roots | None = None,
        headers: Mapping[str, str] | None = None,
        auth: Any = None,
        timeout: float = CALL_SECONDS,
        max_in_flight: int = MAX_IN_FLIGHT,
        validate_output: bool | None = None,
        outbound: Iterable[Asking] = (),
        name: str = "mcpcore",
        version: str = "0.0.0",
    ) -> None:
        if validate_output and not available():
            raise LocalProtocolError("validate_output=True needs the extra: install mcpcore[validation]")
        self._validates = available() if validate_output is None else validate_output
        self._timeout = timeout
        self._cache = ResultCache(anyio.current_time)
        self._listening = Listening(self._cache)
        if on_log is not None and log_level is None:
            log_level = "info"
        transport = transport_to(target, headers=headers, auth=auth)
        self._answering = Answering(
            on_elicit=on_elicit,
            on_elicit_url=on_elicit_url,
            on_sample=on_sample,
            sample_tools=sample_tools,
            on_log=on_log,
            roots=roots,
            on_notification=self._listening.hear,
            extensions=getattr(transport, "extensions", None),
        )
        self._mirrors = transport if isinstance(transport, MirrorsArguments) else None
        self._tools: dict[str, Tool] = {}
        self._make_connection = partial(
            Connection,
            transport,
            self._answering,
            era=era,
            client_info=Implementation(name=name, version=version),
            log_level=log_level,
        )
        self._connection: Connection | None = None
        self._max_in_flight = max_in_flight
        self._places: anyio.Semaphore | None = None
        self._checks = OutputChecks()
        self.outbound: list[Asking] = list(outbound)
        self._contained: AbstractAsyncContextManager[None] | None = None

    # ------------------------------------------------------------------ connecting

    async def __aenter__(self) -> "Client":
        if self._contained is not None:
            raise LocalProtocolError("this client is connected already; make another one for a second connection")
        self._contained = self._contain()
        try:
            await self._contained.__aenter__()
        except BaseException:
            self._contained = None  # it never came up, so it may be tried again
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
                await self.connect(tasks)
                try:
                    yield
                    await self.aclose()
                finally:
                    self._connection = None
                    tasks.cancel_scope.cancel()

    async def connect(self, tasks: TaskGroup) -> None:
        """Connect; the connection lives in a task of that group. Raises `ConnectFailed`."""
        if self._connection is not None:
            raise LocalProtocolError("this client is connected already; make another one for a second connection")
        connection = self._make_connection()
        self._places = anyio.Semaphore(self._max_in_flight, fast_acquire=True)
        await tasks.start(connection.own)
        self._connection = connection

    async def aclose(self) -> None:
        """Close the connection and wait until it is gone, within a deadline. From any task; twice does nothing."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._listening.end()
            await connection.aclose()

    # ------------------------------------------------------------------ what was agreed on

    @property
    def revision(self) -> Revision:
        return self._live().agreement.revision

    @property
    def capabilities(self) -> ServerCapabilities:
        """What the server offers."""
        return self._live().agreement.capabilities

    @property
    def server_info(self) -> Implementation | None:
        """Who the server says it is, for display. It proves nothing."""
        return self._live().agreement.server_info

    @property
    def instructions(self) -> str | None:
        """How the server wants to be used. Untrusted text."""
        return self._live().agreement.instructions

    def statistics(self) -> SessionStatistics:
        return self._live().session.statistics()

    # ------------------------------------------------------------------ asking

    async def list_tools(self) -> list[Tool]:
        """All tools, from all pages."""
        tools: list[Tool] = await self._list("tools/list", "tools")
        self._tools = {tool.name: tool for tool in tools if self._can_call(tool)}
        self._checks.learn(tools)
        return list(self._tools.values())

    async def list_resources(self) -> list[Resource]:
        return await self._list("resources/list", "resources")

    async def list_templates(self) -> list[ResourceTemplate]:
        return await self._list("resources/templates/list", "resource_templates")

    async def list_prompts(self) -> list[Prompt]:
        return await self._list("prompts/list", "prompts")

    async def call_tool(
        self,
        name: str,
        arguments: Mapping[str, Any] | msgspec.Struct | None = None,
        *,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
        meta: Meta | None = None,
    ) -> CallToolResult:
        """Call a tool. A failure of the tool is a result with `is_error`, not an exception.

        A structured result is checked against the schema the tool was listed with, if it was. When the time is up, or
        this is cancelled, the server is told to stop.
        """
        plain = msgspec.to_builtins(arguments or {})
        params = CallToolRequestParams(name=name, arguments=plain, meta=meta)
        origin = self._mirrored(name, plain)
        call = partial(self.request, "tools/call", params, on_progress=on_progress, timeout=timeout)
        try:
            result: CallToolResult = await call(origin=origin)
        except PeerError as error:
            if error.code != CODE_HEADER_MISMATCH or self._mirrors is None:
                raise
            # The tool wants other headers than when it was listed, if it was (2026-07-28, Streamable HTTP).
            self._cache.forget("tools/list")
            await self.list_tools()
            again = self._mirrored(name, plain)
            if again == origin:
                raise
            result = await call(origin=again)
        if self._validates:
            self._checks.check(name, result)
        return result

    async def read_resource(
        self, uri: str, *, on_progress: OnProgress | None = None, timeout: float | None = None
    ) -> ReadResourceResult:
        """Raises `PeerError` for a resource that is not there (-32002, or -32602 from 2026-07-28 on)."""
        kept: ReadResourceResult | None = self._cache.get("resources/read", uri)
        if kept is not None:
            return kept
        params = ReadResourceRequestParams(uri=uri)
        result: ReadResourceResult = await self.request(
            "resources/read", params, on_progress=on_progress, timeout=timeout, keep=uri
        )
        return result

    async def get_prompt(
        self, name: str, arguments: Mapping[str, str] | None = None, *, timeout: float | None = None
    ) -> GetPromptResult:
        params = GetPromptRequestParams(name=name, arguments=dict(arguments) if arguments else None)
        result: GetPromptResult = await self.request("prompts/get", params, timeout=timeout)
        return result

    async def complete(
        self, name: str, argument: str, value: str, settled: Mapping[str, str] | None = None
    ) -> Completion:
        """What an argument of a prompt, or a part of a resource template, may become; `value` is the beginning."""
        is_uri = "://" in name or "{" in name
        ref = ResourceTemplateReference(uri=name) if is_uri else PromptReference(name=name)
        context = CompletionContext(arguments=dict(settled)) if settled else None
        params = CompleteRequestParams(
            ref=ref, argument=CompletionArgument(name=argument, value=value), context=context
        )
        result = await self.request("completion/complete", params)
        completion: Completion = result.completion
        return completion

    async def ping(self) -> None:
        """Make sure that the server answers. 2026-07-28 has no ping, so there it is asked to describe itself."""
        method = "server/discover" if self.revision.era is Era.MODERN else "ping"
        await self.request(method, RequestParams())

    async def set_log_level(self, level: LoggingLevel) -> None:
        """Handshake era only: from 2026-07-28 on the level goes with each request, and is given to the constructor."""
        if self.revision.era is Era.MODERN:
            raise LocalProtocolError(f"{self.revision} has no logging/setLevel; give Client(log_level=) instead")
        await self.request("logging/setLevel", SetLevelRequestParams(level=level))

    async def notify_roots_changed(self) -> None:
        """Tell a server of the handshake era that the roots are others now; later ones ask when they need them."""
        if self.revision.era is Era.LEGACY:
            await self._live().session.notify("notifications/roots/list_changed", NotificationParams())

    async def request(
        self,
        method: str,
        params: Any,
        *,
        on_progress: OnProgress | None = None,
        timeout: float | None = None,
        keep: str | None = None,
        origin: Origin | None = None,
    ) -> Any:
        """Send any request of the protocol and return its typed result, answering questions on the way.

        `keep` is the key under which a cacheable result is kept; `origin` tells the transport more about the request.
        """
        connection = self._live()
        places = self._places
        assert places is not None
        spec = REQUESTS[method]
        revision = connection.agreement.revision
        if not spec.known_in(revision, "client"):
            raise LocalProtocolError(f"{revision} has no {method}")
        seconds = self._timeout if timeout is None else timeout
        answers: dict[str, Any] = {}
        for round in range(MAX_ROUNDS):
            await anyio.lowlevel.checkpoint_if_cancelled()
            try:
                places.acquire_nowait()
            except anyio.WouldBlock:
                await self._wait_for_place(places, method, seconds)
            try:
                result = await self._send(connection, method, {**answers}, params, seconds, on_progress, origin)
            finally:
                places.release()
            if not isinstance(result, InputRequiredResult):
                if keep is not None and not answers:
                    self._cache.put(method, keep, result, result.ttl_ms)
                return result
            answers = await self._answer_questions(method, result, round)
        raise RemoteProtocolError(f"the server has answered {method} with questions {MAX_ROUNDS} times")

    @asynccontextmanager
    async def listen(
        self,
        *,
        tools: bool = False,
        prompts: bool = False,
        resources: bool | Iterable[str] = False,
        timeout: float | None = None,
    ) -> AsyncIterator[Listener]:
        """Hear of changes while the context lasts: of the lists of `tools`, `prompts` or `resources` (True), or of
        the resources with the given URIs. Yields an async iterator of `Changed`.

        What changed before it was entered, or while a connection was down, is not told: read again after entering.
        Raises `MissingCapability` when the server does not tell what is asked for.
        """
        uris = frozenset(() if isinstance(resources, bool) else resources)
        kinds = {"tools": tools, "prompts": prompts, "resources": resources is True}
        lists = frozenset(kind for kind, wanted in kinds.items() if wanted)
        seconds = self._timeout if timeout is None else timeout
        async with self._listening.listen(self._live(), lists, uris, seconds) as listener:
            yield listener

    # ------------------------------------------------------------------ inside

    async def _wait_for_place(self, places: anyio.Semaphore, method: str, seconds: float) -> None:
        try:
            with anyio.fail_after(seconds):
                await places.acquire()
        except TimeoutError:
            text = f"{method} was not sent within {seconds:g} s: {self._max_in_flight} requests are in flight"
            raise DeadlineExceeded(text) from None

    def _live(self) -> Connection:
        if self._connection is None:
            raise anyio.ClosedResourceError
        return self._connection

    async def _send(
        self,
        connection: Connection,
        method: str,
        answers: dict[str, Any],
        params: Any,
        timeout: float,
        on_progress: OnProgress | None,
        origin: Origin | None,
    ) -> Any:
        session, agreement = connection.session, connection.agreement
        id = session.next_id()
        meta = {**(params.meta or {}), **agreement.meta}
        if on_progress is not None:
            meta[META_PROGRESS_TOKEN] = id
        changed = msgspec.structs.replace(params, meta=meta or None, **answers)

        async def hear(notification: Notification) -> None:
            if notification.method != "notifications/progress":
                self._answering.hear(notification, None)
            elif on_progress is not None:
                try:
                    told = NOTIFICATIONS[notification.method].decode_params(notification.params)
                except RemoteProtocolError:
                    return  # garbled progress tells nothing, and the result is still to come
                await on_progress(told.progress, told.total, told.message)

        async def ask(asked: Asked) -> Any:
            params = adapt(asked.params, agreement.revision)
            raw = await session.request(method, params, timeout=timeout, id=id, on_notification=hear, origin=origin)
            return REQUESTS[method].decode_result(raw)

        return await ask_through(self.outbound, Asked(method, changed, id, agreement.revision), ask)

    def _can_call(self, tool: Tool) -> bool:
        reason = None if self._mirrors is None else self._mirrors.refuses(tool)
        if reason is not None:
            logger.warning("tool %r cannot be called over this transport and is left out: %s", tool.name, reason)
        return reason is None

    def _mirrored(self, name: str, arguments: dict[str, Any]) -> Origin | None:
        """What the transport repeats of a call's arguments; a tool that was never listed has nothing of the kind."""
        if self._mirrors is None or name not in self._tools:
            return None
        headers = self._mirrors.headers_for(self._tools[name], arguments)
        return Origin(headers=headers) if headers else None

    async def _answer_questions(self, method: str, result: InputRequiredResult, round: int) -> dict[str, Any]:
        """The answers to all questions of one round, asked side by side; they replace those of the round before."""
        if method not in MULTI_ROUND:
            raise RemoteProtocolError(f"the server answered {method} with a question, which it must not")
        if len(result.input_requests or ()) > MAX_QUESTIONS:
            text = f"the server asked {len(result.input_requests or ())} questions at once; {MAX_QUESTIONS} are allowed"
            raise RemoteProtocolError(text)
        answers: dict[str, Any] = {}

        async def answer(key: str, question: Any) -> None:
            found = await self._answering.answer_question(question.method, question.params)
            answers[key] = adapt(found, self.revision)

        with sole_error():
            async with anyio.create_task_group() as tasks:
                for key, question in (result.input_requests or {}).items():
                    tasks.start_soon(answer, key, question)
        if not answers:
            await anyio.sleep(ROUND_PAUSE_SECONDS * 2**round * random.uniform(0.5, 1.0))
        return {"input_responses": answers or None, "request_state": result.request_state}

    async def _list(self, method: str, member: str) -> list[Any]:
        found: list[Any] = []
        cursor: str | None = None
        seen: set[str] = set()
        for _ in range(MAX_PAGES):
            key = cursor or ""
            page = self._cache.get(method, key)
            if page is None:
                page = await self.request(method, PaginatedRequestParams(cursor=cursor), keep=key)
            found += getattr(page, member)
            cursor = page.next_cursor
            if cursor is None:
                return found
            if cursor in seen:
                raise RemoteProtocolError(f"the server's cursors of {method} go round in a circle")
            seen.add(cursor)
        raise RemoteProtocolError(f"{method} has more than {MAX_PAGES} pages")


async def open_client(target: Any, tasks: TaskGroup, **options: Any) -> Client:
    """A connected client whose connection lives in an owner task of `tasks`: use it and `aclose` it from any task.

    For frameworks, fixtures and containers, where what opens a client and what closes it are different tasks. The
    options are those of `Client`. Raises `ConnectFailed`.
    """
    client = Client(target, **options)
    await client.connect(tasks)
    return client
