"""mcpcore.multiplex when somebody is slow, stops or goes away."""

import json
from contextlib import suppress

import anyio
import anyio.lowlevel
import msgspec
import pytest
from core.raw_peer import (
    FAR_SECONDS,
    PATIENCE_SECONDS,
    RawPeer,
    in_virtual_time,
    note,
    progress,
    receive_until_end,
    received,
    wired,
)

from mcpcore.channel import INBOX_MESSAGES, Envelope, Inbox
from mcpcore.errors import ConnectionLost
from mcpcore.jsonrpc import Notification, Request, Response
from mcpcore.multiplex import FLUSH_SECONDS, STALL_SECONDS, Multiplexer
from mcpcore.testing import MemoryPipe, drop_after, memory_pipes

pytestmark = pytest.mark.anyio

# ------------------------------------------------------------------ a full inbox


@in_virtual_time
async def test_a_full_inbox_holds_the_pipe_for_a_moment_and_then_loses_progress_but_not_the_response() -> None:
    surplus = 10
    async with wired() as (peer, multiplexer), anyio.create_task_group() as tasks:
        slow, other = Inbox(), Inbox()
        await multiplexer.send(Envelope(Request(1, "slow"), slow))
        await multiplexer.send(Envelope(Request(2, "other"), other))
        await peer.say(*(progress(1, step) for step in range(INBOX_MESSAGES + surplus)))
        await peer.say({"id": 2, "result": "other"}, {"id": 1, "result": "slow"})
        start = anyio.current_time()
        tasks.start_soon(receive_until_end, multiplexer)
        assert (await other.receive()).message == Response(2, msgspec.Raw(b'"other"'))
        assert anyio.current_time() - start == pytest.approx(STALL_SECONDS)
        assert multiplexer.statistics()["dropped"] == surplus
        steps = []
        while isinstance(message := (await slow.receive()).message, Notification):
            steps.append(message.params.progress)
        assert steps == list(range(INBOX_MESSAGES))
        assert message == Response(1, msgspec.Raw(b'"slow"'))
        tasks.cancel_scope.cancel()


@in_virtual_time
async def test_an_inbox_that_was_full_and_is_read_again_is_waited_for_again() -> None:
    async with wired() as (peer, multiplexer), anyio.create_task_group() as tasks:
        inbox = Inbox(1)
        await multiplexer.send(Envelope(Request(1, "m"), inbox))
        await peer.say(*(progress(1, step) for step in range(3)))
        tasks.start_soon(receive_until_end, multiplexer)
        await anyio.sleep(2 * STALL_SECONDS)
        assert multiplexer.statistics()["dropped"] == 2
        assert (await inbox.receive()).message.params.progress == 0  # type: ignore[union-attr]
        await peer.say(progress(1, 3), progress(1, 4))
        await anyio.sleep(STALL_SECONDS / 2)
        assert multiplexer.statistics()["dropped"] == 2
        assert [(await inbox.receive()).message.params.progress for _ in range(2)] == [3, 4]  # type: ignore[union-attr]
        tasks.cancel_scope.cancel()


async def test_a_full_inbox_that_is_read_in_time_loses_nothing() -> None:
    async with wired() as (peer, multiplexer), anyio.create_task_group() as tasks:
        inbox = Inbox(2)
        await multiplexer.send(Envelope(Request(1, "m"), inbox))
        await peer.say(*(progress(1, step) for step in range(50)))
        tasks.start_soon(receive_until_end, multiplexer)
        steps = []
        for _ in range(50):
            await anyio.wait_all_tasks_blocked()
            steps.append((await inbox.receive()).message.params.progress)  # type: ignore[union-attr]
        assert steps == list(range(50))
        assert multiplexer.statistics()["dropped"] == 0
        tasks.cancel_scope.cancel()


async def test_closing_a_full_inbox_releases_the_pipe() -> None:
    async with wired() as (peer, multiplexer), anyio.create_task_group() as tasks:
        inbox = Inbox(1)
        await multiplexer.send(Envelope(Request(1, "m"), inbox))
        await peer.say(progress(1, 1), progress(1, 2), progress(1, 3), {"method": "next"})
        arrived: list[Envelope] = []
        tasks.start_soon(receive_until_end, multiplexer, arrived)
        await anyio.wait_all_tasks_blocked()
        assert arrived == []
        inbox.close()
        await anyio.wait_all_tasks_blocked()
        assert [envelope.message for envelope in arrived] == [Notification("next")]
        tasks.cancel_scope.cancel()


# ------------------------------------------------------------------ writing


