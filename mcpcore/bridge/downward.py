"""A client of the handshake era before a server of 2026-07-28: the session is kept here, where there is none behind."""

import logging
from typing import Any

import anyio
import msgspec
from anyio.abc import TaskGroup

from mcpcore.adaptation import adapt
from mcpcore.bridge.flight import passing_on
from mcpcore.bridge.piping import Client, Discovering
from mcpcore.channel import Channel, Inbox
from mcpcore.crossing import (
    initialization_of,
    legacy_result,
    modern_answer,
    modern_envelope,
    modern_params,
    wrapped_tools,
)
from mcpcore.errors import (
    CODE_METHOD_NOT_FOUND,
    CODE_UPSTREAM_LOST,
    ConnectionLost,
    InvalidParams,
    LocalProtocolError,
    RemoteProtocolError,
    RequestError,
)
from mcpcore.jsonrpc import Notification, Request
from mcpcore.methods import MULTI_ROUND, NOTIFICATIONS, REQUESTS
from mcpcore.revisions import LATEST, Revision
from mcpcore.session import Call, Session
from mcpcore.splicing import Outline, members_of, outline_of, raw_of, with_members
from mcpcore.transport import Transport
from mcpcore.types import (
    META_LOG_LEVEL,
    EmptyResult,
    InitializeRequestParams,
    InitializeResult,
    InputRequiredResult,
    LoggingLevel,
    SubscriptionFilter,
    SubscriptionsListenRequestParams,
)

__all__ = ("LISTEN_SECONDS", "LOG_LEVEL", "MAX_PAUSE_SECONDS", "MAX_ROUNDS", "MAX_WATCHED", "PAUSE_SECONDS", "Downward")

LOG_LEVEL: LoggingLevel = "info"
"""What a client is sent that has not chosen a level, as our own servers do it; behind, silence would mean nothing."""

MAX_ROUNDS = 20
"""Times the server may answer one request with questions."""

MAX_WATCHED = 1000
"""Resources that one session may subscribe to."""

PAUSE_SECONDS = 0.5
"""Pause before a request is repeated whose answer asked for that without a question; it doubles each time."""

MAX_PAUSE_SECONDS = 30.0
"""The longest such pause."""

LISTEN_SECONDS = 30.0
"""How long the server may take to acknowledge a subscription."""

_OWN_NOTIFICATIONS = frozenset(("notifications/initialized", "notifications/roots/list_changed"))
_INPUT_REQUIRED = b"input_required"

logger: logging.Logger = logging.getLogger("mcpcore.bridge")


