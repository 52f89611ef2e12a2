"""What differs between the handshake era and the stateless one, as rules without I/O.

Which era a message belongs to is decided once, for each message, at the door of the session. What the decision
yields is a `Terms`: from there on nobody asks about eras, only about the terms a message came under.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from mcpcore.revisions import Era, Revision
from mcpcore.types import META_PROTOCOL_VERSION, ClientCapabilities, Implementation, LoggingLevel

__all__ = ("ALL_ERAS", "Terms", "era_of")

ALL_ERAS = frozenset(Era)

_LEGACY, _MODERN = Era


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What both sides agreed on for one request: by a handshake before it, or in its own `_meta`."""

    revision: Revision
    capabilities: ClientCapabilities
    """What the client can do. Nothing else may be asked of it."""

    client_info: Implementation | None = None
    """Who the client says it is. For logs only: it proves nothing."""

    log_level: LoggingLevel | None = None
    """The least severe level to send, or None for no log messages at all."""


def era_of(method: str, meta: Mapping[str, Any] | None) -> Era:
    """The era of one request, whatever came before it on the same pipe (spec 2026-07-28, Versioning).

    The reserved `_meta` key marks a request as modern even for a method that only the handshake era has: it is then
    an unknown method, not a handshake. `server/discover` exists in one era only.
    """
    if (meta is not None and META_PROTOCOL_VERSION in meta) or method == "server/discover":
        return _MODERN
    return _LEGACY
