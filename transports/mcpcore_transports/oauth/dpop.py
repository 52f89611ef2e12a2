"""Proofs that whoever sends a token holds the key it is bound to (RFC 9449), by PyJWT of the extra `mcpcore[auth]`."""

import secrets
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from mcpcore_transports.framing.jose import PROOF_TYPE, public_part, thumbprint, token_hash
from mcpcore_transports.framing.wellknown import origin_of
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
        self._jwk = public_part(algorithm.to_jwk(self._key.public_key(), as_dict=True))
        self.pem: str = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode("ascii")

    def __repr__(self) -> str:
        return f"<DpopKey {self.thumbprint}>"

    @property
    def thumbprint(self) -> str:
        """Of the public key (RFC 7638)."""
        return thumbprint(self._jwk)

    def proof(self, method: str, url: str, *, token: str | None = None, nonce: str | None = None) -> str:
        """The `DPoP` header of one request. With a token, for the use of it; never the same twice."""
        claims: dict[str, Any] = {
            "jti": secrets.token_urlsafe(24),
            "htm": method,
            "htu": origin_of(url) + urlsplit(url).path,
            "iat": int(time.time()),
        }
        if token is not None:
            claims["ath"] = token_hash(token)
        if nonce is not None:
            claims["nonce"] = nonce
        headers = {"typ": PROOF_TYPE, "jwk": self._jwk}
        return str(self._jwt.encode(claims, self._key, algorithm=DPOP_ALGORITHM, headers=headers))


def takes_dpop(algorithms: Sequence[str] | None) -> bool:
    """Whether an authorization server takes our proofs, going by `dpop_signing_alg_values_supported`."""
    return algorithms is None or DPOP_ALGORITHM in algorithms
