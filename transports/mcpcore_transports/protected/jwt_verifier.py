"""Access tokens that are JWTs (RFC 7519, RFC 9068), checked by PyJWT, with everything that must not be left to a token
decided here: which algorithms, which keys, which issuer.
"""

import binascii
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping
from hashlib import sha256
from typing import Any

import msgspec

from mcpcore.errors import LocalProtocolError
from mcpcore.principal import Principal
from mcpcore_transports.framing.jose import json_part, library
from mcpcore_transports.protected.claims import LEEWAY_SECONDS, ClaimRules, audiences_of, principal_of
from mcpcore_transports.protected.fetching import FETCH_SECONDS, Fetcher
from mcpcore_transports.protected.jwks import ASYMMETRIC, KeySet, RemoteKeys
from mcpcore_transports.protected.location import require_safe_url
from mcpcore_transports.protected.verifier import TokenRefused, TokenUnknown, TokenVerifier

__all__ = ("MAX_VERIFIED", "TOKEN_TYPES", "VERIFIED_SECONDS", "JwtVerifier")

VERIFIED_SECONDS = 60.0
"""Seconds for which a signature that was good is not looked at again, which takes more than all else about a request.
The dates and the audience of its token are, each time. A key that is withdrawn is trusted for this much longer."""

MAX_VERIFIED = 10_000
"""Tokens whose claims are kept, by a hash of the token; the one used longest ago is forgotten first. Some 20 MB."""

TOKEN_TYPES = ("at+jwt", "jwt", "")
"""The `typ` of an access token: what RFC 9068 wants, and what issuers before it write, or leave out."""

_SHARED = {"HS256": 32, "HS384": 48, "HS512": 64}
"""Algorithms with a shared secret, and how many bytes one has at least (RFC 7518, 3.2)."""

_NEVER: tuple[float, dict[str, Any]] = (0.0, {})

_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


