"""Tokens that are JWTs: what their header and their signature must not get away with."""

import json
import logging
import time
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from transports.tokens import RESOURCE, Issuer, key_of, pem_of, public_jwk, sign, without_signature

from mcpcore.errors import LocalProtocolError
from mcpcore_transports.protected import jwt_verifier
from mcpcore_transports.protected.credentials import MAX_TOKEN_BYTES
from mcpcore_transports.protected.jwks import ASYMMETRIC
from mcpcore_transports.protected.jwt_verifier import VERIFIED_SECONDS, JwtVerifier
from mcpcore_transports.protected.verifier import TokenRefused, TokenUnknown

pytestmark = pytest.mark.anyio

RESOURCES = frozenset([RESOURCE])
SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


def given(issuer: Issuer, **options: Any) -> JwtVerifier:
    return JwtVerifier(issuer.url, keys={"keys": issuer.published}, **options)


def encoded(value: Any) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


async def test_a_good_token(issuer: Issuer) -> None:
    found = await given(issuer).verify(issuer.token(), RESOURCES)
    assert (found.subject, found.client_id, found.issuer) == ("alice", "editor", issuer.url)
    assert found.scopes == {"mcp"}


@pytest.mark.parametrize(("kind", "algorithm"), [("RSA", "RS256"), ("RSA", "PS512"), ("EC", "ES256"), ("OKP", "EdDSA")])
async def test_kinds_of_keys(issuer: Issuer, kind: str, algorithm: str) -> None:
    key = key_of(kind)
    token = sign(issuer.claims(), key, algorithm, kid="one")
    for keys in (public_jwk(key), {"keys": [public_jwk(key)]}, pem_of(key), pem_of(key).decode(), [pem_of(key)]):
        found = await JwtVerifier(issuer.url, keys=keys).verify(token, RESOURCES)
        assert found.subject == "alice"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", ""])
@pytest.mark.parametrize("signed", [True, False])
async def test_unsigned_tokens_are_refused(issuer: Issuer, algorithm: str, signed: bool) -> None:
    signature = issuer.token().rpartition(".")[2] if signed else ""
    token = f"{encoded({'alg': algorithm, 'typ': 'at+jwt', 'kid': 'one'})}.{encoded(issuer.claims())}.{signature}"
    with pytest.raises(TokenRefused, match="algorithm"):
        await given(issuer).verify(token, RESOURCES)


async def test_a_signature_that_was_taken_off_or_is_for_other_claims(issuer: Issuer) -> None:
    good = issuer.token()
    head, _, signature = good.split(".")
    for token in (
        without_signature(good),
        f"{head}.{encoded(issuer.claims(sub='root'))}.{signature}",
        good[:-4] + ("AAAA" if good[-4:] != "AAAA" else "BBBB"),
    ):
        with pytest.raises(TokenRefused):
            await given(issuer).verify(token, RESOURCES)


@pytest.mark.parametrize("kind", ["RSA", "EC"])
async def test_a_public_key_is_no_secret(issuer: Issuer, kind: str) -> None:
    """HS256, signed with what everybody can fetch (RFC 8725, 2.1)."""
    key = key_of(kind)
    claims = issuer.claims()
    for secret in (pem_of(key), json.dumps(public_jwk(key)).encode()):
        import hashlib
        import hmac

        signed = f"{encoded({'alg': 'HS256', 'typ': 'at+jwt', 'kid': 'one'})}.{encoded(claims)}"
        signature = urlsafe_b64encode(hmac.digest(secret, signed.encode(), hashlib.sha256)).rstrip(b"=").decode()
        for keys in (pem_of(key), public_jwk(key)):
            with pytest.raises(TokenRefused, match="algorithm"):
                await JwtVerifier(issuer.url, keys=keys).verify(f"{signed}.{signature}", RESOURCES)
    for pem in (pem_of(key), pem_of(key).decode()):
        with pytest.raises(LocalProtocolError, match="keys="):
            JwtVerifier(issuer.url, secret=pem)
    symmetric = {"kty": "oct", "k": encoded("x" * 40), "kid": "one", "alg": "HS256"}
    with pytest.raises(LocalProtocolError):
        JwtVerifier(issuer.url, keys={"keys": [symmetric]})


