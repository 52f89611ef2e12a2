"""An authorization that gets tokens by itself: what all ways of getting one have in common.

Each server has an `Access`: its token, and the one piece of work that renews it. Whoever needs a token waits for that
work or does it; nothing runs in the background, and no state belongs to a task.
"""

import ssl
import time
from abc import abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Literal, TypedDict, Unpack
from urllib.parse import urlsplit

import anyio

from mcpcore.errors import LocalProtocolError
from mcpcore_transports.framing.addresses import Reach, Zone, is_loopback_host, outermost
from mcpcore_transports.framing.challenges import Challenge, parse_challenges
from mcpcore_transports.framing.wellknown import origin_of
from mcpcore_transports.http.authorized import Authorization, Call, Refusal
from mcpcore_transports.oauth.discovery import Discovered, discover
from mcpcore_transports.oauth.dpop import DpopKey, takes_dpop
from mcpcore_transports.oauth.errors import (
    AccessRefused,
    DiscoveryFailed,
    LibraryMissing,
    LoginFailed,
    StorageFailed,
    TokenRefused,
    UntrustedMetadata,
)
from mcpcore_transports.oauth.fetching import FETCH_SECONDS, Fetcher
from mcpcore_transports.oauth.flight import Flight
from mcpcore_transports.oauth.records import Records
from mcpcore_transports.oauth.scopes import choose_scopes, union
from mcpcore_transports.oauth.storage import MemoryStorage, Storage
from mcpcore_transports.oauth.token import Token
from mcpcore_transports.oauth.token_endpoint import TokenEndpoint
from mcpcore_transports.web.urls import parse_url

__all__ = ("LOGIN_WINDOW_SECONDS", "MAX_LOGINS", "Access", "TokenAuthorization", "TokenOptions", "as_login_failure")

MAX_LOGINS = 3
"""Logins of a user, and those for more scopes, for one server within `LOGIN_WINDOW_SECONDS`. A server that asks for
other scopes each time would never end."""

LOGIN_WINDOW_SECONDS = 60.0
"""Shorter than a user takes who is asked again and again and still agrees."""

_RESOLVE_SECONDS = 10.0

_KEEP_SECONDS = 10.0
"""For a token to be stored, during which a cancellation waits."""


class Access:
    """What is known about one server."""

    def __init__(self, server: str) -> None:
        self.server: str = server
        self.token: Token | None = None
        self.dpop: DpopKey | None = None
        self.flight: Flight = Flight()
        self.loaded = False
        """Whether the storage has been looked at."""
        self.scopes: tuple[str, ...] = ()
        """All that were ever asked for: a later login asks for them again."""
        self.untried: Literal["", "refreshed", "obtained"] = ""
        """How the token was had, until the server accepts it."""
        self.logins: deque[float] = deque()
        self.nonce: str | None = None
        """The server's latest for proofs."""

    def __repr__(self) -> str:
        return f"<Access to {origin_of(self.server)} {self.token!r}>"

    def take(self, token: Token | None, untried: Literal["", "refreshed", "obtained"] = "") -> None:
        """Use this token from here on. Raises `LibraryMissing` and `StorageFailed` for one whose key cannot be used."""
        self.token = token
        self.untried = untried
        if token is not None:
            self.scopes = union(self.scopes, token.scopes)
            if token.dpop_key is not None and (self.dpop is None or self.dpop.pem != token.dpop_key):
                self.dpop = DpopKey(token.dpop_key)


class TokenOptions(TypedDict, total=False):
    """What every kind of `TokenAuthorization` takes."""

    scopes: Sequence[str]
    """Asked for at each login, besides those that the server asks for."""

    storage: Storage
    """Where tokens are kept; memory by default."""

    dpop: bool | None
    """True binds tokens to a key of this client, and refuses those that are not; None, the default, does so where the
    server says that it takes no others (RFC 9449; takes `mcpcore[auth]`)."""

    issuer: str | None
    """The only authorization server that credentials are for. Without it, the first one that asks for them is."""

    allow_hosts: Sequence[str]
    """Hosts that may be at a private address, and be spoken to without TLS, although the server is not so."""

    ssl_context: ssl.SSLContext | None
    """For the requests of logins; by default what the system trusts."""

    fetch_seconds: float
    """Seconds that each request of a login may take."""


