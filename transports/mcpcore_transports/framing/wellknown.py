"""Where metadata is, in the order in which MCP has it looked for (RFC 9728, 3.1; RFC 8414, 3.1 and 5)."""

from urllib.parse import urlsplit

__all__ = ("RESOURCE_METADATA", "default_endpoints", "origin_of", "resource_metadata_urls", "server_metadata_urls")

RESOURCE_METADATA = "/.well-known/oauth-protected-resource"
"""The path of an MCP server's own (RFC 9728, 3)."""

_SERVER = "/.well-known/oauth-authorization-server"
_OPENID = "/.well-known/openid-configuration"


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL, as they are written there."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def resource_metadata_urls(server: str) -> tuple[str, ...]:
    """Of an MCP server's URL: with its path inserted, then at the root."""
    origin, path = origin_of(server), urlsplit(server).path.rstrip("/")
    root = f"{origin}{RESOURCE_METADATA}"
    return (f"{root}{path}", root) if path else (root,)


def server_metadata_urls(issuer: str) -> tuple[str, ...]:
    """Of an issuer: OAuth with its path inserted, OpenID with it inserted, OpenID with it before; or the two roots."""
    origin, path = origin_of(issuer), urlsplit(issuer).path.rstrip("/")
    if not path:
        return (f"{origin}{_SERVER}", f"{origin}{_OPENID}")
    return (f"{origin}{_SERVER}{path}", f"{origin}{_OPENID}{path}", f"{origin}{path}{_OPENID}")


def default_endpoints(server: str) -> dict[str, str]:
    """The endpoints of a server of 2025-03-26 without any metadata, by the names that metadata gives them."""
    origin = origin_of(server)
    return {
        "issuer": origin,
        "authorization_endpoint": f"{origin}/authorize",
        "token_endpoint": f"{origin}/token",
        "registration_endpoint": f"{origin}/register",
    }
