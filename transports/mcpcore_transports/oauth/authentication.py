"""How a client says at a token endpoint who it is (RFC 6749, 2.3; RFC 7523, 2.2)."""

from typing import TypeAlias

from mcpcore_transports.framing.basic import client_credentials
from mcpcore_transports.oauth.assertions import PrivateKey
from mcpcore_transports.oauth.registration import Registration

__all__ = ("JWT_BEARER_CLIENT", "Form", "authenticate")

Form: TypeAlias = dict[str, str]
"""The parameters of a token request."""

JWT_BEARER_CLIENT = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def authenticate(form: Form, client: Registration, key: PrivateKey | None = None) -> tuple[Form, list[tuple[str, str]]]:
    """The form with what the client's method adds to it, and the headers of the request.

    An assertion is made for the issuer, and each time anew, so that none can be used twice.
    """
    form = dict(form)
    if key is not None:
        form["client_assertion_type"] = JWT_BEARER_CLIENT
        form["client_assertion"] = key.assertion(client.client_id, client.issuer)
        return form, []
    if client.client_id:
        # With Basic it is there twice, because some servers look the client up by the form only.
        form["client_id"] = client.client_id
    if client.method == "client_secret_basic" and client.client_secret is not None:
        return form, [("authorization", client_credentials(client.client_id, client.client_secret))]
    if client.method == "client_secret_post" and client.client_secret is not None:
        form["client_secret"] = client.client_secret
    return form, []