class TokenAuthorization(Authorization):
    """The part of an `auth=` object that does not depend on how a token is had. Takes `TokenOptions`."""

    def __init__(self, **options: Unpack[TokenOptions]) -> None:
        self._scopes = _words(options, "scopes")
        self._hosts = _words(options, "allow_hosts")
        storage = options.get("storage")
        self._records = Records(MemoryStorage() if storage is None else storage)
        self._dpop = options.get("dpop")
        self._issuer = options.get("issuer")
        self._ssl_context = options.get("ssl_context")
        self._fetch_seconds = options.get("fetch_seconds", FETCH_SECONDS)
        self._given_client: str | None = None
        """The client_id that was given here, which is for one issuer."""
        self._accesses: dict[str, Access] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} for {len(self._accesses)} servers>"

    @abstractmethod
    async def _obtain(
        self, found: Discovered, scopes: Sequence[str], fetcher: Fetcher, endpoint: TokenEndpoint
    ) -> Token:
        """A token from `endpoint`, as this kind of client gets one. Raises `LoginFailed`."""

    async def _refresh(self, token: Token, endpoint: TokenEndpoint) -> Token | None:
        """The token that a refresh token gives; None when only `_obtain` can help. Raises `LoginFailed` when neither
        can, for the time being."""
        return None

    # ------------------------------------------------------------------ what a channel asks

    async def headers(self, call: Call) -> Mapping[str, str]:
        """The token of a request, renewed if it is over, and its proof. Raises `LoginFailed`.

        A cancellation while the token endpoint answers may lose a refresh token that it has replaced; the next refusal
        then begins a login.
        """
        access = await self._access(call.server)
        if not _at_home(call):
            return {}  # a token goes to the server that it was issued for, and nowhere else
        if access.token is not None and access.token.expired():
            expired = access.token
            await access.flight.join(lambda: self._renew_expired(access, expired))
        token = access.token
        if token is None:
            return {}
        found = {"authorization": token.authorization}
        if token.kind == "DPoP" and access.dpop is not None:
            found["dpop"] = access.dpop.proof(call.method, call.url, token=token.access_token, nonce=access.nonce)
        return found

    def heard(self, call: Call, status: int, headers: Mapping[str, str]) -> None:
        """Take note of a nonce for proofs, and of a token that was accepted."""
        access = self._accesses.get(call.server)
        if access is None:
            return
        if "dpop-nonce" in headers:
            access.nonce = headers["dpop-nonce"]
        if status != 401:
            access.untried = ""

    async def refused(self, call: Call, refusal: Refusal) -> bool:
        """Get a token that answers a refusal; whether to send the request again. Raises `LoginFailed`.

        When this is cancelled its login ends, and one of the requests that wait for it begins it again.
        """
        if not _at_home(call):
            return False
        access = await self._access(call.server)
        challenges = [each for each in parse_challenges(refusal.challenges) if each.scheme in ("bearer", "dpop")]
        sent = refusal.sent.get("authorization")
        if refusal.challenges and not challenges:
            return False  # it wants something else, which no token is
        if refusal.status == 401:
            if any(each.error == "use_dpop_nonce" for each in challenges) and "dpop-nonce" in refusal.headers:
                return sent is not None
            if _differs(access.token, sent):
                return True  # renewed in the meantime, for another request
            if access.untried == "obtained" and access.token is not None:
                raise AccessRefused(
                    f"the server refuses the token that {access.token.issuer} has just issued for "
                    f"{access.token.resource}; its operator has to look at what audience and issuer it expects"
                )
            await access.flight.join(lambda: self._login(access, sent, challenges, ()))
            return True
        needed = union(*(each.scopes for each in challenges if each.error == "insufficient_scope"))
        if not needed:
            return False
        if _differs(access.token, sent):
            return True
        if access.token is not None and set(needed) <= set(access.token.scopes):
            raise AccessRefused(
                f"the server refuses this for want of the scopes {' '.join(needed)}, which were asked for at "
                f"{access.token.issuer} and did not help; its operator has to grant them, or fix what it asks for",
                scopes=needed,
            )
        await access.flight.join(lambda: self._login(access, sent, challenges, needed))
        return True

    # ------------------------------------------------------------------ what a program may ask

    async def logout(self, server: str) -> bool:
        """Forget the token of a server; whether there was one. Its authorization server is not told. Raises
        `StorageFailed`."""
        damaged = False
        try:
            await self._access(server)
        except (StorageFailed, LibraryMissing):
            damaged = True  # what cannot be used can be forgotten; a storage that fails does so below
        access = self._accesses[server]
        had = damaged or access.token is not None
        access.take(None)
        await self._records.forget_token(server)
        return had

    async def logged_in(self, server: str) -> bool:
        """Whether there is a token for a server. Raises `StorageFailed`."""
        return (await self._access(server)).token is not None

    # ------------------------------------------------------------------ tokens

    async def _access(self, server: str) -> Access:
        access = self._accesses.get(server)
        if access is None:
            access = self._accesses[server] = Access(server)
        if not access.loaded:
            await access.flight.join(lambda: self._load(access))
        return access

    async def _load(self, access: Access) -> None:
        if not access.loaded:
            token = await self._records.token(access.server)
            if token is not None and self._fits(token):
                if self._given_client is not None:
                    self._issuer = token.issuer  # what was given goes to where it went before
                access.take(token)
            access.loaded = True

    def _fits(self, token: Token) -> bool:
        """Whether a stored token is one that this object would have got."""
        client = self._given_client is None or token.client_id == self._given_client
        issuer = self._issuer is None or token.issuer == self._issuer
        return client and issuer and not (self._dpop and token.kind != "DPoP")

    async def _renew_expired(self, access: Access, expired: Token) -> None:
        """Replace an expired token where its refresh token does. Otherwise forget it: the server's challenge, which
        a login begins with, comes with the next refusal. When nobody answers where it was refreshed, it stays."""
        if access.token is not expired:
            return
        if await self._adopt_stored(access, expired):
            return
        if expired.refresh_token is None:
            access.take(None)
            return
        async with await self._fetcher(access.server) as fetcher:
            try:
                token = await self._try_refresh(access, expired, expired.token_endpoint, fetcher)
            except TokenRefused:
                return  # the server refuses what is sent then, and says where tokens are had, if that has changed
            if token is None:
                access.take(None)
            else:
                await self._keep(access, token, "refreshed")

    async def _login(
        self, access: Access, sent: str | None, challenges: Sequence[Challenge], needed: Sequence[str]
    ) -> None:
        """Get a token that answers these challenges, by refresh where that is enough."""
        before = access.token
        if _differs(before, sent):
            return  # whoever came before did it
        if before is not None and not needed and await self._adopt_stored(access, before):
            return
        async with await self._fetcher(access.server) as fetcher:
            named = next((each.resource_metadata for each in challenges if each.resource_metadata), "")
            known = self._issuer if before is None else before.issuer
            found = await discover(access.server, named, fetcher, known=known)
            if before is not None and not needed and _may_refresh(access, before, found.server.issuer):
                token = await self._try_refresh(access, before, found.server.token_at, fetcher)
                if token is not None:
                    await self._keep(access, token, "refreshed")
                    return
            if needed or self.patient:
                self._count_login(access)
            challenged = needed or union(*(each.scopes for each in challenges))
            scopes = union(access.scopes, choose_scopes(challenged, found.scopes, self._scopes))
            endpoint = self._endpoint(access, found, challenges, fetcher)
            token = await self._obtain(found, scopes, fetcher, endpoint)
            await self._keep(access, token, "obtained")

    async def _try_refresh(self, access: Access, token: Token, url: str, fetcher: Fetcher) -> Token | None:
        endpoint = TokenEndpoint(url, token.issuer, fetcher, access.dpop if token.kind == "DPoP" else None)
        try:
            return await self._refresh(token, endpoint)
        except TokenRefused as refused:
            if refused.status >= 500 or not refused.error:
                raise  # it may well work later, and the refresh token is still good
            # Another process may have used it, and have another by now.
            return await self._stored_instead(access, token)

    async def _adopt_stored(self, access: Access, before: Token) -> bool:
        """Take a better token that another process has stored meanwhile."""
        stored = await self._stored_instead(access, before)
        if stored is None:
            return False
        access.take(stored)
        return True

    async def _stored_instead(self, access: Access, before: Token) -> Token | None:
        stored = await self._records.token(access.server)
        if stored is None or stored.access_token == before.access_token or stored.expired() or not self._fits(stored):
            return None
        return stored

    async def _keep(self, access: Access, token: Token, untried: Literal["refreshed", "obtained"]) -> None:
        """Before anything else is waited for, and whoever is cancelled: the refresh token before this one is used up,
        so the next program has this one or none."""
        access.take(token, untried)
        try:
            with anyio.fail_after(_KEEP_SECONDS, shield=True):
                await self._records.keep_token(access.server, token)
        except TimeoutError:
            raise StorageFailed(
                f"the storage of tokens took more than {_KEEP_SECONDS:g} s; look at why, or you have to log in again"
            ) from None

    def _count_login(self, access: Access) -> None:
        now = time.monotonic()
        while access.logins and now - access.logins[0] > LOGIN_WINDOW_SECONDS:
            access.logins.popleft()
        if len(access.logins) >= MAX_LOGINS:
            raise AccessRefused(
                f"the server asked for another login {MAX_LOGINS} times within {LOGIN_WINDOW_SECONDS:g} s and was "
                "satisfied with none; its operator has to look at why. Try again later"
            )
        access.logins.append(now)

    def _endpoint(
        self, access: Access, found: Discovered, challenges: Sequence[Challenge], fetcher: Fetcher
    ) -> TokenEndpoint:
        bearer = any(each.scheme == "bearer" for each in challenges)
        bound = self._dpop
        if bound is None:
            bound = found.needs_dpop or (bool(challenges) and not bearer)
        elif not bound and found.needs_dpop:
            raise DiscoveryFailed(
                "the server takes only tokens bound by DPoP, which is turned off here: dpop=None or True"
            )
        key = None
        if bound:
            if not takes_dpop(found.server.dpop_signing_alg_values_supported):
                raise DiscoveryFailed(
                    f"the authorization server {found.server.issuer} takes no DPoP proofs by ES256: tell its operator"
                )
            key = access.dpop = access.dpop or DpopKey()
        return TokenEndpoint(found.server.token_at, found.server.issuer, fetcher, key)

    def _claim_issuer(self, issuer: str) -> None:
        """Credentials that were given here go to this issuer. Raises `UntrustedMetadata` when they are another's."""
        if self._issuer is None:
            self._issuer = issuer
        elif self._issuer != issuer:
            raise UntrustedMetadata(
                f"the server's authorization server is {issuer}, and the client's credentials are for {self._issuer}; "
                "they were not sent. If it moved, register a client at the new one, and pass that one's credentials"
            )

    async def _fetcher(self, server: str) -> Fetcher:
        fetcher = self._fetcher_within(Reach(await _zone_of_server(server), self._hosts))
        fetcher.check_url(server, "the server's URL, to which tokens would be sent,")
        return fetcher

    def _fetcher_within(self, reach: Reach) -> Fetcher:
        return Fetcher(reach, ssl_context=self._ssl_context, seconds=self._fetch_seconds)


