"""Asking an authorization server something over HTTP, with limits on everything it may do to us in return."""

import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec

from mcpcore_transports.framing.addresses import Reach, Zone, is_loopback_host
from mcpcore_transports.protected.verifier import VerifierUnavailable
from mcpcore_transports.web.exchange import Headers
from mcpcore_transports.web.fetching import Answer, FetchFailed, Fetching

__all__ = ("FETCH_SECONDS", "BadRequest", "Fetcher", "NotThere")

FETCH_SECONDS = 10.0
"""Seconds for a whole answer, from the name to its last byte. A client waits for it, and those wait about a minute."""

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
    """Requests to `url`, and to what is named there; each URL was checked by `require_safe_url`. Redirects are not
    followed.

    allow_private
        Whether names may lead to private addresses and to this machine. Names of this machine may where `url` is one.
    ssl_context
        For https; by default what the system trusts.
    seconds
        For one answer.
    keep
        Keep connections for later requests, until `aclose`.
    """

    def __init__(
        self,
        url: str,
        *,
        allow_private: bool = False,
        ssl_context: ssl.SSLContext | None = None,
        seconds: float = FETCH_SECONDS,
        keep: bool = False,
    ) -> None:
        self._reach = Reach(
            Zone.LOOPBACK if allow_private else Zone.PUBLIC,
            this_machine=is_loopback_host(urlsplit(url).hostname or ""),
        )
        self._ssl_context = ssl_context
        self._seconds = seconds
        self._kept = self._fetching() if keep else None

    async def get(self, url: str, what: str) -> dict[str, Any]:
        """A JSON object. `what` names it in errors. Raises `VerifierUnavailable`, and of that `NotThere`."""
        return await self._ask("GET", url, what, (), None)

    async def post(self, url: str, what: str, form: Mapping[str, str], headers: Headers = ()) -> dict[str, Any]:
        """The JSON object that answers a form. Raises `VerifierUnavailable`, and of that `BadRequest`."""
        fields = (("content-type", "application/x-www-form-urlencoded"), *headers)
        return await self._ask("POST", url, what, fields, urlencode(form).encode("ascii"))

    async def aclose(self) -> None:
        """Close what is kept, at once; requests that run raise. What is asked afterwards opens other connections."""
        if self._kept is not None:
            await self._kept.aclose()

    async def _ask(self, method: str, url: str, what: str, headers: Headers, body: bytes | None) -> dict[str, Any]:
        try:
            if self._kept is not None:
                answer = await _answer(self._kept, method, url, headers, body)
            else:
                async with self._fetching() as once:
                    answer = await _answer(once, method, url, headers, body)
        except FetchFailed as failed:
            if failed.inward:
                raise VerifierUnavailable(
                    f"{what} leads to a private address or to this machine, and nothing was sent there. If that is "
                    "meant, pass allow_private=True"
                ) from None
            raise VerifierUnavailable(f"{what} {failed}") from None
        if answer.status == 404:
            raise NotThere(f"{what} is not there (HTTP status 404)")
        if 300 <= answer.status < 400:
            raise VerifierUnavailable(f"{what} is said to be elsewhere, and redirects are not followed: give its URL")
        if answer.status == 400:
            raise BadRequest(f"{what} was answered with HTTP status 400", _error_of(answer.body))
        if answer.status != 200:
            raise VerifierUnavailable(f"{what} was answered with HTTP status {answer.status}")
        try:
            return _decode(answer.body)
        except (ValueError, RecursionError):
            shown = ascii(answer.kind)[:60]
            raise VerifierUnavailable(f"{what} is no JSON object (content-type {shown})") from None

    def _fetching(self) -> Fetching:
        return Fetching(self._reach, ssl_context=self._ssl_context, seconds=self._seconds)


async def _answer(fetching: Fetching, method: str, url: str, headers: Headers, body: bytes | None) -> Answer:
    return await fetching.ask(method, url, headers=headers, body=body, wanted=lambda status: status in (200, 400))


def _error_of(data: bytes) -> str:
    try:
        error = _decode(data).get("error")
    except (ValueError, RecursionError):
        return ""
    return error if isinstance(error, str) else ""
