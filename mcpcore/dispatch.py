"""The server's side of one session: which terms a request comes under, which handler answers it, and how its result
leaves.

The eras meet here and nowhere above: a request enters with its own terms, or with those of the session's
handshake, and a handler sees no difference.
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from time import perf_counter
from typing import Any, Protocol

import msgspec

from mcpcore.adaptation import adapt, complete
from mcpcore.asking import Asker, RoundAsker, Suspended, WireAsker, sole_fault
from mcpcore.changes import Publisher
from mcpcore.channel import Origin
from mcpcore.context import Context
from mcpcore.eras import Terms, era_of
from mcpcore.eras.handshake import Handshake, State
from mcpcore.eras.rounds import Rounds, arguments_digest
from mcpcore.eras.stateless import KnownTerms, allowed_error, missing_capability, require_envelope
from mcpcore.errors import (
    CODE_INVALID_PARAMS,
    CODE_INVALID_REQUEST,
    CODE_METHOD_NOT_FOUND,
    InvalidParams,
    LocalProtocolError,
    MissingCapability,
    RemoteProtocolError,
    RequestError,
    ResourceNotFound,
)
from mcpcore.jsonrpc import Notification
from mcpcore.methods import MULTI_ROUND, REQUESTS, Method
from mcpcore.middleware import Inbound, MethodHandler, Outbound, OutboundAsker, Outgoing, inward, outward
from mcpcore.revisions import HANDSHAKE_REVISIONS, MODERN_REVISIONS, Era, Revision
from mcpcore.sealing import StateRejected, StateSealer, binding_of
from mcpcore.session import Call, Role, Session
from mcpcore.types import (
    DiscoverResult,
    EmptyResult,
    Implementation,
    InitializeRequestParams,
    InitializeResult,
    InputRequest,
    InputRequiredResult,
    LoggingLevel,
    RequestParams,
    ServerCapabilities,
)
from mcpcore.watching import Watching

__all__ = ("MAX_NOTICES", "Dispatch", "ExtensionParams", "Host", "Observer", "Series")

MAX_NOTICES = 100
"""Notifications of the client that wait for the application's handler; older ones are dropped beyond it."""

logger: logging.Logger = logging.getLogger("mcpcore.dispatch")


class Series(Protocol):
    """The requests of one kind, e.g. of one method."""

    def ended(self, seconds: float, result: Any) -> None:
        """Called when one of them has run; `result` is None when it failed or was given up. Must not wait."""


class Observer(Protocol):
    """Whoever wants to know what runs and for how long: `mcpcore.metrics.Metrics` is one."""

    def began(self, method: str, transport: str, revision: Revision, params: Any) -> Series:
        """Called when a request is about to run; says what it is one of. Must not wait."""
        ...


class Host(Protocol):
    """What the sessions of one server share."""

    info: Implementation
    instructions: str | None
    eras: frozenset[Era]
    log_level: LoggingLevel
    inbound: list[Inbound]
    outbound: list[Outbound]
    publisher: Publisher
    sealer: StateSealer
    ask_timeout: float
    observer: Observer | None

    def handlers(self) -> Mapping[str, MethodHandler]: ...
    def capabilities(self) -> ServerCapabilities: ...
    def input_schema(self, params: Any) -> dict[str, Any] | None: ...
    def output_schema(self, params: Any) -> dict[str, Any] | None: ...
    def scopes(self, tool: str) -> frozenset[str]: ...
    def notification_handler(self, method: str) -> Callable[[Any], Awaitable[None]] | None: ...
    def began(self, terms: Terms, transport: str, lasting: bool) -> None: ...
    def ended(self, lasting: bool) -> None: ...
    def failed(self, code: int | None) -> None: ...


class _MetaOnly(msgspec.Struct):
    meta: dict[str, Any] | None = msgspec.field(default=None, name="_meta")


_LEGACY = Era.LEGACY  # looked up once: on the class of an enum that is no plain attribute
_decode_meta = msgspec.json.Decoder(_MetaOnly).decode
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


