"""The clauses about a reader that does not read: its sender waits, and what waits is bounded."""

from collections.abc import Awaitable, Callable

import anyio

from mcpcore.channel import Channel, Envelope, Inbox
from mcpcore.jsonrpc import Notification
from mcpcore.testing.contract import Clause, clause, expect
from mcpcore.testing.peers import peers, plain, progress, request, response

__all__ = (
    "PIECE",
    "PIECES",
    "PRESSURE",
    "a_sender_waits_for_a_slow_peer",
    "progress_waits_for_a_slow_caller",
    "sent_until_blocked",
    "standstill",
)

PIECE = "x" * (16 * 1024)
PIECES = 2000
"""Messages that nobody reads: 32 MiB. A sender that gets them all away keeps them in memory somewhere."""


async def sent_until_blocked(send: Callable[[int], Awaitable[object]], sent: list[int]) -> None:
    for n in range(1, PIECES + 1):
        await send(n)
        sent.append(n)


async def standstill(sent: list[int]) -> None:
    """Wait until a sender gets nothing more away, twice in a row: an operating system may move bytes by itself."""
    seen = -1
    while len(sent) != seen:
        seen = len(sent)
        await anyio.wait_all_tasks_blocked()


@clause(
    "a sender to a peer that does not read waits, before 32 MiB are on their way; it goes on when the peer reads, and "
    "nothing is lost",
    "mcpcore.channel.Channel.send: waiting while the peer is slow",
)
async def a_sender_waits_for_a_slow_peer(client: Channel, server: Channel) -> None:
    async def send(n: int) -> None:
        await client.send(
            Envelope(Notification("notifications/roots/list_changed", {"_meta": {"n": n, "text": PIECE}}))
        )

    sent: list[int] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sent_until_blocked, send, sent)
        await standstill(sent)
        expect(len(sent) < PIECES, f"{PIECES} messages of 16 KiB were accepted although nobody read one of them")
        for n in range(1, PIECES + 1):
            message = (await server.receive()).message
            assert isinstance(message, Notification)
            number = plain(message.params)["_meta"]["n"]
            expect(number == n, f"message {n} was sent next and number {number} arrived")


@clause(
    "a sender of progress waits for a caller that does not read; it goes on when the caller reads, and the response "
    "arrives",
    "mcpcore.channel.ReplyChannel.send: waiting while the far end is slow",
)
async def progress_waits_for_a_slow_caller(client: Channel, server: Channel) -> None:
    sent: list[int] = []
    async with anyio.create_task_group() as tasks:

        async def answer() -> None:
            envelope = await server.receive()
            reply = envelope.reply
            assert reply is not None
            await sent_until_blocked(lambda n: reply.send(progress(1, n, PIECE)), sent)
            await reply.send(response(1, "done"))

        tasks.start_soon(answer)
        inbox = Inbox()
        await client.send(Envelope(request(1), inbox))
        while not sent:
            await anyio.wait_all_tasks_blocked()
        await standstill(sent)
        expect(len(sent) < PIECES, f"{PIECES} messages of 16 KiB were accepted although the caller read none")
        async with peers(client, server) as (one, _):
            before, answered = await one.collect(inbox)
            steps = [plain(n.params)["progress"] for n in before]
            expect(steps == sorted(set(steps)), "progress arrived out of order or twice")
            expect(len(steps) == PIECES, f"of {PIECES} messages {len(steps)} reached a caller that reads all the time")
            expect(plain(answered) == plain(response(1, "done").message), f"the response arrived as {answered!r}")


PRESSURE: tuple[Clause, ...] = (a_sender_waits_for_a_slow_peer, progress_waits_for_a_slow_caller)
