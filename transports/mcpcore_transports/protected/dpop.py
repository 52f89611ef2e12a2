"""Proofs that whoever shows a token holds the key that it is bound to (RFC 9449), checked by PyJWT."""

import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Any

import msgspec

from mcpcore.errors import LocalProtocolError
from mcpcore_transports.framing.jose import (
    PROOF_TYPE,
    base64url,
    json_part,
    library,
    public_part,
    thumbprint,
    token_hash,
)
from mcpcore_transports.protected.jwks import ASYMMETRIC
from mcpcore_transports.protected.location import canonical
from mcpcore_transports.protected.verifier import NonceWanted, ProofRefused, ProofVerifier, VerifierUnavailable

__all__ = (
    "MAX_PROOFS",
    "MAX_PROOF_BYTES",
    "NONCE_SECONDS",
    "PROOF_SECONDS",
    "DpopProofs",
)

PROOF_SECONDS = 60.0
"""Seconds by which the time of a proof may be off from ours, both ways: what clocks differ by, and the way here."""

MAX_PROOFS = 100_000
"""Proofs that are remembered so that none counts twice: PROOF_SECONDS of 800 requests a second. Beyond it requests are
told to come back, because a proof that was forgotten could be shown again."""

MAX_PROOF_BYTES = 8 * 1024
"""Bytes of one proof, which has a public key and a few claims in it."""

NONCE_SECONDS = 300.0
"""Seconds for which a nonce is given out; it is taken for as long again."""

_MAX_JTI = 512

_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


class DpopProofs(ProofVerifier):
    """What a `Protected` server does with tokens that are bound to a key; without it, they are refused.

    required
        Refuse tokens that are not bound.
    nonces
        Give out nonces and take no proof without one, so that none can be made in advance. Several processes need the
        same `nonce_key` (32 bytes or more), or clients are asked again by each.
    algorithms, seconds
        Those of proofs; the seconds by which their time may be off from ours.

    Each process remembers the proofs that it has seen. Raises `LocalProtocolError` for settings that cannot be, and
    without the extra `mcpcore[auth]`.
    """

    def __init__(
        self,
        *,
        required: bool = False,
        nonces: bool = False,
        nonce_key: bytes | None = None,
        algorithms: Iterable[str] = ASYMMETRIC,
        seconds: float = PROOF_SECONDS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._library = library("jwt")
        self.algorithms: tuple[str, ...] = tuple(algorithms)
        if not self.algorithms or any(one not in ASYMMETRIC for one in self.algorithms):
            raise LocalProtocolError(f"algorithms= is for some of {', '.join(ASYMMETRIC)}")
        if nonce_key is not None and len(nonce_key) < 32:
            raise LocalProtocolError("nonce_key= has to have at least 32 bytes")
        self.required: bool = required
        self._jws = self._library.PyJWS(algorithms=list(self.algorithms), options={"enforce_minimum_key_length": True})
        self._nonce_key = (nonce_key or secrets.token_bytes(32)) if nonces or nonce_key is not None else None
        self._seconds = seconds
        self._now = now
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    def __repr__(self) -> str:
        return f"<DpopProofs {'required' if self.required else 'accepted'}>"

    @property
    def nonce(self) -> str | None:
        if self._nonce_key is None:
            return None
        return self._nonce_of(int(self._now() // NONCE_SECONDS))

    def check(self, proofs: Sequence[str], method: str, url: str, token: str, bound_to: str) -> None:
        if len(proofs) != 1 or "," in proofs[0]:
            raise ProofRefused("it came without a proof" if not proofs else "it came with more than one proof")
        header, claims = self._signed(proofs[0])
        if thumbprint(header["jwk"]) != bound_to:  # both are public
            raise ProofRefused("its proof is by another key than it is bound to")
        if claims.get("htm") != method:
            raise ProofRefused("its proof is for another method")
        target = claims.get("htu")
        if not isinstance(target, str) or canonical(target.partition("#")[0].partition("?")[0]) != canonical(url):
            raise ProofRefused(f"its proof is for another URL than {url}")
        if claims.get("ath") != token_hash(token):
            raise ProofRefused("its proof is for another token")
        made, jti = claims.get("iat"), claims.get("jti")
        # An integer may be larger than any float, which the difference is.
        if isinstance(made, bool) or not isinstance(made, int | float) or not abs(made) < 2**53:
            raise ProofRefused("its proof has no date (iat)")
        if not abs(made - self._now()) <= self._seconds:
            raise ProofRefused("its proof was not made just now")
        if not isinstance(jti, str) or not 0 < len(jti) <= _MAX_JTI:
            raise ProofRefused("its proof has no identifier (jti)")
        if self._nonce_key is not None and not self._is_ours(claims.get("nonce")):
            raise NonceWanted("its proof has no nonce of ours, or an old one")
        self._remember(sha256(f"{bound_to} {jti}".encode("utf-8", "surrogatepass")).digest())

    def _signed(self, proof: str) -> tuple[dict[str, Any], dict[str, Any]]:
        try:
            if len(proof) > MAX_PROOF_BYTES:
                raise ProofRefused(f"its proof has more than {MAX_PROOF_BYTES} bytes")
            header = json_part(proof.partition(".")[0])
            algorithm, jwk = header.get("alg"), header.get("jwk")
            if header.get("typ") != PROOF_TYPE or algorithm not in self.algorithms or "crit" in header:
                raise ProofRefused("its proof is of a kind that is not accepted (typ, alg, crit)")
            public = _public_key(jwk)
            key = self._library.PyJWK(public, algorithm=algorithm)
            found = self._jws.decode_complete(proof, key=key, algorithms=[algorithm])
            return {**header, "jwk": public}, _decode_object(found["payload"])
        except (ValueError, TypeError, RecursionError, self._library.PyJWTError):
            raise ProofRefused("its proof is damaged, or not signed by its own key") from None

    def _remember(self, seen: bytes) -> None:
        now = self._now()
        while self._seen and next(iter(self._seen.values())) < now:
            self._seen.popitem(last=False)
        if seen in self._seen:
            raise ProofRefused("its proof was shown before")
        if len(self._seen) >= MAX_PROOFS:
            raise VerifierUnavailable(f"{MAX_PROOFS} proofs are remembered, which is the limit")
        # None can be shown for longer than a proof whose time is as far ahead as it may be.
        self._seen[seen] = now + 2 * self._seconds

    def _is_ours(self, nonce: Any) -> bool:
        if not isinstance(nonce, str) or not nonce.isascii():
            return False
        period = int(self._now() // NONCE_SECONDS)
        return any(hmac.compare_digest(nonce, self._nonce_of(one)) for one in (period, period - 1))

    def _nonce_of(self, period: int) -> str:
        assert self._nonce_key is not None
        return base64url(hmac.digest(self._nonce_key, b"dpop nonce %d" % period, "sha256")[:18])


def _public_key(jwk: Any) -> dict[str, Any]:
    try:
        return public_part(jwk if isinstance(jwk, dict) else {})
    except ValueError:
        raise ProofRefused("its proof has no public key") from None
