"""A session by itself: admission, order, deadlines, endings. Roles are stand-ins; the peer is a memory channel."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup
from core.wire import PATIENCE, settle

from mcpcore.channel import Envelope, Inbox, MemoryChannel, Origin, memory_pair
from mcpcore.errors import (
    CODE_INTERNAL_ERROR,
    CODE_SERVER_BUSY,
    ConnectionLost,
    DeadlineExceeded,
    PeerError,
    RemoteProtocolError,
    RequestError,
)
from mcpcore.groups import sole_error
from mcpcore.jsonrpc import ABSENT, ErrorResponse, Malformed, Message, Notification, Request, Response, error_response
from mcpcore.session import MAX_PAUSE_SECONDS, Call, Limits, Role, Session
from mcpcore.workers import MAX_RESTING

pytestmark = pytest.mark.anyio

_user = ContextVar("_user", default="nobody")
_limit = ContextVar("_limit", default="none")


class StandIn(Role):
    """Answers by the function it is given."""

    def __init__(self, answer: Callable[[Call], Awaitable[Any]]) -> None:
        self._answer = answer
        self.heard: list[str] = []

    async def answer(self, call: Call) -> Any:
        return await self._answer(call)

    def hear(self, notification: Notification, origin: Origin | None) -> None:
        self.heard.append(notification.method)

    def is_stream(self, method: str) -> bool:
        return method == "listen"


async def echo(call: Call) -> Any:
    return {"method": call.method}


class Running:
    def __init__(self, session: Session, peer: MemoryChannel, role: StandIn, tasks: TaskGroup) -> None:
        self.session = session
        self.peer = peer
        self.role = role
        self.tasks = tasks
        self.ended = anyio.Event()
        self.failure: BaseException | None = None

    async def ask(self, method: str, id: int | str = 1, params: Any = ABSENT) -> Inbox:
        inbox = Inbox()
        await self.peer.send(Envelope(Request(id, method, params), inbox))
        return inbox

    async def end(self) -> None:
        with anyio.fail_after(PATIENCE):
            await self.ended.wait()


@asynccontextmanager
async def running(
    answer: Callable[[Call], Awaitable[Any]] = echo, *, limits: Limits | None = None, grace: float = 0
) -> AsyncIterator[Running]:
    ours, theirs = memory_pair()
    role = StandIn(answer)
    session = Session(ours, role, limits=limits)
    with sole_error():
        async with anyio.create_task_group() as tasks:
            found = Running(session, theirs, role, tasks)

            async def run(*, task_status: Any) -> None:
                try:
                    await session.run(grace=grace, task_status=task_status)
                except ConnectionLost as lost:
                    found.failure = lost
                finally:
                    found.ended.set()

            await tasks.start(run)
            yield found
            tasks.cancel_scope.cancel()


async def outcome(inbox: Inbox) -> Message:
    with anyio.fail_after(PATIENCE):
        return (await inbox.receive()).message


def code(message: Message) -> int:
    assert isinstance(message, ErrorResponse)
    return message.error.code


# ---------------------------------------------------------------------- answering


async def test_each_request_gets_its_answer_on_its_own_way_back() -> None:
    async with running() as s:
        one, two = await s.ask("a", 1), await s.ask("b", 1)  # equal ids: the way back tells them apart
        assert await outcome(two) == Response(1, {"method": "b"})
        assert await outcome(one) == Response(1, {"method": "a"})
        assert s.session.statistics().answered == 2


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (RequestError(7, "seven", {"a": 1}), RequestError(7, "seven", {"a": 1})),
        (RemoteProtocolError("rules", code=-32602), RequestError(-32602, "rules")),
    ],
)
async def test_errors_that_are_answers(error: Exception, answer: RequestError) -> None:
    async def fail(call: Call) -> Any:
        raise error

    async with running(fail) as s:
        assert await outcome(await s.ask("a", "x")) == error_response("x", answer)


class Unexpected(BaseException):
    """What no handler should raise."""


@pytest.mark.parametrize(
    "error",
    [
        ValueError("hunter2"),
        ConnectionLost("hunter2"),
        SystemExit("hunter2"),
        DeadlineExceeded("hunter2"),
        PeerError(1, "hunter2"),
        ExceptionGroup("hunter2", [ValueError("hunter2")]),
        BaseExceptionGroup("hunter2", [Unexpected("hunter2")]),
        BaseExceptionGroup("hunter2", [Unexpected("hunter2"), ValueError("hunter2")]),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_any_other_exception_is_an_internal_error_and_the_session_lives_on(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(call: Call) -> Any:
        if call.method == "fail":
            raise error
        return {}

    async with running(fail) as s:
        beside = await s.ask("beside", 2)
        message = await outcome(await s.ask("fail", 1))
        assert isinstance(message, ErrorResponse)
        assert (message.error.code, message.id) == (CODE_INTERNAL_ERROR, 1)
        assert "hunter2" not in message.error.message
        assert isinstance(await outcome(beside), Response)
        assert isinstance(await outcome(await s.ask("after", 3)), Response)
    assert len([record for record in caplog.records if record.exc_info]) == 1


async def test_a_cancellation_that_nobody_asked_for_is_an_internal_error(caplog: pytest.LogCaptureFixture) -> None:
    """On asyncio a handler may await a task that somebody cancelled; on trio there is no such thing."""
    from sniffio import current_async_library

    async def stumble(call: Call) -> Any:
        if call.method == "fine" or current_async_library() == "trio":
            return {}
        import asyncio

        inner = asyncio.ensure_future(asyncio.Event().wait())
        asyncio.get_running_loop().call_soon(inner.cancel)
        return await inner

    async with running(stumble) as s:
        message = await outcome(await s.ask("stumble"))
        if current_async_library() == "asyncio":
            assert code(message) == CODE_INTERNAL_ERROR
            assert "ended with a cancellation that nobody asked for" in caplog.text
        assert isinstance(await outcome(await s.ask("fine", 2)), Response)


async def test_a_cancelled_handler_that_fails_as_well_ends_alone(caplog: pytest.LogCaptureFixture) -> None:
    """On trio its task group raises the cancellation and the failure in one group."""

    async def stumble(call: Call) -> Any:
        async def clean_up() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                raise ValueError("while cleaning up")

        if call.method == "stumble":
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(clean_up)
                await anyio.sleep_forever()
        return {}

    async with running(stumble) as s:
        inbox = await s.ask("stumble")
        await settle()
        inbox.close("enough")
        await settle()
        assert isinstance(await outcome(await s.ask("fine", 2)), Response)
        assert s.session.statistics().running == 0
    assert "while cleaning up" in caplog.text


async def test_a_group_with_a_cancellation_in_it_is_answered_too() -> None:
    async def stumble(call: Call) -> Any:
        async with anyio.create_task_group() as tasks:
            tasks.cancel_scope.cancel()
            try:
                await anyio.sleep_forever()
            finally:
                raise ValueError("while cleaning up")

    async with running(stumble) as s:
        assert code(await outcome(await s.ask("a"))) == CODE_INTERNAL_ERROR


# ---------------------------------------------------------------------- workers


async def test_context_variables_that_a_handler_sets_are_its_own() -> None:
    seen: list[tuple[str, str]] = []

    async def answer(call: Call) -> Any:
        seen.append((_user.get(), _limit.get()))
        if call.method == "set":
            _user.set("ann")
        elif call.method == "change":
            _limit.set(str(call.id))
        return {}

    _limit.set("ten")
    async with running(answer) as s:
        for method in ("set", "change", "look", "look"):
            await outcome(await s.ask(method))
        inboxes = [await s.ask(method, n) for n, method in enumerate(("set", "change", "look", "look"))]
        for inbox in inboxes:
            await outcome(inbox)
    assert seen == [("nobody", "ten")] * 8


async def test_context_variables_do_not_reach_the_worker_that_a_leaving_one_calls() -> None:
    go_on = anyio.Event()
    seen: list[str] = []

    async def answer(call: Call) -> Any:
        seen.append(_user.get())
        await go_on.wait()
        _user.set("ann")
        return {}

    async with running(answer, limits=Limits(max_running=1)) as s:
        inboxes = [await s.ask("set", n) for n in range(3)]
        await settle()
        go_on.set()
        for inbox in inboxes:
            await outcome(inbox)
    assert seen == ["nobody"] * 3


async def test_with_no_worker_at_rest_every_request_is_answered_too() -> None:
    async with running(limits=Limits(max_resting=0)) as s:
        idle = len(anyio.get_running_tasks())
        for n in range(3):
            inboxes = [await s.ask("quick", id) for id in range(3)]
            for inbox in inboxes:
                assert isinstance(await outcome(inbox), Response)
            await settle()
            assert len(anyio.get_running_tasks()) == idle, n


async def test_requests_that_wait_all_run_at_once_and_quick_ones_share_a_task() -> None:
    go_on = anyio.Event()
    tasks: set[int] = set()

    async def answer(call: Call) -> Any:
        if call.method == "wait":
            await go_on.wait()
        tasks.add(anyio.get_current_task().id)
        return {}

    async with running(answer) as s:
        idle = len(anyio.get_running_tasks())
        quick = [await s.ask("quick", n) for n in range(60)]
        for inbox in quick:
            await outcome(inbox)
        assert len(tasks) <= MAX_RESTING + 1
        waiting = [await s.ask("wait", n) for n in range(60)]
        await settle()
        statistics = s.session.statistics()
        assert (statistics.running, statistics.waiting) == (60, 0)
        behind = await s.ask("quick")  # nobody holds it up
        await outcome(behind)
        go_on.set()
        for inbox in waiting:
            await outcome(inbox)
        assert s.session.statistics().running == 0
        assert len(anyio.get_running_tasks()) <= idle + MAX_RESTING


async def test_an_answer_that_nobody_elses_can_join_says_so() -> None:
    go_on = anyio.Event()

    async def answer(call: Call) -> Any:
        if call.method == "wait":
            await go_on.wait()
        return {}

    async with running(answer) as s:
        assert (await (await s.ask("quick")).receive()).alone
        first = await s.ask("wait", 1)
        assert not (await (await s.ask("quick", 2)).receive()).alone
        go_on.set()
        assert (await first.receive()).alone


# ---------------------------------------------------------------------- limits


async def test_what_exceeds_the_limits_is_refused_and_the_rest_runs_in_order() -> None:
    go_on = anyio.Event()
    started: list[str] = []

    async def wait(call: Call) -> Any:
        started.append(call.method)
        await go_on.wait()
        return {}

    async with running(wait, limits=Limits(max_running=2, max_waiting=3)) as s:
        inboxes = [await s.ask(str(n), n) for n in range(8)]
        await settle()
        statistics = s.session.statistics()
        assert (statistics.running, statistics.waiting, statistics.refused) == (2, 3, 3)
        for inbox in inboxes[5:]:
            message = await outcome(inbox)
            assert isinstance(message, ErrorResponse)
            assert message.error.code == CODE_SERVER_BUSY
            assert message.error.message == "2 requests run and 3 wait, which is the limit; ask again later"
        go_on.set()
        for inbox in inboxes[:5]:
            assert isinstance(await outcome(inbox), Response)
        assert (sorted(started[:2]), started[2:]) == (["0", "1"], ["2", "3", "4"])  # two at once, then by turns
        assert s.session.statistics().running == 0


async def test_notifications_and_answers_get_through_at_the_limit() -> None:
    async def wait(call: Call) -> Any:
        return await call.request("question", {}, timeout=PATIENCE) if call.method == "ask" else {}

    async with running(wait, limits=Limits(max_running=1, max_waiting=0)) as s:
        inbox = await s.ask("ask")
        with anyio.fail_after(PATIENCE):
            question = await inbox.receive()
        await s.peer.send(Envelope(Notification("hello")))
        assert code(await outcome(await s.ask("more", 2))) == CODE_SERVER_BUSY
        assert question.reply is not None
        assert isinstance(question.message, Request)
        await question.reply.send(Envelope(Response(question.message.id, {"yes": 1})))
        assert await outcome(inbox) == Response(1, {"yes": 1})
        assert s.role.heard == ["hello"]


async def test_a_waiting_request_that_is_cancelled_never_runs() -> None:
    go_on = anyio.Event()
    started: list[str] = []

    async def wait(call: Call) -> Any:
        started.append(call.method)
        await go_on.wait()
        return {}

    async with running(wait, limits=Limits(max_running=1)) as s:
        first, second, third = [await s.ask(name, name) for name in ("first", "second", "third")]
        await settle()
        second.close()
        go_on.set()
        await outcome(first)
        await outcome(third)
        assert started == ["first", "third"]
        assert s.session.statistics().cancelled == 1


async def test_streams_have_places_of_their_own() -> None:
    async def wait(call: Call) -> Any:
        if call.method == "listen":
            await anyio.sleep_forever()
        return {}

    async with running(wait, limits=Limits(max_running=1, max_streams=2)) as s:
        streams = [await s.ask("listen", n) for n in range(2)]
        await settle()
        assert code(await outcome(await s.ask("listen", 3))) == CODE_SERVER_BUSY
        assert isinstance(await outcome(await s.ask("plain", 4)), Response)
        streams[0].close()
        await settle()
        await s.ask("listen", 5)
        await settle()
        assert s.session.statistics().streams == 2


# ---------------------------------------------------------------------- cancellation


async def test_closing_the_far_end_cancels_the_handler() -> None:
    ended = anyio.Event()

    async def wait(call: Call) -> Any:
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async with running(wait) as s:
        inbox = await s.ask("a")
        await settle()
        inbox.close("enough")
        with anyio.fail_after(PATIENCE):
            await ended.wait()
        await settle()
        assert s.session.statistics().cancelled == 1
        assert s.session.statistics().running == 0


async def test_a_slow_inbox_holds_up_its_own_request_only() -> None:
    sent = 0

    async def talk(call: Call) -> Any:
        nonlocal sent
        if call.method == "talk":
            for n in range(1000):
                await call.notify("note", {"n": n})
                sent += 1
        return {}

    async with running(talk) as s:
        slow = await s.ask("talk")
        await settle()
        assert sent < 100
        assert isinstance(await outcome(await s.ask("other", 2)), Response)
        got = 0
        while isinstance(await outcome(slow), Notification):
            got += 1
        assert got == 1000


# ---------------------------------------------------------------------- what is no request


async def test_malformed_frames_are_answered_and_orphans_counted() -> None:
    async with running() as s:
        inbox = Inbox()
        await s.peer.send(Envelope(Malformed(RequestError(-32700, "not JSON")), inbox))
        assert await outcome(inbox) == error_response(None, RequestError(-32700, "not JSON"))
        await s.peer.send(Envelope(Malformed(RequestError(-32600, "odd"), 5, answers=True), inbox))
        await s.peer.send(Envelope(Response(99, {}), None))
        await s.peer.send(Envelope(ErrorResponse(error=error_response(1, RequestError(1, "x")).error), None))
        await settle()
        statistics = s.session.statistics()
        assert (statistics.malformed, statistics.orphans) == (2, 2)
        assert isinstance(await outcome(await s.ask("fine")), Response)


# ---------------------------------------------------------------------- asking


async def asked(s: Running) -> Envelope:
    with anyio.fail_after(PATIENCE):
        return await s.peer.receive()


async def reply_to(s: Running, *messages: Message) -> None:
    envelope = await asked(s)
    assert envelope.reply is not None
    for message in messages:
        await envelope.reply.send(Envelope(message))


async def test_a_result_comes_back_with_what_was_sent_on_the_way() -> None:
    heard: list[str] = []

    async def hear(notification: Notification) -> None:
        heard.append(notification.method)

    async with running() as s:
        s.tasks.start_soon(reply_to, s, Notification("one"), Notification("two"), Response(1, {"r": 1}))
        result = await s.session.request("m", {}, timeout=PATIENCE, on_notification=hear)
        assert (result, heard) == ({"r": 1}, ["one", "two"])


async def test_what_an_answer_can_be_wrong_with() -> None:
    async with running() as s:
        s.tasks.start_soon(reply_to, s, error_response(1, RequestError(5, "five", [1])))
        with pytest.raises(PeerError, match="five") as caught:
            await s.session.request("m", {}, timeout=PATIENCE)
        assert (caught.value.code, caught.value.data) == (5, [1])
        s.tasks.start_soon(reply_to, s, Malformed(RequestError(-32600, "both"), 2, answers=True))
        with pytest.raises(RemoteProtocolError, match="the peer's answer is no JSON-RPC response: both"):
            await s.session.request("m", {}, timeout=PATIENCE)


async def test_an_answer_that_does_not_come_is_given_up_and_the_peer_told() -> None:
    async with running() as s:
        with pytest.raises(DeadlineExceeded, match=r"was not answered within 0\.01 s; it has been cancelled"):
            await s.session.request("m", {}, timeout=0.01)
        envelope = await asked(s)
        assert envelope.reply is not None
        assert envelope.reply.closed
        assert envelope.reply.reason == "no answer within 0.01 s"
        assert s.session.statistics().awaited == 0


async def test_cancelling_a_question_tells_the_peer() -> None:
    async with running() as s:
        with anyio.move_on_after(0.01):
            await s.session.request("m", {}, timeout=1000)
        envelope = await asked(s)
        assert envelope.reply is not None
        assert envelope.reply.closed


async def test_ids_are_never_used_twice() -> None:
    async with running() as s:
        for expected in range(1, 5):
            s.tasks.start_soon(reply_to, s, Response(expected, {}))
            await s.session.request("m", {}, timeout=PATIENCE)
        assert s.session.next_id() == 5


@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
async def test_a_deadline_stands_still_while_this_side_answers() -> None:
    """A person needs longer than the deadline; the peer's own time is what it limits. Time has to pass: trio only."""
    async with running() as s:

        async def person() -> None:
            with s.session.clocks_paused():
                await anyio.sleep(100)
            await reply_to(s, Response(1, {"late": False}))

        s.tasks.start_soon(person)
        assert await s.session.request("m", {}, timeout=5) == {"late": False}


