"""`Authorization: Basic`: a name and a password in a header (RFC 7617)."""

from base64 import b64encode
from urllib.parse import quote_plus

__all__ = ("basic_credentials", "client_credentials")


def basic_credentials(name: bytes, password: bytes) -> str:
    """The value of the header. A name must have no colon, which would end it."""
    return "Basic " + b64encode(name + b":" + password).decode("ascii")


def client_credentials(client_id: str, client_secret: str) -> str:
    """The value of the header for a client of an authorization server (`client_secret_basic`): both are form-encoded
    before they are joined (RFC 6749, 2.3.1)."""
    return basic_credentials(quote_plus(client_id).encode("ascii"), quote_plus(client_secret).encode("ascii"))
