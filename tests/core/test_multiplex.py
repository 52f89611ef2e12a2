"""mcpcore.multiplex: many requests over one pipe, seen from the other end of the pipe."""

import json
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest
from core.raw_peer import progress, receive_until_end, received, wired

from mcpcore.channel import Envelope, Inbox, Origin
from mcpcore.errors import CODE_INVALID_REQUEST, CODE_PARSE_ERROR, LocalProtocolError
from mcpcore.jsonrpc import OVERSIZE_KEPT_BYTES, Malformed, Notification, Oversize, Request, Response, error_response
from mcpcore.principal import Principal
from mcpcore.testing import inject
from mcpcore.testing.pipes import PIPE_BYTES
from mcpcore.types import META_SUBSCRIPTION_ID

pytestmark = pytest.mark.anyio

# ------------------------------------------------------------------ requests of the peer


async def test_a_request_arrives_with_its_way_back_and_its_origin() -> None:
    origin = Origin(transport="test", principal=Principal(subject="ann"))
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


async def test_an_answer_that_is_alone_is_written_at_once_but_overtakes_nothing() -> None:
    async with wired() as (peer, multiplexer):
        await peer.say(*({"id": n, "method": "m"} for n in range(4)))
        replies = [(await received(multiplexer))[1] for _ in range(4)]
        await anyio.wait_all_tasks_blocked()
        assert await replies[0].send(Envelope(Response(0, "first"), alone=True))
        assert multiplexer.statistics()["unwritten_bytes"] == 0
        assert await replies[1].send(Envelope(Response(1, "second")))
        assert multiplexer.statistics()["unwritten_bytes"] > 0
        assert await replies[2].send(Envelope(Response(2, "x" * PIPE_BYTES), alone=True))
        assert await replies[3].send(Envelope(Response(3, "last"), alone=True))
        assert [(await peer.hear())["id"] for _ in range(4)] == [0, 1, 2, 3]


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


@pytest.mark.parametrize(
    "frame",
    [
        b'{"jsonrpc":"2.0","id":7,"result":{"content":["%s"]}}',
        b'{"result": {"content": [{"id":9,"text":"%s"}]}, "jsonrpc": "2.0", "id": 7}',
        b'{"result":"%s,\\"id\\":8","id":7,"jsonrpc":"2.0"}\r',
        b'{"id":7,"error":{"code":1,"message":"%s"},"jsonrpc":"2.0"}',
    ],
)
async def test_an_answer_over_the_limit_goes_to_whoever_waits_for_it(frame: bytes) -> None:
    frame %= b"x" * 5000
    seen = Oversize(len(frame), 1000, frame[:OVERSIZE_KEPT_BYTES], frame[-OVERSIZE_KEPT_BYTES:])
    async with wired(lambda pipe: inject(pipe, [seen], after=1)) as (peer, multiplexer):
        other, inbox = Inbox(), Inbox()
        await multiplexer.send(Envelope(Request(7, "large"), inbox))
        await multiplexer.send(Envelope(Request(8, "small"), other))
        await peer.say({"id": 8, "result": {}}, {"id": 1, "method": "next"})
        await received(multiplexer)
        message = (await inbox.receive()).message
        assert isinstance(message, Malformed)
        assert f"{len(frame)} bytes is over the limit of 1000" in message.error.message
        assert isinstance((await other.receive()).message, Response)


@pytest.mark.parametrize(
    "frame",
    [
        b'{"jsonrpc":"2.0","id":7,"method":"m","params":"%s"}',
        b'{"jsonrpc":"2.0","id":7,"params":{"a":"%s"},"method":"m"}',
        b'{"params":{"a":"%s"},"method":"m","id":7}',
    ],
)
async def test_a_request_over_the_limit_is_no_answer_to_ours_and_is_refused_by_its_id(frame: bytes) -> None:
    frame %= b"x" * 5000
    seen = Oversize(len(frame), 1000, frame[:OVERSIZE_KEPT_BYTES], frame[-OVERSIZE_KEPT_BYTES:])
    async with wired(lambda pipe: inject(pipe, [seen])) as (_, multiplexer):
        inbox = Inbox()
        await multiplexer.send(Envelope(Request(7, "ours"), inbox))
        envelope = await multiplexer.receive()
        assert isinstance(envelope.message, Malformed)
        assert (envelope.message.id, envelope.message.answers) == (7, False)
        assert inbox.size == 0


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


async def test_a_server_that_announces_what_nobody_asked_for_fills_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcpcore.multiplex.MAX_CHANGES", 5)
    async with wired() as (peer, multiplexer):
        inbox = Inbox()
        await multiplexer.send(Envelope(Request("L", "subscriptions/listen"), inbox))
        await peer.say(*(updated(f"a:{n}", "L") for n in range(9)), {"method": "notifications/other"})
        assert (await multiplexer.receive()).message == Notification("notifications/other")
        assert inbox.size == 5
        assert multiplexer.statistics()["dropped"] == 4
