"""What a token endpoint answers, what is kept of it, and what is shown of that."""

import time
from typing import Any

import msgspec
import pytest

from mcpcore_transports.oauth.errors import LoginFailed, TokenRefused, code_of, shown
from mcpcore_transports.oauth.token import EXPIRY_LEEWAY_SECONDS, Token, read_exchanged, read_token, refusal

ISSUER = "https://login.example"


def read(answer: Any, **options: Any) -> Token:
    body = answer if isinstance(answer, bytes) else msgspec.json.encode({"token_type": "bearer", **answer})
    known = {"issuer": ISSUER, "resource": "https://s.example", "client_id": "me", "token_endpoint": f"{ISSUER}/token"}
    return read_token(body, **{**known, "scopes": ("a",), **options})


def test_a_token_with_everything() -> None:
    token = read({"access_token": "secret", "refresh_token": "secret2", "scope": "a b", "more": [1]})
    assert (token.authorization, token.refresh_token, token.scopes) == ("Bearer secret", "secret2", ("a", "b"))
    assert (token.issuer, token.resource, token.token_endpoint) == (ISSUER, "https://s.example", f"{ISSUER}/token")
    assert not token.expired()
    assert "secret" not in f"{token!r} {token} {[token]}"
    assert msgspec.json.decode(msgspec.json.encode(token), type=Token) == token


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [
        (3600, 3600 - EXPIRY_LEEWAY_SECONDS),
        ("3600", 3600 - EXPIRY_LEEWAY_SECONDS),
        (10, 9),
        (10**400, None),
        (1e300, 10 * 366 * 86400 - EXPIRY_LEEWAY_SECONDS),
        (0, None),
        (-1, None),
        ("soon", None),
        ("nan", None),
        (None, None),
    ],
)
def test_how_long_it_is_used(expires_in: Any, seconds: float | None) -> None:
    token = read({"access_token": "secret", "expires_in": expires_in})
    if seconds is None:
        assert token.use_until is None
    else:
        assert token.use_until == pytest.approx(time.time() + seconds, abs=5)


def test_a_token_whose_time_is_over() -> None:
    token = read({"access_token": "secret", "expires_in": 60})
    assert not token.expired()
    assert msgspec.structs.replace(token, use_until=time.time() - 1).expired()


def test_a_refresh_token_goes_on_until_there_is_another() -> None:
    before = read({"access_token": "secret", "refresh_token": "first"})
    assert read({"access_token": "secret"}, before=before).refresh_token == "first"
    assert read({"access_token": "secret", "refresh_token": "second"}, before=before).refresh_token == "second"


def test_a_bound_token() -> None:
    token = read({"access_token": "secret", "token_type": "dPoP"}, bound_key="PRIVATE KEY")
    assert token.authorization == "DPoP secret"
    assert "PRIVATE" not in repr(token)
    with pytest.raises(TokenRefused, match="not bound to the key") as failed:
        read({"access_token": "secret"}, bound_key="PRIVATE KEY")
    assert "secret" not in str(failed.value)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"secret",
        b'{"access_token": "secret"',
        b'{"access_token": {"secret": 1}}',
        b"[" * 100_000,
        {"access_token": ""},
        {"access_token": "secret", "token_type": ""},
        {"access_token": "secret", "token_type": "N_A"},
        {"access_token": "secret", "token_type": 7},
        {"access_token": "secret\n"},
        {"access_token": "secret secret"},
        {"access_token": "secreté"},
    ],
)
def test_what_is_no_token(answer: Any) -> None:
    with pytest.raises(TokenRefused) as failed:
        read(answer)
    error: BaseException | None = failed.value
    while error is not None:
        assert "secret" not in repr(error)
        error = error.__cause__ or error.__context__ if not isinstance(error, msgspec.MsgspecError) else None


def test_an_exchange_gives_what_was_asked_for() -> None:
    wanted = "urn:ietf:params:oauth:token-type:id-jag"
    body = {"access_token": "secret", "issued_token_type": wanted, "token_type": "N_A"}
    assert read_exchanged(msgspec.json.encode(body), issuer=ISSUER, wanted=wanted) == "secret"
    for other in ("urn:ietf:params:oauth:token-type:access_token", None):
        with pytest.raises(TokenRefused, match="instead of"):
            read_exchanged(msgspec.json.encode({**body, "issued_token_type": other}), issuer=ISSUER, wanted=wanted)


@pytest.mark.parametrize(
    ("body", "status", "code", "says"),
    [
        (b'{"error": "invalid_grant"}', 400, "invalid_grant", "log in again"),
        (b'{"error": "new_error"}', 400, "new_error", "ask the operator"),
        (b'{"error": 5}', 400, "", "HTTP 400; tell its operator"),
        (b"<html>secret", 502, "", "HTTP 502; try again later"),
        (b"", 429, "", "try again later"),
    ],
)
def test_refusals(body: bytes, status: int, code: str, says: str) -> None:
    error = refusal(body, status, ISSUER)
    assert (error.error, error.status, says in str(error)) == (code, status, True)
    assert isinstance(error, LoginFailed)
    assert "secret" not in str(error)


def test_what_a_peer_says_is_short_and_printable() -> None:
    assert shown("a\x1b[2Jb\nc" + 1000 * "x").startswith("a [2Jb c")
    assert len(shown(1000 * "x")) == 200
    assert shown(5) == shown(None) == ""
    assert code_of("invalid_grant") == "invalid_grant"
    assert code_of("a b") == code_of(7) == code_of("x" * 65) == code_of("") == ""
