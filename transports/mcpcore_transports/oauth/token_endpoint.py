"""Asking for tokens (RFC 6749, 3.2), with proofs where tokens are to be bound (RFC 9449, 5 and 8)."""

from collections.abc import Sequence
from urllib.parse import urlencode

from mcpcore_transports.oauth.assertions import PrivateKey
from mcpcore_transports.oauth.authentication import Form, authenticate
from mcpcore_transports.oauth.dpop import DpopKey
from mcpcore_transports.oauth.errors import TokenRefused
from mcpcore_transports.oauth.fetching import Fetcher
from mcpcore_transports.oauth.registration import Registration
from mcpcore_transports.oauth.token import Token, read_token, refusal

__all__ = ("TokenEndpoint",)

_FORM = ("content-type", "application/x-www-form-urlencoded")


class TokenEndpoint:
    """The token endpoint of one issuer, for one login. `dpop` proves itself in each request, if there is one."""

    def __init__(self, url: str, issuer: str, fetcher: Fetcher, dpop: DpopKey | None = None) -> None:
        self.url = url
        self.issuer = issuer
        self.dpop = dpop
        self._fetcher = fetcher
        self._nonce: str | None = None

    async def ask(self, form: Form, client: Registration, key: PrivateKey | None = None) -> bytes:
        """The body of the successful answer. `client` is sent to no other issuer than its own.

        Raises `TokenRefused` for any other answer, and for none.
        """
        assert client.issuer == self.issuer, "credentials go to their own issuer only"
        for attempt in range(2):
            sent, headers = authenticate(form, client, key)
            if self.dpop is not None:
                headers.append(("dpop", self.dpop.proof("POST", self.url, nonce=self._nonce)))
            answer = await self._fetcher.post(
                self.url,
                f"the token endpoint of {self.issuer}",
                TokenRefused,
                (_FORM, *headers),
                urlencode(sent).encode("ascii"),
            )
            if answer.status == 200:
                return answer.body
            refused = refusal(answer.body, answer.status, self.issuer)
            if refused.error != "use_dpop_nonce" or not answer.nonce or self.dpop is None or attempt:
                raise refused
            self._nonce = answer.nonce
        raise AssertionError("the second attempt returns or raises")

    def read(
        self, body: bytes, client: Registration, resource: str, scopes: Sequence[str], before: Token | None = None
    ) -> Token:
        """The token in what `ask` returned, as `read_token`, which says what is raised."""
        return read_token(
            body,
            issuer=self.issuer,
            resource=resource,
            client_id=client.client_id,
            token_endpoint=self.url,
            scopes=scopes,
            auth_method=client.method,
            bound_key=None if self.dpop is None else self.dpop.pem,
            before=before,
        )
