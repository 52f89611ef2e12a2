"""http/questions: the way back for what a server asks, and what becomes of it when nobody wants the answer."""

from typing import Any

import pytest
from msgspec import Raw, json

from mcpcore.channel import Envelope
from mcpcore.errors import ConnectionLost
from mcpcore.jsonrpc import Message, Notification, Request, Response
from mcpcore_transports.http.questions import Questions

pytestmark = pytest.mark.anyio


class Told:
    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.refuses = False

    async def __call__(self, message: Message) -> None:
        if self.refuses:
            raise ConnectionLost("refused")
        self.messages.append(message)


def cancelled(id: Any) -> Notification:
    return Notification("notifications/cancelled", Raw(json.encode({"requestId": id, "reason": "changed my mind"})))


@pytest.fixture
def told() -> Told:
    return Told()


async def test_an_answer_goes_out_once_and_ends_the_question(told: Told) -> None:
    questions = Questions(told)
    reply = questions.ask(Request(1, "roots/list")).reply
    assert reply is not None
    assert len(questions) == 1
    assert await reply.send(Envelope(Notification("notifications/progress")))
    assert len(questions) == 1
    assert await reply.send(Envelope(Response(1, {})))
    assert len(questions) == 0
    assert len(told.messages) == 2


async def test_an_answer_that_is_not_taken_fails_nobody(told: Told) -> None:
    questions = Questions(told)
    reply = questions.ask(Request(1, "roots/list")).reply
    assert reply is not None
    told.refuses = True
    assert not await reply.send(Envelope(Response(1, {})))
    assert len(questions) == 0


async def test_a_question_that_is_taken_back_is_closed(told: Told) -> None:
    questions = Questions(told)
    reply = questions.ask(Request("1", "roots/list")).reply
    assert reply is not None
    for id in (1, None, [], "2"):
        questions.cancel(cancelled(id))
        assert not reply.closed
    questions.cancel(cancelled("1"))
    assert reply.closed
    assert reply.reason == "changed my mind"
    assert not await reply.send(Envelope(Response("1", {})))
    assert (len(questions), told.messages) == (0, [])


async def test_the_same_id_twice_is_two_questions(told: Told) -> None:
    questions = Questions(told)
    first, second = (questions.ask(Request(1, "roots/list")).reply for _ in range(2))
    assert first is not None
    assert second is not None
    assert await first.send(Envelope(Response(1, {})))
    questions.cancel(cancelled(1))
    assert second.closed


async def test_questions_that_nobody_will_answer_are_forgotten(told: Told) -> None:
    questions = Questions(told)
    replies = [questions.ask(Request(number, "roots/list")).reply for number in range(3)]
    questions.close("the session ended")
    assert len(questions) == 0
    assert all(reply is not None and reply.closed for reply in replies)