async def test_a_shared_secret_that_was_given_on_purpose(issuer: Issuer) -> None:
    verifier = JwtVerifier(issuer.url, secret=SECRET)
    token = sign(issuer.claims(), SECRET, "HS256")
    assert (await verifier.verify(token, RESOURCES)).subject == "alice"
    with pytest.raises(TokenRefused, match="no known key"):
        await verifier.verify(sign(issuer.claims(), SECRET.replace("0", "1"), "HS256"), RESOURCES)
    with pytest.raises(TokenRefused, match="algorithm"):
        await verifier.verify(issuer.token(), RESOURCES)


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ({"typ": "dpop+jwt"}, "type"),
        ({"typ": "logout+jwt"}, "type"),
        ({"typ": 7}, "type"),
        ({"crit": ["exp"]}, "critical"),
        ({"crit": []}, "critical"),
        ({"kid": 7}, "kid"),
        ({"alg": 7}, "algorithm"),
        ({"alg": ["ES256"]}, "algorithm"),
        ({"alg": "RS256"}, "no known key"),
        ({"kid": "another\nline" * 50}, "no known key|type"),
    ],
)
async def test_headers_that_are_refused(issuer: Issuer, header: dict[str, Any], why: str) -> None:
    _, claims, signature = issuer.token().split(".")
    head = encoded({"alg": "ES256", "typ": "at+jwt", "kid": "one", **header})
    with pytest.raises(TokenRefused, match=why) as refused:
        await given(issuer).verify(f"{head}.{claims}.{signature}", RESOURCES)
    assert len(str(refused.value)) < 200
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("typ", ["at+jwt", "application/at+jwt", "AT+JWT", "JWT", None])
async def test_types(issuer: Issuer, typ: str | None) -> None:
    token = sign(issuer.claims(), issuer.key, typ=typ, kid="one")
    assert (await given(issuer).verify(token, RESOURCES)).subject == "alice"
    strict = given(issuer, types=["at+jwt"])
    if typ in ("JWT", None):
        with pytest.raises(TokenRefused, match="type"):
            await strict.verify(token, RESOURCES)
    else:
        await strict.verify(token, RESOURCES)


@pytest.mark.parametrize(
    "token",
    [
        "x",
        ".",
        "..",
        "a.b.c",
        "a.b.c.d.e",
        "====.====.====",
        f"{encoded([])}.{encoded({})}.",
        f"{encoded({'alg': 'ES256'})}.{encoded('x')}.",
        "e30.e30.e30",
        f"{encoded({'alg': 'ES256'})}.{urlsafe_b64encode(b'[' * 9000).decode().rstrip('=')}.e30",
        "A" * MAX_TOKEN_BYTES,
        "é.é.é",
    ],
)
async def test_garbage_is_nobodys(issuer: Issuer, token: str) -> None:
    with pytest.raises(TokenUnknown):
        await given(issuer).verify(token, RESOURCES)


async def test_claims_are_judged_after_the_signature(issuer: Issuer) -> None:
    verifier = given(issuer)
    with pytest.raises(TokenUnknown, match="another issuer"):
        await verifier.verify(issuer.token(iss="https://evil.example"), RESOURCES)
    for claims in ({"exp": time.time() - 3600}, {"nbf": time.time() + 3600}, {"aud": "https://other.example"}):
        with pytest.raises(TokenRefused):
            await verifier.verify(issuer.token(**claims), RESOURCES)
    with pytest.raises(TokenRefused, match="no known key"):
        await verifier.verify(issuer.token(exp=time.time() - 3600, key=key_of("EC", "stranger")), RESOURCES)


