"""mcpcore.multiplex: many requests over one pipe, seen from the other end of the pipe."""

import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest

from mcpcore.channel import INBOX_MESSAGES, Envelope, Inbox, Origin, ReplyChannel
from mcpcore.errors import CODE_INVALID_REQUEST, CODE_PARSE_ERROR, ConnectionLost, LocalProtocolError
from mcpcore.jsonrpc import Malformed, Notification, Request, Response, error_response
from mcpcore.multiplex import FLUSH_SECONDS, STALL_SECONDS, Multiplexer, Oversize, Pipe
from mcpcore.testing import MemoryPipe, drop_after, inject, memory_pipes, virtual_time
from mcpcore.types import META_SUBSCRIPTION_ID

pytestmark = pytest.mark.anyio

in_virtual_time = pytest.mark.parametrize("anyio_backend", [virtual_time()], ids=["trio"])
"""For what only the passing of time shows: on asyncio these seconds would have to be waited for."""

FAR_SECONDS = 3600.0


class RawPeer:
    """The other end of the pipe: says and hears JSON."""

    def __init__(self, pipe: MemoryPipe) -> None:
        self.pipe = pipe
        self._heard: deque[Any] = deque()

    async def say(self, *messages: dict[str, Any] | bytes) -> None:
        frames = [m if isinstance(m, bytes) else json.dumps({"jsonrpc": "2.0", **m}).encode() for m in messages]
        await self.pipe.send(frames)

    async def hear(self) -> Any:
        while not self._heard:
            for frame in await self.pipe.receive():
                assert isinstance(frame, bytes)
                assert b"\n" not in frame
                self._heard.append(json.loads(frame))
        return self._heard.popleft()

    async def hears_nothing(self) -> bool:
        await anyio.wait_all_tasks_blocked()
        return not self._heard and not self.pipe._incoming.frames


@asynccontextmanager
async def wired(
    around: Callable[[Pipe], Pipe] = lambda pipe: pipe, *, limit_bytes: int = 64 * 1024, **options: Any
) -> AsyncIterator[tuple[RawPeer, Multiplexer]]:
    far, near = memory_pipes(limit_bytes, write_deadline=FAR_SECONDS)
    async with Multiplexer(around(near), **options) as multiplexer:
        yield RawPeer(far), multiplexer


async def received(multiplexer: Multiplexer) -> tuple[Request, ReplyChannel]:
    envelope = await multiplexer.receive()
    assert isinstance(envelope.message, Request)
    assert envelope.reply is not None
    return envelope.message, envelope.reply


async def receive_until_end(multiplexer: Multiplexer, into: list[Envelope] | None = None) -> None:
    try:
        while True:
            envelope = await multiplexer.receive()
            if into is not None:
                into.append(envelope)
    except anyio.EndOfStream:
        pass


def note(n: int = 0, text: str = "") -> Envelope:
    return Envelope(Notification("n", {"n": n, "text": text}))


def progress(token: int | str, step: int) -> dict[str, Any]:
    return {"method": "notifications/progress", "params": {"progressToken": token, "progress": step}}


# ------------------------------------------------------------------ requests of the peer


async def test_a_request_arrives_with_its_way_back_and_its_origin() -> None:
    origin = Origin(transport="test", principal="ann")
    async with wired(origin=origin) as (peer, multiplexer):
        await peer.say({"id": "x", "method": "m", "params": {"a": 1}})
        envelope = await multiplexer.receive()
        assert envelope.message == Request("x", "m", msgspec.Raw(b'{"a": 1}'))
        assert envelope.origin is origin
        assert envelope.reply is not None
        assert await envelope.reply.send(Envelope(Response("x", {"b": 2})))
        assert await peer.hear() == {"jsonrpc": "2.0", "id": "x", "result": {"b": 2}}
        assert multiplexer.statistics()["owed"] == 0


