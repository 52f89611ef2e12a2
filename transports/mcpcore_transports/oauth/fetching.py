"""The requests of a login to metadata, registration and token endpoints: few, small, bounded, and to nowhere inside.

They go through the HTTP client of the transports. Their URLs come from peers, so each is checked before it is used, and
what its name stands for when it is connected to.
"""

import ssl
from collections.abc import Sequence
from typing import NamedTuple, Self
from urllib.parse import urljoin, urlsplit

import anyio

from mcpcore.errors import ConnectionLost, DeadlineExceeded, LocalProtocolError, RemoteProtocolError
from mcpcore_transports.oauth.addresses import Reach
from mcpcore_transports.oauth.errors import LoginFailed, UntrustedMetadata
from mcpcore_transports.oauth.wellknown import origin_of
from mcpcore_transports.web.client import HttpClient
from mcpcore_transports.web.client_limits import ClientLimits
from mcpcore_transports.web.exchange import BodyTooLarge

__all__ = ("FETCH_BYTES", "FETCH_SECONDS", "MAX_REDIRECTS", "Fetched", "Fetcher")

FETCH_BYTES = 1024 * 1024
"""Bytes of an answer. Metadata has a few thousand."""

FETCH_SECONDS = 20.0
"""How long one answer may take, from the connection to its last byte."""

MAX_REDIRECTS = 3
"""Redirects of metadata that are followed, within one origin. Requests with credentials are never redirected."""

_REDIRECTS = frozenset((301, 302, 303, 307, 308))


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
        self.reach = reach
        self._seconds = seconds
        self._inside: set[str] = set()
        """Hosts that led further inside than they may."""
        self._client = HttpClient(
            limits=ClientLimits(connect_seconds=seconds), ssl_context=ssl_context, admits=self._admits
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def get(
        self, url: str, what: str, failure: type[LoginFailed], headers: Sequence[tuple[str, str]] = ()
    ) -> Fetched:
        """The answer to a GET. `what` names its place in errors.

        Raises `UntrustedMetadata` for a URL that must not be used, and `failure` for an answer that does not come,
        comes too slowly, is too large, or redirects elsewhere.
        """
        origin = origin_of(url)
        for _ in range(MAX_REDIRECTS + 1):
            fetched, location = await self._fetch("GET", url, what, failure, headers, None)
            if location is None:
                return fetched
            url = urljoin(url, location)
            if origin_of(url) != origin:
                raise UntrustedMetadata(
                    f"{what} redirects to another origin; that was not followed. Tell its operator to answer in place"
                )
        raise failure(f"{what} redirects more than {MAX_REDIRECTS} times; tell its operator")

    async def post(
        self, url: str, what: str, failure: type[LoginFailed], headers: Sequence[tuple[str, str]], body: bytes
    ) -> Fetched:
        """The answer to a POST, which is sent once. Raises as `get`; a redirect is an answer like any other."""
        fetched, _ = await self._fetch("POST", url, what, failure, headers, body)
        return fetched

    async def _fetch(
        self,
        method: str,
        url: str,
        what: str,
        failure: type[LoginFailed],
        headers: Sequence[tuple[str, str]],
        body: bytes | None,
    ) -> tuple[Fetched, str | None]:
        self.reach.check_url(url, what)
        try:
            with anyio.move_on_after(self._seconds):
                request = self._client.request(
                    method, url, headers=(("accept", "application/json"), *headers), body=body, repeatable=body is None
                )
                async with request as response:
                    found = response.headers
                    kind = found.get("content-type", "").partition(";")[0].strip().lower()
                    if method == "GET" and response.status in _REDIRECTS and "location" in found:
                        return Fetched(response.status, kind, b"", None), found["location"]
                    answer = await response.read(FETCH_BYTES)
                    return Fetched(response.status, kind, answer, found.get("dpop-nonce")), None
            raise failure(f"{what} did not answer within {self._seconds:g} s; try again later")
        except BodyTooLarge as error:
            raise failure(f"{what} answered with more than {FETCH_BYTES} bytes; tell its operator") from error
        except (RemoteProtocolError, DeadlineExceeded, LocalProtocolError) as error:
            raise failure(f"{what} cannot be used: {error}") from error
        except LoginFailed:
            raise
        except ConnectionLost as error:
            if (urlsplit(url).hostname or "") in self._inside:
                raise UntrustedMetadata(
                    f"{what} leads further inside than the server itself is; nothing was sent there. If that is meant, "
                    "name its host in allow_hosts"
                ) from error
            raise failure(f"{what} cannot be reached: {error}") from error

    def _admits(self, host: str, address: str) -> bool:
        admitted = self.reach.admits(host, address)
        if not admitted:
            self._inside.add(host)
        return admitted
