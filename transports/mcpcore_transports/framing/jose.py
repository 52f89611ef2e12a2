"""What proofs of possession and signed tokens have in common on both ends (RFC 7515, RFC 7638, RFC 9449)."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from importlib import import_module
from typing import Any

import msgspec

from mcpcore.errors import LocalProtocolError

__all__ = ("PROOF_TYPE", "base64url", "json_part", "library", "public_part", "thumbprint", "token_hash")

PROOF_TYPE = "dpop+jwt"
"""The `typ` of proofs (RFC 9449, 4.2)."""

_decode_object = msgspec.json.Decoder(dict[str, Any]).decode

_MEMBERS = {"EC": ("crv", "kty", "x", "y"), "OKP": ("crv", "kty", "x"), "RSA": ("e", "kty", "n")}
"""What makes up a public key, in alphabetical order (RFC 7638, 3.2; RFC 8037, 2)."""


def library(name: str) -> Any:
    """A module of PyJWT, or of cryptography, without which it knows none of the signatures that are used.

    Raises `LocalProtocolError`, which says what to install.
    """
    try:
        import_module("cryptography")
        return import_module(name)
    except ImportError as error:
        raise LocalProtocolError(
            "signatures take PyJWT with cryptography, which is not installed: pip install 'mcpcore[auth]'"
        ) from error


def public_part(jwk: Mapping[str, Any]) -> dict[str, Any]:
    """What makes up the public key, and nothing else; a member that it lacks is None.

    Raises `ValueError` for a key of a kind that is not known, or that is no public one.
    """
    kind = jwk.get("kty")
    if not isinstance(kind, str) or kind not in _MEMBERS or {"d", "k"} & jwk.keys():
        raise ValueError("no public key of a kind that is known")
    return {name: jwk.get(name) for name in _MEMBERS[kind]}


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """Of a public key (RFC 7638). Raises as `public_part`."""
    return base64url(sha256(msgspec.json.encode(public_part(jwk))).digest())


def token_hash(token: str) -> str:
    """The `ath` of a proof: which token it is shown with (RFC 9449, 4.2)."""
    return base64url(sha256(token.encode("ascii")).digest())


def base64url(data: bytes) -> str:
    """Without padding (RFC 7515, 2)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def json_part(part: str) -> dict[str, Any]:
    """The JSON object in one part of a token in the compact form, which nothing vouches for yet.

    Raises `ValueError` (which `binascii.Error` and what msgspec raises are) and `RecursionError`.
    """
    return _decode_object(urlsafe_b64decode(part + "=" * (-len(part) % 4)))