async def test_a_duplicate_id_in_flight_is_refused_and_the_first_request_is_unaffected() -> None:
    async with wired() as (peer, multiplexer), anyio.create_task_group() as tasks:
        await peer.say({"id": 1, "method": "first"}, {"id": 1, "method": "second"}, {"id": 2, "method": "third"})
        first, reply = await received(multiplexer)
        third, _ = await received(multiplexer)
        assert (first.method, third.method) == ("first", "third")
        refusal = await peer.hear()
        assert (refusal["id"], refusal["error"]["code"]) == (1, CODE_INVALID_REQUEST)
        assert not reply.closed
        assert await reply.send(Envelope(Response(1, "first")))
        assert await peer.hear() == {"jsonrpc": "2.0", "id": 1, "result": "first"}
        assert multiplexer.statistics()["duplicates"] == 1
        await peer.say({"id": 1, "method": "again"})
        again, _ = await received(multiplexer)
        assert again.method == "again"
        tasks.cancel_scope.cancel()


async def test_one_request_gets_one_response() -> None:
    async with wired() as (peer, multiplexer):
        await peer.say({"id": 1, "method": "m"})
        _, reply = await received(multiplexer)
        assert await reply.send(Envelope(Response(1, "one")))
        assert not await reply.send(Envelope(Response(1, "two")))
        assert (await peer.hear())["result"] == "one"
        assert await peer.hears_nothing()
        assert multiplexer.statistics()["late"] == 1


async def test_a_cancelled_request_hears_of_it_and_its_late_answers_are_dropped_and_counted() -> None:
    async with wired() as (peer, multiplexer):
        await peer.say({"id": 1, "method": "m"})
        _, reply = await received(multiplexer)
        reasons: list[str | None] = []
        reply.when_closed(lambda: reasons.append(reply.reason))
        await peer.say(
            {"method": "notifications/cancelled", "params": {"requestId": 1, "reason": "enough"}},
            {"method": "notifications/cancelled", "params": {"requestId": 1, "reason": "twice"}},
            {"id": 2, "method": "next"},
        )
        following, _ = await received(multiplexer)
        assert following.method == "next"
        assert reasons == ["enough"]
        assert not await reply.send(Envelope(Notification("notifications/progress", {"progress": 1})))
        assert not await reply.send(Envelope(Response(1, "late")))
        assert await peer.hears_nothing()
        assert multiplexer.statistics()["late"] == 1
        assert multiplexer.statistics()["owed"] == 1


@pytest.mark.parametrize(
    "params",
    [{"requestId": 9}, {"requestId": "1"}, {"reason": "no id"}, {"requestId": [1]}, {"requestId": None}, {}, []],
)
async def test_a_cancellation_of_nothing_is_ignored(params: Any) -> None:
    async with wired() as (peer, multiplexer):
        await peer.say({"id": 1, "method": "m"})
        _, reply = await received(multiplexer)
        await peer.say({"method": "notifications/cancelled", "params": params}, {"id": 2, "method": "next"})
        following, _ = await received(multiplexer)
        assert following.method == "next"
        assert not reply.closed
        assert await peer.hears_nothing()


async def test_a_result_that_cannot_be_encoded_is_still_owed() -> None:
    async with wired() as (peer, multiplexer):
        await peer.say({"id": 1, "method": "m"})
        _, reply = await received(multiplexer)
        with pytest.raises(TypeError):
            await reply.send(Envelope(Response(1, object())))
        assert await reply.send(Envelope(Response(1, "second try")))
        assert (await peer.hear())["result"] == "second try"


# ------------------------------------------------------------------ frames that are no message


@pytest.mark.parametrize(
    ("frame", "code", "id"),
    [
        (b"{", CODE_PARSE_ERROR, None),
        (b"\xff\xfe", CODE_PARSE_ERROR, None),
        (b"5", CODE_INVALID_REQUEST, None),
        (b'{"jsonrpc":"2.0","id":7,"method":5}', CODE_INVALID_REQUEST, 7),
        (b"[" * 10_000, CODE_INVALID_REQUEST, None),
        (b'[{"jsonrpc":"2.0","id":1,"method":"m"}]', CODE_INVALID_REQUEST, None),
        (b"[]", CODE_INVALID_REQUEST, None),
    ],
)
async def test_a_malformed_frame_can_be_answered_and_the_next_one_is_read(
    frame: bytes, code: int, id: int | None
) -> None:
    async with wired() as (peer, multiplexer):
        await peer.say(frame, {"id": 2, "method": "next"})
        envelope = await multiplexer.receive()
        message = envelope.message
        assert isinstance(message, Malformed)
        assert envelope.reply is not None
        assert await envelope.reply.send(Envelope(error_response(message.id, message.error)))
        answer = await peer.hear()
        assert answer["error"]["code"] == code
        assert answer.get("id") == id
        following, _ = await received(multiplexer)
        assert following.method == "next"


