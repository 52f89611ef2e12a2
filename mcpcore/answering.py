"""The client's side of one session: answering what a server asks, and hearing what it announces."""

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import msgspec

from mcpcore.adaptation import adapt
from mcpcore.channel import Origin
from mcpcore.errors import (
    CODE_INTERNAL_ERROR,
    CODE_INVALID_PARAMS,
    CODE_METHOD_NOT_FOUND,
    LocalProtocolError,
    RemoteProtocolError,
    RequestError,
)
from mcpcore.forms import InvalidForm, check_form
from mcpcore.jsonrpc import Notification
from mcpcore.methods import NOTIFICATIONS, REQUESTS
from mcpcore.revisions import Era, Revision
from mcpcore.session import Call, Role, Session
from mcpcore.types import (
    ClientCapabilities,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitationCapability,
    ElicitRequestFormParams,
    ElicitRequestURLParams,
    ElicitResult,
    EmptyResult,
    ListRootsResult,
    LoggingMessageNotificationParams,
    Root,
    RootsCapability,
    SamplingCapability,
    TextContent,
)

__all__ = ("ANSWER_SECONDS", "MAX_NOTICES", "Answering", "OnElicit", "OnElicitUrl", "OnLog", "OnSample", "Roots")

ANSWER_SECONDS = 3600.0
"""How long the application may take to answer one question of a server that waits for it. Servers give up sooner."""

MAX_NOTICES = 1000
"""Log messages that wait for `on_log`; the oldest are dropped beyond it, and counted."""

OnElicit: TypeAlias = Callable[[ElicitRequestFormParams], Awaitable[Any]]
"""Shows a form. Returns the content (a dict or struct), None to decline, or an `ElicitResult`."""

OnElicitUrl: TypeAlias = Callable[[ElicitRequestURLParams], Awaitable[Any]]
"""Offers to open a page, with the user's consent. Returns True or False, or an `ElicitResult`."""

OnSample: TypeAlias = Callable[[CreateMessageRequestParams], Awaitable[CreateMessageResult | str]]
"""Asks a model. Returns the text of its answer, or all of it."""

OnLog: TypeAlias = Callable[[LoggingMessageNotificationParams], Awaitable[None]]

Roots: TypeAlias = Sequence[Root | Path | str] | Callable[[], Awaitable[Sequence[Root | Path | str]]]
"""Directories: paths, `file:` URIs, or an async function that returns them."""

logger: logging.Logger = logging.getLogger("mcpcore.client")