async def test_a_signature_is_looked_at_once_and_the_claims_each_time(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [time.time()]
    verifier = given(issuer, now=lambda: now[0])
    token = issuer.token()
    looked: list[str] = []
    honest = verifier._jws.decode_complete

    def counting(token: str, **options: Any) -> Any:
        looked.append(token)
        return honest(token, **options)

    monkeypatch.setattr(verifier._jws, "decode_complete", counting)
    for _ in range(3):
        assert (await verifier.verify(token, RESOURCES)).subject == "alice"
    assert len(looked) == 1
    with pytest.raises(TokenRefused, match="another server"):
        await verifier.verify(token, frozenset(["https://other.example"]))
    now[0] += 331
    with pytest.raises(TokenRefused, match="expired"):
        await verifier.verify(token, RESOURCES)
    now[0] -= 331
    monkeypatch.setattr(jwt_verifier, "MAX_VERIFIED", 2)
    for number in range(3):
        await verifier.verify(issuer.token(jti=f"{number}"), RESOURCES)
    assert len(verifier._verified) <= 2
    await verifier.verify(token, RESOURCES)
    assert len(looked) == 5
    later = time.monotonic() + VERIFIED_SECONDS
    monkeypatch.setattr(jwt_verifier.time, "monotonic", lambda: later)
    await verifier.verify(token, RESOURCES)
    assert len(looked) == 6
    assert token not in repr(vars(verifier))


async def test_an_audience_of_its_own(issuer: Issuer) -> None:
    verifier = given(issuer, audience=["api://mcp"])
    assert not verifier.needs_resource
    assert (await verifier.verify(issuer.token(aud="api://mcp"), frozenset())).subject == "alice"
    with pytest.raises(TokenRefused, match="another server"):
        await verifier.verify(issuer.token(), RESOURCES)


async def test_keys_of_another_use_or_strength_are_not_used(issuer: Issuer, caplog: pytest.LogCaptureFixture) -> None:
    token = issuer.token()
    for members in ({"use": "enc"}, {"key_ops": ["sign"]}, {"alg": "ES384"}, {"kty": "RSA"}, {"crv": "P-384"}):
        keys = [public_jwk(issuer.key, **members), public_jwk(key_of("OKP"), "other")]
        with pytest.raises(TokenRefused):
            await JwtVerifier(issuer.url, keys={"keys": keys}).verify(token, RESOURCES)
    caplog.set_level(logging.CRITICAL)
    weak = key_of("weak RSA")
    signed = sign(issuer.claims(), key_of("RSA"), "RS256", kid="one")
    with pytest.raises(TokenRefused, match="InvalidKeyError"):
        await JwtVerifier(issuer.url, keys=public_jwk(weak)).verify(signed, RESOURCES)


@pytest.mark.parametrize(
    "options",
    [
        {"algorithms": ["none"]},
        {"algorithms": ["HS256"]},
        {"algorithms": []},
        {"keys": "no pem"},
        {"keys": b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"},
        {"keys": {"keys": []}},
        {"keys": {"keys": None}},
        {"secret": "short"},
        {"secret": SECRET, "keys": {"keys": []}},
        {"jwks_uri": "http://login.example.com/jwks"},
        {"jwks_uri": "file:///etc/passwd"},
    ],
)
def test_settings_that_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError) as refused:
        JwtVerifier("https://login.example.com", **options)
    assert "AAAA" not in str(refused.value)


def test_an_issuer_is_asked_over_https_only() -> None:
    with pytest.raises(LocalProtocolError, match="https"):
        JwtVerifier("http://login.example.com")


def test_no_symmetric_algorithm_is_accepted_unasked() -> None:
    assert not [name for name in ASYMMETRIC if name.startswith("HS") or name.lower() == "none"]


def test_without_the_extra_an_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "jwt", None)
    with pytest.raises(LocalProtocolError, match=r"mcpcore\[auth\]"):
        JwtVerifier("https://login.example.com")


def test_no_repr_shows_a_secret() -> None:
    assert SECRET not in repr(JwtVerifier("https://login.example.com", secret=SECRET))
