"""Opaque tokens: whether one is good is asked of the authorization server that issued it (RFC 7662)."""

import ssl
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from hashlib import sha256
from typing import Any, Literal

import anyio

from mcpcore.errors import LocalProtocolError
from mcpcore.principal import Principal
from mcpcore_transports.framing.basic import client_credentials
from mcpcore_transports.protected.claims import LEEWAY_SECONDS, ClaimRules, audiences_of, principal_of
from mcpcore_transports.protected.fetching import FETCH_SECONDS, BadRequest, Fetcher
from mcpcore_transports.protected.location import require_safe_url
from mcpcore_transports.protected.verifier import TokenUnknown, TokenVerifier, VerifierUnavailable

__all__ = ("ACTIVE_SECONDS", "INACTIVE_SECONDS", "MAX_ASKING", "MAX_REMEMBERED", "IntrospectionVerifier")

ACTIVE_SECONDS = 30.0
"""Seconds for which a good token is taken for good without asking again: a revoked one works for this long."""

INACTIVE_SECONDS = 10.0
"""The same for one that is not: what is shown again and again is asked about once in this time."""

MAX_REMEMBERED = 10_000
"""Tokens whose answers are kept, as hashes; the one used longest ago is forgotten first. Some 10 MB."""

MAX_ASKING = 100
"""Tokens that are asked about at the same time. Beyond it nothing is asked, and clients are told to come back: a flood
of made-up tokens must not become one at the authorization server."""


class _Question:
    """What is being asked about one token."""

    def __init__(self) -> None:
        self.answered = anyio.Event()
        self.failure: str | None = None


class IntrospectionVerifier(TokenVerifier):
    """Accepts the tokens that `url` calls active.

    client_id, client_secret
        What the authorization server knows this server by; sent as `method` says, in a header ("basic") or in the form
        ("post").
    issuer
        Its issuer identifier, which subjects are unique for. A response that names another one is refused.
    audience
        What has to be in the token's `aud`; by default the URL of this server. `any_audience` accepts responses without
        one, which is safe only where that authorization server issues tokens for this server and no other.
    cache_seconds
        Seconds for which an active token is not asked about again; 0 to always ask.
    allow_private, ssl_context, timeout
        Whether `url` may lead to a private address or to this machine (never to a link-local address); what to trust
        instead of what the system does; seconds.

    Raises `LocalProtocolError` for settings that cannot be. When a request is cancelled whose question others wait for,
    one of them asks it again.
    """

    def __init__(
        self,
        url: str,
        *,
        client_id: str,
        client_secret: str,
        issuer: str,
        method: Literal["basic", "post"] = "basic",
        audience: str | Iterable[str] | None = None,
        any_audience: bool = False,
        leeway: float = LEEWAY_SECONDS,
        cache_seconds: float = ACTIVE_SECONDS,
        allow_private: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        timeout: float = FETCH_SECONDS,
        now: Callable[[], float] = time.time,
    ) -> None:
        if method not in ("basic", "post"):
            raise LocalProtocolError(f'method is "basic" or "post", not {method!r}')
        self._url = require_safe_url(url, "the introspection endpoint", query=True)
        self._headers: tuple[tuple[str, str], ...] = ()
        self._form: dict[str, str] = {}
        if method == "basic":
            self._headers = (("authorization", client_credentials(client_id, client_secret)),)
        else:
            self._form = {"client_id": client_id, "client_secret": client_secret}
        self._rules = ClaimRules(
            issuer=issuer,
            audiences=audiences_of(audience),
            must_name_issuer=False,
            must_name_audience=not any_audience,
            must_expire=False,
            leeway=leeway,
        )
        self.needs_resource: bool = audience is None and not any_audience
        self._cache_seconds = cache_seconds
        self._fetcher = Fetcher(
            self._url, allow_private=allow_private, ssl_context=ssl_context, seconds=timeout, keep=True
        )
        self._now = now
        self._remembered: OrderedDict[bytes, tuple[float, dict[str, Any] | None]] = OrderedDict()
        self._asking: dict[bytes, _Question] = {}

    def __repr__(self) -> str:
        return f"<IntrospectionVerifier {self._rules.issuer!r}>"

    async def verify(self, token: str, resources: Collection[str]) -> Principal:
        members = await self._members(token)
        if members is None:
            raise TokenUnknown("the authorization server says that it is not active")
        return principal_of(members, self._rules, resources, self._now())

    async def aclose(self) -> None:
        await self._fetcher.aclose()

    async def _members(self, token: str) -> dict[str, Any] | None:
        """The introspection response, None for a token that is not active; asked once for all who wait for it, who
        share its failure too: each after the other would wait for a server that does not answer."""
        digest = sha256(token.encode()).digest()
        while True:
            now = self._now()
            until, members = self._remembered.get(digest, (0.0, None))
            if now < until:
                self._remembered.move_to_end(digest)
                return members
            if (asked := self._asking.get(digest)) is None:
                break
            await asked.answered.wait()
            if asked.failure is not None:
                raise VerifierUnavailable(asked.failure)
            if not self._cache_seconds:
                break
        if len(self._asking) >= MAX_ASKING:
            raise VerifierUnavailable(f"{MAX_ASKING} tokens are being asked about, which is the limit")
        asking = self._asking[digest] = _Question()
        try:
            return await self._ask(token, digest)
        except VerifierUnavailable as failure:
            asking.failure = str(failure)
            raise
        finally:
            if self._asking.get(digest) is asking:
                del self._asking[digest]
            asking.answered.set()

    async def _ask(self, token: str, digest: bytes) -> dict[str, Any] | None:
        form = {"token": token, "token_type_hint": "access_token", **self._form}
        try:
            members = await self._fetcher.post(self._url, "the introspection response", form, self._headers)
        except BadRequest as refused:
            # RFC 7009, 2.2.1: some servers say so of a JWT, and only know what opaque tokens mean.
            if refused.error != "unsupported_token_type":
                raise
            members = {"active": False}
        active = members.pop("active", None)
        if not isinstance(active, bool):
            raise VerifierUnavailable("the introspection response does not say whether the token is active")
        found = _complete(members) if active else None
        seconds = self._cache_seconds if active else min(INACTIVE_SECONDS, self._cache_seconds)
        if seconds > 0:
            self._remembered[digest] = (self._now() + seconds, found)
            if len(self._remembered) > MAX_REMEMBERED:
                self._remembered.popitem(last=False)
        return found


def _complete(members: dict[str, Any]) -> dict[str, Any]:
    """A client that acts for itself is its own subject (RFC 9068, 2.2)."""
    if members.get("sub") is None and isinstance(members.get("client_id"), str):
        return {**members, "sub": members["client_id"]}
    return members
