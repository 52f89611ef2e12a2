"""One end of a channel under test, driven as a session would drive it, with nothing of a session's rules."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import msgspec

from mcpcore.channel import Channel, Envelope, Inbox, ReplyChannel
from mcpcore.errors import ConnectionLost
from mcpcore.jsonrpc import ErrorResponse, Notification, Request, Response
from mcpcore.testing.contract import expect
from mcpcore.types.base import RequestId

__all__ = ("ARRIVED_MESSAGES", "Peer", "peers", "plain", "progress", "question", "request", "response")

ARRIVED_MESSAGES = 1000
"""Messages that a peer holds for its check. No check has as many on their way."""


class Peer:
    """Receives all the time, sorts what arrives, and collects answers."""

    def __init__(self, channel: Channel) -> None:
        self.channel: Channel = channel
        self._requests_in, self._requests = anyio.create_memory_object_stream[Envelope](ARRIVED_MESSAGES)
        self._notices_in, self._notices = anyio.create_memory_object_stream[Envelope](ARRIVED_MESSAGES)
        self.ended: anyio.Event = anyio.Event()

    async def read(self) -> None:
        """Receive until the channel ends."""
        try:
            while True:
                self._sort(await self.channel.receive())
        except (anyio.EndOfStream, anyio.ClosedResourceError, ConnectionLost):
            self.ended.set()

    async def next_request(self) -> tuple[Request, ReplyChannel]:
        """The next request of the other end, wherever the transport delivered it."""
        envelope = await self._requests.receive()
        request, reply = envelope.message, envelope.reply
        assert isinstance(request, Request)
        if reply is None:
            raise AssertionError(f"the request {request.id!r} arrived without a reply channel")
        return request, reply

    async def next_notification(self) -> Notification:
        message = (await self._notices.receive()).message
        assert isinstance(message, Notification)
        return message

    async def ask(self, message: Request) -> Inbox:
        """Send a request; its answers arrive in the inbox."""
        inbox = Inbox()
        await self.channel.send(Envelope(message, inbox))
        return inbox

    async def collect(self, inbox: Inbox) -> tuple[list[Notification], Response | ErrorResponse]:
        """What came before the response, and the response. Questions on the way go to `next_request`."""
        before: list[Notification] = []
        while True:
            envelope = await inbox.receive()
            message = envelope.message
            if isinstance(message, Response | ErrorResponse):
                return before, message
            if isinstance(message, Notification):
                before.append(message)
            else:
                self._sort(envelope)

    async def result_of(self, inbox: Inbox) -> Any:
        """The result as plain Python values; a failure of the check when the answer is none."""
        _, answer = await self.collect(inbox)
        if not isinstance(answer, Response):
            raise AssertionError(f"a result was sent and {answer!r} arrived")
        return plain(answer.result)

    async def echo(self) -> None:
        """Answer each request with its own parameters."""
        while True:
            message, reply = await self.next_request()
            await reply.send(Envelope(Response(message.id, message.params)))

    async def round_trip(self, other: "Peer", id: RequestId) -> None:
        """Ask and be answered: the connection still works."""
        inbox = await self.ask(request(id))
        arrived, reply = await other.next_request()
        expect(arrived.id == id, f"the request {id!r} was sent next and {arrived.id!r} arrived")
        expect(await reply.send(response(id, "alive")), f"the caller of {id!r} waits, and send returned False")
        result = await self.result_of(inbox)
        expect(result == {"said": "alive"}, f"the answer of the request {id!r} arrived as {result!r}")

    def _sort(self, envelope: Envelope) -> None:
        # Responses that nobody waits for may reach a session, which counts them; here they are of no interest.
        if isinstance(envelope.message, Request):
            self._requests_in.send_nowait(envelope)
        elif isinstance(envelope.message, Notification):
            self._notices_in.send_nowait(envelope)

    def close(self) -> None:
        for stream in (self._requests_in, self._requests, self._notices_in, self._notices):
            stream.close()


@asynccontextmanager
async def peers(client: Channel, server: Channel) -> AsyncIterator[tuple[Peer, Peer]]:
    """Both ends, reading in the background until the check is over."""
    one, other = Peer(client), Peer(server)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one.read)
            tasks.start_soon(other.read)
            yield one, other
            tasks.cancel_scope.cancel()
    finally:
        one.close()
        other.close()


def request(id: RequestId, **arguments: Any) -> Request:
    """A tool call that asks for progress under its own id, as every request of a session does."""
    return Request(id, "tools/call", {"name": "t", "arguments": arguments, "_meta": {"progressToken": id}})


def question(id: RequestId) -> Request:
    """A question of the side that is answering a request."""
    return Request(id, "roots/list", {})


def progress(token: RequestId, step: int, message: str = "") -> Envelope:
    params = {"progressToken": token, "progress": step, "message": message}
    return Envelope(Notification("notifications/progress", params))


def response(id: RequestId, said: str) -> Envelope:
    return Envelope(Response(id, {"said": said}))


def plain(value: Any) -> Any:
    """A payload as plain Python values, however the transport delivered it: raw JSON, a struct or a dict."""
    return msgspec.json.decode(msgspec.json.encode(value)) if value != msgspec.Raw() else None
