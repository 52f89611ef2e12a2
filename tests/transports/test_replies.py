"""The reply channel of a request without a session, against a host that minds its contract."""

from typing import Any

import anyio
import pytest

from mcpcore.channel import Envelope
from mcpcore.errors import ConnectionLost
from mcpcore.jsonrpc import ErrorObject, ErrorResponse, Notification, Response
from mcpcore_transports.http.replies import OUTBOX_BYTES, ExchangeReply, status_of
from mcpcore_transports.web.exchange import Headers, WebResponse

pytestmark = pytest.mark.anyio


class Strict(WebResponse):
    """Takes one call at a time, in the order of the contract, and is as slow as the test wants."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.body = b""
        self.status = 0
        self.busy = False
        self.finished = False
        self.lost = False
        self.gate: anyio.Event | None = None
        self.stuck = "send"
        """The call that the gate holds up."""

    async def _take(self, name: str, data: bytes = b"") -> None:
        assert not self.busy, f"{name} while another call was under way"
        assert not self.finished, f"{name} after the end"
        self.busy = True
        try:
            await anyio.lowlevel.checkpoint()
            if self.gate is not None and name == self.stuck:
                await self.gate.wait()
            if self.lost:
                raise ConnectionLost("gone")
            self.calls.append(name)
        finally:
            self.busy = False
        self.body += data

    async def send_whole(self, status: int, headers: Headers, body: bytes) -> None:
        assert not self.started
        self.started = True
        self.status = status
        await self._take("whole", body)
        self.finished = True

    async def start(self, status: int, headers: Headers, *, first: bytes = b"", idle_bytes: bytes = b"") -> None:
        assert not self.started
        self.started = True
        self.status = status
        await self._take("start", first)

    async def send(self, chunk: bytes) -> None:
        assert self.started
        await self._take("send", chunk)

    async def finish(self, last: bytes = b"") -> None:
        await self._take("finish", last)
        self.finished = True


def said(number: int, size: int = 0) -> Envelope:
    return Envelope(Notification("notifications/message", {"number": number, "pad": "x" * size}))


ANSWER = Envelope(Response(1, {"done": True}))


async def test_an_answer_alone_is_one_body() -> None:
    response = Strict()
    reply = ExchangeReply(response, only_json=False)
    assert await reply.send(ANSWER)
    assert (response.calls, response.status, reply.answered) == (["whole"], 200, True)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (-32700, 400),
        (-32600, 400),
        (-32602, 400),
        (-32601, 404),
        (-32020, 400),
        (-32021, 400),
        (-32022, 400),
        (-31503, 503),
        (-32603, 200),
        (5, 200),
    ],
)
async def test_the_status_follows_the_code(code: int, status: int) -> None:
    answer = ErrorResponse(ErrorObject(code, "no"), 1)
    assert status_of(answer) == status
    response = Strict()
    await ExchangeReply(response, only_json=False).send(Envelope(answer))
    assert response.status == status


async def test_many_tasks_send_one_at_a_time_and_the_answer_is_last() -> None:
    """Also when the answer comes while another task is in the middle of a send, or of the very first one."""
    for stuck in ("start", "send"):
        response = Strict()
        response.gate, response.stuck = anyio.Event(), stuck
        reply = ExchangeReply(response, only_json=False)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reply.send, said(0))
            await anyio.wait_all_tasks_blocked()
            for number in range(1, 5):
                tasks.start_soon(reply.send, said(number))
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(reply.send, ANSWER)
            await anyio.wait_all_tasks_blocked()
            assert not reply.answered
            response.gate.set()
        assert (response.calls[0], response.calls[-1]) == ("start", "finish")
        positions = [response.body.index(b'"number":%d' % number) for number in range(5)]
        assert positions[0] == min(positions)
        assert response.body.index(b'"done"') > max(positions)


async def test_a_slow_reader_holds_the_handler_up_at_a_limit() -> None:
    response = Strict()
    response.gate = anyio.Event()
    reply = ExchangeReply(response, only_json=False)
    handed_over = 0

    async def pour() -> None:
        nonlocal handed_over
        for number in range(100):
            await reply.send(said(number, OUTBOX_BYTES // 10))
            handed_over += 1

    await reply.send(said(-1))  # goes with the head
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reply.send, said(-2))
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(pour)
        await anyio.wait_all_tasks_blocked()
        assert 5 < handed_over < 20
        response.gate.set()
    assert handed_over == 100
    assert [response.body.count(b'"number":%d,' % number) for number in range(100)] == [1] * 100


async def test_a_send_that_is_cancelled_takes_nobody_elses_events_with_it() -> None:
    response = Strict()
    response.gate = anyio.Event()
    reply = ExchangeReply(response, only_json=False)
    scope = anyio.CancelScope()

    async def cancelled() -> None:
        with scope:
            await reply.send(said(0))

    await reply.send(said(9))  # goes with the head
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancelled)
        await anyio.wait_all_tasks_blocked()
        await reply.send(said(1))  # left to the one that is sending
        scope.cancel()
        await anyio.wait_all_tasks_blocked()
        response.gate.set()
        await reply.send(said(2))
        await reply.send(ANSWER)
    body = response.body
    assert 0 <= body.find(b'"number":1') < body.find(b'"number":2') < body.find(b'"done"')


async def test_a_client_that_left_closes_the_channel() -> None:
    for message in (said(1), ANSWER):
        response = Strict()
        reply = ExchangeReply(response, only_json=False)
        told: list[Any] = []
        reply.when_closed(lambda told=told: told.append(1))  # type: ignore[misc]
        response.lost = True
        assert not await reply.send(message)
        assert (reply.closed, reply.answered, told) == (True, False, [1])
        assert not await reply.send(ANSWER)


async def test_the_head_goes_with_the_first_event_and_the_end_with_the_answer() -> None:
    response = Strict()
    reply = ExchangeReply(response, only_json=False)
    assert await reply.send(said(1))
    assert b'"number":1' in response.body
    assert await reply.send(ANSWER)
    assert response.calls == ["start", "finish"]


async def test_only_json_leaves_events_out() -> None:
    response = Strict()
    reply = ExchangeReply(response, only_json=True)
    assert await reply.send(said(1))
    assert await reply.send(ANSWER)
    assert response.calls == ["whole"]