class Answering(Role):
    """Answers a server by the callbacks that the application gave; declares exactly what these can do, and the
    `extensions` (by identifier, with their settings) that the transport takes part in."""

    answers_malformed = False

    def __init__(
        self,
        *,
        on_elicit: OnElicit | None,
        on_elicit_url: OnElicitUrl | None,
        on_sample: OnSample | None,
        sample_tools: bool,
        on_log: OnLog | None,
        roots: Roots | None,
        on_notification: Callable[[Notification], None],
        extensions: Mapping[str, Any] | None = None,
    ) -> None:
        if isinstance(roots, str):  # to Python that is a sequence as well: of one directory for each letter
            raise LocalProtocolError(f"roots is a list of directories, not one: give [{roots!r}]")
        self._on_elicit = on_elicit
        self._on_elicit_url = on_elicit_url
        self._on_sample = on_sample
        self._on_log = on_log
        self._roots = roots
        self._on_notification = on_notification
        self._logs: deque[LoggingMessageNotificationParams] = deque()
        self._logging = False
        self._settled: anyio.Event | None = None
        self.session: Session | None = None
        self.revision: Revision | None = None
        """What was negotiated; None until then."""
        self.dropped_logs: int = 0
        elicitation = None
        if on_elicit is not None or on_elicit_url is not None:
            elicitation = ElicitationCapability(
                form={} if on_elicit is not None else None, url={} if on_elicit_url is not None else None
            )
        self.capabilities: ClientCapabilities = ClientCapabilities(
            elicitation=elicitation,
            sampling=None if on_sample is None else SamplingCapability(tools={} if sample_tools else None),
            roots=None if roots is None else RootsCapability(list_changed=True),
            extensions=dict(extensions) if extensions else None,
        )

    def is_stream(self, method: str) -> bool:
        return False

    async def answer(self, call: Call) -> Any:
        if self.revision is not None and self.revision.era is Era.MODERN:
            # MCP 2026-07-28: a server sends no requests and a client no responses, so this one stays unanswered.
            logger.warning("the server sent a request (%.100r), which %s does not allow", call.method, self.revision)
            call.reply.close("a server sends no requests under this revision")
            return EmptyResult()
        if call.method == "ping":
            return EmptyResult()
        spec = REQUESTS.get(call.method)
        if spec is None or call.method not in ("elicitation/create", "sampling/createMessage", "roots/list"):
            raise RemoteProtocolError(f"this client has no method {call.method!r}", code=CODE_METHOD_NOT_FOUND)
        result: Any = None
        with call.session.clocks_paused(), anyio.move_on_after(ANSWER_SECONDS):
            result = await self.answer_question(call.method, spec.decode_params(call.params))
        if result is None:
            raise RequestError(CODE_INTERNAL_ERROR, f"nobody answered within {ANSWER_SECONDS:g} s")
        return result if self.revision is None else adapt(result, self.revision)

    async def answer_question(self, method: str, params: Any) -> Any:
        """The result struct for one question, however it arrived. Raises `RemoteProtocolError` for one that this client
        did not say it would answer."""
        if method == "roots/list":
            return await self._list_roots()
        if method == "sampling/createMessage":
            return await self._sample(params)
        return await self._elicit(params)

    def hear(self, notification: Notification, origin: Origin | None) -> None:
        if notification.method != "notifications/message":
            self._on_notification(notification)
            return
        if self._on_log is None or self.session is None:
            return
        try:
            params = NOTIFICATIONS[notification.method].decode_params(notification.params)
        except RemoteProtocolError as error:
            logger.warning("a log message of the server was dropped: %.300r", str(error))
            return
        if len(self._logs) >= MAX_NOTICES:
            self._logs.popleft()
            self.dropped_logs += 1
        self._logs.append(params)
        if not self._logging:
            self._logging = True
            self.session.start_soon(self._pass_logs)

    async def _pass_logs(self) -> None:
        assert self._on_log is not None
        try:
            while self._logs:
                try:
                    await self._on_log(self._logs.popleft())
                except Exception:
                    logger.exception("on_log failed")
        finally:
            self._logging = False
            if self._settled is not None:
                self._settled.set()

    async def settle(self, seconds: float) -> None:
        """Wait until `on_log` has seen what has arrived, for so many seconds at most."""
        with anyio.move_on_after(seconds):
            while self._logging:
                self._settled = anyio.Event()
                await self._settled.wait()

    async def _list_roots(self) -> ListRootsResult:
        if self._roots is None:
            raise RemoteProtocolError("this client tells no roots", code=CODE_METHOD_NOT_FOUND)
        roots = await self._roots() if callable(self._roots) else self._roots
        return ListRootsResult(roots=[_root(root) for root in roots])

    async def _sample(self, params: CreateMessageRequestParams) -> CreateMessageResult:
        if self._on_sample is None:
            raise RemoteProtocolError("this client has no model to sample from", code=CODE_METHOD_NOT_FOUND)
        tools = self.capabilities.sampling is not None and self.capabilities.sampling.tools is not None
        if (params.tools or params.tool_choice) and not tools:
            raise RemoteProtocolError("this client did not declare sampling.tools", code=CODE_INVALID_PARAMS)
        answer = await self._on_sample(params)
        if isinstance(answer, CreateMessageResult):
            return answer
        return CreateMessageResult(
            role="assistant", content=TextContent(text=answer), model="unknown", stop_reason="endTurn"
        )

    async def _elicit(self, params: ElicitRequestFormParams | ElicitRequestURLParams) -> ElicitResult:
        if isinstance(params, ElicitRequestURLParams):
            if self._on_elicit_url is None:
                raise RemoteProtocolError("this client did not declare elicitation.url", code=CODE_INVALID_PARAMS)
            answer = await self._on_elicit_url(params)
            if isinstance(answer, ElicitResult):
                return answer
            return ElicitResult(action="accept" if answer else "decline")
        if self._on_elicit is None:
            raise RemoteProtocolError("this client did not declare elicitation.form", code=CODE_INVALID_PARAMS)
        answer = await self._on_elicit(params)
        if answer is None:
            return ElicitResult(action="decline")
        if isinstance(answer, ElicitResult):
            if answer.action != "accept":
                return answer
            answer = answer.content or {}
        try:
            return ElicitResult(
                action="accept", content=check_form(params.requested_schema, msgspec.to_builtins(answer))
            )
        except InvalidForm as error:
            raise LocalProtocolError(f"on_elicit returned what the form does not allow: {error}") from None


def _root(root: Root | Path | str) -> Root:
    if isinstance(root, Root):
        return root
    if isinstance(root, str) and root.startswith("file:"):
        return Root(uri=root)
    path = Path(root).absolute()
    return Root(uri=path.as_uri(), name=path.name or None)
