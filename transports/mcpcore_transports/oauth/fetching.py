"""The requests of a login to metadata, registration and token endpoints: few, small, bounded, and to nowhere inside.

Their URLs come from peers, so each is checked before it is used, and what its name stands for when it is connected to.
"""

import ssl
from collections.abc import Sequence
from typing import NamedTuple, Self
from urllib.parse import urljoin

from mcpcore_transports.framing.addresses import Reach
from mcpcore_transports.framing.wellknown import origin_of
from mcpcore_transports.oauth.errors import LoginFailed, UntrustedMetadata
from mcpcore_transports.web.fetching import REDIRECTS, Answer, FetchFailed, Fetching

__all__ = ("FETCH_SECONDS", "MAX_REDIRECTS", "Fetched", "Fetcher")

FETCH_SECONDS = 20.0
"""Seconds that one answer may take, from the connection to its last byte."""

MAX_REDIRECTS = 3
"""Redirects of metadata that are followed, within one origin. Requests with credentials are never redirected."""


class Fetched(NamedTuple):
    """An answer."""

    status: int
    kind: str
    """The media type, in lower case, without parameters."""

    body: bytes
    nonce: str | None
    """The `DPoP-Nonce` header."""


class Fetcher:
    """Makes the requests of one login. Used as `async with`, which closes its connections."""

    def __init__(
        self, reach: Reach, *, ssl_context: ssl.SSLContext | None = None, seconds: float = FETCH_SECONDS
    ) -> None:
        self._fetching = Fetching(reach, ssl_context=ssl_context, seconds=seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._fetching.aclose()

    def check_url(self, url: str, what: str) -> None:
        """Raises `UntrustedMetadata` for a URL that must not be used, which `what` names in the text."""
        refusal = self._fetching.reach.refusal(url, what)
        if refusal is not None:
            raise UntrustedMetadata(refusal)

    async def get(
        self, url: str, what: str, failure: type[LoginFailed], headers: Sequence[tuple[str, str]] = ()
    ) -> Fetched:
        """The answer to a GET. `what` names its place in errors.

        Raises `UntrustedMetadata` for a URL that must not be used, and `failure` for an answer that does not come,
        comes too slowly, is too large, or redirects elsewhere.
        """
        origin = origin_of(url)
        for _ in range(MAX_REDIRECTS + 1):
            answer = await self._ask("GET", url, what, failure, headers, None)
            location = answer.headers.get("location") if answer.status in REDIRECTS else None
            if location is None:
                return _fetched(answer)
            try:
                url = urljoin(url, location)
                elsewhere = origin_of(url) != origin
            except ValueError:
                elsewhere = True  # it is no URL at all
            if elsewhere:
                raise UntrustedMetadata(
                    f"{what} redirects to another origin; that was not followed. Tell its operator to answer in place"
                )
        raise failure(f"{what} redirects more than {MAX_REDIRECTS} times; tell its operator")

    async def post(
        self, url: str, what: str, failure: type[LoginFailed], headers: Sequence[tuple[str, str]], body: bytes
    ) -> Fetched:
        """The answer to a POST, which is sent once. Raises as `get`; a redirect is an answer like any other. After
        cancellation the server may have acted on it."""
        return _fetched(await self._ask("POST", url, what, failure, headers, body))

    async def _ask(
        self,
        method: str,
        url: str,
        what: str,
        failure: type[LoginFailed],
        headers: Sequence[tuple[str, str]],
        body: bytes | None,
    ) -> Answer:
        self.check_url(url, what)
        try:
            return await self._fetching.ask(
                method,
                url,
                headers=headers,
                body=body,
                repeatable=body is None,
                wanted=lambda status: status not in REDIRECTS,
            )
        except FetchFailed as failed:
            if failed.inward:
                raise UntrustedMetadata(
                    f"{what} leads further inside than the server itself is; nothing was sent there. If that is meant, "
                    "name its host in allow_hosts"
                ) from failed
            raise failure(f"{what} {failed}") from failed


def _fetched(answer: Answer) -> Fetched:
    return Fetched(answer.status, answer.kind, answer.body, answer.headers.get("dpop-nonce"))