class Downward(Discovering):
    """One session in front; behind, each request says for itself what the session had agreed on."""

    def __init__(self, transport: Transport, client: Client, first: InitializeRequestParams, tasks: TaskGroup) -> None:
        super().__init__(transport, client, attributes=True)
        self._requested = first.protocol_version
        self._envelope = modern_envelope(first)
        self._tasks = tasks
        self._uris: set[str] = set()
        self._listened: Inbox | None = None
        self._ready = False
        self._wrapped: frozenset[str] = frozenset()

    @property
    def initialized(self) -> InitializeResult:
        """What the client is answered."""
        return initialization_of(self.discovered, self._requested)

    @property
    def revision(self) -> Revision:
        return Revision(self.initialized.protocol_version)

    async def greet(self, session: Session, channel: Channel) -> None:
        await super().greet(session, channel)
        if self.discovered.capabilities.logging is not None:
            self._envelope.setdefault(META_LOG_LEVEL, LOG_LEVEL)
        if self._ready:
            session.start_soon(self._listen_again)

    async def told(self, notification: Notification) -> None:
        if notification.method == "notifications/initialized" and not self._ready:
            self._ready = True
            self._tasks.start_soon(self._listen_again)
        if notification.method not in _OWN_NOTIFICATIONS:
            await super().told(notification)

    async def answer(self, call: Call, params: msgspec.Raw, outline: Outline) -> Any:
        method = call.method
        if method == "ping":
            return EmptyResult()
        if method == "logging/setLevel":
            self._envelope[META_LOG_LEVEL] = REQUESTS[method].decode_params(params).level
            return EmptyResult()
        if method in ("resources/subscribe", "resources/unsubscribe"):
            return await self._watch(method, REQUESTS[method].decode_params(params).uri)
        spec = REQUESTS.get(method)
        if spec is not None and not (spec.known_in(self.revision, "client") and spec.known_in(LATEST, "client")):
            raise RemoteProtocolError(f"this server has no method {method!r}", code=CODE_METHOD_NOT_FOUND)
        asked = modern_params(params, self._envelope)
        outline = outline_of(asked)
        for round in range(MAX_ROUNDS):
            result = await self.mirrored(call, asked, outline)
            if _INPUT_REQUIRED not in bytes(result) or not _asks(result):
                return self._legacy(method, result, outline)
            if method not in MULTI_ROUND:
                break
            asked = await self._answer_questions(call, asked, result, round)
        text = f"the server behind this bridge has answered {method} with questions too often"
        raise RequestError(CODE_UPSTREAM_LOST, text)

    def _legacy(self, method: str, result: msgspec.Raw, outline: Outline) -> msgspec.Raw:
        try:
            if method == "tools/list":
                self._wrapped |= wrapped_tools(result)
            wrapped = method == "tools/call" and outline.name in self._wrapped
            return legacy_result(method, result, self.revision, wrapped=wrapped)
        except (KeyError, ValueError, RemoteProtocolError) as error:
            logger.warning("the result of %s could not be read: %.300s", method, error)
            raise RequestError(
                CODE_UPSTREAM_LOST, f"the server behind answered {method} with what is no result"
            ) from None

    # ------------------------------------------------------------------ questions

    async def _answer_questions(self, call: Call, asked: msgspec.Raw, result: msgspec.Raw, round: int) -> msgspec.Raw:
        """Ask the client what the server wants to know, and return the request with the answers."""
        required: InputRequiredResult = REQUESTS[call.method].decode_result(result)
        answers: dict[str, msgspec.Raw] = {}

        async def ask(key: str, method: str, params: Any) -> None:
            try:
                question = Request(key, method, adapt(params, self.revision))
            except LocalProtocolError as unknown:
                raise InvalidParams(str(unknown)) from None
            answers[key] = modern_answer(method, raw_of(await self.client.ask(question, call.reply)))

        # One after the other: a client of this era may show one dialog at a time.
        for key, question in (required.input_requests or {}).items():
            await ask(key, question.method, question.params)
        if not answers:
            await anyio.sleep(min(PAUSE_SECONDS * 2.0**round, MAX_PAUSE_SECONDS))
        put = {"inputResponses": answers, "requestState": required.request_state}
        return with_members(
            asked, {name: value for name, value in put.items() if value}, ("inputResponses", "requestState")
        )

    # ------------------------------------------------------------------ changes

    async def _watch(self, method: str, uri: str) -> EmptyResult:
        if method == "resources/subscribe":
            if len(self._uris) >= MAX_WATCHED and uri not in self._uris:
                raise InvalidParams(f"{MAX_WATCHED} resources are watched, which is the limit; unsubscribe first")
            changed = uri not in self._uris
            self._uris.add(uri)
        else:
            changed = uri in self._uris
            self._uris.discard(uri)
        if changed:
            with passing_on("subscriptions/listen", LISTEN_SECONDS):
                await self._listen()
        return EmptyResult()

    async def _listen_again(self) -> None:
        try:
            with anyio.fail_after(LISTEN_SECONDS):
                await self._listen()
        except (ConnectionLost, RequestError, TimeoutError) as error:
            logger.warning("the server's changes cannot be told to a client: %s", error)

    async def _listen(self) -> None:
        """Have one subscription to all that this session is to be told, instead of the one before.

        Returns when the server has acknowledged it. Raises `RequestError` and `ConnectionLost`.
        """
        offered = self.discovered.capabilities
        wanted = SubscriptionFilter(
            tools_list_changed=(offered.tools is not None and offered.tools.list_changed) or None,
            prompts_list_changed=(offered.prompts is not None and offered.prompts.list_changed) or None,
            resources_list_changed=(offered.resources is not None and offered.resources.list_changed) or None,
            resource_subscriptions=sorted(self._uris) or None,
        )
        if wanted == SubscriptionFilter() and self._listened is None:
            return
        session = await self.upstream.session()
        params = SubscriptionsListenRequestParams(notifications=wanted, meta=self._envelope)
        inbox = await session.open("subscriptions/listen", params, id=f"listen-{session.next_id()}")
        try:
            first = (await inbox.receive()).message
            if not isinstance(first, Notification):
                code, text = CODE_METHOD_NOT_FOUND, "the server behind does not tell what changes"
                raise RequestError(code, text)
        except BaseException:
            session.close_inbox(inbox)
            raise
        before, self._listened = self._listened, inbox
        self._tasks.start_soon(self._follow, session, inbox)
        if before is not None:
            session.close_inbox(before)

    async def _follow(self, session: Session, inbox: Inbox) -> None:
        """Tell the client what one subscription brings, until it ends."""
        try:
            while isinstance(message := (await inbox.receive()).message, Notification):
                spec = NOTIFICATIONS.get(message.method)
                if spec is None:
                    continue
                try:
                    params = adapt(spec.decode_params(message.params), self.revision)
                except RemoteProtocolError:
                    continue  # a garbled announcement announces nothing
                await self.client.say(Notification(message.method, params))
        except (ConnectionLost, anyio.ClosedResourceError):
            return  # `greet` listens again, or another subscription has taken over
        finally:
            session.close_inbox(inbox)


def _asks(result: msgspec.Raw) -> bool:
    return bytes(members_of(result).get("resultType", b"")) == b'"input_required"'
