"""Which scopes to ask for: as few as the server says, and never fewer than before (MCP, scope selection)."""

from collections.abc import Iterable, Sequence

__all__ = ("OFFLINE_ACCESS", "choose_scopes", "union", "with_offline_access")

OFFLINE_ACCESS = "offline_access"
"""The scope that asks for a refresh token (OpenID Connect Core, 11)."""


def choose_scopes(challenged: Sequence[str], supported: Sequence[str] | None, wanted: Sequence[str]) -> tuple[str, ...]:
    """Those of a first login: what the challenge asks for, else all that the resource's metadata lists, and what the
    caller wants. None at all means that the parameter is left out."""
    return union(challenged or (() if wanted else supported or ()), wanted)


def union(*groups: Iterable[str]) -> tuple[str, ...]:
    """All scopes, each once, in the order they were first named."""
    return tuple(dict.fromkeys(scope for group in groups for scope in group))


def with_offline_access(scopes: Sequence[str], supported: Sequence[str] | None) -> tuple[str, ...]:
    """The scopes with `offline_access`, where the authorization server lists it and any scope is asked for: with no
    scope parameter the server grants its own choice, which one scope alone would replace."""
    if scopes and supported is not None and OFFLINE_ACCESS in supported:
        return union(scopes, (OFFLINE_ACCESS,))
    return tuple(scopes)
