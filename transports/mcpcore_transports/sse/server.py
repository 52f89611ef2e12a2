"""HTTP+SSE of 2024-11-05, server side: one event stream for all that the server says, and POSTs for what it hears.

Deprecated by the protocol since 2025-03-26; here so that clients which still speak it can be served beside the others.
The connection is one ordered pipe each way, so this is a `Pipe`, and everything else is what stdio has.
"""

import secrets
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import anyio

from mcpcore.channel import Channel, Origin
from mcpcore.errors import ConnectionLost
from mcpcore.jsonrpc import Oversize
from mcpcore.multiplex import Multiplexer, Pipe
from mcpcore_transports.framing.eventstream import KEEP_ALIVE, encode_event
from mcpcore_transports.http.expiry import Expiries, Expiry
from mcpcore_transports.http.replies import EVENT_STREAM_HEADERS
from mcpcore_transports.web.exchange import Headers, WebRequest, WebResponse

__all__ = ("DEPRECATION", "MAX_CONNECTIONS", "MAX_POSTED", "Serves", "SseServer")

MAX_CONNECTIONS = 10_000
"""Event streams of one server. Each is an open connection, so the host's own limit is usually met first."""

MAX_POSTED = 256
"""Posted messages of one client that wait to be read; the next POST waits."""

DEPRECATION: Headers = (
    # RFC 9745: the day on which it was deprecated, 2025-03-26, in seconds since 1970.
    ("deprecation", "@1742947200"),
    ("link", '<https://modelcontextprotocol.io/specification/2025-03-26/basic/transports>; rel="deprecation"'),
)


class Serves(Protocol):
    """What the streams are served by."""

    async def serve_channel(self, channel: Channel, *, grace: float) -> None: ...


class _SsePipe(Pipe):
    """POST bodies in, events out."""

    def __init__(self, response: WebResponse) -> None:
        self._response = response
        self._posted: deque[bytes] = deque()
        self._changed = anyio.Event()
        self._ended = False

    async def post(self, frame: bytes) -> bool:
        """Hand over one message. False when the connection is gone."""
        while len(self._posted) >= MAX_POSTED and not self._ended:
            await self._changed.wait()
        if self._ended:
            return False
        self._posted.append(frame)
        self._wake()
        return True

    def end(self) -> None:
        self._ended = True
        self._wake()

    async def receive(self) -> Sequence[bytes | Oversize]:
        while not self._posted:
            if self._ended:
                raise anyio.EndOfStream
            await self._changed.wait()
        frames = list(self._posted)
        self._posted.clear()
        self._wake()
        return frames

    async def send(self, frames: Sequence[bytes]) -> None:
        if self._ended:
            raise ConnectionLost("the client has closed its event stream")
        await self._response.send(b"".join(encode_event(frame, event="message") for frame in frames))

    async def aclose(self) -> None:
        self.end()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


class SseServer:
    """The event streams that are open, by the session id in the URI that their clients post to."""

    def __init__(self, expiries: Expiries, *, messages_path: str, max_connections: int = MAX_CONNECTIONS) -> None:
        self._expiries = expiries
        self._messages_path = messages_path
        self._max_connections = max_connections
        self._open: dict[str, _Open] = {}

    def __len__(self) -> int:
        return len(self._open)

    def end_all(self) -> None:
        for one in list(self._open.values()):
            one.pipe.end()

    async def stream(
        self, server: Serves, request: WebRequest, response: WebResponse, origin: Origin, headers: Headers
    ) -> None:
        """Answer the GET: the stream is the session, and lives as long as the client reads it.

        Raises `ConnectionLost` when the client leaves, which is how these sessions end.
        """
        if len(self._open) >= self._max_connections:
            await response.send_whole(503, (("retry-after", "5"), *headers), b"too many event streams are open\n")
            return
        session = secrets.token_urlsafe(32)
        pipe = _SsePipe(response)
        request.when_gone(pipe.end)
        channel = Multiplexer(pipe, origin=origin)
        with self._expiries.ending(origin.principal, pipe.end) as expiry:
            self._open[session] = _Open(pipe, channel, _owner(origin), expiry)
            try:
                await response.start(200, (*EVENT_STREAM_HEADERS, *DEPRECATION, *headers), idle_bytes=KEEP_ALIVE)
                # Relative to the host, with the prefix that this application is mounted under.
                uri = f"{request.mount}{self._messages_path}?session_id={session}"
                await response.send(encode_event(uri.encode(), event="endpoint"))
                async with channel:
                    await server.serve_channel(channel, grace=0)
                await response.finish()
            finally:
                self._open.pop(session, None)

    async def post(self, session: str, origin: Origin, body: bytes) -> bool:
        """Take a posted message. False when there is no such session, or it is somebody else's."""
        found = self._open.get(session)
        if found is None or found.owner != _owner(origin):
            return False
        if origin.principal is not None:
            found.expiry.renew(origin.principal)
            found.channel.renew(origin)  # the token of this request may grant more, or less, than that of the stream
        return await found.pipe.post(body.strip(b" \r\n\t"))


class _Open(NamedTuple):
    pipe: _SsePipe
    channel: Multiplexer
    owner: str | None
    expiry: Expiry


def _owner(origin: Origin) -> str | None:
    return None if origin.principal is None else origin.principal.identity
