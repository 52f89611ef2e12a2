"""Access tokens, and what a token endpoint answers (RFC 6749, 5; RFC 8693, 2.2)."""

import time
from collections.abc import Sequence

import msgspec

from mcpcore_transports.oauth.errors import TokenRefused, refused_with, shown

__all__ = ("EXPIRY_LEEWAY_SECONDS", "Token", "read_exchanged", "read_token", "refusal")

EXPIRY_LEEWAY_SECONDS = 30.0
"""Seconds before its end at which a token is renewed: a request takes a while to arrive, and clocks differ. One that
lives for a few minutes only is renewed when nine tenths of its time are over."""

_MAX_LIFETIME_SECONDS = 10 * 366 * 86400.0

_ADVICE = {
    "invalid_grant": "the code, refresh token or assertion is expired, revoked or not for this client: log in again",
    "invalid_client": "it does not know this client or its secret: check client_id and client_secret, or register anew",
    "unauthorized_client": "this client may not use this grant: check how it is registered",
    "unsupported_grant_type": "it does not do this kind of login: ask its operator which one to use",
    "invalid_scope": "it does not grant one of these scopes: check `scopes`",
    "invalid_target": "it does not know this server as a resource: its operator has to register it",
    "invalid_dpop_proof": "it does not accept the proof: check this machine's clock",
}


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """An access token and what belongs to it. Its repr shows no secret."""

    access_token: str
    kind: str = "Bearer"
    """"Bearer" or "DPoP": the scheme it is sent with."""

    issuer: str
    resource: str
    client_id: str = ""
    token_endpoint: str = ""
    """Where it came from, and is refreshed."""

    scopes: tuple[str, ...] = ()
    """Those that were asked for, which later logins ask for again."""

    refresh_token: str | None = None
    use_until: float | None = None
    """Seconds since the epoch, a little before its end; None when the server did not say."""

    auth_method: str = "none"
    """How its client authenticates where it is refreshed."""

    dpop_key: str | None = None
    """The private key (PEM) that a DPoP token is bound to."""

    def __repr__(self) -> str:
        return f"<Token {self.kind} of {self.issuer} for {self.resource}>"

    def expired(self) -> bool:
        """Whether it is time for another one."""
        return self.use_until is not None and time.time() >= self.use_until

    @property
    def authorization(self) -> str:
        """The value of the `Authorization` header."""
        return f"{self.kind} {self.access_token}"


class _Answer(msgspec.Struct):
    """A token response. Some servers send the lifetime as a string."""

    access_token: str = ""
    token_type: str = ""
    expires_in: int | float | str | None = None
    refresh_token: str | None = None
    scope: str | None = None
    issued_token_type: str | None = None


def read_token(
    body: bytes,
    *,
    issuer: str,
    resource: str,
    client_id: str,
    token_endpoint: str,
    scopes: Sequence[str],
    auth_method: str = "none",
    bound_key: str | None = None,
    before: Token | None = None,
) -> Token:
    """The token in the body of a successful response. `bound_key` is the key whose proof was sent, so that the token
    has to be bound to it; `before` the token that was refreshed, whose refresh token goes on unless there is another.

    Raises `TokenRefused` for an answer that is no token.
    """
    answer = _read_answer(body, issuer)
    kind = {"bearer": "Bearer", "dpop": "DPoP"}.get(answer.token_type.lower())
    if kind is None:
        said = f"the token_type {shown(answer.token_type)!r}" if answer.token_type else "no token_type"
        raise TokenRefused(
            f"{issuer} answered with {said}, so that nobody can say how to use what it sent; nothing of it was kept. "
            "Tell its operator (RFC 6749, 5.1)"
        )
    if bound_key is not None and kind != "DPoP":
        raise TokenRefused(
            f"{issuer} issued a token that is not bound to the key that was proved (DPoP); it was not kept. Turn dpop "
            "off if a plain bearer token will do, or ask its operator to turn DPoP on"
        )
    if bound_key is None and kind == "DPoP":
        raise TokenRefused(f"{issuer} issued a DPoP token although no key was shown; pass dpop=True")
    if not _sendable(answer.access_token):
        raise TokenRefused(f"{issuer} answered with an access token that no header can carry; tell its operator")
    granted = tuple(dict.fromkeys((*scopes, *(answer.scope or "").split())))
    refresh_token = answer.refresh_token or (before.refresh_token if before is not None else None)
    return Token(
        access_token=answer.access_token,
        kind=kind,
        issuer=issuer,
        resource=resource,
        client_id=client_id,
        token_endpoint=token_endpoint,
        scopes=granted,
        refresh_token=refresh_token,
        use_until=_use_until(answer.expires_in),
        auth_method=auth_method,
        dpop_key=bound_key,
    )


def read_exchanged(body: bytes, *, issuer: str, wanted: str) -> str:
    """The token of a token exchange, of the type that was asked for. Raises `TokenRefused`."""
    answer = _read_answer(body, issuer)
    if answer.issued_token_type != wanted:
        raise TokenRefused(
            f"{issuer} exchanged the identity for {shown(answer.issued_token_type) or 'something without a type'} "
            f"instead of {wanted}; it was not used. Tell its operator"
        )
    return answer.access_token


def refusal(body: bytes, status: int, issuer: str) -> TokenRefused:
    """The error for an answer with another status than 200."""
    error, detail = refused_with(body)
    if not error:
        advice = "try again later" if status >= 500 or status == 429 else "tell its operator"
        return TokenRefused(f"{issuer} refused the token request with HTTP {status}; {advice}", status=status)
    advice = _ADVICE.get(error, "ask the operator of the authorization server")
    return TokenRefused(
        f"{issuer} refused the token request: {error}{f' ({detail})' if detail else ''}; {advice}",
        error=error,
        status=status,
    )


def _read_answer(body: bytes, issuer: str) -> _Answer:
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.DecodeError, RecursionError):
        # Not chained: what the decoder quotes may be a part of a token.
        answer = _Answer()
    if not answer.access_token:
        raise TokenRefused(
            f"{issuer} answered the token request with something that is no token response (RFC 6749, 5.1); tell its "
            "operator"
        )
    return answer


def _use_until(expires_in: int | float | str | None) -> float | None:
    try:
        seconds = float(expires_in) if expires_in is not None else -1.0
    except (ValueError, OverflowError):  # the latter for an integer that is larger than any float
        return None
    if not seconds > 0:
        return None
    seconds = min(seconds, _MAX_LIFETIME_SECONDS)
    return time.time() + seconds - min(EXPIRY_LEEWAY_SECONDS, seconds / 10)


def _sendable(token: str) -> bool:
    return token.isascii() and token.isprintable() and " " not in token
