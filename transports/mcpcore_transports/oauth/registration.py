"""How a client is known to an authorization server: given by its operator, as a document on the web, or registered
when it is needed (MCP, client registration; RFC 7591)."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from mcpcore.errors import LocalProtocolError
from mcpcore_transports.oauth.errors import RegistrationFailed, refused_with, shown
from mcpcore_transports.oauth.metadata import ServerMetadata

__all__ = (
    "Registration",
    "auth_method",
    "check_document_url",
    "client_document",
    "read_registration",
    "registration_refusal",
    "registration_request",
)

_WITH_SECRET = ("client_secret_basic", "client_secret_post")


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """A client as one authorization server knows it. Its repr shows no secret."""

    issuer: str
    client_id: str
    client_secret: str | None = None
    method: str = "none"
    """How it authenticates at the token endpoint (RFC 7591, 2)."""

    redirect_uri: str = ""
    """The one that was registered; "" where the operator or the document says which."""

    scopes: tuple[str, ...] | None = None
    """Those it was registered for; None when it is not limited."""

    def __repr__(self) -> str:
        return f"<Registration at {self.issuer} as {self.client_id!r} by {self.method}>"


class _Answer(msgspec.Struct):
    client_id: str = ""
    client_secret: str | None = None
    token_endpoint_auth_method: str | None = None
    scope: str | None = None


def auth_method(server: ServerMetadata, *, secret: bool) -> str:
    """How a client with or without a secret authenticates there. A server that lists nothing takes Basic
    (RFC 8414, 2)."""
    supported = server.token_endpoint_auth_methods_supported
    if not secret:
        return "none"
    return next((method for method in _WITH_SECRET if supported is None or method in supported), _WITH_SECRET[0])


def registration_request(
    server: ServerMetadata, *, name: str, redirect_uri: str, scopes: Sequence[str]
) -> dict[str, Any]:
    """What to send to a registration endpoint. Raises `RegistrationFailed` when the server has none."""
    if not server.registration_endpoint:
        raise RegistrationFailed(
            f"the authorization server {shown(server.issuer)!r} registers no clients by itself: register one there by "
            "hand, and pass it as client_id (and client_secret)"
        )
    supported = server.token_endpoint_auth_methods_supported
    method = "none" if supported is None or "none" in supported else auth_method(server, secret=True)
    grants = server.grant_types_supported
    asked: dict[str, Any] = {
        "client_name": name,
        "redirect_uris": [redirect_uri],
        "application_type": "native",
        "grant_types": [
            "authorization_code",
            *(["refresh_token"] if grants is None or "refresh_token" in grants else []),
        ],
        "response_types": ["code"],
        "token_endpoint_auth_method": method,
    }
    if scopes:
        asked["scope"] = " ".join(scopes)
    return asked


def read_registration(body: bytes, asked: dict[str, Any], issuer: str) -> Registration:
    """The client in the body of a successful response. Raises `RegistrationFailed`."""
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.DecodeError, RecursionError):
        answer = _Answer()
    if not answer.client_id:
        raise RegistrationFailed(
            f"{issuer} answered the registration with no client_id (RFC 7591, 3.2.1): register a client there by hand, "
            "and pass it as client_id"
        )
    method = answer.token_endpoint_auth_method or str(asked["token_endpoint_auth_method"])
    if method not in ("none", *_WITH_SECRET) or (method != "none" and answer.client_secret is None):
        raise RegistrationFailed(
            f"{issuer} registered a client that is to authenticate by {shown(method)!r}, for which it gave nothing; "
            "register one there by hand, and pass it as client_id"
        )
    registered = answer.scope if answer.scope is not None else asked.get("scope")
    return Registration(
        issuer=issuer,
        client_id=answer.client_id,
        client_secret=answer.client_secret,
        method=method,
        redirect_uri=asked["redirect_uris"][0],
        scopes=tuple(registered.split()) if registered else None,
    )


def registration_refusal(body: bytes, status: int, issuer: str) -> RegistrationFailed:
    """The error for an answer with another status than 200 or 201."""
    error, detail = refused_with(body)
    why = f": {error}{f' ({detail})' if detail else ''}" if error else f" with HTTP {status}"
    advice = "register one there by hand, and pass it as client_id (and client_secret)"
    if error == "invalid_redirect_uri":
        advice = "it may take no loopback redirects, or only those of a fixed port (redirect_port); or " + advice
    elif status in (404, 405) and not error:
        advice = "it may have no logins at all and take keys or tokens: pass one as auth= (--token); or " + advice
    return RegistrationFailed(f"{issuer} refused to register this client{why}; {advice}")


def check_document_url(url: str) -> None:
    """Raises `LocalProtocolError` unless a client_id metadata document may be there: https, with a path, and without
    what could make two URLs of one (draft-ietf-oauth-client-id-metadata-document, 3)."""
    try:
        parts = urlsplit(url)
        segments = parts.path.split("/")
        good = parts.scheme == "https" and bool(parts.hostname) and parts.path not in ("", "/")
        good = good and not parts.fragment and "@" not in parts.netloc and not {".", ".."} & set(segments)
    except ValueError:
        good = False
    if not good:
        raise LocalProtocolError(
            "client_metadata_url has to be an https URL with a path, without fragment or user information; it is where "
            "this client's metadata document is published"
        )


def client_document(url: str, *, name: str, redirect_uris: Sequence[str] = ()) -> dict[str, Any]:
    """The document to publish at `url`, for a client of this library. Loopback redirects without a port stand for any
    port (RFC 8252, 7.3). Raises `LocalProtocolError`."""
    check_document_url(url)
    return {
        "client_id": url,
        "client_name": name,
        "redirect_uris": list(redirect_uris) or ["http://127.0.0.1/callback", "http://localhost/callback"],
        "application_type": "native",
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
    }
