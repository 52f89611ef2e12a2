"""What a server (RFC 9728) and an authorization server (RFC 8414, OpenID Connect Discovery) say about themselves."""

from urllib.parse import urlsplit

import msgspec

from mcpcore_transports.framing.wellknown import origin_of
from mcpcore_transports.oauth.errors import DiscoveryFailed, UntrustedMetadata, shown

__all__ = ("ResourceMetadata", "ServerMetadata", "canonical_resource", "covers")

_PORTS = {"http": 80, "https": 443}


class ResourceMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """Of an MCP server. Members that are not used here are left out; null is as good as nothing."""

    resource: str
    authorization_servers: list[str] | None = None
    scopes_supported: list[str] | None = None
    dpop_bound_access_tokens_required: bool | None = None

    def check(self, server: str) -> None:
        """Raises `UntrustedMetadata` when it describes another resource than the server that was asked: a token
        for that one must not be had on this one's word."""
        if not covers(self.resource, server):
            raise UntrustedMetadata(
                f"the server's metadata is about {shown(self.resource)!r}, which is not the server that was called; "
                "nothing was requested. Use the URL that the server names, or tell its operator"
            )
        if not self.authorization_servers:
            raise DiscoveryFailed(
                "the server's metadata names no authorization server (RFC 9728): tell its operator, or give a token"
            )


class ServerMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """Of an authorization server. Lists that are None were not given, which means something else than empty ones."""

    issuer: str
    token_endpoint: str | None = None
    authorization_endpoint: str | None = None
    registration_endpoint: str | None = None
    revocation_endpoint: str | None = None
    scopes_supported: list[str] | None = None
    grant_types_supported: list[str] | None = None
    code_challenge_methods_supported: list[str] | None = None
    token_endpoint_auth_methods_supported: list[str] | None = None
    token_endpoint_auth_signing_alg_values_supported: list[str] | None = None
    client_id_metadata_document_supported: bool | None = None
    authorization_response_iss_parameter_supported: bool | None = None
    dpop_signing_alg_values_supported: list[str] | None = None
    guessed: bool = False
    """Whether these are the endpoints of 2025-03-26, or its metadata: of before PKCE support had to be stated."""

    def check_issuer(self, issuer: str) -> None:
        """Raises `UntrustedMetadata` unless the document is the issuer's own (RFC 8414, 3.3): no byte may differ."""
        if self.issuer != issuer:
            raise UntrustedMetadata(
                f"the metadata of the authorization server {shown(issuer)!r} says that it is {shown(self.issuer)!r}'s; "
                "nothing of it was used. Tell the operator of the server: both names have to be the same, to the byte"
            )

    def check_pkce(self) -> None:
        """Raises `DiscoveryFailed` unless the server says that it takes S256 (MCP, authorization code protection)."""
        methods = self.code_challenge_methods_supported
        if methods is None and self.guessed:
            return
        if methods is None or "S256" not in methods:
            raise DiscoveryFailed(
                f"the authorization server {shown(self.issuer)!r} does not say that it supports PKCE with S256, "
                "without which a login is not safe: it has to list code_challenge_methods_supported"
            )

    @property
    def authorize_at(self) -> str:
        """Where to send the user. Raises `DiscoveryFailed`."""
        if not self.authorization_endpoint:
            raise DiscoveryFailed(f"the authorization server {shown(self.issuer)!r} has no authorization_endpoint")
        if "#" in self.authorization_endpoint:
            raise DiscoveryFailed(
                f"the authorization_endpoint of {shown(self.issuer)!r} has a fragment (RFC 6749, 3.1)"
            )
        return self.authorization_endpoint

    @property
    def token_at(self) -> str:
        """Where tokens are had. Raises `DiscoveryFailed`."""
        if not self.token_endpoint:
            raise DiscoveryFailed(f"the authorization server {shown(self.issuer)!r} has no token_endpoint")
        return self.token_endpoint


def covers(resource: str, server: str) -> bool:
    """Whether a resource identifier is that of the server at this URL, or of a path above it, at the same origin."""
    try:
        theirs, ours = urlsplit(resource), urlsplit(server)
        same = (theirs.scheme, theirs.hostname, theirs.port or _PORTS.get(theirs.scheme)) == (
            ours.scheme,
            ours.hostname,
            ours.port or _PORTS.get(ours.scheme),
        )
    except ValueError:
        return False
    if not same or theirs.scheme not in _PORTS or theirs.fragment or "@" in theirs.netloc:
        return False
    above = theirs.path.rstrip("/")
    if theirs.query and (theirs.query != ours.query or above != ours.path.rstrip("/")):
        return False
    return f"{ours.path.rstrip('/')}/".startswith(f"{above}/")


def canonical_resource(server: str) -> str:
    """The identifier of a server that publishes none: its URL, scheme and host in lower case, without fragment, query
    (which may hold secrets) and a lone slash (MCP, canonical server URI; RFC 8707, 2)."""
    parts = urlsplit(server)
    return f"{origin_of(server).lower()}{'' if parts.path == '/' else parts.path}"
