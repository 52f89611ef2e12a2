"""Who a request comes from, once somebody has found that out."""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from mcpcore.errors import LocalProtocolError

__all__ = ("Principal", "scope_set")

_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """An authenticated caller. It never holds the token or key that proved it, and its repr holds no claims.

    Raises `LocalProtocolError` without a subject: whoever has none would share sessions with everybody else like it.
    """

    subject: str
    """The user, or the program that acts for itself; unique for its issuer."""

    client_id: str | None = None
    """The program that acts for the user."""

    scopes: frozenset[str] = frozenset()
    """What the token grants, with what those scopes imply."""

    issuer: str | None = None
    """Who says so: the identifier of an authorization server; None for a key of the server's own."""

    claims: Mapping[str, Any] = {}
    """What else is known, read-only: the claims of a JWT, or the members of an introspection response."""

    expires: float | None = None
    """Seconds since 1970 from which on this is not true any more; None when nobody says."""

    def __post_init__(self) -> None:
        if not self.subject:
            raise LocalProtocolError("a principal needs a subject: without one, callers cannot be told apart")
        msgspec.structs.force_setattr(self, "claims", MappingProxyType(dict(self.claims)))

    @property
    def identity(self) -> str:
        """What sessions and states are bound to: the issuer, its subject and its client, whatever the token. No two
        different triples give the same text."""
        return repr((self.issuer, self.subject, self.client_id))

    def __hash__(self) -> int:
        return hash(self.identity)

    def __repr__(self) -> str:
        return f"<Principal {self.identity} {' '.join(sorted(self.scopes))}>"


def scope_set(names: Iterable[str]) -> frozenset[str]:
    """Scopes as a set. Raises `LocalProtocolError` for what is no list of scopes (RFC 6749, 3.3), and for
    `offline_access`, which says how long a client may act and never what it may do here."""
    if isinstance(names, str):
        raise LocalProtocolError(f"scopes are a list of names, not the text {names!r}")
    found = frozenset(names)
    for name in found:
        if not _SCOPE.fullmatch(name):
            raise LocalProtocolError(f"{name!r} is no scope: printable ASCII without spaces, quotes and backslashes")
    if "offline_access" in found:
        raise LocalProtocolError("offline_access is a matter between a client and its authorization server")
    return found
