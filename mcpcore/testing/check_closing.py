"""The clauses about ends: a caller that gives up, a peer that goes, a channel that is closed."""

from contextlib import suppress
from random import Random

import anyio
import anyio.lowlevel

from mcpcore.channel import Channel, Envelope, Origin, ReplyChannel
from mcpcore.errors import ConnectionLost
from mcpcore.jsonrpc import Notification
from mcpcore.session import Call, Role, Session
from mcpcore.testing.contract import Clause, clause, expect
from mcpcore.testing.peers import Peer, peers, progress, request, response

__all__ = (
    "CLOSING",
    "RACES",
    "a_close_is_heard_once",
    "a_half_close",
    "a_lost_peer_ends_every_wait",
    "cancellation_races_response",
    "closing_an_inbox_cancels",
    "closing_twice",
    "the_end_is_heard_after_what_was_sent",
    "until_closed",
)

RACES = 60


async def until_closed(reply: ReplyChannel) -> None:
    """Wait until the far end of a reply channel is closed."""
    closed = anyio.Event()
    reply.when_closed(closed.set)
    await closed.wait()


@clause(
    "closing the inbox of a request closes its reply channel at the other side, with the reason if the transport "
    "carries one; what is sent there afterwards is dropped, send says so by returning False, and all other requests "
    "go on",
    "mcpcore.channel.ReplyChannel: a close means that nobody will read any more; MCP, Cancellation",
)
async def closing_an_inbox_cancels(client: Channel, server: Channel) -> None:
    async with peers(client, server) as (one, other):
        for asking, answering in ((one, other), (other, one)):
            inbox = await asking.ask(request("given up"))
            stays = await asking.ask(request("stays"))
            _, reply = await answering.next_request()
            _, lasting = await answering.next_request()
            expect(not reply.closed, "the reply channel is closed before its inbox is")
            inbox.close("changed my mind")
            await until_closed(reply)
            said = reply.reason
            expect(said in (None, "changed my mind"), f"the reason 'changed my mind' arrived as {said!r}")
            expect(not await reply.send(progress("given up", 1)), "progress was accepted after the cancellation")
            expect(
                not await reply.send(response("given up", "late")), "a late response was accepted as if it were read"
            )
            await asking.round_trip(answering, "after")
            expect(not lasting.closed, "cancelling one request closed the reply channel of another one")
            await lasting.send(response("stays", "home"))
            said_to_other = await asking.result_of(stays)
            expect(said_to_other == {"said": "home"}, f"the other request was answered with {said_to_other!r}")


@clause(
    "a watcher that is set after the far end was closed is called at once, and each close calls it once",
    "mcpcore.channel.ReplyChannel.when_closed",
)
async def a_close_is_heard_once(client: Channel, server: Channel) -> None:
    async with peers(client, server) as (one, other):
        inbox = await one.ask(request(1))
        _, reply = await other.next_request()
        calls: list[str] = []
        closed = anyio.Event()

        def early() -> None:
            calls.append("early")
            closed.set()

        reply.when_closed(early)
        inbox.close()
        inbox.close()
        await closed.wait()
        reply.when_closed(lambda: calls.append("late"))
        await one.round_trip(other, 2)
        expect(calls == ["early", "late"], f"an early and a late watcher were called like this: {calls!r}")


@clause(
    "a cancellation and a response that cross each other have one outcome: the caller reads nothing after its close, "
    "the answering side can tell whether its response was dropped, and the connection goes on",
    "mcpcore.channel.ReplyChannel; MCP, Cancellation: timing considerations",
)
async def cancellation_races_response(client: Channel, server: Channel) -> None:
    random = Random(20_260_728)
    async with peers(client, server) as (one, other):
        for n in range(RACES):
            inbox = await one.ask(request(n))
            _, reply = await other.next_request()
            before_close, before_response = random.randrange(5), random.randrange(5)
            outcomes: list[bool] = []

            async def answer(reply: ReplyChannel, n: int, ticks: int, outcomes: list[bool]) -> None:
                for _ in range(ticks):
                    await anyio.lowlevel.checkpoint()
                outcomes.append(await reply.send(response(n, "raced")))

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(answer, reply, n, before_response, outcomes)
                for _ in range(before_close):
                    await anyio.lowlevel.checkpoint()
                inbox.close()
            expect(len(outcomes) == 1, "send neither accepted nor dropped a response")
            try:
                await inbox.receive()
            except anyio.ClosedResourceError:
                pass
            else:
                raise AssertionError("an inbox was read after it was closed, and something came out")
            expect(not await reply.send(response(n, "again")) or not outcomes[0], "one request was answered twice")
        await one.round_trip(other, "after")