async def test_small_messages_that_are_ready_together_are_written_together() -> None:
    far, near = memory_pipes()
    async with Multiplexer(near) as multiplexer:
        for n in range(100):
            await multiplexer.send(note(n))
        await anyio.wait_all_tasks_blocked()
        assert [json.loads(frame)["params"]["n"] for frame in await far.receive()] == list(range(100))  # type: ignore[arg-type]
        assert near.writes <= 2


async def test_a_sender_waits_at_the_outbox_limit_until_the_peer_reads() -> None:
    text = "x" * 1000
    async with wired(limit_bytes=1, outbox_bytes=5000) as (peer, multiplexer), anyio.create_task_group() as tasks:
        sent: list[int] = []

        async def send(n: int) -> None:
            await multiplexer.send(note(n, text))
            sent.append(n)

        async def send_all() -> None:
            for n in range(30):
                await send(n)

        tasks.start_soon(send_all)
        await anyio.wait_all_tasks_blocked()
        # One frame is in the pipe, one batch with the writer, and the outbox holds the rest up to its limit.
        assert 4 <= len(sent) <= 6
        held = multiplexer.statistics()["unwritten_bytes"]
        assert 5000 < held < 5000 + 2 * 1100
        assert [(await peer.hear())["params"]["n"] for _ in range(30)] == list(range(30))
        await anyio.wait_all_tasks_blocked()
        assert sent == list(range(30))
        assert multiplexer.statistics()["unwritten_bytes"] == 0


async def test_a_cancelled_send_was_sent_or_was_not() -> None:
    async with wired(limit_bytes=1, outbox_bytes=100) as (peer, multiplexer):
        for n in range(5):
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(multiplexer.send, note(n, "x" * 200))
                    await anyio.wait_all_tasks_blocked()
                    scope.cancel()
        assert [(await peer.hear())["params"]["n"] for _ in range(5)] == [0, 1, 2, 3, 4]


async def test_a_failure_to_write_cancels_everything_inside_and_comes_out_as_one_error() -> None:
    cancelled = False

    async def write() -> None:
        nonlocal cancelled
        async with wired(lambda pipe: drop_after(pipe, 100)) as (_, multiplexer):
            await multiplexer.send(note(1, "x" * 200))
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                cancelled = True
                raise

    with pytest.raises(ConnectionLost, match="died at byte 100"):
        await write()
    assert cancelled


@pytest.mark.parametrize("cancelling", [False, True])
async def test_a_connection_that_breaks_in_both_directions_at_once_is_one_error(cancelling: bool) -> None:
    far, near = memory_pipes(1)
    outcomes: list[str] = []
    scope = anyio.CancelScope()

    async def use() -> None:
        with scope:
            async with Multiplexer(near) as multiplexer:
                for n in range(3):
                    await multiplexer.send(note(n))
                await multiplexer.receive()

    async def own() -> None:
        try:
            await use()
        except ConnectionLost:
            outcomes.append("lost")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(own)
        await anyio.wait_all_tasks_blocked()
        far.break_off()
        if cancelling:
            scope.cancel()
    assert outcomes == ["lost"]


async def test_a_sender_in_another_task_is_released_when_writing_fails() -> None:
    far, near = memory_pipes(1)
    outcomes: list[str] = []
    started = anyio.Event()
    multiplexer = Multiplexer(near, outbox_bytes=100)

    async def own() -> None:
        with suppress(ConnectionLost):
            async with multiplexer:
                started.set()
                await anyio.sleep_forever()

    async def send() -> None:
        await started.wait()
        for n in range(10):
            try:
                await multiplexer.send(note(n, "x" * 200))
            except ConnectionLost:
                outcomes.append("lost")
                return

    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(own)
            tasks.start_soon(send)
            await anyio.wait_all_tasks_blocked()
            assert outcomes == []
            far.break_off()
    assert outcomes == ["lost"]


# ------------------------------------------------------------------ receiving


@pytest.mark.parametrize("ticks", range(6))
async def test_a_cancelled_receive_loses_no_frame(ticks: int) -> None:
    async with wired() as (peer, multiplexer):
        seen: list[str] = []

        async def interrupt(scope: anyio.CancelScope) -> None:
            await peer.say({"method": "m0"}, {"method": "m1"})
            for _ in range(ticks):
                await anyio.lowlevel.checkpoint()
            scope.cancel()

        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as scope:
                tasks.start_soon(interrupt, scope)
                while True:
                    seen.append((await multiplexer.receive()).message.method)  # type: ignore[union-attr]
        await peer.say({"method": "m2"})
        while len(seen) < 3:
            seen.append((await multiplexer.receive()).message.method)  # type: ignore[union-attr]
        assert seen == ["m0", "m1", "m2"]


