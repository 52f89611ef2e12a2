"""HTTP+SSE of 2024-11-05, client side: a `Pipe` whose frames come as events and leave as POSTs."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urljoin, urlsplit

import anyio

from mcpcore.errors import ConnectFailed, ConnectionLost
from mcpcore.jsonrpc import Oversize
from mcpcore.multiplex import Pipe
from mcpcore_transports.framing.eventstream import Event, EventDecoder
from mcpcore_transports.http.failures import HttpError
from mcpcore_transports.web.client import HttpClient, HttpResponse

__all__ = ("ENDPOINT_SECONDS", "POST_SECONDS", "SsePipe", "open_stream")

ENDPOINT_SECONDS = 10.0
"""How long a server may take to say where to post: it is the first thing it does."""

POST_SECONDS = 30.0
"""How long a server may take to accept one message. The answer comes on the event stream."""

_ACK_BYTES = 64 * 1024
"""Bytes of an acknowledgement that are read, for its text or to keep the connection."""


class SsePipe(Pipe):
    """One open event stream and the URI to post to."""

    def __init__(self, client: HttpClient, response: HttpResponse, headers: Sequence[tuple[str, str]]) -> None:
        self._client = client
        self._chunks = response.stream()
        self._headers = headers
        self._decoder = EventDecoder()
        self._uri = ""
        self._frames: list[bytes | Oversize] = []

    async def find_endpoint(self, url: str) -> None:
        """Read until the server has said where to post. Raises `ConnectFailed`."""
        while True:
            for event in await self._events():
                if isinstance(event, Event) and event.event == "endpoint" and not self._uri:
                    self._uri = urljoin(url, event.data.decode())
                    ours, theirs = urlsplit(url), urlsplit(self._uri)
                    if (ours.scheme, ours.netloc) != (theirs.scheme, theirs.netloc):
                        # Whatever is posted carries our credentials.
                        raise ConnectFailed(f"the server wants messages posted to another origin: {theirs.netloc}")
                else:
                    self._keep(event)
            if self._uri:
                return

    async def receive(self) -> Sequence[bytes | Oversize]:
        while not self._frames:
            for event in await self._events():
                self._keep(event)
        frames, self._frames = self._frames, []
        return frames

    async def send(self, frames: Sequence[bytes]) -> None:
        headers = (("content-type", "application/json"), ("accept", "application/json"), *self._headers)
        for frame in frames:
            with anyio.move_on_after(POST_SECONDS) as scope:
                async with self._client.request("POST", self._uri, headers=headers, body=frame) as response:
                    text = await response.read(_ACK_BYTES)
                    if response.status >= 300:
                        raise HttpError.of(response.status, text)
            if scope.cancelled_caught:
                raise ConnectionLost(f"the server did not accept a message within {POST_SECONDS:g} s")

    async def aclose(self) -> None:
        """The response is closed by `open_stream`, which opened it."""

    async def _events(self) -> list[Event | Oversize]:
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            raise anyio.EndOfStream from None
        return self._decoder.feed(chunk)

    def _keep(self, event: Event | Oversize) -> None:
        if isinstance(event, Oversize):
            self._frames.append(event)
        elif event.event == "message" and event.data:
            self._frames.append(event.data)


@asynccontextmanager
async def open_stream(client: HttpClient, url: str, headers: Sequence[tuple[str, str]]) -> AsyncIterator[SsePipe]:
    """Connect to the event stream of a 2024-11-05 server. Raises `ConnectFailed` when `url` has none."""
    async with client.request("GET", url, headers=(("accept", "text/event-stream"), *headers)) as response:
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if response.status != 200 or kind != "text/event-stream":
            raise HttpError.of(response.status, await response.read(_ACK_BYTES))
        pipe = SsePipe(client, response, headers)
        with anyio.move_on_after(ENDPOINT_SECONDS) as scope:
            try:
                await pipe.find_endpoint(url)
            except anyio.EndOfStream:
                raise ConnectFailed("the event stream ended before it said where to post") from None
        if scope.cancelled_caught:
            raise ConnectFailed(f"the event stream did not say where to post within {ENDPOINT_SECONDS:g} s")
        yield pipe
