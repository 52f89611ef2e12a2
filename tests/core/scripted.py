"""A server that does what a test's script says, so that a client meets answers that no good server would give.

Everything crosses as JSON, as it would on a wire.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import msgspec

from mcpcore.channel import Channel, Envelope, MemoryChannel, memory_pair
from mcpcore.errors import ConnectionLost, RequestError
from mcpcore.jsonrpc import Notification, Request, Response, decode, encode, error_response

__all__ = ("INITIALIZED", "Frame", "Peer", "Scripted", "discovered", "handshake", "stateless")

Frame = dict[str, Any]

CAPABILITIES: Frame = {
    "tools": {"listChanged": True},
    "prompts": {"listChanged": True},
    "resources": {"listChanged": True, "subscribe": True},
    "logging": {},
}
INITIALIZED: Frame = {
    "protocolVersion": "2025-11-25",
    "capabilities": CAPABILITIES,
    "serverInfo": {"name": "scripted", "version": "1"},
}


def discovered(*versions: str) -> Frame:
    """The result of server/discover that lists these versions."""
    return {"resultType": "complete", "supportedVersions": list(versions), "capabilities": CAPABILITIES}


class Peer:
    """The server's end of one connection."""

    def __init__(self, channel: MemoryChannel) -> None:
        self._channel = channel
        self._open: dict[int | str, Envelope] = {}
        self.cancelled: dict[int | str, anyio.Event] = {}
        """For each request, what is set when the client gives it up."""

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self

    async def __anext__(self) -> Frame:
        """What the client sends next, as the JSON it would be."""
        try:
            envelope = await self._channel.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            raise StopAsyncIteration from None
        frame: Frame = msgspec.json.decode(encode(envelope.message))
        if isinstance(envelope.message, Request) and envelope.reply is not None:
            id = envelope.message.id
            self._open[id] = envelope
            self.cancelled[id] = anyio.Event()
            envelope.reply.when_closed(self.cancelled[id].set)
        return frame

    async def answer(self, frame: Frame, result: Any) -> None:
        """Answer a request: a `RequestError` as an error, bytes as the raw JSON of a result, else the result."""
        id = frame["id"]
        if isinstance(result, RequestError):
            return await self._reply(frame, encode(error_response(id, result)))
        return await self._reply(frame, encode(Response(id, msgspec.Raw(result) if type(result) is bytes else result)))

    async def notify(self, frame: Frame, method: str, params: Any) -> None:
        """Send a notification that belongs to a request."""
        await self._reply(frame, encode(Notification(method, params)))

    async def progress(self, frame: Frame, progress: float, message: str = "") -> None:
        token = frame["params"]["_meta"]["progressToken"]
        await self.notify(
            frame, "notifications/progress", {"progressToken": token, "progress": progress, "message": message}
        )

    async def announce(self, method: str, params: Any | None = None) -> None:
        """Send a notification that belongs to no request."""
        await self._send(encode(Notification(method, params or {})), None)

    async def ask(self, method: str, params: Any, reply: Any = None) -> None:
        """Send a request of our own; the answer goes to `reply`, an inbox."""
        await self._send(encode(Request(f"server-{method}", method, params)), reply)

    async def _send(self, data: bytes, reply: Any) -> None:
        message = decode(data)
        assert isinstance(message, Notification | Request)
        await self._channel.send(Envelope(message, reply))

    async def _reply(self, frame: Frame, data: bytes) -> None:
        envelope = self._open[frame["id"]]
        assert envelope.reply is not None
        message = decode(data)
        assert not isinstance(message, tuple)
        await envelope.reply.send(Envelope(message))  # type: ignore[arg-type]


Script = Callable[[Peer], Awaitable[None]]


class Scripted:
    """A transport to servers that run these scripts, one for each connection; the last one for all further ones.

    When a script returns, its server is gone. `frames` has what each connection received.
    """

    def __init__(self, *scripts: Script) -> None:
        self._scripts = scripts
        self.connections = 0
        self.closed = 0

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Channel]:
        ours, theirs = memory_pair()
        script = self._scripts[min(self.connections, len(self._scripts) - 1)]
        self.connections += 1

        async def serve() -> None:
            try:
                await script(Peer(theirs))
            except ConnectionLost:
                pass  # the client left in the middle of the script
            finally:
                await theirs.aclose()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            try:
                yield ours
            finally:
                self.closed += 1
                await ours.aclose()
                tasks.cancel_scope.cancel()


def stateless(handler: Callable[[Peer, Frame], Awaitable[Any]]) -> Script:
    """A 2026-07-28 server; `handler` returns the result of each other request, or None if it answers by itself."""
    return _server({"server/discover": discovered("2026-07-28")}, handler)


def handshake(handler: Callable[[Peer, Frame], Awaitable[Any]], revision: str = "2025-11-25") -> Script:
    """A server of the handshake era."""
    known = {
        "server/discover": RequestError(-32601, "Method not found"),
        "initialize": {**INITIALIZED, "protocolVersion": revision},
        "logging/setLevel": {},
    }
    return _server(known, handler)


def _server(known: dict[str, Any], handler: Callable[[Peer, Frame], Awaitable[Any]]) -> Script:
    async def serve(peer: Peer) -> None:
        async def respond(frame: Frame) -> None:
            result = await handler(peer, frame)
            if result is not None:
                await peer.answer(frame, result)

        async with anyio.create_task_group() as tasks:
            async for frame in peer:
                if frame["method"] in known:
                    await peer.answer(frame, known[frame["method"]])
                elif "id" in frame:
                    tasks.start_soon(respond, frame)
            tasks.cancel_scope.cancel()

    return serve
