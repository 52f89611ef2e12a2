"""The handshake era, 2024-11-05 to 2025-11-25: `initialize` once, then a session. Server side, pure rules."""

from enum import Enum

import msgspec

from mcpcore.adaptation import adapt
from mcpcore.eras import Terms
from mcpcore.errors import LocalProtocolError, RemoteProtocolError
from mcpcore.revisions import HANDSHAKE_REVISIONS, LATEST_HANDSHAKE, Era, Revision
from mcpcore.types import InitializeRequestParams, LoggingLevel

__all__ = ("Handshake", "State", "answered_revision")


class State(Enum):
    NEW = "new"
    ANSWERED = "answered"
    """`initialize` was answered; `notifications/initialized` has not come yet."""
    READY = "ready"


_FIRST = "send initialize first (or, for 2026-07-28, put io.modelcontextprotocol/protocolVersion into _meta)"
_AGAIN = "this session is initialized already; open another connection for another handshake"

# state -> method -> why not. What is not listed is allowed. Requests between the answer to initialize and
# notifications/initialized are let through: the client knows our capabilities by then, and some do not wait.
_REFUSED: dict[State, dict[str, str]] = {
    State.NEW: {"*": _FIRST},
    State.ANSWERED: {"initialize": _AGAIN},
    State.READY: {"initialize": _AGAIN},
}
_ALWAYS = frozenset(("initialize", "ping"))


class Handshake:
    """The state of one handshake session."""

    def __init__(self, log_level: LoggingLevel) -> None:
        self.state: State = State.NEW
        self._terms: Terms | None = None
        self._log_level: LoggingLevel = log_level

    @property
    def terms(self) -> Terms:
        if self._terms is None:
            raise LocalProtocolError("no handshake has taken place in this session")
        return self._terms

    def admit(self, method: str) -> None:
        """Raises `RemoteProtocolError` when a request with this method is out of order."""
        refused = _REFUSED[self.state]
        refusal = refused.get(method)
        if refusal is None and method not in _ALWAYS:
            refusal = refused.get("*")
        if refusal is not None:
            raise RemoteProtocolError(refusal)

    def initialize(self, params: InitializeRequestParams) -> Terms:
        """Agree on the terms of the session."""
        revision = answered_revision(params.protocol_version)
        self._terms = Terms(
            revision=revision,
            # What the revision has no message for cannot be asked, whatever the client declares.
            capabilities=adapt(params.capabilities, revision),
            client_info=params.client_info,
            log_level=self._log_level,
        )
        self.state = State.ANSWERED
        return self._terms

    def initialized(self) -> None:
        """The client has seen the answer. Requests and notifications of ours may follow."""
        if self.state is State.ANSWERED:
            self.state = State.READY

    def set_level(self, level: LoggingLevel) -> None:
        self._terms = msgspec.structs.replace(self.terms, log_level=level)


def answered_revision(requested: str) -> Revision:
    """What `initialize` is answered with: the requested revision, or else the newest with a handshake.

    Never a stateless one, even when that was asked for: the client could not go on from there.
    """
    revision = Revision.parse(requested)
    if revision is None or revision.era is not Era.LEGACY:
        return LATEST_HANDSHAKE
    assert revision in HANDSHAKE_REVISIONS
    return revision