async def test_a_frame_over_the_limit_is_reported_as_malformed() -> None:
    async with wired(lambda pipe: inject(pipe, [Oversize(5000, 1000)])) as (_, multiplexer):
        envelope = await multiplexer.receive()
        message = envelope.message
        assert isinstance(message, Malformed)
        assert message.error.code == CODE_INVALID_REQUEST
        assert "5000 bytes is over the limit of 1000" in message.error.message
        assert envelope.reply is not None


@pytest.mark.parametrize("extra", [{"error": "text"}, {"result": {}, "error": {"code": 1, "message": "both"}}])
async def test_a_broken_response_goes_to_whoever_waits_for_it(extra: dict[str, Any]) -> None:
    async with wired() as (peer, multiplexer), anyio.create_task_group() as tasks:
        inbox = Inbox()
        await multiplexer.send(Envelope(Request(1, "m"), inbox))
        await peer.hear()
        await peer.say({"id": 1, **extra}, {"id": 1, **extra})
        arrived: list[Envelope] = []
        tasks.start_soon(receive_until_end, multiplexer, arrived)
        message = (await inbox.receive()).message
        assert isinstance(message, Malformed)
        assert message.answers
        await anyio.wait_all_tasks_blocked()
        assert [type(envelope.message) for envelope in arrived] == [Malformed]  # the second one belongs to nobody
        assert multiplexer.statistics()["awaited"] == 0
        tasks.cancel_scope.cancel()


# ------------------------------------------------------------------ batches


async def test_a_batch_is_read_message_by_message_where_the_revision_has_batches() -> None:
    async with wired() as (peer, multiplexer):
        multiplexer.batches = True
        inbox = Inbox()
        await multiplexer.send(Envelope(Request(5, "ours"), inbox))
        batch = [
            {"jsonrpc": "2.0", "id": 1, "method": "a"},
            {"jsonrpc": "2.0", "method": "b"},
            {"jsonrpc": "2.0", "id": 5, "result": "home"},
            {"jsonrpc": "2.0", "id": 1, "method": "duplicate"},
            {"id": 3},
            {"jsonrpc": "2.0", "id": 2, "method": "c"},
        ]
        await peer.say(json.dumps(batch).encode(), {"id": 3, "method": "after"})
        arrived = [(await multiplexer.receive()).message for _ in range(5)]
        kinds = [getattr(message, "method", type(message).__name__) for message in arrived]
        assert kinds == ["a", "b", "Malformed", "c", "after"]
        assert (await inbox.receive()).message == Response(5, msgspec.Raw(b'"home"'))
        assert multiplexer.statistics()["duplicates"] == 1


@pytest.mark.parametrize("ticks", range(5))
async def test_a_cancelled_receive_does_not_lose_the_rest_of_a_batch(ticks: int) -> None:
    async with wired() as (peer, multiplexer):
        multiplexer.batches = True
        batch = [{"jsonrpc": "2.0", "method": f"m{n}"} for n in range(4)]
        seen: list[str] = []

        async def cancel(scope: anyio.CancelScope) -> None:
            await peer.say(json.dumps(batch).encode())
            for _ in range(ticks):
                await anyio.lowlevel.checkpoint()
            scope.cancel()

        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as scope:
                tasks.start_soon(cancel, scope)
                while True:
                    seen.append((await multiplexer.receive()).message.method)  # type: ignore[union-attr]
        while len(seen) < 4:
            seen.append((await multiplexer.receive()).message.method)  # type: ignore[union-attr]
        assert seen == ["m0", "m1", "m2", "m3"]