class Dispatch(Role):
    """Answers the requests of one client."""

    def __init__(self, host: Host, lifespan: Any, *, stateless: bool = False) -> None:
        """`stateless` is for a session that belongs to no client: every request in it must bring its own terms."""
        self._host = host
        self._stateless = stateless or host.eras == {Era.MODERN}
        self._modern = Era.MODERN in host.eras
        self._lifespan = lifespan
        self._handshake = Handshake(host.log_level)
        self._known = KnownTerms()
        self._session: Session | None = None
        self._watching: Watching | None = None
        self._notices: deque[tuple[Callable[[Any], Awaitable[None]], Any]] | None = None
        """What waits for the task that tells the application; None while there is no such task."""
        self._info = msgspec.to_builtins(host.info)

    def attach(self, session: Session) -> None:
        """Say which session this answers for; before it runs."""
        self._session = session
        self._watching = Watching(self._host.publisher, self._host.capabilities, session)

    def detach(self) -> None:
        """The session is over: nothing is sent to it any more."""
        if self._watching is not None:
            self._watching.close()

    def is_first(self, method: str) -> bool:
        # A ping asks whether anybody is there, so it does not queue behind what runs.
        return method in ("initialize", "ping")

    def is_stream(self, method: str) -> bool:
        return method == "subscriptions/listen"

    def failed(self, code: int | None) -> None:
        self._host.failed(code)

    async def answer(self, call: Call) -> Any:
        spec = REQUESTS.get(call.method)
        params: Any = None
        fault: RemoteProtocolError | None = None
        try:
            params = _decode(call, spec)
            meta = params.meta
        except RemoteProtocolError as error:
            # Which era this is, and so which rule it breaks first, has to be known before the fault is reported.
            fault = error
            meta = _peek_meta(call.params)
        legacy = era_of(call.method, meta) is _LEGACY
        if legacy and call.method == "initialize" and self._stateless:
            raise _no_handshake()
        if self._stateless or (not legacy and self._modern):
            envelope = require_envelope(meta)
            if call.origin.verifier is not None:
                call.origin.verifier.check(call.method, envelope, params)
            terms = self._known.terms_of(envelope)
            handler = self._modern_handler(call.method, terms)
        else:
            self._handshake.admit(call.method)
            if call.method == "initialize":
                if fault is not None:
                    raise fault  # there are no terms yet that a handler could be looked up under
                return self._initialize(call, params)
            if call.method == "ping" and fault is None:
                # Answered by the task that reads (see `is_first`), so nothing that could wait comes in between.
                return EmptyResult()
            terms, handler = self._legacy_handler(call.method)
        if handler is None:
            raise RemoteProtocolError(f"this server has no method {call.method!r}", code=CODE_METHOD_NOT_FOUND)
        if fault is not None:
            raise fault
        if call.method == "tools/call" and call.origin.verifier is not None:
            schema = self._host.input_schema(params)
            if schema is not None:
                call.origin.verifier.check_arguments(schema, params.arguments)
        if call.method == "tools/call" and call.origin.principal is not None:
            # Over HTTP this was answered with 403 before; here it holds for every transport that knows its callers.
            missing = self._host.scopes(params.name) - call.origin.principal.scopes
            if missing:
                text = f"tool {params.name!r} needs the scopes {' '.join(sorted(missing))}, which were not granted"
                raise RequestError(CODE_INVALID_REQUEST, text)
        lasting = self.is_stream(call.method)
        self._host.began(terms, call.origin.transport, lasting)
        try:
            observer = self._host.observer
            if observer is None:
                return await self._run(call, params, terms, handler)
            series = observer.began(call.method, call.origin.transport, terms.revision, params)
            began = perf_counter()
            result: Any = None
            try:
                result = await self._run(call, params, terms, handler)
                return result
            finally:
                series.ended(perf_counter() - began, result)
        finally:
            self._host.ended(lasting)

    def hear(self, notification: Notification, origin: Origin | None) -> None:
        if notification.method == "notifications/initialized":
            self._handshake.initialized()
            if self._watching is not None and self._handshake.state is State.READY:
                self._watching.follow()
        handler = self._host.notification_handler(notification.method)
        if handler is not None and self._session is not None:
            if self._notices is None:
                self._notices = deque(maxlen=MAX_NOTICES)
                self._session.start_soon(self._notice, self._notices)
            self._notices.append((handler, notification.params))

    def _modern_handler(self, method: str, terms: Terms) -> MethodHandler | None:
        spec = REQUESTS.get(method)
        if spec is not None and not spec.known_in(terms.revision, "client"):
            return None
        own = self._host.handlers().get(method)
        if own is not None:
            return own
        if method == "server/discover":
            return self._discover
        return self._watching.listen if method == "subscriptions/listen" and self._watching is not None else None

    def _legacy_handler(self, method: str) -> tuple[Terms, MethodHandler | None]:
        terms = self._handshake.terms
        spec = REQUESTS.get(method)
        if spec is not None and not spec.known_in(terms.revision, "client"):
            return terms, None
        own = self._host.handlers().get(method)
        if own is not None:
            return terms, own
        if method == "logging/setLevel":
            return terms, self._set_level
        if self._watching is not None and self._host.capabilities().resources is not None:
            if method == "resources/subscribe":
                return terms, self._watching.subscribe
            if method == "resources/unsubscribe":
                return terms, self._watching.unsubscribe
        return terms, None

    async def _run(self, call: Call, params: Any, terms: Terms, handler: MethodHandler) -> Any:
        modern = terms.revision.is_modern
        rounds = self._rounds(call, params) if modern and call.method in MULTI_ROUND else None
        asker: Asker
        if rounds is not None:
            asker = RoundAsker(rounds, terms.revision)
        elif modern:
            asker = _Mute(call.method)
        else:
            asker = WireAsker(call, terms.revision, self._host.ask_timeout)
        notify = partial(self._notify, call, terms.revision)
        context = Context(call, params, terms, asker=asker, notify=notify, lifespan=self._lifespan)
        if self._host.outbound:
            context = Context(
                call,
                params,
                terms,
                asker=OutboundAsker(asker, self._host.outbound, context),
                notify=lambda method, params: outward(
                    self._host.outbound, Outgoing(method, params, context), lambda o: notify(o.method, o.params)
                ),
                lifespan=self._lifespan,
            )
        try:
            inbound = self._host.inbound
            with sole_fault:
                result = await (inward(inbound, context, handler) if inbound else handler(context, params))
        except Suspended:
            result = self._ask_back(call, params, rounds)
        except ResourceNotFound as error:
            if modern:  # 2026-07-28 retired -32002
                raise InvalidParams(error.message, error.data) from None
            raise
        except MissingCapability as error:
            raise missing_capability(error) if modern else InvalidParams(str(error)) from None
        except RequestError as error:
            raise allowed_error(error) if modern else error from None
        if isinstance(result, dict):
            result = {"resultType": "complete", **result} if modern else result
        schema = self._host.output_schema(params) if call.method == "tools/call" else None
        return complete(result, terms.revision, server_info=self._info, output_schema=schema)

    async def _notify(self, call: Call, revision: Revision, method: str, params: Any) -> bool:
        return await call.notify(method, adapt(params, revision))

    # ------------------------------------------------------------------ multi round-trip requests

    def _rounds(self, call: Call, params: Any) -> Rounds:
        state = None
        if params.request_state is not None:
            try:
                state = self._host.sealer.open(params.request_state, binding=_binding(call, params))
            except StateRejected as error:
                logger.warning("requestState of %s (id %r) was rejected: %s", call.method, call.id, error.reason)
                raise
        try:
            return Rounds(state, params.input_responses)
        except msgspec.MsgspecError:
            raise StateRejected("malformed") from None

    def _ask_back(self, call: Call, params: Any, rounds: Rounds | None) -> InputRequiredResult:
        assert rounds is not None, "only a RoundAsker suspends"
        state = self._host.sealer.seal(rounds.next_state(), binding=_binding(call, params))
        requests = {
            key: InputRequest(method=method, params=question)  # type: ignore[arg-type]
            for key, (method, question) in rounds.questions.items()
        }
        return InputRequiredResult(input_requests=requests, request_state=state)

    # ------------------------------------------------------------------ methods of the protocol itself

    def _initialize(self, call: Call, params: InitializeRequestParams) -> InitializeResult:
        terms = self._handshake.initialize(params)
        # Counted, but never refused for want of a place: the session could not be initialized a second time.
        self._host.began(terms, call.origin.transport, True)
        self._host.ended(True)
        call.session.channel.batches = terms.revision.batches
        call.session.channel.revision = terms.revision
        result = InitializeResult(
            protocol_version=terms.revision,
            capabilities=self._host.capabilities(),
            server_info=self._host.info,
            instructions=self._host.instructions,
        )
        return adapt(result, terms.revision)

    async def _discover(self, context: Context, params: RequestParams) -> DiscoverResult:
        served = MODERN_REVISIONS + (HANDSHAKE_REVISIONS if Era.LEGACY in self._host.eras else ())
        return DiscoverResult(
            supported_versions=[str(revision) for revision in served],
            capabilities=self._host.capabilities(),
            instructions=self._host.instructions,
        )

    async def _set_level(self, context: Context, params: Any) -> EmptyResult:
        self._handshake.set_level(params.level)
        return EmptyResult()

    async def _notice(self, notices: deque[tuple[Callable[[Any], Awaitable[None]], Any]]) -> None:
        try:
            while notices:
                handler, params = notices.popleft()
                try:
                    await handler(params)
                except Exception:
                    logger.exception("a notification handler failed")
        finally:
            self._notices = None


