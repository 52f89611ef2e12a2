"""What a login can end with. Each text says who is to blame and what to do next, and none holds a secret.

LoginFailed                 the request that needed it was refused, so nothing was done
  DiscoveryFailed             the server, or its authorization server, does not describe itself as it has to
    UntrustedMetadata           ... it describes somebody else, or points where it must not
  RegistrationFailed          the authorization server gives this client no client_id
  AuthorizationRefused        the authorization server, or the user there, said no
    ResponseMismatch            ... or what came back is not the answer to what was asked
  LoginTimeout                nobody finished the login in time
  TokenRefused                the token endpoint said no, or answered with what is no token
  AccessRefused               the server refuses a token, or scopes, that it was given as it asked
  StorageFailed               the place for tokens cannot be used, or is open to others
  LibraryMissing              what was asked for needs `pip install 'mcpcore[auth]'`
"""

import re
from typing import Any

import msgspec

from mcpcore.errors import ConnectFailed

__all__ = (
    "AccessRefused",
    "AuthorizationRefused",
    "DiscoveryFailed",
    "LibraryMissing",
    "LoginFailed",
    "LoginTimeout",
    "RegistrationFailed",
    "ResponseMismatch",
    "StorageFailed",
    "TokenRefused",
    "UntrustedMetadata",
    "code_of",
    "refused_with",
    "shown",
)

_SHOWN_CHARACTERS = 200
_CODE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,64}")


class LoginFailed(ConnectFailed):
    """No token could be had. The request that needed one was refused by the server: nothing was done."""


class DiscoveryFailed(LoginFailed):
    """The server or its authorization server is to blame: its metadata is missing, malformed or does not come."""


class UntrustedMetadata(DiscoveryFailed):
    """Metadata that names another server or issuer, or a URL that is not safe to use. Nothing of it was used."""


class RegistrationFailed(LoginFailed):
    """The authorization server gives no client_id: register one there by hand, and pass it as `client_id`."""


class AuthorizationRefused(LoginFailed):
    """The authorization server redirected back with an error. `error` is its code (RFC 6749, 4.1.2.1)."""

    def __init__(self, message: str, *, error: str = "") -> None:
        super().__init__(message)
        self.error = error


class ResponseMismatch(AuthorizationRefused):
    """A redirect that does not belong to this login: another state, another issuer, or no code. It was not used."""


class LoginTimeout(LoginFailed):
    """The login was not finished within its deadline; nothing listens for it any more."""


class TokenRefused(LoginFailed):
    """The token endpoint gave no token. `error` is its code (RFC 6749, 5.2), "" when it sent none; `status` HTTP's."""

    def __init__(self, message: str, *, error: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.error = error
        self.status = status


class AccessRefused(LoginFailed):
    """The server does not accept what its authorization server issued. `scopes` are those it asks for."""

    def __init__(self, message: str, *, scopes: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.scopes = scopes


class StorageFailed(LoginFailed):
    """Tokens cannot be kept where they should be."""


class LibraryMissing(LoginFailed):
    """Signing (private_key_jwt, DPoP) needs a library of the extra `mcpcore[auth]`, which is not installed."""


def shown(text: object) -> str:
    """What a peer sent, short and printable, for the text of an error; "" for what is no text."""
    if not isinstance(text, str):
        return ""
    return "".join(c if c.isprintable() else " " for c in text[:_SHOWN_CHARACTERS]).strip()


def code_of(error: object) -> str:
    """An OAuth error code as it may be shown and compared; "" for what is none."""
    return error if isinstance(error, str) and _CODE.fullmatch(error) else ""


class _Refusal(msgspec.Struct):
    error: Any = None
    error_description: Any = None


def refused_with(body: bytes) -> tuple[str, str]:
    """The error code and the description in the body of a refusal (RFC 6749, 5.2; RFC 7591, 3.2.2), as `code_of` and
    `shown` have them."""
    try:
        said = msgspec.json.decode(body, type=_Refusal)
    except (msgspec.DecodeError, RecursionError):
        said = _Refusal()
    return code_of(said.error), shown(said.error_description)
