"""Proofs that whoever sends a token holds the key it is bound to (RFC 9449), by PyJWT of the extra `mcpcore[auth]`."""

import base64
import hashlib
import secrets
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from mcpcore_transports.oauth.assertions import library
from mcpcore_transports.oauth.errors import StorageFailed

__all__ = ("DPOP_ALGORITHM", "DpopKey", "takes_dpop")

DPOP_ALGORITHM = "ES256"
"""What proofs are signed with: the one that every implementation has."""


class DpopKey:
    """A key that this client made for itself. The private half goes nowhere but into the storage of tokens.

    Raises `LibraryMissing`, and `StorageFailed` for a `pem` that is none. Its repr shows no secret.
    """

    def __init__(self, pem: str | None = None) -> None:
        serialization = library("cryptography.hazmat.primitives.serialization")
        curves = library("cryptography.hazmat.primitives.asymmetric.ec")
        self._jwt = library("jwt")
        self._key: Any
        if pem is None:
            self._key = curves.generate_private_key(curves.SECP256R1())
        else:
            try:
                self._key = serialization.load_pem_private_key(pem.encode(), password=None)
            except (ValueError, TypeError):  # the latter for one with a password
                self._key = None
            if not isinstance(self._key, curves.EllipticCurvePrivateKey):
                raise StorageFailed("the stored DPoP key is damaged: log out, and in again")
        algorithm = self._jwt.algorithms.ECAlgorithm
        public = algorithm.to_jwk(self._key.public_key(), as_dict=True)
        self._jwk = {name: public[name] for name in ("crv", "kty", "x", "y")}
        self.pem: str = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode("ascii")

    def __repr__(self) -> str:
        return f"<DpopKey {self.thumbprint}>"

    @property
    def thumbprint(self) -> str:
        """Of the public key (RFC 7638)."""
        members = ",".join(f'"{name}":"{self._jwk[name]}"' for name in sorted(self._jwk))
        return _encoded(hashlib.sha256(f"{{{members}}}".encode()).digest())

    def proof(self, method: str, url: str, *, token: str | None = None, nonce: str | None = None) -> str:
        """The `DPoP` header of one request. With a token, for the use of it; never the same twice."""
        parts = urlsplit(url)
        claims: dict[str, Any] = {
            "jti": secrets.token_urlsafe(24),
            "htm": method,
            "htu": urlunsplit((parts.scheme, parts.netloc, parts.path, "", "")),
            "iat": int(time.time()),
        }
        if token is not None:
            claims["ath"] = _encoded(hashlib.sha256(token.encode("ascii")).digest())
        if nonce is not None:
            claims["nonce"] = nonce
        headers = {"typ": "dpop+jwt", "jwk": self._jwk}
        return str(self._jwt.encode(claims, self._key, algorithm=DPOP_ALGORITHM, headers=headers))


def takes_dpop(algorithms: Sequence[str] | None) -> bool:
    """Whether an authorization server takes our proofs, going by `dpop_signing_alg_values_supported`."""
    return algorithms is None or DPOP_ALGORITHM in algorithms


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
