"""Requests that say who is asking: what an `auth=` object is, and how it is asked before a request and after a refusal.

This is the whole seam. A channel sends its requests through an `AuthorizedClient` as it would through the HTTP client
itself, and sees neither tokens nor logins: a request that was refused, and whose authorization then did something
about it, is sent again before the channel hears of it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, TypeAlias

import anyio

from mcpcore.errors import ConnectFailed, ConnectionLost, DeadlineExceeded
from mcpcore_transports.web.client import HttpClient, HttpResponse
from mcpcore_transports.web.exchange import Headers
from mcpcore_transports.web.request import HttpRequest

__all__ = ("MAX_ATTEMPTS", "Authorization", "AuthorizedClient", "AuthorizedRequest", "Call", "Refusal", "Requests")

MAX_ATTEMPTS = 6
"""How often one request is sent at most: a token renewed, a nonce, a login, more scopes, and each of them once over."""

_REFUSED = frozenset((401, 403))


class Call(NamedTuple):
    """One request that is about to be sent."""

    server: str
    """The URL of the MCP server, as the client was given it."""

    method: str
    url: str
    """Where this request goes: the server's URL, or another of its origin."""


class Refusal(NamedTuple):
    """A 401 or 403."""

    status: int
    challenges: Sequence[str]
    """The values of `WWW-Authenticate`, as they came."""

    headers: Mapping[str, str]
    """Of the response; names in lower case."""

    sent: Mapping[str, str]
    """What `Authorization.headers` had returned for this request."""


class Authorization(ABC):
    """What `auth=` takes, besides a token: an object that knows how to be let in. Used by any number of tasks at once.

    A method that raises `ConnectionLost` fails the request with that; whatever else it raises is a `ConnectFailed`
    for the caller, which names the type of the exception and nothing of its text.
    """

    patient: bool = False
    """Whether `refused` may wait for a human. Then a connection begins with a request of its own (`ping`), before any
    deadline runs, so that the login is over when the negotiation begins."""

    extensions: Mapping[str, Any] = {}
    """Identifiers of the MCP extensions that this takes part in, with their settings; a client declares them."""

    @abstractmethod
    async def headers(self, call: Call) -> Mapping[str, str]:
        """The headers to add to one request. Asked again each time it is sent."""

    async def refused(self, call: Call, refusal: Refusal) -> bool:
        """Called after a 401 or 403; True when the request is to be sent again. Not for DELETE, which ends a session.

        There is no deadline here but those of the caller, whose cancellation arrives as such.
        """
        return False

    def heard(self, call: Call, status: int, headers: Mapping[str, str]) -> None:  # noqa: B027 - few need it
        """Called with the head of each response, before `refused`."""


class AuthorizedRequest:
    """An async context manager for one use, as `HttpRequest`: sent, and sent again, when it is entered."""

    def __init__(
        self,
        client: HttpClient,
        auth: Authorization,
        call: Call,
        headers: Headers,
        body: bytes | None,
        repeatable: bool,
        seconds: float | None,
    ) -> None:
        self._client = client
        self._auth = auth
        self._call = call
        self._headers = headers
        self._body = body
        self._repeatable = repeatable
        self._seconds = seconds
        self._request: HttpRequest | None = None

    async def __aenter__(self) -> HttpResponse:
        auth, call = self._auth, self._call
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                sent = await auth.headers(call)
            except ConnectionLost:
                raise
            except Exception as error:
                raise ConnectFailed(f"auth.headers() failed with {type(error).__name__}; nothing was sent") from error
            request = self._client.request(
                call.method,
                call.url,
                headers=_merged(self._headers, sent),
                body=self._body,
                repeatable=self._repeatable,
            )
            response = await self._enter(request)
            try:
                auth.heard(call, response.status, response.headers)
                if response.status not in _REFUSED or call.method == "DELETE" or attempt == MAX_ATTEMPTS:
                    again = False
                else:
                    challenges = response.header_values("www-authenticate")
                    again = await auth.refused(call, Refusal(response.status, challenges, response.headers, sent))
            except BaseException as error:
                await request.__aexit__(None, None, None)
                if isinstance(error, ConnectionLost) or not isinstance(error, Exception):
                    raise
                raise ConnectFailed(f"auth.refused() failed with {type(error).__name__}; nothing was done") from error
            if not again:
                self._request = request
                return response
            await request.__aexit__(None, None, None)
        raise AssertionError("the last attempt returns or raises")

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._request is not None:
            await self._request.__aexit__(kind, value, traceback)

    async def _enter(self, request: HttpRequest) -> HttpResponse:
        if self._seconds is None:
            return await request.__aenter__()
        with anyio.move_on_after(self._seconds):
            return await request.__aenter__()
        raise DeadlineExceeded(f"the server did not answer within {self._seconds:g} s")


class AuthorizedClient:
    """Sends the requests of one MCP client to one server, with what an authorization says."""

    def __init__(self, client: HttpClient, auth: Authorization, server: str) -> None:
        self._client = client
        self._auth = auth
        self._server = server

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Headers = (),
        body: bytes | None = None,
        repeatable: bool = True,
        seconds: float | None = None,
    ) -> AuthorizedRequest:
        """As `HttpClient.request`; `seconds` is how long each head of a response may take. Entering raises
        `ConnectFailed` besides, when the authorization fails."""
        call = Call(self._server, method, url)
        return AuthorizedRequest(self._client, self._auth, call, headers, body, repeatable, seconds)


Requests: TypeAlias = HttpClient | AuthorizedClient
"""What a channel sends its requests through."""


def _merged(headers: Headers, sent: Mapping[str, str]) -> Headers:
    if not sent:
        return headers
    names = {name.lower() for name in sent}
    return (*(pair for pair in headers if pair[0].lower() not in names), *sent.items())
