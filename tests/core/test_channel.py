"""mcpcore.channel: inboxes, reply channels and the in-memory pair."""

import anyio
import anyio.lowlevel
import pytest

from mcpcore.channel import INBOX_MESSAGES, Envelope, Inbox, memory_pair
from mcpcore.errors import ConnectionLost
from mcpcore.jsonrpc import Notification, Request, Response

pytestmark = pytest.mark.anyio


def numbered(n: int) -> Envelope:
    return Envelope(Notification("n", n))


async def numbers_in(inbox: Inbox, count: int) -> list[int]:
    found = []
    for _ in range(count):
        message = (await inbox.receive()).message
        assert isinstance(message, Notification)
        found.append(message.params)
    return found


# ------------------------------------------------------------------ Inbox


async def test_an_inbox_is_read_in_the_order_it_was_written() -> None:
    inbox = Inbox()
    for n in range(5):
        assert await inbox.send(numbered(n))
    assert await numbers_in(inbox, 5) == [0, 1, 2, 3, 4]


async def test_a_sender_waits_at_the_limit_and_goes_on_when_one_is_read() -> None:
    inbox = Inbox(3)
    sent: list[int] = []

    async def send() -> None:
        for n in range(6):
            await inbox.send(numbered(n))
            sent.append(n)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        await anyio.wait_all_tasks_blocked()
        assert sent == [0, 1, 2]
        assert inbox.full
        assert await numbers_in(inbox, 1) == [0]
        assert not inbox.full
        await anyio.wait_all_tasks_blocked()
        assert sent == [0, 1, 2, 3]
        assert await numbers_in(inbox, 5) == [1, 2, 3, 4, 5]


async def test_the_default_limit() -> None:
    inbox = Inbox()
    for n in range(INBOX_MESSAGES):
        assert not inbox.full
        inbox.put(numbered(n))
    assert inbox.full


async def test_many_senders_that_wait_never_overfill() -> None:
    inbox = Inbox(2)
    async with anyio.create_task_group() as tasks:
        for n in range(10):
            tasks.start_soon(inbox.send, numbered(n))
        seen = []
        while len(seen) < 10:
            await anyio.wait_all_tasks_blocked()
            assert len(inbox._waiting) <= 2
            seen += await numbers_in(inbox, 1)
    assert sorted(seen) == list(range(10))


async def test_put_goes_past_the_limit() -> None:
    inbox = Inbox(1)
    assert inbox.put(numbered(1))
    assert inbox.put(Envelope(Response(1, {})))
    assert await numbers_in(inbox, 1) == [1]
    assert (await inbox.receive()).message == Response(1, {})


async def test_a_reader_waits_for_what_comes() -> None:
    inbox = Inbox()
    got: list[int] = []

    async def read() -> None:
        got.extend(await numbers_in(inbox, 2))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        inbox.put(numbered(1))
        await anyio.wait_all_tasks_blocked()
        inbox.put(numbered(2))
    assert got == [1, 2]


@pytest.mark.parametrize("ticks", range(4))
async def test_a_cancelled_read_loses_nothing(ticks: int) -> None:
    inbox = Inbox()
    got: list[int] = []

    async def read(scope: anyio.CancelScope) -> None:
        with scope:
            got.extend(await numbers_in(inbox, 1))

    scope = anyio.CancelScope()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read, scope)
        await anyio.wait_all_tasks_blocked()
        inbox.put(numbered(1))
        for _ in range(ticks):
            await anyio.lowlevel.checkpoint()
        scope.cancel()
    if not got:
        got.extend(await numbers_in(inbox, 1))
    assert got == [1]
    assert not inbox._waiting


async def test_a_cancelled_send_leaves_nothing_behind() -> None:
    inbox = Inbox(1)
    inbox.put(numbered(1))
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(inbox.send, numbered(2))
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
    assert await numbers_in(inbox, 1) == [1]
    assert not inbox._waiting


async def test_closing_drops_what_waits_and_what_comes() -> None:
    inbox = Inbox()
    inbox.put(numbered(1))
    inbox.close("enough")
    assert (inbox.closed, inbox.reason) == (True, "enough")
    assert not inbox.put(numbered(2))
    assert not await inbox.send(numbered(3))
    with pytest.raises(anyio.ClosedResourceError):
        await inbox.receive()


async def test_closing_ends_every_wait() -> None:
    inbox = Inbox(1)
    inbox.put(numbered(1))
    outcomes: list[object] = []

    async def send() -> None:
        outcomes.append(await inbox.send(numbered(2)))

    async def wait() -> None:
        await inbox.wait_not_full()
        outcomes.append("not full")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        inbox.close()
    assert sorted(map(str, outcomes)) == ["False", "not full"]


async def test_closing_ends_the_wait_of_the_reader() -> None:
    inbox = Inbox()

    async def close() -> None:
        await anyio.wait_all_tasks_blocked()
        inbox.close()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(close)
        with pytest.raises(anyio.ClosedResourceError):
            await inbox.receive()