async def test_a_connection_that_ends_fails_every_question() -> None:
    errors: list[str] = []

    async with running() as s:

        async def ask() -> None:
            try:
                await s.session.request("m", {}, timeout=1000)
            except ConnectionLost as lost:
                errors.append(str(lost))

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(ask)
            await settle()
            await s.peer.aclose()
        await s.end()
        assert errors == ["the peer closed the connection before it answered"] * 3
        with pytest.raises(ConnectionLost):
            await s.session.request("m", {}, timeout=1000)


# ---------------------------------------------------------------------- endings


async def test_at_the_end_of_input_accepted_work_is_finished() -> None:
    go_on = anyio.Event()

    async def wait(call: Call) -> Any:
        await go_on.wait()
        return {}

    async with running(wait, grace=1000, limits=Limits(max_running=1)) as s:
        inboxes = [await s.ask("a", n) for n in range(3)]
        await s.peer.send_eof()
        await settle()
        assert s.session.ending
        assert not s.ended.is_set()
        go_on.set()
        for inbox in inboxes:  # the two that waited for a place too
            assert isinstance(await outcome(inbox), Response)
        await s.end()


async def test_what_outlasts_the_grace_is_cancelled() -> None:
    ended: list[str] = []

    async def wait(call: Call) -> Any:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(call.method)

    async with running(wait, grace=0.01) as s:
        await s.ask("a")
        await s.ask("listen", 2)
        await settle()
        await s.peer.send_eof()
        await s.end()
        assert sorted(ended) == ["a", "listen"]
        assert s.failure is None


