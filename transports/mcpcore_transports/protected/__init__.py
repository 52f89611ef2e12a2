"""Protected servers: who may use one over HTTP, and how clients find out where to log in. Importing this loads nothing.

    server = Server("demo", auth=Protected(JwtVerifier("https://login.example"), scopes=["mcp"]))

Protected            what a server asks of its callers: verifiers, scopes, authorization servers (RFC 9728, RFC 6750)
JwtVerifier          access tokens that are JWTs, by the keys of their issuer or by keys given here
IntrospectionVerifier  opaque tokens, by asking who issued them (RFC 7662)
ApiKeys              keys that this server was given itself, for local use
DpopProofs           proofs that a client holds the key which its token is bound to (RFC 9449)
TokenVerifier        what any other verifier subclasses; it raises TokenRefused, TokenUnknown or VerifierUnavailable

`auth=` takes a `Protected`, a verifier alone, or an async function from a request to a `Principal`, a name, or None.
JWTs need the extra: pip install 'mcpcore[auth]'.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mcpcore_transports.protected.api_keys import ApiKeys as ApiKeys
    from mcpcore_transports.protected.dpop import DpopProofs as DpopProofs
    from mcpcore_transports.protected.introspection import IntrospectionVerifier as IntrospectionVerifier
    from mcpcore_transports.protected.jwt_verifier import JwtVerifier as JwtVerifier
    from mcpcore_transports.protected.resource import Protected as Protected
    from mcpcore_transports.protected.verifier import TokenRefused as TokenRefused
    from mcpcore_transports.protected.verifier import TokenUnknown as TokenUnknown
    from mcpcore_transports.protected.verifier import TokenVerifier as TokenVerifier
    from mcpcore_transports.protected.verifier import VerifierUnavailable as VerifierUnavailable

__all__ = (
    "ApiKeys",
    "DpopProofs",
    "IntrospectionVerifier",
    "JwtVerifier",
    "Protected",
    "TokenRefused",
    "TokenUnknown",
    "TokenVerifier",
    "VerifierUnavailable",
)

_HOME = {
    "ApiKeys": "api_keys",
    "DpopProofs": "dpop",
    "IntrospectionVerifier": "introspection",
    "JwtVerifier": "jwt_verifier",
    "Protected": "resource",
    "TokenRefused": "verifier",
    "TokenUnknown": "verifier",
    "TokenVerifier": "verifier",
    "VerifierUnavailable": "verifier",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"mcpcore_transports.protected.{_HOME[name]}"), name)
    raise AttributeError(f"module 'mcpcore_transports.protected' has no attribute {name!r}")