async def test_a_failure_is_heard_after_what_arrived_and_again_and_again() -> None:
    inbox = Inbox()
    inbox.put(numbered(1))
    inbox.fail(ConnectionLost("gone"))
    assert await numbers_in(inbox, 1) == [1]
    for _ in range(2):
        with pytest.raises(ConnectionLost, match="gone"):
            await inbox.receive()


async def test_a_failure_ends_the_wait_of_the_reader() -> None:
    inbox = Inbox()
    lost: list[str] = []

    async def read() -> None:
        try:
            await inbox.receive()
        except ConnectionLost as error:
            lost.append(str(error))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await anyio.wait_all_tasks_blocked()
        inbox.fail(ConnectionLost("gone"))
    assert lost == ["gone"]


def test_holds_looks_at_what_waits() -> None:
    inbox = Inbox()
    inbox.put(numbered(1))
    assert inbox.holds(lambda message: message == Notification("n", 1))
    assert not inbox.holds(lambda message: message == Notification("n", 2))
    inbox.close()
    assert not inbox.holds(lambda message: True)


# ------------------------------------------------------------------ when_closed


def test_a_watcher_is_called_once_by_the_close() -> None:
    calls: list[str] = []
    inbox = Inbox()
    inbox.when_closed(lambda: calls.append("closed"))
    assert calls == []
    inbox.close("first")
    inbox.close("second")
    assert calls == ["closed"]
    assert inbox.reason == "first"


def test_a_watcher_that_comes_late_is_called_at_once() -> None:
    calls: list[str] = []
    inbox = Inbox()
    inbox.close()
    inbox.when_closed(lambda: calls.append("late"))
    assert calls == ["late"]


def test_a_watcher_replaces_the_one_before() -> None:
    calls: list[str] = []
    inbox = Inbox()
    inbox.when_closed(lambda: calls.append("one"))
    inbox.when_closed(lambda: calls.append("other"))
    inbox.close()
    assert calls == ["other"]


def test_a_watcher_may_be_taken_away() -> None:
    calls: list[str] = []
    inbox = Inbox()
    inbox.when_closed(lambda: calls.append("one"))
    inbox.when_closed(None)
    inbox.close()
    inbox.when_closed(None)
    assert calls == []


def test_the_reason_and_the_state_are_there_when_the_watcher_is_called() -> None:
    seen: list[object] = []
    inbox = Inbox()
    inbox.when_closed(lambda: seen.append((inbox.closed, inbox.reason, inbox.put(numbered(1)))))
    inbox.close("why")
    assert seen == [(True, "why", False)]


# ------------------------------------------------------------------ MemoryChannel


async def test_envelopes_cross_as_they_are() -> None:
    one, other = memory_pair()
    envelope = Envelope(Request(1, "m", {"a": object()}), Inbox())
    await one.send(envelope)
    assert await other.receive() is envelope


async def test_a_memory_channel_holds_so_many_messages_each_way() -> None:
    one, other = memory_pair(2)
    for sender, receiver in ((one, other), (other, one)):
        sent: list[int] = []

        async def send(sender: object = sender, sent: list[int] = sent) -> None:
            for n in range(4):
                await sender.send(numbered(n))  # type: ignore[attr-defined]
                sent.append(n)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send)
            await anyio.wait_all_tasks_blocked()
            assert sent == [0, 1]
            for n in range(4):
                assert await receiver.receive() == numbered(n)


async def test_a_half_close_ends_one_direction() -> None:
    one, other = memory_pair()
    await one.send(numbered(1))
    await one.send_eof()
    with pytest.raises(anyio.ClosedResourceError):
        await one.send(numbered(2))
    assert await other.receive() == numbered(1)
    with pytest.raises(anyio.EndOfStream):
        await other.receive()
    await other.send(numbered(3))
    assert await one.receive() == numbered(3)


async def test_a_close_ends_both_directions() -> None:
    one, other = memory_pair()
    await one.send(numbered(1))
    await one.aclose()
    await one.aclose()
    assert await other.receive() == numbered(1)
    with pytest.raises(anyio.EndOfStream):
        await other.receive()
    with pytest.raises(ConnectionLost):
        await other.send(numbered(2))
    with pytest.raises(anyio.ClosedResourceError):
        await one.send(numbered(3))
    with pytest.raises(anyio.ClosedResourceError):
        await one.receive()


async def test_a_close_releases_a_sender_that_waits() -> None:
    one, other = memory_pair(1)
    await one.send(numbered(1))
    lost: list[bool] = []

    async def send() -> None:
        try:
            await one.send(numbered(2))
        except ConnectionLost:
            lost.append(True)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        await anyio.wait_all_tasks_blocked()
        await other.aclose()
    assert lost == [True]
