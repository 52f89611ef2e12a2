"""One question to the user, by way of the authorization server: the URL to open and the answer that comes back
(RFC 6749, 4.1; RFC 7636; RFC 8707; RFC 9207)."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

from mcpcore_transports.framing.jose import base64url
from mcpcore_transports.oauth.errors import AuthorizationRefused, ResponseMismatch, code_of, shown
from mcpcore_transports.oauth.metadata import ServerMetadata
from mcpcore_transports.oauth.scopes import OFFLINE_ACCESS

__all__ = ("AuthorizationRequest", "Pkce")

_ADVICE = {
    "access_denied": "the login was declined, by the user or by a rule of the authorization server",
    "invalid_scope": "it does not grant one of these scopes: check `scopes`",
    "invalid_target": "it does not know this server as a resource: its operator has to register it",
    "unauthorized_client": "it does not let this client log users in: check how the client is registered",
    "temporarily_unavailable": "try again later",
    "server_error": "try again later",
}


class Pkce(NamedTuple):
    """A secret of one request and its hash (RFC 7636, S256)."""

    verifier: str
    challenge: str

    def __repr__(self) -> str:
        return f"Pkce(challenge={self.challenge!r})"

    @classmethod
    def make(cls) -> "Pkce":
        return cls.of(secrets.token_urlsafe(48))

    @classmethod
    def of(cls, verifier: str) -> "Pkce":
        digest = hashlib.sha256(verifier.encode("ascii")).digest()
        return cls(verifier, base64url(digest))


class AuthorizationRequest:
    """What was asked, kept until the answer is here: `check` gives out the code once, and only for that answer."""

    def __init__(
        self,
        server: ServerMetadata,
        *,
        client_id: str,
        redirect_uri: str,
        resource: str,
        scopes: Sequence[str],
        dpop_thumbprint: str | None = None,
    ) -> None:
        self.issuer: str = server.issuer
        self.redirect_uri: str = redirect_uri
        self._iss_promised = bool(server.authorization_response_iss_parameter_supported)
        self._pkce = Pkce.make()
        self._state: str | None = secrets.token_urlsafe(32)
        asked = {
            "response_type": "code",
            "client_id": client_id,
            "redirect_uri": redirect_uri,
            "state": self._state,
            "code_challenge": self._pkce.challenge,
            "code_challenge_method": "S256",
            "resource": resource,
        }
        if scopes:
            asked["scope"] = " ".join(scopes)
        if OFFLINE_ACCESS in scopes:
            asked["prompt"] = "consent"  # without it the scope has no effect (OpenID Connect Core, 11)
        if dpop_thumbprint is not None:
            asked["dpop_jkt"] = dpop_thumbprint
        endpoint = server.authorize_at
        self.url: str = f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(asked)}"

    def __repr__(self) -> str:
        return f"<AuthorizationRequest to {self.issuer}>"

    @property
    def verifier(self) -> str:
        """The secret that goes with the code to the token endpoint, and nowhere else."""
        return self._pkce.verifier

    def recognises(self, response: Mapping[str, str]) -> bool:
        """Whether a redirect carries this request's state, which has not been used yet."""
        state, given = self._state, response.get("state")
        return state is not None and given is not None and hmac.compare_digest(state.encode(), given.encode())

    def check(self, response: Mapping[str, str]) -> str:
        """The code in a redirect's parameters; the state is used up by it.

        Raises `ResponseMismatch` for what does not belong to this request, `AuthorizationRefused` for an error.
        """
        if not self.recognises(response):
            raise ResponseMismatch(
                "the redirect does not belong to this login (its state is another one, missing, or was used before); "
                "it was not used. Log in again, from the page that this program opens"
            )
        self._state = None
        iss = response.get("iss")
        # Compared as it is, without any normalisation, and before anything else of the answer is looked at: an error
        # text from elsewhere is not to be shown either.
        if iss is None and self._iss_promised:
            raise ResponseMismatch(
                f"the redirect does not say which authorization server it comes from, as {self.issuer} promises to; "
                "it was not used. Tell the operator of the authorization server"
            )
        if iss is not None and iss != self.issuer:
            raise ResponseMismatch(
                f"the redirect comes from another authorization server than {self.issuer}, which was asked; it was not "
                "used. Do not log in at this server again before its operator explained that"
            )
        if "error" in response:
            error = code_of(response["error"])
            detail = shown(response.get("error_description", ""))
            advice = _ADVICE.get(error, "ask the operator of the authorization server")
            raise AuthorizationRefused(
                f"{self.issuer} refused the login: {error or 'an unreadable error'}"
                f"{f' ({detail})' if detail else ''}; {advice}",
                error=error,
            )
        code = response.get("code")
        if not code:
            raise ResponseMismatch(
                f"the redirect from {self.issuer} has neither a code nor an error; tell its operator, or log in again"
            )
        return code
