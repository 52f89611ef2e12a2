"""Asking an authorization server something over HTTP, with limits on everything it may do to us in return."""

import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import anyio
import msgspec

from mcpcore.errors import ConnectionLost, DeadlineExceeded, LocalProtocolError, RemoteProtocolError
from mcpcore_transports.protected.addresses import is_inward
from mcpcore_transports.protected.location import is_loopback_host
from mcpcore_transports.protected.verifier import VerifierUnavailable
from mcpcore_transports.web.client import HttpClient
from mcpcore_transports.web.client_limits import ClientLimits
from mcpcore_transports.web.exchange import BodyTooLarge, Headers

__all__ = ("FETCH_BYTES", "FETCH_SECONDS", "BadRequest", "Fetcher", "NotThere")

FETCH_SECONDS = 10.0
"""For a whole answer, from the name to the last byte. A client waits for it, and clients wait about a minute."""

FETCH_BYTES = 1024 * 1024
"""Of one answer. Key sets and metadata have some kilobytes."""

_LIMITS = ClientLimits(connect_seconds=FETCH_SECONDS, write_seconds=FETCH_SECONDS)

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class NotThere(VerifierUnavailable):
    """The server answered that there is nothing at this URL (404)."""


class BadRequest(VerifierUnavailable):
    """The server did not like what it was asked (400)."""

    def __init__(self, message: str, error: str) -> None:
        super().__init__(message)
        self.error: str = error
        """The code of RFC 6749, 5.2; empty when there is none."""


class Fetcher:
    """Requests to URLs that were checked by `require_safe_url`. Redirects are not followed.

    allow_private
        Whether names may lead to private addresses. A URL that names this machine may always.
    ssl_context
        For https; by default what the system trusts.
    keep
        Keep connections for later requests, until `aclose`.
    """

    def __init__(
        self,
        *,
        allow_private: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        seconds: float = FETCH_SECONDS,
        keep: bool = False,
    ) -> None:
        self._allow_private = allow_private
        self._ssl_context = ssl_context
        self._seconds = seconds
        self._keep = keep
        self._client: HttpClient | None = None

    async def get(self, url: str, what: str) -> dict[str, Any]:
        """A JSON object. `what` names it in errors. Raises `VerifierUnavailable`, and of that `NotThere`."""
        return await self._ask("GET", url, what, (), None)

    async def post(self, url: str, what: str, form: Mapping[str, str], headers: Headers = ()) -> dict[str, Any]:
        """The JSON object that answers a form. Raises `VerifierUnavailable`, and of that `BadRequest`."""
        fields = (("content-type", "application/x-www-form-urlencoded"), *headers)
        return await self._ask("POST", url, what, fields, urlencode(form).encode("ascii"))

    async def aclose(self) -> None:
        """Close what is kept. What is asked afterwards opens other connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _ask(self, method: str, url: str, what: str, headers: Headers, body: bytes | None) -> dict[str, Any]:
        client = self._client or self._make_client()
        if self._keep:
            self._client = client
        status, kind, data = 0, "", b""
        try:
            with anyio.fail_after(self._seconds):
                fields = (("accept", "application/json"), *headers)
                async with client.request(method, url, headers=fields, body=body) as response:
                    status, kind = response.status, response.headers.get("content-type", "")
                    if status in (200, 400):
                        data = await response.read(FETCH_BYTES)
        except (TimeoutError, DeadlineExceeded):
            raise VerifierUnavailable(f"{what} did not come within {self._seconds:g} seconds") from None
        except BodyTooLarge:
            raise VerifierUnavailable(f"{what} has more than {FETCH_BYTES} bytes") from None
        except (ConnectionLost, RemoteProtocolError, LocalProtocolError, anyio.ClosedResourceError) as error:
            reason = str(error) or "the connection was closed meanwhile"
            raise VerifierUnavailable(f"{what} could not be had: {reason}") from None
        finally:
            if not self._keep:
                with anyio.move_on_after(1, shield=True):
                    await client.aclose()
        if status == 404:
            raise NotThere(f"{what} is not there (HTTP status 404)")
        if 300 <= status < 400:
            raise VerifierUnavailable(f"{what} is said to be elsewhere, and redirects are not followed: give its URL")
        if status == 400:
            raise BadRequest(f"{what} was answered with HTTP status 400", _error_of(data))
        if status != 200:
            raise VerifierUnavailable(f"{what} was answered with HTTP status {status}")
        try:
            return _decode(data)
        except (ValueError, RecursionError):
            shown = ascii(kind.partition(";")[0])[:60]
            raise VerifierUnavailable(f"{what} is no JSON object (content-type {shown})") from None

    def _make_client(self) -> HttpClient:
        return HttpClient(limits=_LIMITS, ssl_context=self._ssl_context, admits=self._admits)

    def _admits(self, host: str, address: str) -> bool:
        if self._allow_private or is_loopback_host(host):
            return True
        return not is_inward(address)


def _error_of(data: bytes) -> str:
    try:
        error = _decode(data).get("error")
    except (ValueError, RecursionError):
        return ""
    return error if isinstance(error, str) else ""
