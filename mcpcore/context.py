"""What a handler may know and do while it runs."""

from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Any, Generic, Literal, TypeVar, overload
from uuid import uuid4

import anyio.lowlevel
import msgspec

from mcpcore.asking import Asker
from mcpcore.eras import Terms
from mcpcore.errors import InvalidParams, LocalProtocolError, MissingCapability
from mcpcore.forms import InvalidForm, form_of, read_form
from mcpcore.principal import Principal
from mcpcore.revisions import Revision
from mcpcore.session import Call
from mcpcore.types import (
    META_PROGRESS_TOKEN,
    ClientCapabilities,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequestFormParams,
    ElicitRequestURLParams,
    Implementation,
    LoggingLevel,
    LoggingMessageNotificationParams,
    ModelPreferences,
    ProgressNotificationParams,
    RequestParams,
    Root,
    SamplingMessage,
    TextContent,
    Tool,
    ToolChoice,
    severity,
)

__all__ = ("TURN_SECONDS", "Context", "Elicited", "Notify")

TURN_SECONDS = 0.001
"""Real time after which a handler that sends something lets other tasks run. Until then what it sends is collected,
as the writer is one of them: a handler that reports every row does not cost a system call for each."""

T = TypeVar("T")

Notify = Callable[[str, Any], Awaitable[bool]]
"""Sends a notification on the reply channel; False when nobody reads it any more."""


class Elicited(msgspec.Struct, Generic[T], frozen=True):
    """What became of a question to the user."""

    action: Literal["accept", "decline", "cancel"]
    """The user answered, refused, or closed the question."""

    content: T | None = None
    """The answer; None unless the action is "accept"."""