async def test_stop_refuses_what_comes_and_finishes_what_runs() -> None:
    go_on = anyio.Event()
    woken: list[bool] = []

    async def wait(call: Call) -> Any:
        await go_on.wait()
        return {}

    async with running(wait) as s:
        s.session.when_ending.add(lambda: woken.append(True))
        inbox = await s.ask("a")
        await settle()
        s.session.stop(1000)
        s.session.stop(0)  # a second word changes nothing
        assert woken == [True]
        message = await outcome(await s.ask("b", 2))
        assert isinstance(message, ErrorResponse)
        assert message.error.code == CODE_SERVER_BUSY
        assert message.error.message == "the server is stopping; ask again elsewhere or later"
        assert not s.ended.is_set()
        go_on.set()
        assert isinstance(await outcome(inbox), Response)
        await s.end()
        s.session.stop(1)  # of a session that has ended: nothing


async def test_stop_cancels_what_outlasts_the_grace_though_the_peer_stays() -> None:
    async def wait(call: Call) -> Any:
        await anyio.sleep_forever()

    async with running(wait) as s:
        await s.ask("a")
        await settle()
        s.session.stop(0.01)
        await s.end()
        assert s.failure is None


async def test_during_the_grace_answers_are_still_read() -> None:
    async def wait(call: Call) -> Any:
        return await call.request("question", {}, timeout=PATIENCE)

    async with running(wait) as s:
        inbox = await s.ask("a")
        with anyio.fail_after(PATIENCE):
            question = await inbox.receive()
        s.session.stop(PATIENCE)
        await settle()
        assert question.reply is not None
        assert isinstance(question.message, Request)
        await question.reply.send(Envelope(Response(question.message.id, {"yes": 1})))
        assert await outcome(inbox) == Response(1, {"yes": 1})
        await s.end()


async def test_cancelling_a_session_cancels_its_requests() -> None:
    ended = anyio.Event()

    async def wait(call: Call) -> Any:
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async with running(wait) as s:
        await s.ask("a")
        await settle()
        s.tasks.cancel_scope.cancel()
    assert ended.is_set()


@pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
async def test_questions_cannot_hold_up_a_deadline_for_ever() -> None:
    """A peer that asks again and again: the request ends all the same. Time has to pass: trio only."""
    async with running() as s:

        async def never_satisfied() -> None:
            while True:
                with s.session.clocks_paused():
                    await anyio.sleep(600)

        s.tasks.start_soon(never_satisfied)
        start = anyio.current_time()
        with pytest.raises(DeadlineExceeded):
            await s.session.request("m", {}, timeout=5)
        assert MAX_PAUSE_SECONDS <= anyio.current_time() - start <= MAX_PAUSE_SECONDS + 5
