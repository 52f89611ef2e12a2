"""HTTP+SSE of 2024-11-05, client side: a `Pipe` whose frames come as events and leave as POSTs."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias
from urllib.parse import urljoin

import anyio

from mcpcore.errors import ConnectFailed, ConnectionLost, LocalProtocolError
from mcpcore.jsonrpc import Oversize
from mcpcore.multiplex import Pipe
from mcpcore_transports.framing.eventstream import Event, EventDecoder
from mcpcore_transports.http.authorized import Requests
from mcpcore_transports.http.failures import connection_errors, read_refusal
from mcpcore_transports.web.client import HttpResponse
from mcpcore_transports.web.exchange import Headers
from mcpcore_transports.web.urls import parse_url

__all__ = ("ENDPOINT_SECONDS", "POST_SECONDS", "HeadersSource", "SsePipe", "open_stream")

ENDPOINT_SECONDS = 10.0
"""How long a server may take to say where to post: it is the first thing it does."""

POST_SECONDS = 30.0
"""How long a server may take to accept one message. The answer comes on the event stream."""

HeadersSource: TypeAlias = Callable[..., Awaitable[Headers]]
"""Called with the headers of one request, as pairs; returns them with the caller's own, such as credentials."""


class SsePipe(Pipe):
    """One open event stream and the URI to post to."""

    def __init__(self, client: Requests, response: HttpResponse, headers: HeadersSource) -> None:
        self._client = client
        self._chunks = response.stream()
        self._headers = headers
        self._decoder = EventDecoder()
        self._uri = ""
        self._frames: list[bytes | Oversize] = []
        self._failure = ConnectionLost("the connection is closed")
        self._closed = False
        self._reading: anyio.CancelScope | None = None
        self._left = anyio.Event()

    async def find_endpoint(self, url: str) -> None:
        """Read until the server has said where to post. Raises `ConnectFailed`, and as `receive`."""
        while not self._uri:
            for event in await self._events():
                if isinstance(event, Event) and event.event == "endpoint" and not self._uri:
                    self._uri = _endpoint(url, event.data.decode(errors="replace"))
                else:
                    self._keep(event)

    async def receive(self) -> Sequence[bytes | Oversize]:
        while not self._frames:
            if self._closed:
                raise self._failure
            self._left = anyio.Event()
            events: list[Event | Oversize] = []
            try:
                with anyio.CancelScope() as self._reading:
                    events = await self._events()
            finally:
                self._reading = None
                self._left.set()
            for event in events:
                self._keep(event)
        frames, self._frames = self._frames, []
        return frames

    async def send(self, frames: Sequence[bytes]) -> None:
        for frame in frames:
            try:
                await self._post(frame)
            except ConnectionLost as lost:
                # The answer can only come on the event stream, and will not: whoever waits there is to know why.
                self._failure = lost
                raise

    async def aclose(self) -> None:
        """End the wait of `receive`. The response is closed by `open_stream`, which opened it."""
        self._closed = True
        if self._reading is not None:
            self._reading.cancel()
            # Nobody may wait for a socket that is about to be closed.
            await self._left.wait()

    async def _post(self, frame: bytes) -> None:
        with connection_errors(), anyio.move_on_after(POST_SECONDS) as patience:
            headers = await self._headers(("content-type", "application/json"), ("accept", "application/json"))
            async with self._client.request("POST", self._uri, headers=headers, body=frame) as response:
                if response.status >= 300:
                    raise await read_refusal(response)
        if patience.cancelled_caught:
            raise ConnectionLost(f"the server did not accept a message within {POST_SECONDS:g} s")

    async def _events(self) -> list[Event | Oversize]:
        try:
            with connection_errors():
                chunk = await anext(self._chunks)
        except StopAsyncIteration:
            raise anyio.EndOfStream from None
        return self._decoder.feed(chunk)

    def _keep(self, event: Event | Oversize) -> None:
        if isinstance(event, Oversize):
            self._frames.append(event)
        elif event.event == "message" and event.data:
            self._frames.append(event.data)


def _endpoint(url: str, said: str) -> str:
    """Where to post. Raises `ConnectFailed` for another origin: whatever is posted carries our credentials."""
    try:
        uri = urljoin(url, said)
        ours, theirs = parse_url(url).origin, parse_url(uri).origin
    except (ValueError, LocalProtocolError) as error:
        raise ConnectFailed(f"the server did not say where to post: {error}") from error
    if ours != theirs:
        raise ConnectFailed(f"the server wants messages posted to another origin, {theirs.shown}; that is refused")
    return uri


@asynccontextmanager
async def open_stream(client: Requests, url: str, headers: HeadersSource) -> AsyncIterator[SsePipe]:
    """Connect to the event stream of a 2024-11-05 server.

    Raises `ConnectFailed` when `url` has none (`HttpRefused` when it answers with another status), `ConnectionLost`
    when it broke before the server said where to post.
    """
    with connection_errors():
        own = await headers(("accept", "text/event-stream"))
        opening = client.request("GET", url, headers=own)
        response = await opening.__aenter__()
    try:
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if response.status != 200 or kind != "text/event-stream":
            raise await read_refusal(response, harmless=True)
        pipe = SsePipe(client, response, headers)
        with anyio.move_on_after(ENDPOINT_SECONDS) as scope:
            try:
                await pipe.find_endpoint(url)
            except anyio.EndOfStream:
                raise ConnectFailed("the event stream ended before it said where to post") from None
        if scope.cancelled_caught:
            raise ConnectFailed(f"the event stream did not say where to post within {ENDPOINT_SECONDS:g} s")
        yield pipe
    finally:
        await opening.__aexit__(None, None, None)
