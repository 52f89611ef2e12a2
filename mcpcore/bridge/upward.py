"""A client of 2026-07-28 before a server of the handshake era: a question is kept until the client returns."""

import logging
import secrets
from collections.abc import Mapping
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
from anyio.abc import TaskGroup

from mcpcore.adaptation import adapt
from mcpcore.bridge.flight import Flight, passing_on
from mcpcore.bridge.piping import ASK_SECONDS, Client, Way, revision_in
from mcpcore.bridge.upstream import CONNECT_SECONDS
from mcpcore.changes import LIST_CHANGED, RESOURCE_UPDATED, Change, Publisher, Subscriber
from mcpcore.channel import Channel, Envelope
from mcpcore.crossing import discovery_of, honoured_by, legacy_answer, legacy_params, modern_error, modern_result
from mcpcore.eras import Terms
from mcpcore.errors import (
    CODE_INTERNAL_ERROR,
    CODE_METHOD_NOT_FOUND,
    CODE_SERVER_BUSY,
    ConnectionLost,
    DeadlineExceeded,
    InvalidParams,
    PeerError,
    RemoteProtocolError,
    RequestError,
)
from mcpcore.jsonrpc import ErrorResponse, Notification, Request, Response, error_response
from mcpcore.methods import MULTI_ROUND, NOTIFICATIONS, REQUESTS
from mcpcore.revisions import LATEST, LATEST_HANDSHAKE, Revision
from mcpcore.session import Call, Session
from mcpcore.splicing import Outline, members_of, raw_of
from mcpcore.transport import Transport
from mcpcore.types import (
    LOGGING_LEVELS,
    META_LOG_LEVEL,
    META_SUBSCRIPTION_ID,
    Implementation,
    InitializeRequestParams,
    InitializeResult,
    InputRequest,
    InputRequiredResult,
    NotificationParams,
    SetLevelRequestParams,
    SubscribeRequestParams,
    SubscriptionsAcknowledgedNotificationParams,
    SubscriptionsListenResult,
    UnsubscribeRequestParams,
)

__all__ = ("MAX_PARKED", "MAX_WATCHED", "Upward")

MAX_PARKED = 256
"""Requests of one session behind that wait for a client to come back with answers; the next question is refused."""

MAX_WATCHED = 1000
"""Resources that one session behind is subscribed to."""

_QUESTIONS = frozenset(("elicitation/create", "roots/list", "sampling/createMessage"))
_BY_BRIDGE = Implementation(name="mcpcore bridge", version="0")

logger: logging.Logger = logging.getLogger("mcpcore.bridge")


class _Parked:
    """A request whose questions are with the client."""

    __slots__ = ("expiry", "flight", "questions")

    def __init__(self, flight: Flight, questions: dict[str, Envelope]) -> None:
        self.flight = flight
        self.questions = questions
        self.expiry = anyio.CancelScope()