class _Mute(Asker):
    """For a method that 2026-07-28 does not allow to be answered with a question."""

    def __init__(self, method: str) -> None:
        self._method = method

    async def ask(self, method: str, params: Any, key: str | None = None) -> Any:
        allowed = ", ".join(sorted(MULTI_ROUND))
        raise LocalProtocolError(f"a handler of {self._method} cannot ask the client; only {allowed} can")

    async def once(self, name: str, fn: Callable[[], Awaitable[Any]]) -> Any:
        return await fn()


def _no_handshake() -> RemoteProtocolError:
    names = [str(revision) for revision in MODERN_REVISIONS]
    return RemoteProtocolError(
        f"this server has no handshake; it speaks {', '.join(names)}, see server/discover",
        code=CODE_METHOD_NOT_FOUND,
        data={"supported": names},
    )


class ExtensionParams(RequestParams, frozen=True, kw_only=True):
    """The parameters of a method that the protocol does not have, as the client sent them."""

    members: dict[str, Any]


def _decode(call: Call, spec: Method | None) -> Any:
    if spec is not None:
        return spec.decode_params(call.params)
    try:
        members = call.params if isinstance(call.params, dict) else _decode_object(call.params or b"{}")
    except (TypeError, ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"{call.method}: invalid parameters: {error}", code=CODE_INVALID_PARAMS) from error
    meta = members.get("_meta")
    return ExtensionParams(meta=meta if isinstance(meta, dict) else None, members=members)


def _peek_meta(params: Any) -> dict[str, Any] | None:
    try:
        return _decode_meta(params if isinstance(params, msgspec.Raw) else msgspec.json.encode(params)).meta
    except (TypeError, ValueError, RecursionError):
        return None


def _binding(call: Call, params: Any) -> bytes:
    """What a state is good for: this method, these arguments, this principal."""
    subject = (params.uri,) if call.method == "resources/read" else (params.name, params.arguments)
    digest = arguments_digest(*subject)
    principal = call.origin.principal
    identity = None if principal is None else principal.identity
    return binding_of(method=call.method, params_digest=digest, principal=identity)
