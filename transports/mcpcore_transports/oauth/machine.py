"""Clients without a user: by a secret or a key of their own (RFC 6749, 4.4; RFC 7523), by the identity that a platform
gives to a workload, or by one that an enterprise's identity provider vouches for (RFC 8693). No browser is opened."""

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias, Unpack

from mcpcore.errors import LocalProtocolError
from mcpcore_transports.framing.addresses import Reach, Zone
from mcpcore_transports.oauth.access import TokenAuthorization, TokenOptions, as_login_failure
from mcpcore_transports.oauth.assertions import PrivateKey
from mcpcore_transports.oauth.authentication import Form
from mcpcore_transports.oauth.discovery import Discovered, discover_issuer
from mcpcore_transports.oauth.errors import LoginFailed
from mcpcore_transports.oauth.fetching import Fetcher
from mcpcore_transports.oauth.registration import Registration, auth_method
from mcpcore_transports.oauth.token import Token, read_exchanged
from mcpcore_transports.oauth.token_endpoint import TokenEndpoint

__all__ = ("JWT_BEARER", "TOKEN_EXCHANGE", "ClientCredentials", "EnterpriseManaged", "Identity", "WorkloadIdentity")

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"

_ID_JAG = "urn:ietf:params:oauth:token-type:id-jag"
_TYPES = {name: f"urn:ietf:params:oauth:token-type:{name}" for name in ("id_token", "saml2")}

Identity: TypeAlias = str | Callable[[str], str | Awaitable[str]]
"""A token that says who somebody is, or a function that gets a current one for an audience, which is an issuer."""


class ClientCredentials(TokenAuthorization):
    """A program that acts for itself (`io.modelcontextprotocol/oauth-client-credentials`).

    It was registered by hand as `client_id`, with a `client_secret`, or better a `private_key`. For the rest see
    `TokenOptions`.
    """

    extensions: Mapping[str, Any] = {"io.modelcontextprotocol/oauth-client-credentials": {}}

    def __init__(
        self,
        client_id: str,
        client_secret: str | None = None,
        *,
        private_key: PrivateKey | None = None,
        **options: Unpack[TokenOptions],
    ) -> None:
        super().__init__(**options)
        if (client_secret is None) == (private_key is None):
            raise LocalProtocolError("a client without a user authenticates by client_secret or private_key: give one")
        self._given_client = self._client_id = client_id
        self._client_secret = client_secret
        self._private_key = private_key

    async def _obtain(
        self, found: Discovered, scopes: Sequence[str], fetcher: Fetcher, endpoint: TokenEndpoint
    ) -> Token:
        self._claim_issuer(found.server.issuer)
        client = _client(found, self._client_id, self._client_secret)
        form = {"grant_type": "client_credentials"}
        return await _ask(endpoint, form, client, found, scopes, self._private_key)


class WorkloadIdentity(TokenAuthorization):
    """A program whose platform says who it is (RFC 7523; SEP-1933): no secret is kept anywhere.

    `identity` is a JWT for the authorization server, or a function that gets one. A refusal is final: no other grant is
    tried. For the rest see `TokenOptions`.
    """

    def __init__(
        self,
        identity: Identity,
        *,
        client_id: str | None = None,
        **options: Unpack[TokenOptions],
    ) -> None:
        super().__init__(**options)
        self._identity = identity
        self._given_client = self._client_id = client_id or ""

    async def _obtain(
        self, found: Discovered, scopes: Sequence[str], fetcher: Fetcher, endpoint: TokenEndpoint
    ) -> Token:
        self._claim_issuer(found.server.issuer)
        form = {"grant_type": JWT_BEARER, "assertion": await _current(self._identity, found.server.issuer)}
        return await _ask(endpoint, form, _client(found, self._client_id, None), found, scopes)


