"""Keys that tokens are signed with, given here or published by their issuer (RFC 7517), and which one a token means."""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

import anyio

from mcpcore.errors import LocalProtocolError
from mcpcore_transports.framing.jose import library
from mcpcore_transports.framing.wellknown import server_metadata_urls
from mcpcore_transports.protected.fetching import Fetcher, NotThere
from mcpcore_transports.protected.location import require_safe_url
from mcpcore_transports.protected.verifier import VerifierUnavailable

__all__ = (
    "ASYMMETRIC",
    "FRESH_SECONDS",
    "MAX_KEYS",
    "RETRY_SECONDS",
    "STALE_SECONDS",
    "UNKNOWN_SECONDS",
    "KeySet",
    "RemoteKeys",
)

ASYMMETRIC = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures that this server can check and not make. HS256 and its like take a secret that is given here."""

FRESH_SECONDS = 3600.0
"""Seconds for which published keys are taken as they are: a withdrawn one is trusted for this long."""

STALE_SECONDS = 24 * 3600.0
"""Seconds for which keys are used when they cannot be fetched again: an outage over night stops nobody."""

UNKNOWN_SECONDS = 30.0
"""Seconds between two fetches for the sake of a key that is not known: a flood of made-up tokens causes one fetch, and
a key that was added is found this late at worst."""

RETRY_SECONDS = 5.0
"""Seconds after a fetch that failed, before the next one."""

MAX_KEYS = 100
"""Keys of one set; issuers have a handful. All that fit are tried for a token that names none."""

_BY_CURVE = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "Ed25519": "EdDSA"}
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")

logger: logging.Logger = logging.getLogger("mcpcore.auth")


class _Key(NamedTuple):
    kid: str | None
    algorithms: tuple[str, ...]
    jwk: Mapping[str, Any]


class KeySet:
    """Public keys of a JWK set. What is for something else than signatures, or of a kind that is not known, is left
    out, as RFC 7517 (5) wants it; symmetric keys are, because no issuer may publish any."""

    def __init__(self, keys: Iterable[Any], algorithms: Collection[str] = ASYMMETRIC) -> None:
        self._library = library("jwt")
        self._keys: list[_Key] = []
        self._usable: dict[tuple[int, str], Any] = {}
        for jwk in list(keys)[:MAX_KEYS]:
            found = _key_of(jwk, algorithms)
            if found is not None:
                self._keys.append(found)

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, algorithm: str, kid: str | None) -> list[Any]:
        """The keys that a token of this header may be signed with."""
        found = []
        for number, key in enumerate(self._keys):
            if algorithm in key.algorithms and (kid is None or key.kid == kid):
                usable = self._load(number, key, algorithm)
                if usable is not None:
                    found.append(usable)
        return found

    def _load(self, number: int, key: _Key, algorithm: str) -> Any:
        if (number, algorithm) not in self._usable:
            loaded = None
            try:
                loaded = self._library.PyJWK(dict(key.jwk), algorithm=algorithm)
            except self._library.PyJWTError:
                logger.warning("a published key (kid %.60r) cannot be used: it is damaged", key.kid)
            self._usable[(number, algorithm)] = loaded
        return self._usable[(number, algorithm)]


class RemoteKeys:
    """The keys that an issuer publishes, fetched when needed. Any number of tasks may ask at once; one of them fetches.

    `url` is where they are; without it, the issuer's metadata says so (RFC 8414, OpenID Connect Discovery).
    """

    def __init__(
        self,
        issuer: str,
        url: str | None,
        fetcher: Fetcher,
        *,
        algorithms: Collection[str] = ASYMMETRIC,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._issuer = issuer
        self._url = url
        self._fetcher = fetcher
        self._algorithms = algorithms
        self._clock = clock
        self._keys: KeySet | None = None
        self._fetched = 0.0
        self._tried: float | None = None
        self._failure: VerifierUnavailable | None = None
        self._fetching: anyio.Event | None = None
        self._attempts = 0

    async def find(self, algorithm: str, kid: str | None) -> list[Any]:
        """The keys that a token of this header may be signed with. Raises `VerifierUnavailable`."""
        # While one task fetches, the others go on with what there is: an issuer that hangs stops one request at a time.
        enough = FRESH_SECONDS if self._fetching is None else STALE_SECONDS
        if self._keys is None or self._age() >= enough:
            await self._fetch(RETRY_SECONDS)
            if self._keys is None or (self._failure is not None and self._age() >= STALE_SECONDS):
                raise VerifierUnavailable(str(self._failure))
        found = self._keys.find(algorithm, kid)
        if not found and kid is not None:
            found = await self.find_newer(algorithm, kid)
        return found

    async def find_newer(self, algorithm: str, kid: str | None) -> list[Any]:
        """The same among keys that are fetched now; none if that was done a moment ago. For a token that names no key,
        when none of the known ones has signed it."""
        if self._keys is None or not await self._fetch(UNKNOWN_SECONDS):
            return []
        return self._keys.find(algorithm, kid)

    def _age(self) -> float:
        return self._clock() - self._fetched

    async def _fetch(self, seconds: float) -> bool:
        """Fetch the keys, unless that was tried less than this long ago. Whether it was done, by whomever."""
        while self._fetching is not None:
            attempts = self._attempts
            await self._fetching.wait()  # a fetch has a deadline
            if self._attempts != attempts:
                return True  # otherwise whoever fetched was cancelled, and somebody else has to
        if self._tried is not None and self._clock() - self._tried < seconds:
            return False
        done = self._fetching = anyio.Event()
        try:
            await self._fetch_now()
        finally:
            self._fetching = None
            done.set()
        return True

    async def _fetch_now(self) -> None:
        try:
            url = self._url or await self._discover()
            document = await self._fetcher.get(url, f"the key set of {self._issuer}")
            keys = document.get("keys")
            if not isinstance(keys, list):
                raise VerifierUnavailable(f"the key set of {self._issuer} has no list of keys")
            self._keys = KeySet(keys, self._algorithms)
            self._fetched = self._clock()
            self._failure = None
        except VerifierUnavailable as failure:
            self._failure = failure
            logger.error("%s", failure)
        self._tried = self._clock()
        self._attempts += 1

    async def _discover(self) -> str:
        what = f"the metadata of {self._issuer}"
        missing: NotThere | None = None
        for url in server_metadata_urls(self._issuer):
            try:
                document = await self._fetcher.get(url, what)
            except NotThere as error:
                missing = error
                continue
            if document.get("issuer") != self._issuer:
                raise VerifierUnavailable(f"{what} says that it is another's; both have to be the same, to the byte")
            found = document.get("jwks_uri")
            try:
                return require_safe_url(found if isinstance(found, str) else "", "jwks_uri", query=True)
            except LocalProtocolError as error:
                raise VerifierUnavailable(f"{what} names no usable key set: {error}") from None
        raise VerifierUnavailable(f"{missing}: give jwks_uri=")


def _key_of(jwk: Any, algorithms: Collection[str]) -> _Key | None:
    if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig":
        return None
    operations = jwk.get("key_ops")
    if isinstance(operations, list) and "verify" not in operations:
        return None
    kind = jwk.get("kty")
    possible: tuple[str, ...] = _RSA if kind == "RSA" else ()
    if kind in ("EC", "OKP") and isinstance(jwk.get("crv"), str):
        possible = tuple(one for one in (_BY_CURVE.get(jwk["crv"]),) if one is not None)
    if (said := jwk.get("alg")) is not None:
        possible = tuple(one for one in possible if one == said)
    possible = tuple(one for one in possible if one in algorithms)
    kid = jwk.get("kid")
    return _Key(kid if isinstance(kid, str) else None, possible, jwk) if possible else None