class Context:
    """One request, as its handler sees it. Valid until the handler returns: afterwards nothing is sent, and asking
    raises `LocalProtocolError`."""

    __slots__ = (
        "_asker",
        "_call",
        "_last_progress",
        "_named",
        "_notify",
        "_params",
        "_terms",
        "_token",
        "_turned",
        "lifespan",
    )

    def __init__(
        self, call: Call, params: RequestParams, terms: Terms, *, asker: Asker, notify: Notify, lifespan: Any = None
    ) -> None:
        self._call = call
        self._params = params
        self._terms = terms
        self._asker = asker
        self._notify = notify
        self._token = (params.meta or {}).get(META_PROGRESS_TOKEN)
        self._last_progress = float("-inf")
        self._named: set[str] = set()
        self._turned = float("-inf")
        self.lifespan: Any = lifespan
        """What the server's lifespan yielded."""

    @property
    def request_id(self) -> int | str:
        """The id the client gave this request. Two clients may use the same one at once."""
        return self._call.id

    @property
    def method(self) -> str:
        return self._call.method

    @property
    def params(self) -> RequestParams:
        """The parameters as the protocol has them."""
        return self._params

    @property
    def revision(self) -> Revision:
        return self._terms.revision

    @property
    def client_info(self) -> Implementation | None:
        """Who the client says it is, for logs. It proves nothing."""
        return self._terms.client_info

    @property
    def capabilities(self) -> ClientCapabilities:
        """What may be asked of the client in this request."""
        return self._terms.capabilities

    @property
    def principal(self) -> Principal | None:
        """Who was authenticated by the transport; None for nobody, as in memory and over stdio."""
        return self._call.origin.principal

    @property
    def headers(self) -> Mapping[str, str]:
        """HTTP request headers, names in lower case; empty on other transports."""
        return self._call.origin.headers

    @property
    def transport(self) -> str:
        """The transport's name, e.g. "stdio"."""
        return self._call.origin.transport

    @property
    def meta(self) -> Mapping[str, Any]:
        """The request's `_meta` without what belongs to the protocol."""
        meta = self._params.meta or {}
        return {
            key: value
            for key, value in meta.items()
            if key != META_PROGRESS_TOKEN and not key.startswith("io.modelcontextprotocol/")
        }

    async def progress(self, progress: float, total: float | None = None, message: str | None = None) -> None:
        """Tell the client how far the work is, waiting while it reads slowly.

        `progress` must grow from call to call; one that does not is not sent, as the protocol wants it. Does
        nothing when the client did not ask for progress.
        """
        await self._turn()
        if self._token is None or progress <= self._last_progress:
            return
        self._last_progress = progress
        params = ProgressNotificationParams(progress_token=self._token, progress=progress, total=total, message=message)
        await self._notify("notifications/progress", params)

    async def send(self, method: str, params: Any) -> bool:
        """Send any notification about this request, e.g. one of an extension.

        Returns False when nobody reads any more or the request is answered.
        """
        await self._turn()
        return await self._notify(method, params)

    async def release_connection(self, retry_ms: int | None = None) -> bool:
        """Let the connection that waits for this request go; the client comes back for the rest, `retry_ms`
        milliseconds later if it heeds that. For long work behind proxies that cut connections.

        Returns False, and does nothing, except over HTTP for a client of 2025-11-25 that accepts event streams.
        """
        await anyio.lowlevel.checkpoint()
        return await self._call.reply.release(retry_ms)

    def wait_for_reader(self) -> bool:
        """Leave nothing out from here on: for a tool whose progress is its answer, not news about it.

        A client of 2025-03-26 to 2025-11-25 may lose its HTTP connection and come back for the rest. What a handler
        reports meanwhile is left out, because nobody reads it and the handler should get on; after this, reporting
        waits for the client instead. The request is cancelled when it stays away for too long
        (`mcpcore_transports.http.streams.AWAY_SECONDS`). Everywhere else reporting waits for its reader anyway, and
        this returns False.
        """
        return self._call.reply.wait_for_reader()

    async def log(self, level: LoggingLevel, data: Any, logger: str | None = None) -> None:
        """Send a log message to the client if it wants that level. `data` is any JSON value; put no secret in it."""
        await self._turn()
        wanted = self._terms.log_level
        if wanted is not None and severity(level) >= severity(wanted):
            params = LoggingMessageNotificationParams(level=level, data=data, logger=logger)
            await self._notify("notifications/message", params)

    async def debug(self, data: Any, logger: str | None = None) -> None:
        await self.log("debug", data, logger)

    async def info(self, data: Any, logger: str | None = None) -> None:
        await self.log("info", data, logger)

    async def notice(self, data: Any, logger: str | None = None) -> None:
        await self.log("notice", data, logger)

    async def warning(self, data: Any, logger: str | None = None) -> None:
        await self.log("warning", data, logger)

    async def error(self, data: Any, logger: str | None = None) -> None:
        await self.log("error", data, logger)

    async def critical(self, data: Any, logger: str | None = None) -> None:
        await self.log("critical", data, logger)

    async def alert(self, data: Any, logger: str | None = None) -> None:
        await self.log("alert", data, logger)

    async def emergency(self, data: Any, logger: str | None = None) -> None:
        await self.log("emergency", data, logger)

    @overload
    async def elicit(self, message: str, form: type[T], *, key: str | None = None) -> Elicited[T]: ...
    @overload
    async def elicit(
        self, message: str, form: dict[str, Any], *, key: str | None = None
    ) -> Elicited[dict[str, Any]]: ...
    async def elicit(self, message: str, form: Any, *, key: str | None = None) -> Elicited[Any]:
        """Ask the user to fill in a form: a Struct, dataclass or TypedDict of plain fields, or its JSON Schema.

        From 2026-07-28 on the handler runs again from its start once the answer is there: ask before you act, and
        see `once`. `key` is the question's name in `inputRequests` there; without it one is made from its words.
        Never ask for passwords, keys or payment data this way; that is what `elicit_url` is for.
        Raises `MissingCapability` when the client cannot show forms.
        """
        supported = self._terms.capabilities.elicitation
        if supported is None or (supported.form is None and supported.url is not None):
            raise MissingCapability("this client cannot show a form to its user", {"elicitation": {"form": {}}})
        params = ElicitRequestFormParams(message=message, requested_schema=form_of(form))
        result = await self._ask("elicitation/create", params, key)
        if result.action != "accept":
            return Elicited(result.action)
        try:
            return Elicited("accept", read_form(form, result.content or {}))
        except InvalidForm as error:
            raise InvalidParams(f"the answer to the question {message!r} does not fit its form: {error}") from None

    async def elicit_url(self, message: str, url: str, *, key: str | None = None) -> Elicited[None]:
        """Ask the user to open a page, for what must not pass through the client. 2025-11-25 and later.

        "accept" means that the user agreed to open it, not that they are done there. Raises `MissingCapability`.
        """
        supported = self._terms.capabilities.elicitation
        if supported is None or supported.url is None:
            raise MissingCapability("this client cannot open a page for its user", {"elicitation": {"url": {}}})
        params = ElicitRequestURLParams(message=message, url=url, elicitation_id=str(uuid4()))
        result = await self._ask("elicitation/create", params, key)
        return Elicited(result.action)

    async def sample(
        self,
        prompt: str | list[SamplingMessage],
        *,
        max_tokens: int,
        system_prompt: str | None = None,
        temperature: float | None = None,
        stop_sequences: list[str] | None = None,
        model_preferences: ModelPreferences | None = None,
        key: str | None = None,
    ) -> str:
        """Ask the client's model, and return the text of its answer. See `sample_message` for all of it."""
        result = await self.sample_message(
            prompt,
            max_tokens=max_tokens,
            system_prompt=system_prompt,
            temperature=temperature,
            stop_sequences=stop_sequences,
            model_preferences=model_preferences,
            key=key,
        )
        return "".join(block.text for block in result.blocks if isinstance(block, TextContent))

    async def sample_message(
        self,
        prompt: str | list[SamplingMessage],
        *,
        max_tokens: int,
        system_prompt: str | None = None,
        temperature: float | None = None,
        stop_sequences: list[str] | None = None,
        model_preferences: ModelPreferences | None = None,
        tools: list[Tool] | None = None,
        tool_choice: ToolChoice | None = None,
        key: str | None = None,
    ) -> CreateMessageResult:
        """Ask the client's model, with tools if wanted. The protocol deprecates this from 2026-07-28 on.

        Raises `MissingCapability` when the client has no model to offer, or none that takes tools.
        """
        supported = self._terms.capabilities.sampling
        if supported is None:
            raise MissingCapability("this client has no model to sample from", {"sampling": {}})
        if (tools or tool_choice) and supported.tools is None:
            raise MissingCapability("this client's model takes no tools", {"sampling": {"tools": {}}})
        messages = (
            [SamplingMessage(role="user", content=TextContent(text=prompt))] if isinstance(prompt, str) else prompt
        )
        params = CreateMessageRequestParams(
            messages=messages,
            max_tokens=max_tokens,
            system_prompt=system_prompt,
            temperature=temperature,
            stop_sequences=stop_sequences,
            model_preferences=model_preferences,
            tools=tools,
            tool_choice=tool_choice,
        )
        result: CreateMessageResult = await self._ask("sampling/createMessage", params, key)
        return result

    async def list_roots(self, *, key: str | None = None) -> list[Root]:
        """The directories the client works in: guidance, not a border. The protocol deprecates this from 2026-07-28 on.

        Raises `MissingCapability` when the client has none to tell.
        """
        if self._terms.capabilities.roots is None:
            raise MissingCapability("this client tells no roots", {"roots": {}})
        result = await self._ask("roots/list", RequestParams(), key)
        roots: list[Root] = result.roots
        return roots

    async def once(self, name: str, fn: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Await `fn(*args)` once for this request, in however many runs the handler answers it.

        Names are yours; a second call with the same one raises `LocalProtocolError`, unless the first one failed. The
        result travels through the client as JSON, signed but readable: keep it small and put no secret in it. In the
        handshake era the handler runs once anyway.
        """

        if name in self._named:
            raise LocalProtocolError(f"this handler has called once({name!r}) already: give each call its own name")
        self._named.add(name)

        async def bound() -> T:
            return await fn(*args)

        try:
            result: T = await self._asker.once(name, bound)
        except BaseException:
            self._named.discard(name)
            raise
        return result

    async def _turn(self) -> None:
        """Let cancellation through, and other tasks have a turn if they have not had one just now."""
        if perf_counter() - self._turned < TURN_SECONDS:
            await anyio.lowlevel.checkpoint_if_cancelled()
        else:
            await anyio.lowlevel.checkpoint()
            self._turned = perf_counter()

    async def _ask(self, method: str, params: Any, key: str | None) -> Any:
        if self._call.finished:
            raise LocalProtocolError(f"this {self.method} is answered already: ask before its handler returns")
        return await self._asker.ask(method, params, key)

    def __repr__(self) -> str:
        return f"<Context {self.method} id={self.request_id!r} {self.revision}>"
