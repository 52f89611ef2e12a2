"""Signed statements of a client about itself (RFC 7523, 2.2 and 3), by PyJWT of the extra `mcpcore[auth]`."""

import secrets
import time
from typing import Any

from mcpcore.errors import LocalProtocolError
from mcpcore_transports.framing import jose
from mcpcore_transports.oauth.errors import LibraryMissing

__all__ = ("ASSERTION_SECONDS", "PrivateKey", "library")

ASSERTION_SECONDS = 60.0
"""Seconds for which an assertion is valid: it is made for one request and sent at once."""


def library(name: str) -> Any:
    """That of `jose`, with the login it was needed for failing by it: raises `LibraryMissing`."""
    try:
        return jose.library(name)
    except LocalProtocolError as error:
        raise LibraryMissing(str(error)) from error


class PrivateKey:
    """A key that a client was registered with: PEM (PKCS#8 or the like), and the algorithm it signs with, e.g. ES256.

    `key_id` names it where several are registered. Raises `LocalProtocolError` for a key that does not fit, and
    `LibraryMissing`. Its repr shows no secret.
    """

    def __init__(self, pem: str | bytes, algorithm: str = "ES256", *, key_id: str | None = None) -> None:
        jwt = library("jwt")
        if (
            algorithm == "none"
            or algorithm.startswith("HS")
            or algorithm not in jwt.algorithms.get_default_algorithms()
        ):
            raise LocalProtocolError(f"{algorithm!r} is no algorithm for a private key: use ES256, RS256, EdDSA or so")
        try:
            self._key = jwt.algorithms.get_default_algorithms()[algorithm].prepare_key(
                pem.encode() if isinstance(pem, str) else pem
            )
            jwt.encode({}, self._key, algorithm=algorithm)
        except (ValueError, TypeError, AttributeError, jwt.PyJWTError):
            # Not chained: parsers quote what they cannot read.
            raise LocalProtocolError(f"the private key is no PEM of a private key for {algorithm}") from None
        self.algorithm = algorithm
        self._key_id = key_id

    def __repr__(self) -> str:
        return f"<PrivateKey {self.algorithm}>"

    def assertion(self, client_id: str, audience: str) -> str:
        """A statement that the holder of this key is `client_id`, for one audience: the issuer of the server."""
        now = time.time()
        claims = {
            "iss": client_id,
            "sub": client_id,
            "aud": audience,
            "iat": int(now),
            "exp": int(now + ASSERTION_SECONDS),
            "jti": secrets.token_urlsafe(24),
        }
        headers = {} if self._key_id is None else {"kid": self._key_id}
        return str(library("jwt").encode(claims, self._key, algorithm=self.algorithm, headers=headers))
