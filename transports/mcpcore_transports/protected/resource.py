"""A protected resource: what a server asks of its callers, and what it tells those who do not have it yet."""

import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from mcpcore.errors import LocalProtocolError
from mcpcore.principal import Principal, scope_set
from mcpcore_transports.framing.challenges import challenge
from mcpcore_transports.protected.credentials import (
    MAX_TOKEN_BYTES,
    BadCredentials,
    Credentials,
    credentials_of,
)
from mcpcore_transports.protected.guard import FunctionGuard, Guard, Refusal, insufficient
from mcpcore_transports.protected.location import Place, require_safe_url
from mcpcore_transports.protected.verifier import (
    NonceWanted,
    ProofRefused,
    ProofVerifier,
    TokenRefused,
    TokenUnknown,
    TokenVerifier,
    VerifierUnavailable,
)
from mcpcore_transports.web.exchange import WebRequest

__all__ = ("RETRY_SECONDS", "Protected", "guard_of")

RETRY_SECONDS = 5
"""Seconds after which a client should come back that could not be verified: about when a restarted authorization server
answers."""

logger: logging.Logger = logging.getLogger("mcpcore.auth")


class Protected(Guard):
    """A server that only answers to those with a token that one of these verifiers accepts.

    verifiers
        Asked in this order; the first that knows a token decides.
    authorization_servers
        Issuer identifiers of those who give out tokens for this server. With at least one, protected resource metadata
        is published, and clients log in by themselves. API keys need none.
    resource
        The URL of this server, as clients use it and as tokens have it in their audience; by default that of
        `public_url=`, or of our own listener on this machine.
    scopes
        What every request needs. Tools add their own: `@server.tool(scopes=[…])`.
    scopes_supported
        What the metadata names beside `scopes`; clients without other advice ask for all of these, so name few.
    dpop
        A `DpopProofs`: what is done with tokens that are bound to a key of the client. Without, they are refused.
    implied
        Scopes that include others, e.g. `{"files:write": ["files:read"]}`.
    name, documentation
        For the people who are asked to consent: a name, and the URL of a page.

    Raises `LocalProtocolError` for settings that cannot be.
    """

    def __init__(
        self,
        *verifiers: TokenVerifier,
        authorization_servers: Iterable[str] = (),
        resource: str | None = None,
        scopes: Iterable[str] = (),
        scopes_supported: Iterable[str] = (),
        dpop: ProofVerifier | None = None,
        implied: Mapping[str, Iterable[str]] | None = None,
        name: str | None = None,
        documentation: str | None = None,
    ) -> None:
        if not verifiers:
            raise LocalProtocolError("a protected server needs a verifier: JwtVerifier, IntrospectionVerifier, ApiKeys")
        self._verifiers = verifiers
        self._headers = tuple(dict.fromkeys(one.header for one in verifiers if one.header is not None))
        self._servers = [require_safe_url(one, "authorization_servers=") for one in authorization_servers]
        self.resource: str | None = resource
        self.needs_place: bool = bool(self._servers) or dpop is not None or any(one.needs_resource for one in verifiers)
        self._scopes = scope_set(scopes)
        self._supported = sorted(self._scopes | scope_set(scopes_supported))
        self._implied = _closed({one: scope_set(others) for one, others in (implied or {}).items()})
        self._dpop = dpop
        self._name = name
        self._documentation = documentation

    def __repr__(self) -> str:
        return f"<Protected by {', '.join(type(one).__name__ for one in self._verifiers)}>"

    @property
    def secret_headers(self) -> frozenset[str]:
        return super().secret_headers.union(self._headers)

    async def admit(self, request: WebRequest, place: Place | None) -> Principal | Refusal:
        try:
            shown = credentials_of(request, self._headers)
        except BadCredentials as error:
            return Refusal(400, str(error), self._challenge(place, error="invalid_request"))
        scheme = "Bearer" if shown is None else shown.scheme
        if shown is None:
            text = "this server wants to know who is asking: send Authorization: Bearer TOKEN"
            if self._headers and not self._servers:
                text = f"this server wants to know who is asking: send a key in the header {self._headers[0]}"
            return Refusal(401, text, self._challenge(place, scopes=self._scopes))
        try:
            principal = self._widened(await self._verify(shown, request, place))
        except TokenRefused as refused:
            # A client cannot know a nonce before it is sent one, so that is nothing to look into.
            level = logging.INFO if isinstance(refused, NonceWanted) else logging.WARNING
            logger.log(level, "a token was refused: %s (client %s)", refused, request.client or "unknown")
            return self._refused(refused, scheme, place)
        except VerifierUnavailable as failed:
            logger.error("a token could not be verified: %s", failed)
            text = "tokens cannot be verified at the moment: come back later"
            return Refusal(503, text, (("retry-after", str(RETRY_SECONDS)),))
        if not self._scopes <= principal.scopes:
            return self.forbid(request, place, ())
        return principal

    def forbid(self, request: WebRequest, place: Place | None, scopes: Collection[str]) -> Refusal:
        needed = self._scopes.union(scopes)
        logger.info("a request needs the scopes %s, and its token has not all of them", " ".join(sorted(needed)))
        bound = any(name == "dpop" for name in request.headers) and self._dpop is not None
        said = self._challenge(place, "DPoP" if bound else "Bearer", error="insufficient_scope", scopes=needed)
        return insufficient(said, needed)

    def metadata(self, place: Place) -> bytes | None:
        if not self._servers:
            return None
        members: dict[str, Any] = {
            "resource": place.resource,
            "authorization_servers": self._servers,
            "bearer_methods_supported": ["header"],
            "scopes_supported": self._supported or None,
            "dpop_signing_alg_values_supported": None if self._dpop is None else self._dpop.algorithms,
            "dpop_bound_access_tokens_required": None if self._dpop is None else self._dpop.required,
            "resource_name": self._name,
            "resource_documentation": self._documentation,
        }
        return msgspec.json.encode({name: value for name, value in members.items() if value is not None})

    async def aclose(self) -> None:
        for one in self._verifiers:
            await one.aclose()

    async def _verify(self, shown: Credentials, request: WebRequest, place: Place | None) -> Principal:
        if len(shown.token) > MAX_TOKEN_BYTES:
            raise TokenRefused(f"it has {len(shown.token)} bytes, and {MAX_TOKEN_BYTES} are the limit")
        header = None if shown.scheme in ("Bearer", "DPoP") else shown.scheme
        resources = frozenset[str]() if place is None else place.audiences
        unavailable: VerifierUnavailable | None = None
        unknown: list[str] = []
        for verifier in self._verifiers:
            if verifier.header != header:
                continue
            try:
                principal = await verifier.verify(shown.token, resources)
            except TokenUnknown as error:
                unknown.append(str(error))
            except VerifierUnavailable as error:
                unavailable = error
            else:
                self._check_binding(shown, request, place, principal)
                return principal
        if unavailable is not None:
            raise unavailable
        raise TokenRefused("; ".join(dict.fromkeys(unknown)) or "nobody here knows such tokens")

    def _check_binding(
        self, shown: Credentials, request: WebRequest, place: Place | None, principal: Principal
    ) -> None:
        """A token that is bound to a key proves nothing without that key (RFC 7800; RFC 9449, 7; RFC 8705)."""
        binding = principal.claims.get("cnf")
        if binding is None:
            if shown.scheme == "DPoP":
                raise TokenRefused("it was shown as one that is bound to a key, and is none (RFC 9449)")
            if self._dpop is not None and self._dpop.required:
                raise TokenRefused("it is not bound to a key of its client (cnf), which is required here")
            return
        bound_to = binding.get("jkt") if isinstance(binding, dict) and len(binding) == 1 else None
        if self._dpop is None or place is None or not isinstance(bound_to, str):
            raise TokenRefused("it is bound to a key (cnf) in a way that cannot be checked here")
        if shown.scheme != "DPoP":
            raise TokenRefused("it is bound to a key of its client (cnf), and was shown as if it were not")
        url = _url_of(request.path.rstrip("/"), place)
        self._dpop.check(request.header_values("dpop"), request.method, url, shown.token, bound_to)

    def _refused(self, refused: TokenRefused, scheme: str, place: Place | None) -> Refusal:
        error, text = "invalid_token", "the token is not, or no longer, good here: get another one"
        more: tuple[tuple[str, str], ...] = ()
        if isinstance(refused, ProofRefused):
            error, text = "invalid_dpop_proof", "the proof of the token's key is not good: make another one"
        if isinstance(refused, NonceWanted) and self._dpop is not None:
            error, more = "use_dpop_nonce", (("dpop-nonce", self._dpop.nonce or ""),)
        said = self._challenge(place, scheme, error=error, scopes=self._scopes)
        return Refusal(401, text, (*said, *more))

    def _widened(self, principal: Principal) -> Principal:
        implied = [self._implied[scope] for scope in principal.scopes if scope in self._implied]
        if not implied:
            return principal
        return msgspec.structs.replace(principal, scopes=principal.scopes.union(*implied))

    def _challenge(
        self, place: Place | None, scheme: str = "Bearer", *, error: str | None = None, scopes: Iterable[str] = ()
    ) -> tuple[tuple[str, str], ...]:
        """One challenge for each way to show a token; the error is said in that of `scheme`."""
        url = place.metadata_url if place is not None and self._servers else None
        found = []
        if self._dpop is None or not self._dpop.required or scheme != "DPoP":
            wrong = error if scheme != "DPoP" or self._dpop is None else None
            found.append(challenge(error=wrong, scopes=scopes, resource_metadata=url))
        if self._dpop is not None:
            wrong = error if scheme == "DPoP" else None
            algorithms = self._dpop.algorithms
            found.append(challenge("DPoP", error=wrong, scopes=scopes, resource_metadata=url, algorithms=algorithms))
        return tuple(("www-authenticate", one) for one in found)


def guard_of(auth: Any) -> Guard | None:
    """What `auth=` means. Raises `LocalProtocolError` for what means nothing."""
    if auth is None or isinstance(auth, Guard):
        return auth
    return Protected(auth) if isinstance(auth, TokenVerifier) else FunctionGuard(auth)


def _url_of(path: str, place: Place) -> str:
    """The URL that a request for this path was sent to, as its client sees it: the endpoint's own, one below that
    (messages of HTTP+SSE), or one beside it (metrics)."""
    if path.startswith(place.path):
        return place.url + path[len(place.path) :]
    return place.url.removesuffix(place.path) + path


def _closed(implied: dict[str, frozenset[str]]) -> dict[str, frozenset[str]]:
    """What each scope includes, and what that includes, to the end."""
    found = {}
    for scope in implied:
        reached: set[str] = set()
        waiting = [scope]
        while waiting:
            for one in implied.get(waiting.pop(), frozenset()):
                if one not in reached:
                    reached.add(one)
                    waiting.append(one)
        found[scope] = frozenset(reached)
    return found