class JwtVerifier(TokenVerifier):
    """Accepts the tokens of one issuer.

    issuer
        Its identifier, which has to be the token's `iss`, byte for byte.
    jwks_uri
        Where it publishes its keys. Without this and without `keys`, its metadata says so.
    keys
        The keys themselves: a PEM (a public key or a certificate's), a JWK set, or one JWK; or a list of PEMs.
    secret
        A secret that is shared with the issuer, for HS256; then nothing else is accepted.
    audience
        What has to be in the token's `aud`; by default the URL of this server, which is what clients ask for.
    algorithms
        Those that are accepted: by default all with public keys, or with `secret` HS256. `none` never is.
    types
        Those that are accepted as `typ`, in lower case; `("at+jwt",)` is strict (RFC 9068, 4).
    required
        Claims that have to be there beside iss, sub, aud and exp.
    leeway, allow_private, ssl_context, timeout
        Seconds that clocks may differ; whether the keys' URL may lead to a private address or to this machine (never to
        a link-local address); what to trust for it instead of what the system does; seconds for one fetch.

    Raises `LocalProtocolError` for settings that cannot be, and without the extra `mcpcore[auth]`.
    """

    def __init__(
        self,
        issuer: str,
        *,
        jwks_uri: str | None = None,
        keys: str | bytes | Mapping[str, Any] | Iterable[str | bytes] | None = None,
        secret: str | bytes | None = None,
        audience: str | Iterable[str] | None = None,
        algorithms: Iterable[str] | None = None,
        types: Iterable[str] = TOKEN_TYPES,
        required: Iterable[str] = (),
        leeway: float = LEEWAY_SECONDS,
        allow_private: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        timeout: float = FETCH_SECONDS,
        now: Callable[[], float] = time.time,
    ) -> None:
        if sum(one is not None for one in (jwks_uri, keys, secret)) > 1:
            raise LocalProtocolError("give one of jwks_uri=, keys= and secret=")
        self._library = library("jwt")
        possible: Collection[str] = _SHARED if secret is not None else ASYMMETRIC
        default = ("HS256",) if secret is not None else ASYMMETRIC
        allowed = default if algorithms is None else tuple(algorithms)
        if not allowed or any(one not in possible for one in allowed):
            raise LocalProtocolError(f"algorithms= is for some of {', '.join(possible)}")
        self._algorithms = frozenset(allowed)
        self._jws = self._library.PyJWS(algorithms=list(allowed), options={"enforce_minimum_key_length": True})
        self._secrets: dict[str, Any] | None = None
        self._keys: KeySet | None = None
        self._remote: RemoteKeys | None = None
        if secret is not None:
            self._secrets = _secrets(self._library, secret, allowed)
        elif keys is not None:
            self._keys = KeySet(_jwks_of(self._library, keys), allowed)
            if not len(self._keys):
                raise LocalProtocolError("keys= has no public key that signatures can be checked with")
        else:
            if jwks_uri is None:
                asked = require_safe_url(issuer, "the issuer")
            else:
                asked = require_safe_url(jwks_uri, "jwks_uri=", query=True)
            self._fetcher = Fetcher(asked, allow_private=allow_private, ssl_context=ssl_context, seconds=timeout)
            self._remote = RemoteKeys(issuer, jwks_uri, self._fetcher, algorithms=allowed)
        self._rules = ClaimRules(
            issuer=issuer,
            audiences=audiences_of(audience),
            required=frozenset(required),
            leeway=leeway,
        )
        self.needs_resource: bool = audience is None
        self._types = frozenset(types)
        self._now = now
        self._verified: OrderedDict[bytes, tuple[float, dict[str, Any]]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<JwtVerifier {self._rules.issuer!r}>"

    async def verify(self, token: str, resources: Collection[str]) -> Principal:
        digest = sha256(token.encode("utf-8", "surrogatepass")).digest()
        until, claims = self._verified.get(digest, _NEVER)
        if time.monotonic() < until:
            self._verified.move_to_end(digest)
            return principal_of(claims, self._rules, resources, self._now())
        header, claims = _parts(token)
        if claims.get("iss") != self._rules.issuer:
            raise TokenUnknown("it is from another issuer")
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or algorithm not in self._algorithms:
            raise TokenRefused(f"its algorithm {_shown(algorithm)} is not accepted")
        if "crit" in header:
            raise TokenRefused("it has critical extensions (crit), and none is known here")
        if kid is not None and not isinstance(kid, str):
            raise TokenRefused("its kid is no text")
        self._check_type(header.get("typ", ""))
        found = self._signed_by(await self._find(algorithm, kid), token, algorithm)
        if found is None and kid is None and self._remote is not None:
            found = self._signed_by(await self._remote.find_newer(algorithm, None), token, algorithm)
        if found is None:
            raise TokenRefused(f"no known key has signed it (kid {_shown(kid)})")
        self._verified[digest] = (time.monotonic() + VERIFIED_SECONDS, found)
        if len(self._verified) > MAX_VERIFIED:
            self._verified.popitem(last=False)
        return principal_of(found, self._rules, resources, self._now())

    def _signed_by(self, keys: Iterable[Any], token: str, algorithm: str) -> dict[str, Any] | None:
        """The claims that one of these keys has signed, whatever was read of them before; None if none of them has."""
        for key in keys:
            try:
                found = self._jws.decode_complete(token, key=key, algorithms=[algorithm])
                return _decode_object(found["payload"])
            except self._library.InvalidSignatureError:
                continue
            except self._library.PyJWTError as error:
                raise TokenRefused(f"its signature cannot be checked ({type(error).__name__})") from None
        return None

    async def _find(self, algorithm: str, kid: str | None) -> list[Any]:
        if self._secrets is not None:
            return [self._secrets[algorithm]]
        if self._keys is not None:
            # Keys that were given as PEM have no name that a token could mean.
            return self._keys.find(algorithm, kid) or self._keys.find(algorithm, None)
        assert self._remote is not None
        return await self._remote.find(algorithm, kid)

    def _check_type(self, said: Any) -> None:
        kind = said.lower().removeprefix("application/") if isinstance(said, str) else None
        if kind not in self._types:
            raise TokenRefused(f"it is no access token, but of the type {_shown(said)}")


def _parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header and the claims as they are said to be. Raises `TokenUnknown` for what is no signed JWT."""
    pieces = token.split(".")
    if len(pieces) != 3:
        raise TokenUnknown("it is encrypted, which is not understood here" if len(pieces) == 5 else "it is no JWT")
    try:
        return json_part(pieces[0]), json_part(pieces[1])
    except (ValueError, RecursionError):
        raise TokenUnknown("it is no JWT") from None


def _secrets(library: Any, secret: str | bytes, algorithms: Iterable[str]) -> dict[str, Any]:
    raw = secret.encode() if isinstance(secret, str) else secret
    if raw.lstrip().startswith((b"-----BEGIN", b"ssh-")):
        raise LocalProtocolError("secret= is a key pair's, which HS256 must never be used with: give keys=")
    found = {}
    for algorithm in algorithms:
        if len(raw) < _SHARED[algorithm]:
            raise LocalProtocolError(f"a secret for {algorithm} has at least {_SHARED[algorithm]} bytes")
        jwk = {"kty": "oct", "k": binascii.b2a_base64(raw, newline=False).decode().translate(_URL_SAFE).rstrip("=")}
        found[algorithm] = library.PyJWK(jwk, algorithm=algorithm)
    return found


_URL_SAFE = str.maketrans("+/", "-_")


def _jwks_of(library: Any, keys: Any) -> list[Any]:
    """What was given as keys, as JWKs. Raises `LocalProtocolError`, whose text has nothing of them."""
    if isinstance(keys, Mapping):
        listed = keys.get("keys", [keys])
        return list(listed) if isinstance(listed, list | tuple) else []
    pems = [keys] if isinstance(keys, str | bytes) else list(keys)
    return [_jwk_of_pem(library, pem) for pem in pems]


def _jwk_of_pem(library: Any, pem: str | bytes) -> dict[str, Any]:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from cryptography.x509 import load_pem_x509_certificate

    raw = pem.encode() if isinstance(pem, str) else pem
    try:
        public: Any
        if b"-----BEGIN CERTIFICATE-----" in raw:
            public = load_pem_x509_certificate(raw).public_key()
        else:
            public = load_pem_public_key(raw)
        kind = {RSAPublicKey: "RSAAlgorithm", EllipticCurvePublicKey: "ECAlgorithm"}
        name = next((one for base, one in kind.items() if isinstance(public, base)), "OKPAlgorithm")
        return dict(getattr(library.algorithms, name).to_jwk(public, as_dict=True))
    except (ValueError, TypeError, AttributeError, library.PyJWTError):
        raise LocalProtocolError("keys= has a PEM that is no public key and no certificate") from None


def _shown(value: Any) -> str:
    """Something out of a token's header, which its sender chose, for the log."""
    return ascii(value)[:60]
