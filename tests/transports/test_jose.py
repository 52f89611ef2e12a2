"""What signatures, keys and proofs have in common on both ends."""

import sys
from typing import Any

import pytest

from mcpcore.errors import LocalProtocolError
from mcpcore_transports.framing.jose import base64url, library, public_part, thumbprint, token_hash


def test_the_thumbprint_of_the_standard() -> None:
    """RFC 7638, 3.1."""
    key = {
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjB"
        "ZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8"
        "KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_"
        "xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        "e": "AQAB",
        "alg": "RS256",
        "kid": "2011-04-29",
    }
    assert thumbprint(key) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_what_is_no_part_of_the_public_key_is_left_out() -> None:
    key = {"kty": "EC", "crv": "P-256", "x": "1", "y": "2", "kid": "a", "use": "sig"}
    assert public_part(key) == {"crv": "P-256", "kty": "EC", "x": "1", "y": "2"}
    assert public_part({"kty": "OKP", "x": "1"}) == {"crv": None, "kty": "OKP", "x": "1"}


@pytest.mark.parametrize(
    "jwk", [{}, {"kty": "oct", "k": "AAAA"}, {"kty": ["EC"]}, {"kty": "EC", "d": "AAAA"}, {"kty": "RSA", "k": "AAAA"}]
)
def test_what_is_no_public_key(jwk: dict[str, Any]) -> None:
    for use in (public_part, thumbprint):
        with pytest.raises(ValueError, match="public key"):
            use(jwk)


def test_what_a_proof_says_of_its_token() -> None:
    """RFC 9449, 7.1."""
    token = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
    assert token_hash(token) == "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"
    assert base64url(b"\xff\xfe") == "__4"


@pytest.mark.parametrize("missing", ["jwt", "cryptography"])
def test_without_the_extra_it_says_what_to_install(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert library("jwt").__name__ == "jwt"
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(LocalProtocolError, match=r"mcpcore\[auth\]"):
        library("jwt")