class Upward(Way):
    """One session behind, for clients that said the same of what they can do and are the same principal."""

    def __init__(
        self, transport: Transport, client: Client, terms: Terms, tasks: TaskGroup, *, attributes: bool, handshake: bool
    ) -> None:
        """`handshake` says that the bridge serves the handshake era as well."""
        super().__init__(transport, client, attributes=attributes)
        self._first = InitializeRequestParams(
            protocol_version=LATEST_HANDSHAKE,
            capabilities=adapt(terms.capabilities, LATEST_HANDSHAKE),
            client_info=terms.client_info or _BY_BRIDGE,
        )
        self._tasks = tasks
        self._handshake = handshake
        self._parked: dict[str, _Parked] = {}
        self._publisher = Publisher()
        self._watched: dict[str, int] = {}
        self._level: str | None = None
        self.initialized: InitializeResult | None = None
        self.revision: Revision = LATEST_HANDSHAKE
        self._info: Mapping[str, Any] = {}

    @property
    def idle(self) -> bool:
        """Whether nobody would miss it."""
        return not (self.upstream.in_flight or self._parked or len(self._publisher))

    async def greet(self, session: Session, channel: Channel) -> None:
        first = adapt(self._first, LATEST_HANDSHAKE)
        raw = raw_of(await session.request("initialize", first, timeout=CONNECT_SECONDS))
        self.revision = revision_in(raw)
        initialized: InitializeResult = REQUESTS["initialize"].decode_result(raw)
        self.initialized = initialized
        self._info = msgspec.to_builtins(initialized.server_info)
        channel.revision, channel.batches = self.revision, self.revision.batches
        await session.notify("notifications/initialized", NotificationParams())
        for token in list(self._parked):
            self._forget(token)
        if self._level is not None:
            await self._set_level(session, self._level)
        for uri in list(self._watched):
            await session.request("resources/subscribe", SubscribeRequestParams(uri=uri), timeout=CONNECT_SECONDS)

    async def answer(self, call: Call, params: msgspec.Raw, outline: Outline) -> Any:
        method = call.method
        assert self.initialized is not None
        if method == "server/discover":
            return discovery_of(self.initialized, handshake=self._handshake)
        if method == "subscriptions/listen":
            return await self._listen(call, params)
        spec = REQUESTS.get(method)
        if spec is not None and not (spec.known_in(LATEST, "client") and spec.known_in(self.revision, "client")):
            raise RemoteProtocolError(f"this server has no method {method!r}", code=CODE_METHOD_NOT_FOUND)
        try:
            return await self._answer(call, params, outline)
        except RequestError as error:
            raise modern_error(error) from error

    async def _answer(self, call: Call, params: msgspec.Raw, outline: Outline) -> Any:
        flight: Flight | None = None
        level = (outline.meta or {}).get(META_LOG_LEVEL)
        with passing_on(call.method, self.client.timeout):
            try:
                state = members_of(params).get("requestState") if b'"requestState"' in bytes(params) else None
                questions: dict[str, Envelope] = {}
                if state is not None and call.method in MULTI_ROUND:
                    parked, answers = self._take(call, params, state)
                    flight = parked.flight
                    flight.call, flight.token = call, outline.token
                    for question, answer in answers.items():
                        await self._send(parked.questions.pop(question), answer)
                    questions = {key: asked for key, asked in parked.questions.items() if not _is_over(asked)}
                else:
                    await self._choose_level(level)
                    flight = await self.upstream.begin(call, call.method, legacy_params(params), outline.token)
                flight.wants = partial(_is_wanted, level)
                while not questions or flight.inbox.size:
                    came = await flight.next()
                    if not isinstance(came, Envelope):
                        return modern_result(call.method, raw_of(came.result), self._info)
                    questions |= self._question(came, flight)
                    # What is asked together goes out together.
                    await anyio.lowlevel.checkpoint()
                return self._suspend(flight, questions)
            finally:
                if flight is not None and not any(parked.flight is flight for parked in self._parked.values()):
                    self.upstream.end(flight)

    # ------------------------------------------------------------------ questions

    def _question(self, envelope: Envelope, flight: Flight) -> dict[str, Envelope]:
        """What the server asks, by the key that the client answers under; what cannot be asked is refused at once."""
        assert isinstance(envelope.message, Request)
        method = envelope.message.method
        if method not in _QUESTIONS:
            reason = RequestError(CODE_METHOD_NOT_FOUND, f"a client has no method {method!r}")
        elif flight.call.method not in MULTI_ROUND:
            reason = RequestError(CODE_INTERNAL_ERROR, f"{flight.call.method} cannot be answered with a question")
        elif len(self._parked) >= MAX_PARKED:
            reason = RequestError(CODE_SERVER_BUSY, f"{MAX_PARKED} requests wait for an answer; ask again later")
        else:
            return {f"question-{envelope.message.id}": envelope}
        if envelope.reply is not None:
            self._tasks.start_soon(self._send, envelope, error_response(envelope.message.id, reason))
        return {}

    async def _send(self, question: Envelope, answer: Response | ErrorResponse) -> None:
        assert question.reply is not None
        with anyio.move_on_after(CONNECT_SECONDS):
            try:
                await question.reply.send(Envelope(answer))
            except ConnectionLost as lost:
                logger.debug("an answer did not reach the server: %s", lost)

    def _suspend(self, flight: Flight, questions: dict[str, Envelope]) -> InputRequiredResult:
        """Keep a request until the client comes back with answers, and the result that asks it to."""
        asked: dict[str, InputRequest] = {}
        for key, question in questions.items():
            assert isinstance(question.message, Request)
            method = question.message.method
            params = adapt(REQUESTS[method].decode_params(question.message.params), LATEST)
            asked[key] = InputRequest(method=method, params=params)  # type: ignore[arg-type]
        token = secrets.token_urlsafe(32)
        parked = _Parked(flight, questions)
        self._parked[token] = parked
        flight.parked = True
        self._tasks.start_soon(self._expire, token, parked)
        return InputRequiredResult(input_requests=asked, request_state=token)

    async def _expire(self, token: str, parked: _Parked) -> None:
        with parked.expiry:
            await anyio.sleep(ASK_SECONDS)
            self._forget(token)

    def _forget(self, token: str) -> None:
        parked = self._parked.pop(token, None)
        if parked is not None:
            parked.expiry.cancel()
            self.upstream.end(parked.flight)

    def _take(self, call: Call, params: msgspec.Raw, state: msgspec.Raw) -> tuple[_Parked, dict[str, Response]]:
        """The request that was kept, which is the caller's from here on, and what its client has answered."""
        try:
            token = msgspec.json.decode(state, type=str)
        except ValueError:
            token = ""
        parked = self._parked.get(token)
        if parked is None or parked.flight.call.method != call.method:
            text = "this requestState is not known here (any more): send the request again without it"
            raise InvalidParams(text)
        given = members_of(members_of(params).get("inputResponses", msgspec.Raw(b"{}")))
        answers: dict[str, Response] = {}
        for key, question in parked.questions.items():
            assert isinstance(question.message, Request)
            if key in given:
                answer = legacy_answer(question.message.method, given[key], self.revision)
                answers[key] = Response(question.message.id, answer)
        del self._parked[token]
        parked.expiry.cancel()
        parked.flight.parked = False
        return parked, answers

    async def asked(self, call: Call, flight: Flight | None) -> Any:
        if call.method == "ping":
            return {}
        text = "several requests run, and this question does not say which of them it is about"
        raise RequestError(
            CODE_INTERNAL_ERROR, text if self.upstream.in_flight else "no request runs that it could be about"
        )

    # ------------------------------------------------------------------ logs and changes

    async def _choose_level(self, level: Any) -> None:
        """Have the server log what this request wants to hear of, if it does not log more than that already."""
        assert self.initialized is not None
        if level not in LOGGING_LEVELS or self.initialized.capabilities.logging is None:
            return
        order = LOGGING_LEVELS.index
        if self._level is None or order(level) < order(self._level):
            self._level = level
            await self._set_level(await self.upstream.session(), level)

    async def _set_level(self, session: Session, level: Any) -> None:
        try:
            await session.request("logging/setLevel", SetLevelRequestParams(level=level), timeout=CONNECT_SECONDS)
        except (DeadlineExceeded, PeerError, RemoteProtocolError) as error:
            logger.debug("the server did not take the log level: %s", error)

    async def heard(self, notification: Notification) -> None:
        method = notification.method
        if method in LIST_CHANGED.values():
            self._publisher.publish(Change(method))
        elif method == RESOURCE_UPDATED:
            try:
                self._publisher.publish(Change(method, NOTIFICATIONS[method].decode_params(notification.params).uri))
            except RemoteProtocolError:
                return  # a garbled announcement announces nothing
        else:
            self.upstream.dropped += 1

    async def told(self, notification: Notification) -> None:
        if notification.method not in NOTIFICATIONS:
            await super().told(notification)

    async def _listen(self, call: Call, params: msgspec.Raw) -> SubscriptionsListenResult:
        """Answer subscriptions/listen out of what the session behind is told."""
        assert self.initialized is not None
        wanted = REQUESTS[call.method].decode_params(params).notifications
        honoured = honoured_by(wanted, self.initialized.capabilities)
        uris = set(honoured.resource_subscriptions or ())
        if len(uris | self._watched.keys()) > MAX_WATCHED:
            raise InvalidParams(f"{MAX_WATCHED} resources can be watched at once")
        changed = anyio.Event()

        def wake() -> None:
            changed.set()

        kinds = {
            "tools": honoured.tools_list_changed,
            "prompts": honoured.prompts_list_changed,
            "resources": honoured.resources_list_changed,
        }
        lists = frozenset(LIST_CHANGED[kind] for kind, yes in kinds.items() if yes)
        subscriber = Subscriber(lists, dict.fromkeys(uris), wake)
        self._publisher.subscribe(subscriber)
        call.session.when_ending.add(wake)
        meta = {META_SUBSCRIPTION_ID: call.id}
        mine: list[str] = []
        try:
            with passing_on(call.method, CONNECT_SECONDS):
                for uri in sorted(uris):
                    self._watched[uri] = self._watched.get(uri, 0) + 1
                    mine.append(uri)
                    if self._watched[uri] == 1:
                        await self._request("resources/subscribe", SubscribeRequestParams(uri=uri))
            acknowledged = SubscriptionsAcknowledgedNotificationParams(notifications=honoured, meta=meta)
            await call.notify("notifications/subscriptions/acknowledged", acknowledged)
            while not call.session.ending and not self.upstream.closed.is_set():
                await changed.wait()
                changed = anyio.Event()
                for change in subscriber.take():
                    await call.notify(change.method, change.params(meta))
            return SubscriptionsListenResult(meta=meta, result_type="complete")
        finally:
            call.session.when_ending.discard(wake)
            self._publisher.unsubscribe(subscriber)
            for uri in mine:
                self._watched[uri] -= 1
                if not self._watched[uri]:
                    del self._watched[uri]
                    self._tasks.start_soon(self._unsubscribe, uri)

    async def _unsubscribe(self, uri: str) -> None:
        try:
            if uri not in self._watched:
                await self._request("resources/unsubscribe", UnsubscribeRequestParams(uri=uri))
        except (ConnectionLost, RequestError) as error:
            logger.debug("a subscription that nobody reads was not ended: %s", error)

    async def _request(self, method: str, params: Any) -> None:
        session = await self.upstream.session()
        try:
            await session.request(method, params, timeout=CONNECT_SECONDS)
        except PeerError as error:
            raise RequestError(error.code, error.message, error.data) from None
        except DeadlineExceeded as silent:
            raise ConnectionLost(str(silent)) from silent


def _is_over(question: Envelope) -> bool:
    """Whether the server does not wait for the answer any more."""
    return question.reply is None or question.reply.closed


def _is_wanted(level: Any, notification: Notification) -> bool:
    """Whether a request that asks for logs from this level on is to be sent a notification (2026-07-28, Logging)."""
    if notification.method != "notifications/message":
        return True
    if level not in LOGGING_LEVELS:
        return False
    try:
        found = NOTIFICATIONS[notification.method].decode_params(notification.params).level
    except RemoteProtocolError:
        return False
    return LOGGING_LEVELS.index(found) >= LOGGING_LEVELS.index(level)
