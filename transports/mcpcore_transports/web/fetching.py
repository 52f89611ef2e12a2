"""Small answers from peers that somebody else named: bounded in size, in time and in where they may come from."""

import ssl
from collections.abc import Callable, Mapping
from typing import NamedTuple, Self

import anyio

from mcpcore.errors import ConnectionLost, DeadlineExceeded, LocalProtocolError, RemoteProtocolError
from mcpcore_transports.framing.addresses import Reach
from mcpcore_transports.web.client import HttpClient
from mcpcore_transports.web.client_limits import ClientLimits
from mcpcore_transports.web.exchange import BodyTooLarge, Headers
from mcpcore_transports.web.urls import parse_url

__all__ = ("FETCH_BYTES", "REDIRECTS", "Answer", "FetchFailed", "Fetching")

FETCH_BYTES = 1024 * 1024
"""Bytes of one answer. Metadata, key sets and tokens have some kilobytes."""

REDIRECTS = frozenset((301, 302, 303, 307, 308))
"""The statuses whose `location` means another URL of the same thing. None is followed here."""


class FetchFailed(Exception):
    """There is no answer. The text is a verb and what follows, to be put behind what was asked for."""

    def __init__(self, message: str, *, inward: bool = False) -> None:
        super().__init__(message)
        self.inward: bool = inward
        """Whether nothing was sent, because the name leads further inside than it may."""


class Answer(NamedTuple):
    """An answer of any status."""

    status: int
    kind: str
    """The media type, in lower case, without parameters."""

    headers: Mapping[str, str]
    """By lower-case name."""

    body: bytes
    """Empty where the status was not wanted."""


class Fetching:
    """Makes requests within `reach`, each within `seconds` from the name to the last byte. Any number of tasks may ask.

    `ssl_context` is for https; by default what the system trusts. Connections are kept for later requests until
    `aclose`, which leaving it as `async with` calls; what is asked after that opens others.
    """

    def __init__(self, reach: Reach, *, ssl_context: ssl.SSLContext | None = None, seconds: float) -> None:
        self.reach: Reach = reach
        self.seconds: float = seconds
        self._ssl_context = ssl_context
        self._inward: set[str] = set()
        """Hosts that led further inside than they may."""
        self._client: HttpClient | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection, at once and from any task; what is under way raises `FetchFailed`."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Headers = (),
        body: bytes | None = None,
        repeatable: bool = True,
        wanted: Callable[[int], bool],
    ) -> Answer:
        """The answer to one request. Of statuses that are not `wanted` the body is not read; `repeatable` is that of
        `HttpClient.request`.

        Raises `FetchFailed` for an answer that does not come, comes too slowly, is too large or is no HTTP. After
        cancellation its connection is closed, and the server may have acted on the request.
        """
        if self._client is None:
            limits = ClientLimits(connect_seconds=self.seconds, write_seconds=self.seconds)
            self._client = HttpClient(limits=limits, ssl_context=self._ssl_context, admits=self._admits)
        fields = (("accept", "application/json"), *headers)
        try:
            with anyio.fail_after(self.seconds):
                request = self._client.request(method, url, headers=fields, body=body, repeatable=repeatable)
                async with request as response:
                    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
                    data = b""
                    if wanted(response.status):
                        data = await response.read(FETCH_BYTES)
                    return Answer(response.status, kind, response.headers, data)
        except (TimeoutError, DeadlineExceeded):
            raise FetchFailed(f"did not answer within {self.seconds:g} seconds; try again later") from None
        except BodyTooLarge:
            raise FetchFailed(f"answered with more than {FETCH_BYTES} bytes; tell its operator") from None
        except (RemoteProtocolError, LocalProtocolError) as error:
            raise FetchFailed(f"cannot be used: {error}") from error
        except ConnectionLost as error:
            raise FetchFailed(f"cannot be reached: {error}", inward=self._led_inward(url)) from error
        except anyio.ClosedResourceError as error:
            raise FetchFailed("cannot be asked: the client was closed meanwhile") from error

    def _admits(self, host: str, address: str) -> bool:
        admitted = self.reach.admits(host, address)
        if not admitted:
            self._inward.add(host)
        return admitted

    def _led_inward(self, url: str) -> bool:
        host = parse_url(url).origin.host
        led = host in self._inward
        self._inward.discard(host)
        return led