# ------------------------------------------------------------------ our requests


async def test_answers_find_their_callers_in_any_order_and_by_the_type_of_the_id() -> None:
    async with wired() as (peer, multiplexer), anyio.create_task_group() as tasks:
        inboxes = {id: Inbox() for id in (1, "1", 2)}
        for id, inbox in inboxes.items():
            await multiplexer.send(Envelope(Request(id, "m"), inbox))
        assert [(await peer.hear())["id"] for _ in inboxes] == [1, "1", 2]
        await peer.say({"id": "1", "result": "text"}, {"id": 2, "error": {"code": 5, "message": "no"}})
        await peer.say({"id": 1, "result": "number"})
        tasks.start_soon(receive_until_end, multiplexer)
        assert (await inboxes[1].receive()).message == Response(1, msgspec.Raw(b'"number"'))
        assert (await inboxes["1"].receive()).message == Response("1", msgspec.Raw(b'"text"'))
        assert (await inboxes[2].receive()).message.error.message == "no"  # type: ignore[union-attr]
        tasks.cancel_scope.cancel()


async def test_what_answers_nobody_is_counted_and_dropped() -> None:
    async with wired() as (peer, multiplexer):
        inbox = Inbox()
        await multiplexer.send(Envelope(Request(1, "m"), inbox))
        await peer.say(
            {"id": 9, "result": {}},
            {"id": "1", "result": {}},
            {"id": 9, "error": {"code": 1, "message": "no"}},
            {"error": {"code": 1, "message": "no id"}},
            progress(9, 1),
            {"method": "next"},
        )
        assert (await multiplexer.receive()).message == Notification("next")
        assert multiplexer.statistics()["orphans"] == 5
        assert multiplexer.statistics()["awaited"] == 1
        assert not inbox.holds(lambda message: True)


@pytest.mark.parametrize("params", [{}, [], {"progressToken": 1}, {"progressToken": [], "progress": 1}, None])
async def test_malformed_progress_is_dropped(params: Any) -> None:
    async with wired() as (peer, multiplexer):
        inbox = Inbox()
        await multiplexer.send(Envelope(Request(1, "m"), inbox))
        await peer.say({"method": "notifications/progress", "params": params}, {"method": "next"})
        assert (await multiplexer.receive()).message == Notification("next")
        assert not inbox.holds(lambda message: True)


async def test_an_id_in_flight_is_refused_to_our_own_caller() -> None:
    async with wired() as (peer, multiplexer), anyio.create_task_group() as tasks:
        first, second = Inbox(), Inbox()
        await multiplexer.send(Envelope(Request(1, "m"), first))
        with pytest.raises(LocalProtocolError):
            await multiplexer.send(Envelope(Request(1, "m"), second))
        second.close()
        await peer.hear()
        assert await peer.hears_nothing()
        await peer.say({"id": 1, "result": {}})
        tasks.start_soon(receive_until_end, multiplexer)
        assert (await first.receive()).message == Response(1, msgspec.Raw(b"{}"))
        tasks.cancel_scope.cancel()