@clause(
    "closing a channel delivers what was accepted before, then the other side's receive raises EndOfStream (or "
    "ConnectionLost, where the transport cannot tell an orderly end), again and again",
    "mcpcore.channel.Channel.aclose, Channel.receive",
    breaks=True,
)
async def the_end_is_heard_after_what_was_sent(client: Channel, server: Channel) -> None:
    count = 10
    for n in range(count):
        await client.send(Envelope(Notification("notifications/roots/list_changed", {"_meta": {"n": n}})))
    heard = 0
    ends = 0

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.aclose)
        # It is done by then, or waits for us to read.
        await anyio.wait_all_tasks_blocked()
        while ends < 2:
            try:
                await server.receive()
                heard += 1
            except (anyio.EndOfStream, ConnectionLost):
                ends += 1
    expect(heard == count, f"{count} messages were accepted before the close, and {heard} arrived before the end")


@clause(
    "closing twice does nothing, ends a receive of our own that waits, and leaves nothing waiting that is called later",
    "mcpcore.channel.Channel.aclose",
    breaks=True,
)
async def closing_twice(client: Channel, server: Channel) -> None:
    ended = anyio.Event()

    async def receive() -> None:
        try:
            await client.receive()
        except (anyio.ClosedResourceError, anyio.EndOfStream, ConnectionLost):
            ended.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive)
        await anyio.wait_all_tasks_blocked()
        await client.aclose()
        await client.aclose()
        await ended.wait()
        try:
            await client.send(Envelope(Notification("notifications/roots/list_changed")))
        except (anyio.ClosedResourceError, ConnectionLost):
            pass
        else:
            raise AssertionError("a message was accepted after aclose; send raises ClosedResourceError then")
        await server.aclose()


@clause(
    "one that sends no more may go on receiving: what it asked for is still answered (half close)",
    "mcpcore.channel.Channel.receive: EndOfStream means that the peer will send no more",
)
async def a_half_close(client: Channel, server: Channel) -> None:
    # Not every wire has one. Where a channel has `send_eof`, it means this.
    send_eof = getattr(client, "send_eof", None)
    async with peers(client, server) as (one, other):
        inbox = await one.ask(request(1))
        _, reply = await other.next_request()
        if send_eof is not None:
            await send_eof()
            await other.ended.wait()
        expect(await reply.send(progress(1, 1)), "after a half close, progress was dropped although the caller waits")
        expect(await reply.send(response(1, "still")), "after a half close, the response was dropped")
        result = await one.result_of(inbox)
        expect(result == {"said": "still"}, f"after a half close, the request was answered with {result!r}")


class _Silent(Role):
    """Is asked nothing and hears nothing."""

    async def answer(self, call: Call) -> object:
        raise AssertionError(f"nobody sent the request {call.method!r} that arrived")

    def hear(self, notification: Notification, origin: Origin | None) -> None:
        pass

    def is_stream(self, method: str) -> bool:
        return False


@clause(
    "when the peer is gone, a session on this end ends, and its callers that wait hear ConnectionLost, not a timeout",
    "mcpcore.session.Session.request, Session.run; mcpcore.channel.Channel.receive",
    breaks=True,
)
async def a_lost_peer_ends_every_wait(client: Channel, server: Channel) -> None:
    session = Session(client, _Silent())
    outcomes: list[str] = []
    other = Peer(server)

    async def call() -> None:
        try:
            await session.request("tools/call", {"name": "t", "arguments": {}}, timeout=3600)
        except ConnectionLost:
            outcomes.append("lost")

    async def run() -> None:
        with suppress(ConnectionLost):
            await session.run()
        outcomes.append("ended")

    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            for _ in range(2):
                tasks.start_soon(call)
            async with anyio.create_task_group() as reading:
                reading.start_soon(other.read)
                for _ in range(2):
                    await other.next_request()
                reading.cancel_scope.cancel()
            await server.aclose()
    finally:
        other.close()
    expect(sorted(outcomes) == ["ended", "lost", "lost"], f"two callers and a session ended like this: {outcomes!r}")


CLOSING: tuple[Clause, ...] = (
    closing_an_inbox_cancels,
    a_close_is_heard_once,
    cancellation_races_response,
    a_half_close,
    the_end_is_heard_after_what_was_sent,
    closing_twice,
    a_lost_peer_ends_every_wait,
)