async def test_a_receive_that_is_cancelled_while_an_inbox_is_full_loses_no_progress() -> None:
    async with wired() as (peer, multiplexer):
        inbox = Inbox(1)
        await multiplexer.send(Envelope(Request(1, "m"), inbox))
        await peer.say(progress(1, 1), progress(1, 2), {"method": "next"})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(multiplexer.receive)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        steps = [(await inbox.receive()).message.params.progress]  # type: ignore[union-attr]
        assert (await multiplexer.receive()).message == Notification("next")
        steps.append((await inbox.receive()).message.params.progress)  # type: ignore[union-attr]
        assert steps == [1, 2]


async def test_a_half_closed_peer_is_still_answered() -> None:
    async with wired() as (peer, multiplexer):
        await peer.say({"id": 1, "method": "m"})
        await peer.pipe.send_eof()
        _, reply = await received(multiplexer)
        for _ in range(2):
            with pytest.raises(anyio.EndOfStream):
                await multiplexer.receive()
        assert await reply.send(Envelope(Response(1, "answer")))
        assert (await peer.hear())["result"] == "answer"


# ------------------------------------------------------------------ closing


async def test_leaving_flushes_what_was_accepted() -> None:
    far, near = memory_pipes(1)
    heard: list[int] = []

    async def read() -> None:
        peer = RawPeer(far)
        try:
            while True:
                heard.append((await peer.hear())["params"]["n"])
        except anyio.EndOfStream:
            pass

    async with anyio.create_task_group() as tasks:
        async with Multiplexer(near) as multiplexer:
            for n in range(20):
                await multiplexer.send(note(n))
            tasks.start_soon(read)
    assert heard == list(range(20))


@in_virtual_time
async def test_the_flush_is_bounded_when_the_peer_does_not_read() -> None:
    async with wired(limit_bytes=1) as (_, multiplexer):
        for n in range(3):
            await multiplexer.send(note(n))
        start = anyio.current_time()
        await multiplexer.aclose()
        assert anyio.current_time() - start == pytest.approx(FLUSH_SECONDS)
        await multiplexer.aclose()
    assert anyio.current_time() - start == pytest.approx(FLUSH_SECONDS)


@in_virtual_time
async def test_leaving_by_an_exception_does_not_wait_for_the_peer() -> None:
    async def leave() -> None:
        async with wired(limit_bytes=1) as (_, multiplexer):
            for n in range(3):
                await multiplexer.send(note(n))
            raise ZeroDivisionError

    start = anyio.current_time()
    with pytest.raises(ZeroDivisionError):
        await leave()
    assert anyio.current_time() == start


@in_virtual_time
async def test_a_pipe_that_does_not_close_is_left_behind() -> None:
    class Stubborn(MemoryPipe):
        async def aclose(self) -> None:
            await anyio.sleep(FAR_SECONDS)

    _, near = memory_pipes()
    start = anyio.current_time()
    async with Multiplexer(Stubborn(near._incoming, near._outgoing, 1.0)):
        pass
    assert anyio.current_time() - start == pytest.approx(FLUSH_SECONDS)


async def test_closing_is_heard_by_the_peer_and_by_those_who_use_it() -> None:
    async with wired() as (peer, multiplexer):
        await peer.say({"id": 1, "method": "m"})
        _, reply = await received(multiplexer)
        inbox = Inbox()
        await multiplexer.send(Envelope(Request(1, "m"), inbox))
        await multiplexer.aclose()
        with pytest.raises(ConnectionLost):
            await multiplexer.send(note())
        with pytest.raises(ConnectionLost):
            await reply.send(Envelope(Response(1, {})))
        with pytest.raises(anyio.ClosedResourceError):
            await multiplexer.receive()
        inbox.close()
        assert (await peer.hear())["method"] == "m"
        with pytest.raises(anyio.EndOfStream):
            await peer.hear()


async def test_statistics_are_counters_by_name() -> None:
    async with wired() as (peer, multiplexer):
        await multiplexer.send(Envelope(Request(1, "m"), Inbox()))
        await peer.say({"id": 1, "method": "m"})
        await multiplexer.receive()
        await anyio.wait_all_tasks_blocked()
        assert multiplexer.statistics() == {
            "owed": 1,
            "awaited": 1,
            "duplicates": 0,
            "orphans": 0,
            "late": 0,
            "dropped": 0,
            "unwritten_bytes": 0,
        }
