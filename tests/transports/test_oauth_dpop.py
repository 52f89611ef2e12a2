"""Proofs and assertions, checked by PyJWT as a server would."""

import base64
import hashlib
import json
import sys
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from mcpcore import LocalProtocolError
from mcpcore_transports.oauth.assertions import ASSERTION_SECONDS, PrivateKey
from mcpcore_transports.oauth.authentication import authenticate
from mcpcore_transports.oauth.dpop import DpopKey, takes_dpop
from mcpcore_transports.oauth.errors import LibraryMissing, StorageFailed
from mcpcore_transports.oauth.registration import Registration


def checked(proof: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Head and claims of a proof that its own key verifies."""
    head = jwt.get_unverified_header(proof)
    key = jwt.PyJWK(head["jwk"])
    return head, jwt.decode(proof, key, algorithms=["ES256"])


def test_a_proof_of_rfc_9449() -> None:
    key = DpopKey()
    head, claims = checked(key.proof("POST", "https://s.example:8443/mcp?key=secret#x", token="tok", nonce="n"))
    assert (head["typ"], head["alg"], sorted(head["jwk"])) == ("dpop+jwt", "ES256", ["crv", "kty", "x", "y"])
    assert (claims["htm"], claims["htu"]) == ("POST", "https://s.example:8443/mcp")
    assert claims["ath"] == base64.urlsafe_b64encode(hashlib.sha256(b"tok").digest()).rstrip(b"=").decode()
    assert claims["nonce"] == "n"
    assert abs(claims["iat"] - time.time()) < 5


def test_a_proof_is_made_anew_each_time() -> None:
    key = DpopKey()
    claims = [checked(key.proof("GET", "https://s.example/"))[1] for _ in range(3)]
    assert len({each["jti"] for each in claims}) == 3
    assert all("ath" not in each and "nonce" not in each for each in claims)


def test_a_key_comes_back_from_storage() -> None:
    key = DpopKey()
    again = DpopKey(key.pem)
    assert (again.thumbprint, again.pem) == (key.thumbprint, key.pem)
    assert key.thumbprint != DpopKey().thumbprint
    jwk = checked(key.proof("GET", "https://s.example/"))[0]["jwk"]
    canonical = json.dumps(jwk, sort_keys=True, separators=(",", ":")).encode()
    assert key.thumbprint == base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode()
    assert "PRIVATE" not in repr(key)
    curve = ec.generate_private_key(ec.SECP256R1())
    encoding = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    locked = curve.private_bytes(*encoding, serialization.BestAvailableEncryption(b"word")).decode()
    for damaged in ("damaged", locked, pem(ed25519.Ed25519PrivateKey.generate())):
        with pytest.raises(StorageFailed, match="log out"):
            DpopKey(damaged)


def test_which_servers_take_proofs() -> None:
    assert takes_dpop(None)
    assert takes_dpop(["EdDSA", "ES256"])
    assert not takes_dpop(["EdDSA"])
    assert not takes_dpop([])


def pem(key: Any) -> str:
    data: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return data.decode()


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        ("ES256", ec.generate_private_key(ec.SECP256R1())),
        ("RS256", rsa.generate_private_key(65537, 2048)),
        ("EdDSA", ed25519.Ed25519PrivateKey.generate()),
    ],
)
def test_an_assertion_of_rfc_7523(algorithm: str, key: Any) -> None:
    mine = PrivateKey(pem(key), algorithm, key_id="k1")
    first, second = (mine.assertion("me", "https://login.example") for _ in range(2))
    claims = jwt.decode(first, key.public_key(), algorithms=[algorithm], audience="https://login.example", issuer="me")
    assert claims["sub"] == "me"
    assert 0 < claims["exp"] - claims["iat"] <= ASSERTION_SECONDS
    assert claims["jti"] != jwt.decode(second, options={"verify_signature": False})["jti"]
    assert jwt.get_unverified_header(first)["kid"] == "k1"
    assert "PRIVATE" not in repr(mine)


def test_an_assertion_stands_for_the_client() -> None:
    mine = PrivateKey(pem(ec.generate_private_key(ec.SECP256R1())))
    client = Registration(issuer="https://login.example", client_id="me", method="client_secret_basic")
    form, headers = authenticate({"grant_type": "x"}, client, mine)
    assert (sorted(form), headers) == (["client_assertion", "client_assertion_type", "grant_type"], [])
    assert jwt.decode(form["client_assertion"], options={"verify_signature": False})["aud"] == "https://login.example"


@pytest.mark.parametrize(
    ("text", "algorithm"),
    [
        ("secret", "ES256"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "RS256"),
        ("secret", "HS256"),
        ("secret", "none"),
        ("secret", "ES999"),
        (
            ec.generate_private_key(ec.SECP256R1())
            .public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode(),
            "ES256",
        ),
    ],
)
def test_what_is_no_private_key(text: str, algorithm: str) -> None:
    with pytest.raises(LocalProtocolError) as refused:
        PrivateKey(text, algorithm)
    assert "secret" not in str(refused.value)


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jwt", None)
    for make in (DpopKey, lambda: PrivateKey("x")):
        with pytest.raises(LibraryMissing, match=r"mcpcore\[auth\]"):
            make()