async def test_closing_an_inbox_writes_a_cancellation() -> None:
    async with wired() as (peer, multiplexer):
        for reason, params in ((None, {"requestId": 1}), ("too slow", {"requestId": 1, "reason": "too slow"})):
            inbox = Inbox()
            await multiplexer.send(Envelope(Request(1, "m"), inbox))
            assert (await peer.hear())["method"] == "m"
            inbox.close(reason)
            assert await peer.hear() == {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
        await peer.say({"id": 1, "result": "late"}, {"method": "next"})
        await multiplexer.receive()
        assert multiplexer.statistics()["orphans"] == 1


async def test_initialize_is_never_cancelled() -> None:
    async with wired() as (peer, multiplexer):
        inbox = Inbox()
        await multiplexer.send(Envelope(Request(1, "initialize"), inbox))
        await peer.hear()
        inbox.close()
        assert await peer.hears_nothing()
        assert multiplexer.statistics()["awaited"] == 0


async def test_what_is_answered_is_not_cancelled() -> None:
    async with wired() as (peer, multiplexer):
        inbox = Inbox()
        await multiplexer.send(Envelope(Request(1, "m"), inbox))
        await peer.hear()
        await peer.say({"id": 1, "result": {}}, {"method": "next"})
        await multiplexer.receive()
        inbox.close()
        assert await peer.hears_nothing()


async def test_a_peer_that_sends_no_more_is_told_of_no_cancellation() -> None:
    """It cannot answer any more, and if it is gone, the line would break the connection instead of ending it."""
    async with wired() as (peer, multiplexer):
        inbox = Inbox()
        await multiplexer.send(Envelope(Request(1, "m"), inbox))
        await peer.hear()
        await peer.pipe.aclose()
        with pytest.raises(anyio.EndOfStream):
            await multiplexer.receive()
        inbox.close()
        await anyio.wait_all_tasks_blocked()
        assert multiplexer.statistics()["unwritten_bytes"] == 0


async def test_a_question_goes_out_on_the_pipe_and_its_answer_comes_home() -> None:
    async with wired() as (peer, multiplexer), anyio.create_task_group() as tasks:
        await peer.say({"id": 1, "method": "m"})
        _, reply = await received(multiplexer)
        inbox = Inbox()
        assert await reply.send(Envelope(Request("q", "roots/list"), inbox))
        assert (await peer.hear())["id"] == "q"
        await peer.say({"id": "q", "result": {"roots": []}})
        tasks.start_soon(receive_until_end, multiplexer)
        assert (await inbox.receive()).message == Response("q", msgspec.Raw(b'{"roots": []}'))
        assert not reply.closed
        tasks.cancel_scope.cancel()


# ------------------------------------------------------------------ listening


def updated(uri: str, subscription: Any) -> dict[str, Any]:
    params = {"uri": uri, "_meta": {META_SUBSCRIPTION_ID: subscription}}
    return {"method": "notifications/resources/updated", "params": params}


async def test_changes_go_to_the_listen_they_name_and_equal_ones_wait_once() -> None:
    async with wired() as (peer, multiplexer):
        inbox = Inbox()
        await multiplexer.send(Envelope(Request("L", "subscriptions/listen"), inbox))
        await peer.say(
            updated("a:1", "L"),
            updated("a:1", "L"),
            updated("a:2", "L"),
            updated("a:1", "L"),
            updated("a:3", "nobody"),
            {"method": "notifications/resources/updated", "params": {"uri": "a:4"}},
        )
        assert (await multiplexer.receive()).message.params.uri == "a:4"  # type: ignore[union-attr]
        inbox.put(Envelope(Response("L", {})))
        uris = []
        while isinstance(message := (await inbox.receive()).message, Notification):
            uris.append(message.params.uri)
        assert uris == ["a:1", "a:2"]
        assert multiplexer.statistics()["orphans"] == 1


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
    with pytest.raises(ConnectionLost, match="died at byte 100"):
        async with wired(lambda pipe: drop_after(pipe, 100)) as (_, multiplexer):
            await multiplexer.send(note(1, "x" * 200))
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                cancelled = True
                raise
    assert cancelled


async def test_a_connection_that_breaks_in_both_directions_at_once_is_one_error() -> None:
    with pytest.raises(ConnectionLost):
        async with wired() as (peer, multiplexer):
            await multiplexer.send(note(1))
            peer.pipe.break_off()
            await multiplexer.receive()


async def test_a_sender_in_another_task_is_released_when_writing_fails() -> None:
    far, near = memory_pipes(1)
    outcomes: list[str] = []
    started = anyio.Event()
    multiplexer = Multiplexer(near, outbox_bytes=100)

    async def own() -> None:
        with pytest.raises(ConnectionLost):
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
    start = anyio.current_time()
    with pytest.raises(ZeroDivisionError):
        async with wired(limit_bytes=1) as (_, multiplexer):
            for n in range(3):
                await multiplexer.send(note(n))
            raise ZeroDivisionError
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
