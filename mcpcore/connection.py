"""One connection of a client, in one owner task: opened, negotiated, driven and closed there.

Handles that other tasks use only signal the owner, so that no cancel scope is ever entered in one task and left in
another, whoever closes what, wherever.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Literal, TypeAlias

import anyio
import msgspec
from anyio.abc import TaskStatus

from mcpcore.adaptation import adapt
from mcpcore.answering import Answering
from mcpcore.channel import Channel
from mcpcore.eras.negotiation import PROBE_SECONDS, ProbeAgain, UseHandshake, UseStateless, judge, judge_refusal
from mcpcore.errors import (
    CODE_METHOD_NOT_FOUND,
    ConnectFailed,
    ConnectionLost,
    DeadlineExceeded,
    PeerError,
    RemoteProtocolError,
)
from mcpcore.groups import sole_error
from mcpcore.methods import REQUESTS
from mcpcore.revisions import HANDSHAKE_REVISIONS, LATEST_HANDSHAKE, MODERN_REVISIONS, Era, Revision
from mcpcore.session import Session
from mcpcore.transport import Transport
from mcpcore.types import (
    META_CLIENT_CAPABILITIES,
    META_CLIENT_INFO,
    META_LOG_LEVEL,
    META_PROTOCOL_VERSION,
    META_SERVER_INFO,
    DiscoverResult,
    Implementation,
    InitializeRequestParams,
    InitializeResult,
    LoggingLevel,
    Meta,
    NotificationParams,
    RequestParams,
    ServerCapabilities,
    SetLevelRequestParams,
)

__all__ = ("CONNECT_SECONDS", "SETTLE_SECONDS", "Agreement", "Connection", "EraChoice")

CONNECT_SECONDS = 60.0
"""How long a server may take from being started to the end of the negotiation. Package runners download first."""

SETTLE_SECONDS = 1.0
"""How long closing waits for `on_log` to see the messages that have arrived."""

EraChoice: TypeAlias = Literal[
    "auto", "modern", "legacy", "2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"
]
"""Which era to speak: "auto" finds out, "modern" or "legacy" insist, a revision such as "2025-06-18" pins it."""

logger: logging.Logger = logging.getLogger("mcpcore.connection")


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """What a client and its server agreed on."""

    revision: Revision
    capabilities: ServerCapabilities
    server_info: Implementation | None
    instructions: str | None
    meta: Meta
    """What every request carries; empty in the handshake era."""


class Connection:
    """Owns one connection. `own` is its task."""

    def __init__(
        self,
        transport: Transport,
        answering: Answering,
        *,
        era: EraChoice,
        client_info: Implementation,
        log_level: LoggingLevel | None,
        probe_timeout: float = PROBE_SECONDS,
        connect_timeout: float = CONNECT_SECONDS,
    ) -> None:
        self._transport = transport
        self._answering = answering
        self._modern, self._legacy, self._offered = _eras(era)
        self._client_info = client_info
        self._log_level: LoggingLevel | None = log_level
        self._probe_timeout = probe_timeout
        self._connect_timeout = connect_timeout
        self.repeated: set[Callable[[Session], Awaitable[None]]] = set()
        """Called when the transport had to begin another session with the server."""
        self._closing = anyio.Event()
        self._closed = anyio.Event()
        self._agreement: Agreement | None = None
        self._session: Session | None = None
        self._failure: ConnectionLost | None = None

    @property
    def agreement(self) -> Agreement:
        """Raises `ConnectionLost` when there is no connection any more."""
        self.session  # noqa: B018
        assert self._agreement is not None
        return self._agreement

    @property
    def session(self) -> Session:
        """Raises `ConnectionLost` when there is no connection any more, `anyio.ClosedResourceError` after `aclose`."""
        if self._session is None:
            if self._failure is not None:
                raise ConnectionLost(str(self._failure)) from self._failure
            raise anyio.ClosedResourceError
        return self._session

    async def own(self, *, task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Connect, agree, and keep the connection until it ends or `aclose` is called.

        Reports started when requests can be made. Raises `ConnectFailed` before that and nothing after it: what a
        broken connection means is told to whoever uses it.
        """
        started = False

        class Started:
            def started(self, value: None = None) -> None:
                nonlocal started
                started = True
                task_status.started()

        try:
            probing = self._modern
            with sole_error():
                while True:
                    async with self._transport.connect() as channel:
                        outlived = await self._drive(channel, probing, Started())
                    if outlived or started:
                        break
                    # Some servers exit on a first message that they do not know. What they would have said to
                    # initialize is found out with another one.
                    probing = False
        except ConnectionLost as lost:
            if not started:
                raise
            self._failure = self._failure or lost
        finally:
            self._session = None
            self._closed.set()

    async def aclose(self) -> None:
        """Close the connection and wait until it is gone. From any task; closing twice does nothing."""
        self._closing.set()
        await self._closed.wait()

    async def _drive(self, channel: Channel, probing: bool, task_status: Any) -> bool:
        """Serve one channel. False when the server went away because it was probed."""
        session = Session(channel, self._answering)
        self._answering.session = session
        self._answering.revision = None
        lost: ConnectionLost | None = None

        async def run(*, task_status: TaskStatus[None]) -> None:
            nonlocal lost
            try:
                await session.run(task_status=task_status)
                lost = ConnectionLost("the server closed the connection")
            except ConnectionLost as error:
                lost = error
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            await tasks.start(run)
            try:
                with anyio.fail_after(self._connect_timeout):
                    agreement = await self._agree(session, probing)
            except TimeoutError:
                raise ConnectFailed(
                    f"the server did not agree on a revision within {self._connect_timeout:g} s"
                ) from None
            except _Unprobeable:
                tasks.cancel_scope.cancel()
                return False
            self._agreement = agreement
            self._answering.revision = agreement.revision
            self._session = session
            task_status.started()
            await self._closing.wait()
            await self._answering.settle(SETTLE_SECONDS)
            lost = None
            tasks.cancel_scope.cancel()
        self._session = None
        if lost is not None:
            if self._agreement is None:
                if isinstance(lost, ConnectFailed):
                    raise lost
                if probing and self._legacy:
                    return False
                raise ConnectFailed(f"the server went away before it could be used: {lost}") from lost
            self._failure = lost
        return True

    async def _agree(self, session: Session, probing: bool) -> Agreement:
        if probing:
            agreement = await self._discover(session, self._modern_offered[0])
            if agreement is not None:
                return agreement
        try:
            return await self._initialize(session)
        except ConnectFailed as failed:
            # A server that was still starting when it was probed read the probe all the same, and the first message
            # may bind it to its era: it refuses the handshake and says what it speaks.
            revision = judge_refusal(failed.__cause__, ours=self._modern_offered) if self._modern else None
            agreement = None if revision is None else await self._discover(session, revision)
            if agreement is None:
                raise
            return agreement

    @property
    def _modern_offered(self) -> tuple[Revision, ...]:
        return tuple(revision for revision in self._offered if revision.era is Era.MODERN)

    async def _discover(self, session: Session, revision: Revision) -> Agreement | None:
        """The agreement with a modern server, probed with `revision` first; None for one that needs a handshake."""
        tried: list[Revision] = []
        while True:
            tried.append(revision)
            meta = self._meta(revision)
            outcome: DiscoverResult | PeerError | None = None
            try:
                raw = await session.request("server/discover", RequestParams(meta=meta), timeout=self._probe_timeout)
                outcome = REQUESTS["server/discover"].decode_result(raw)
            except PeerError as error:
                outcome = error
            except (DeadlineExceeded, RemoteProtocolError) as error:
                logger.debug("server/discover told nothing: %s", error)
            except ConnectFailed:
                raise  # nobody was reached, or was willing to talk: that says nothing about eras
            except ConnectionLost as lost:
                if not self._legacy:
                    raise ConnectFailed(f"the server went away when it was asked server/discover: {lost}") from lost
                raise _Unprobeable from lost
            verdict = judge(outcome, ours=self._modern_offered, tried=tried)
            if isinstance(verdict, UseStateless):
                found = verdict.discovered
                session.channel.revision = verdict.revision
                return Agreement(
                    revision=verdict.revision,
                    capabilities=found.capabilities,
                    server_info=_server_info(found.meta),
                    instructions=found.instructions,
                    meta=self._meta(verdict.revision),
                )
            if isinstance(verdict, ProbeAgain):
                revision = verdict.revision
                continue
            assert isinstance(verdict, UseHandshake)
            if not self._legacy:
                told = f": {outcome}" if isinstance(outcome, PeerError) else ""
                raise ConnectFailed(f"the server does not speak {', '.join(self._offered)}{told}; try era='auto'")
            return None

    async def _initialize(self, session: Session) -> Agreement:
        wanted = next((r for r in self._offered if r.era is Era.LEGACY), LATEST_HANDSHAKE)
        params = InitializeRequestParams(
            protocol_version=wanted, capabilities=self._answering.capabilities, client_info=self._client_info
        )
        try:
            raw = await session.request("initialize", adapt(params, wanted), timeout=self._connect_timeout)
            result: InitializeResult = REQUESTS["initialize"].decode_result(raw)
        except PeerError as error:
            supported = error.data.get("supported") if isinstance(error.data, dict) else None
            hint = f"; it speaks {', '.join(map(str, supported))}" if isinstance(supported, list) else ""
            raise ConnectFailed(f"the server refused initialize: {error.message} (code {error.code}){hint}") from error
        except RemoteProtocolError as error:
            raise ConnectFailed(str(error)) from error
        except ConnectFailed:
            raise
        except ConnectionLost as lost:
            raise ConnectFailed(f"the server went away when it was asked to initialize: {lost}") from lost
        revision = Revision.parse(result.protocol_version)
        if revision is None or revision not in HANDSHAKE_REVISIONS:
            raise ConnectFailed(
                f"the server answered initialize with revision {result.protocol_version!r}, which this client does not "
                f"speak; it speaks {', '.join(HANDSHAKE_REVISIONS)}"
            )
        session.channel.batches = revision.batches
        session.channel.revision = revision
        await session.notify("notifications/initialized", NotificationParams())
        if result.capabilities.logging is not None:
            try:
                await self._set_level(session)
            except PeerError as error:
                if error.code != CODE_METHOD_NOT_FOUND:
                    raise ConnectFailed(f"the server refused the log level: {error}") from error
        session.channel.renewed = partial(session.start_soon, self._tell_again, session)
        return Agreement(
            revision=revision,
            capabilities=result.capabilities,
            server_info=result.server_info,
            instructions=result.instructions,
            meta={},
        )

    async def _set_level(self, session: Session) -> None:
        if self._log_level is not None:
            level = SetLevelRequestParams(level=self._log_level)
            await session.request("logging/setLevel", level, timeout=self._connect_timeout)

    async def _tell_again(self, session: Session) -> None:
        """Repeat to another session what the one before it was told."""
        try:
            await self._set_level(session)
            for repeat in tuple(self.repeated):
                await repeat(session)
        except (ConnectionLost, DeadlineExceeded, PeerError, RemoteProtocolError) as error:
            logger.warning("the server's new session could not be told what the old one knew: %s", error)

    def _meta(self, revision: Revision) -> Meta:
        capabilities = adapt(self._answering.capabilities, revision)
        meta: Meta = {
            META_PROTOCOL_VERSION: str(revision),
            META_CLIENT_CAPABILITIES: msgspec.to_builtins(capabilities),
            META_CLIENT_INFO: msgspec.to_builtins(adapt(self._client_info, revision)),
        }
        if self._log_level is not None:
            meta[META_LOG_LEVEL] = self._log_level
        return meta


class _Unprobeable(Exception):
    """The connection ended on the probe: the server is one that must be asked to initialize first."""


def _eras(choice: EraChoice) -> tuple[bool, bool, Sequence[Revision]]:
    """Whether to probe, whether to fall back to a handshake, and the revisions to offer, best first."""
    best_first = tuple(reversed(MODERN_REVISIONS)) + tuple(reversed(HANDSHAKE_REVISIONS))
    if choice == "auto":
        return True, True, best_first
    if choice == "modern":
        return True, False, tuple(reversed(MODERN_REVISIONS))
    if choice == "legacy":
        return False, True, tuple(reversed(HANDSHAKE_REVISIONS))
    revision = Revision.parse(choice)
    if revision is None:
        known = ", ".join(best_first)
        raise ValueError(f"era is 'auto', 'modern', 'legacy' or one of {known}, not {choice!r}")
    return revision.era is Era.MODERN, revision.era is Era.LEGACY, (revision,)


def _server_info(meta: Meta | None) -> Implementation | None:
    try:
        return msgspec.convert((meta or {}).get(META_SERVER_INFO), Implementation | None)
    except msgspec.ValidationError:
        return None  # it is for display only, so a server that garbles it can still be used