def _words(options: TokenOptions, name: Literal["scopes", "allow_hosts"]) -> tuple[str, ...]:
    given = options.get(name, ())
    if isinstance(given, str):
        raise LocalProtocolError(f"{name} is a list of words, not one text")
    return tuple(given)


async def _zone_of_server(server: str) -> Zone:
    """How far inside the MCP server is. One whose name cannot be resolved here is behind a proxy: public.

    Whoever owns a name decides what each look-up of it says, and may say "this machine" for this one only. So no name
    but those that mean this machine by definition lets a login reach the services on it, or cloud metadata.
    """
    parts = urlsplit(server)
    host = parts.hostname or ""
    if is_loopback_host(host):
        return Zone.LOOPBACK
    addresses: list[str] = []
    with anyio.move_on_after(_RESOLVE_SECONDS):
        with suppress(OSError, UnicodeError):
            addresses = [str(each[4][0]) for each in await anyio.getaddrinfo(host, parts.port or 443)]
    return min(outermost(addresses), Zone.PRIVATE)


def _at_home(call: Call) -> bool:
    """Whether a request goes to the server's own origin."""
    return call.url == call.server or parse_url(call.url).origin == parse_url(call.server).origin


def _may_refresh(access: Access, token: Token, issuer: str) -> bool:
    """Whether a refusal of this token may be helped by its refresh token: not when it came of one just now."""
    return token.refresh_token is not None and access.untried != "refreshed" and token.issuer == issuer


def _differs(token: Token | None, sent: str | None) -> bool:
    return token is not None and token.authorization != sent


def as_login_failure(error: Exception, what: str) -> LoginFailed:
    """What the code of a caller raised, as an error of the login that it was a part of; its text may hold secrets."""
    return LoginFailed(f"{what} failed with {type(error).__name__}; see its own error")
