"""What must be true of a token before it counts: for claims of a JWT (RFC 7519, 4.1; RFC 9068, 4) and for members of an
introspection response (RFC 7662, 2.2) alike."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from mcpcore.principal import Principal
from mcpcore_transports.protected.location import canonical
from mcpcore_transports.protected.verifier import TokenRefused

__all__ = ("LEEWAY_SECONDS", "ClaimRules", "audiences_of", "principal_of")

LEEWAY_SECONDS = 30.0
"""Seconds that the clock of an issuer may be off from ours: more than time servers leave, less than anybody waits."""


class ClaimRules(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of the claims. Each of the three booleans is False only where somebody else vouches for it."""

    issuer: str | None
    """Compared byte for byte; None for no rule."""

    audiences: frozenset[str] | None = None
    """In the form of `canonical`; None for the resources of the server."""

    must_name_issuer: bool = True
    must_name_audience: bool = True
    must_expire: bool = True
    required: frozenset[str] = frozenset()
    """Further claims that have to be there, whatever their value."""

    leeway: float = LEEWAY_SECONDS


def audiences_of(setting: str | Iterable[str] | None) -> frozenset[str] | None:
    """What `audience=` of a verifier says, as `ClaimRules.audiences` has it."""
    if setting is None:
        return None
    return frozenset(canonical(one) for one in ([setting] if isinstance(setting, str) else setting))


def principal_of(claims: Mapping[str, Any], rules: ClaimRules, resources: Collection[str], now: float) -> Principal:
    """Whose token these are the claims of. `now` is in seconds since 1970.

    Raises `TokenRefused` for a token that is expired or not valid yet, from another issuer, for another audience, or
    without what it needs to have.
    """
    for name in sorted(rules.required):
        if claims.get(name) is None:
            raise TokenRefused(f"it has no {name}")
    expires = _seconds(claims, "exp")
    if expires is None and rules.must_expire:
        raise TokenRefused("it never expires (no exp)")
    if expires is not None and expires + rules.leeway <= now:
        raise TokenRefused(f"it expired {now - expires:.0f} seconds ago")
    for name in ("nbf", "iat"):
        begins = _seconds(claims, name)
        if begins is not None and begins - rules.leeway > now:
            raise TokenRefused(f"it is not valid for another {begins - now:.0f} seconds ({name})")
    issuer = _text(claims, "iss")
    if rules.issuer is not None and issuer != rules.issuer and (issuer is not None or rules.must_name_issuer):
        raise TokenRefused("it has no issuer" if issuer is None else "it is from another issuer")
    _check_audience(claims.get("aud"), rules, resources)
    client = _text(claims, "client_id") or _text(claims, "azp") or _text(claims, "cid")
    subject = _text(claims, "sub")
    if not subject:
        raise TokenRefused("it has no subject, so callers could not be told apart")
    return Principal(
        subject=subject,
        client_id=client,
        scopes=_scopes(claims),
        issuer=issuer or rules.issuer,
        claims=claims,
        expires=None if expires is None else expires + rules.leeway,
    )


def _check_audience(said: Any, rules: ClaimRules, resources: Collection[str]) -> None:
    audiences = [said] if isinstance(said, str) else said
    if audiences is None and not rules.must_name_audience:
        return
    if not isinstance(audiences, list) or not all(isinstance(one, str) for one in audiences):
        raise TokenRefused("it has no audience (aud), so it may have been made for another server")
    wanted = resources if rules.audiences is None else rules.audiences
    if not any(canonical(one) in wanted for one in audiences):
        raise TokenRefused(f"it was made for another server: its audience is none of {', '.join(sorted(wanted))}")


def _seconds(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**53:
        raise TokenRefused(f"its {name} is no date")
    return float(value)


def _text(claims: Mapping[str, Any], name: str) -> str | None:
    value = claims.get(name)
    if value is not None and not isinstance(value, str):
        raise TokenRefused(f"its {name} is no text")
    return value


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """`scope` with spaces in between as the standards have it; `scp`, which some issuers write, as a list or so."""
    said = claims.get("scope")
    if said is None:
        said = claims.get("scp")
    if isinstance(said, str):
        return frozenset(said.split())
    if isinstance(said, list) and all(isinstance(one, str) for one in said):
        return frozenset(said)
    if said is not None:
        raise TokenRefused("its scope is neither a text nor a list of texts")
    return frozenset()