class EnterpriseManaged(TokenAuthorization):
    """A user whom the enterprise's identity provider has logged in already
    (`io.modelcontextprotocol/enterprise-managed-authorization`).

    The provider is asked to exchange `identity`, the user's ID token (or SAML assertion, `identity_type="saml2"`), for
    one that names this server and its authorization server; that one gives the access token for it.

    client_id, client_secret, private_key
        How this program is known to the authorization server of the MCP server.
    idp_client_id, idp_client_secret
        How it is known to the provider.
    idp_token_endpoint, idp_issuer
        Where the provider is: its token endpoint, or its issuer, whose metadata names that.

    For the rest see `TokenOptions`; `allow_hosts` is for both.
    """

    extensions: Mapping[str, Any] = {"io.modelcontextprotocol/enterprise-managed-authorization": {}}

    def __init__(
        self,
        identity: Identity,
        *,
        client_id: str,
        client_secret: str | None = None,
        private_key: PrivateKey | None = None,
        idp_client_id: str,
        idp_client_secret: str | None = None,
        idp_token_endpoint: str | None = None,
        idp_issuer: str | None = None,
        identity_type: str = "id_token",
        **options: Unpack[TokenOptions],
    ) -> None:
        super().__init__(**options)
        if idp_token_endpoint is None and idp_issuer is None:
            raise LocalProtocolError("the identity provider is found by idp_token_endpoint or idp_issuer: give one")
        if identity_type not in _TYPES:
            raise LocalProtocolError(f"identity_type {identity_type!r} is none of {', '.join(_TYPES)}")
        self._identity = identity
        self._given_client = self._client_id = client_id
        self._client_secret = client_secret
        self._private_key = private_key
        self._idp_client_id = idp_client_id
        self._idp_client_secret = idp_client_secret
        self._idp_token_endpoint = idp_token_endpoint
        self._idp_issuer = idp_issuer
        self._identity_type = _TYPES[identity_type]

    async def _obtain(
        self, found: Discovered, scopes: Sequence[str], fetcher: Fetcher, endpoint: TokenEndpoint
    ) -> Token:
        self._claim_issuer(found.server.issuer)
        form = {"grant_type": JWT_BEARER, "assertion": await self._exchange(found, scopes)}
        client = _client(found, self._client_id, self._client_secret)
        return await _ask(endpoint, form, client, found, scopes, self._private_key)

    async def _exchange(self, found: Discovered, scopes: Sequence[str]) -> str:
        """An assertion of the provider for this server only (RFC 8693)."""
        # The provider was named by our own caller, so it may be anywhere.
        async with self._fetcher_within(Reach(Zone.LOOPBACK, self._hosts)) as fetcher:
            url, issuer = self._idp_token_endpoint, self._idp_issuer or "the identity provider"
            secret = self._idp_client_secret
            method = "none" if secret is None else "client_secret_post"
            if url is None:
                assert self._idp_issuer is not None
                provider = await discover_issuer(self._idp_issuer, fetcher)
                url, method = provider.token_at, auth_method(provider, secret=secret is not None)
            form = {
                "grant_type": TOKEN_EXCHANGE,
                "requested_token_type": _ID_JAG,
                "audience": found.server.issuer,
                "resource": found.resource,
                "subject_token": await _current(self._identity, issuer),
                "subject_token_type": self._identity_type,
            }
            if scopes:
                form["scope"] = " ".join(scopes)
            client = Registration(issuer=issuer, client_id=self._idp_client_id, client_secret=secret, method=method)
            body = await TokenEndpoint(url, issuer, fetcher).ask(form, client)
            return read_exchanged(body, issuer=issuer, wanted=_ID_JAG)


def _client(found: Discovered, client_id: str, secret: str | None) -> Registration:
    return Registration(
        issuer=found.server.issuer,
        client_id=client_id,
        client_secret=secret,
        method=auth_method(found.server, secret=secret is not None),
    )


async def _current(identity: Identity, audience: str) -> str:
    if isinstance(identity, str):
        return identity
    try:
        given = identity(audience)
        return await given if inspect.isawaitable(given) else given
    except LoginFailed:
        raise
    except Exception as error:
        raise as_login_failure(error, "identity()") from error


async def _ask(
    endpoint: TokenEndpoint,
    form: Form,
    client: Registration,
    found: Discovered,
    scopes: Sequence[str],
    key: PrivateKey | None = None,
) -> Token:
    form = {**form, "resource": found.resource}
    if scopes:
        form["scope"] = " ".join(scopes)
    return endpoint.read(await endpoint.ask(form, client, key), client, found.resource, scopes)
