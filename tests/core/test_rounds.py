"""Multi round-trip requests: the state that travels, who may bring it back, and handlers that run more than once."""

import json
from typing import Any

import anyio
import msgspec
import pytest
from core.wire import Frame, Peer, settle, wired

from mcpcore import Client, Context, Server
from mcpcore.eras.rounds import MAX_ROUNDS, Rounds, RoundState, arguments_digest
from mcpcore.errors import InvalidParams, LocalProtocolError
from mcpcore.revisions import REVISIONS, Revision
from mcpcore.sealing import StateSealer

pytestmark = pytest.mark.anyio

R24, R25_03, R25_06, R25_11, R26 = REVISIONS
CAPABILITIES: Frame = {"sampling": {}, "roots": {}, "elicitation": {}}
REJECTED = "requestState is not valid here: send the request again without it to start over"


def text(value: str) -> Frame:
    return {"role": "assistant", "content": {"type": "text", "text": value}, "model": "m"}


@pytest.fixture
def runs() -> list[str]:
    return []


@pytest.fixture
def server(runs: list[str]) -> Server:
    server = Server("s")

    @server.tool
    async def ask(ctx: Context, topic: str = "none") -> str:
        runs.append("ask")
        return await ctx.sample(f"about {topic}", max_tokens=1)

    @server.tool
    async def other(ctx: Context, topic: str = "none") -> str:
        return await ctx.sample(f"about {topic}", max_tokens=1)

    return server


def call(name: str, **more: Any) -> Frame:
    return {"name": name, "arguments": {}, **more}


async def interrupted(peer: Peer, params: Frame) -> tuple[str, str]:
    """The key of the one question that a call is answered with, and the state."""
    peer.capabilities = CAPABILITIES
    result = await peer.result("tools/call", params)
    assert result["resultType"] == "input_required"
    (key,) = result["inputRequests"]
    assert "ttlMs" not in result
    return key, result["requestState"]


# ---------------------------------------------------------------------- whose state it is


async def test_a_retry_gets_its_answer(server: Server, runs: list[str]) -> None:
    async with wired(server) as peer:
        key, state = await interrupted(peer, call("ask"))
        result = await peer.result("tools/call", call("ask", inputResponses={key: text("yes")}, requestState=state))
        assert result["content"][0]["text"] == "yes"
        assert runs == ["ask", "ask"]


@pytest.mark.parametrize("principal", [None, "ann"])
async def test_a_state_is_good_on_another_connection_of_the_same_user(server: Server, principal: str | None) -> None:
    async with wired(server, principal=principal) as one, wired(server, principal=principal) as two:
        key, state = await interrupted(one, call("ask"))
        two.capabilities = CAPABILITIES
        result = await two.result("tools/call", call("ask", inputResponses={key: text("yes")}, requestState=state))
        assert result["content"][0]["text"] == "yes"


async def test_the_order_of_the_arguments_does_not_matter(server: Server) -> None:
    @server.tool
    async def two(a: int, b: dict[str, int], ctx: Context) -> str:
        return await ctx.sample("?", max_tokens=1)

    async with wired(server) as peer:
        key, state = await interrupted(peer, {"name": "two", "arguments": {"a": 1, "b": {"x": 1, "y": 2}}})
        params = {"name": "two", "arguments": {"b": {"y": 2, "x": 1}, "a": 1}, "requestState": state}
        result = await peer.result("tools/call", {**params, "inputResponses": {key: text("yes")}})
        assert result["content"][0]["text"] == "yes"


async def reject(peer: Peer, params: Frame, method: str = "tools/call") -> None:
    assert await peer.error(method, params) == {"code": -32602, "message": REJECTED}


async def test_a_state_that_was_changed_is_rejected(server: Server, runs: list[str]) -> None:
    async with wired(server) as peer:
        key, state = await interrupted(peer, call("ask"))
        seen = len(runs)
        middle = len(state) // 2
        flipped = state[:middle] + ("A" if state[middle] != "A" else "B") + state[middle + 1 :]
        for forged in (flipped, state[:-1], state + "A", "", "x", state.swapcase(), "ä", "A" * 100_000):
            await reject(peer, call("ask", inputResponses={key: text("x")}, requestState=forged))
        assert len(runs) == seen  # no handler has run
        assert (await peer.error("tools/call", call("ask", requestState=5)))["code"] == -32602


async def test_a_state_of_another_request_is_rejected(server: Server) -> None:
    @server.prompt(name="ask")
    async def same_name(ctx: Context) -> str:
        return await ctx.sample("?", max_tokens=1)

    async with wired(server) as peer:
        key, state = await interrupted(peer, call("ask"))
        answer = {"inputResponses": {key: text("x")}, "requestState": state}
        await reject(peer, call("other", **answer))
        await reject(peer, {"name": "ask", "arguments": {"topic": "cats"}, **answer})
        await reject(peer, {"name": "ask", **answer}, "prompts/get")


async def test_a_state_of_another_user_is_rejected(server: Server) -> None:
    async with wired(server, principal="ann") as ann, wired(server, principal="bob") as bob, wired(server) as nobody:
        key, state = await interrupted(ann, call("ask"))
        for peer in (bob, nobody):
            peer.capabilities = CAPABILITIES
            await reject(peer, call("ask", inputResponses={key: text("x")}, requestState=state))


async def test_a_state_of_another_server_is_rejected(server: Server, runs: list[str]) -> None:
    async with wired(server) as peer:
        key, state = await interrupted(peer, call("ask"))
        server.sealer = StateSealer()
        await reject(peer, call("ask", inputResponses={key: text("x")}, requestState=state))


async def test_a_state_expires(server: Server) -> None:
    now = 1_000_000.0
    server.sealer = StateSealer(lifetime=600, clock=lambda: now)
    async with wired(server) as peer:
        key, state = await interrupted(peer, call("ask"))
        params = call("ask", inputResponses={key: text("x")}, requestState=state)
        now += 599
        assert (await peer.result("tools/call", params))["resultType"] == "complete"
        now += 2
        await reject(peer, params)


async def test_workers_that_share_keys_share_states(runs: list[str]) -> None:
    workers = []
    for _ in range(2):
        worker = Server("s", state_keys=[b"k" * 32])

        @worker.tool
        async def ask(ctx: Context) -> str:
            return await ctx.sample("?", max_tokens=1)

        workers.append(worker)
    async with wired(workers[0]) as one, wired(workers[1]) as two:
        key, state = await interrupted(one, call("ask"))
        two.capabilities = CAPABILITIES
        result = await two.result("tools/call", call("ask", inputResponses={key: text("yes")}, requestState=state))
        assert result["content"][0]["text"] == "yes"


# ---------------------------------------------------------------------- answers that are missing, odd or too many


async def test_a_missing_answer_is_asked_for_again(server: Server) -> None:
    async with wired(server) as peer:
        key, state = await interrupted(peer, call("ask"))
        for more in ({}, {"inputResponses": {}}, {"inputResponses": {"unknown": text("x")}}):
            assert (await interrupted(peer, call("ask", requestState=state, **more)))[0] == key


async def test_answers_to_nothing_are_ignored(server: Server) -> None:
    async with wired(server) as peer:
        key, state = await interrupted(peer, call("ask"))
        responses = {key: text("yes"), "another": {"anything": 1}}
        result = await peer.result("tools/call", call("ask", inputResponses=responses, requestState=state))
        assert result["content"][0]["text"] == "yes"


@pytest.mark.parametrize("answer", [5, "x", None, [], {}, {"role": "assistant"}, {"roots": []}])
async def test_a_malformed_answer_is_an_error_that_names_it(server: Server, answer: Any) -> None:
    async with wired(server) as peer:
        key, state = await interrupted(peer, call("ask"))
        error = await peer.error("tools/call", call("ask", inputResponses={key: answer}, requestState=state))
        assert error["code"] == -32602
        assert "sampling/createMessage" in error["message"]


@pytest.mark.parametrize("responses", [5, [], "x"])
async def test_responses_that_are_no_object_are_refused(server: Server, responses: Any) -> None:
    async with wired(server) as peer:
        assert (await peer.error("tools/call", call("ask", inputResponses=responses)))["code"] == -32602


# ---------------------------------------------------------------------- handlers that run again


async def test_once_runs_once(server: Server, revision: Revision, runs: list[str]) -> None:
    @server.tool
    async def careful(ctx: Context) -> str:
        async def act(amount: int) -> dict[str, int]:
            runs.append("acted")
            return {"booked": amount}

        booked = await ctx.once("book", act, 7)
        told = [await ctx.sample(f"{booked['booked']} {n}", max_tokens=1) for n in range(3)]
        return f"{booked} {told}"

    async def sample(params: Any) -> str:
        return str(params.messages[0].content.text)

    async with Client(server, era=revision, on_sample=sample) as client:
        result = await client.call_tool("careful")
    assert result.structured_content in ({"result": "{'booked': 7} ['7 0', '7 1', '7 2']"}, msgspec.UNSET)
    assert "{'booked': 7} ['7 0', '7 1', '7 2']" in str(result.content)
    assert runs == ["acted"]


async def test_what_once_returns_must_travel_as_json(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    @server.tool
    async def careless(ctx: Context) -> None:
        async def act() -> Any:
            return object()

        await ctx.once("act", act)

    async with wired(server) as peer:
        assert (await peer.call("careless"))["isError"] is True
    assert "the result of once('act') must travel as JSON" in caplog.text


async def test_questions_that_differ_between_runs_are_refused(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """A handler with the time of day in its question would ask the user the same thing again and again."""
    asked: list[str] = []

    @server.tool
    async def fickle(ctx: Context) -> str:
        return await ctx.sample(f"it is {len(asked)} o'clock, go on?", max_tokens=1)

    async def sample(params: Any) -> str:
        asked.append(params.messages[0].content.text)
        return "yes"

    async with Client(server, era="modern", on_sample=sample) as client:
        with pytest.raises(Exception, match="internal error"):
            await client.call_tool("fickle")
        assert len(asked) == 1
        assert (await client.call_tool("ask")).content  # the session goes on
    assert "ctx.once()" in caplog.text


async def test_a_second_question_that_differs_between_runs_is_refused(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str] = []

    @server.tool
    async def fickle(ctx: Context) -> str:
        first = await ctx.sample("who?", max_tokens=1)
        return await ctx.sample(f"{first} at {len(asked)} o'clock?", max_tokens=1)

    async def sample(params: Any) -> str:
        asked.append(params.messages[0].content.text)
        return "yes"

    async with Client(server, era="modern", on_sample=sample) as client:
        with pytest.raises(Exception, match="internal error"):
            await client.call_tool("fickle")
    assert len(asked) == 2
    assert "ctx.once()" in caplog.text


async def test_a_handler_that_never_stops_asking_is_stopped(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    rounds = 0

    @server.tool
    async def endless(ctx: Context) -> str:
        for n in range(1000):
            await ctx.sample(f"question {n}", max_tokens=1)
        return "never"

    async with wired(server) as peer:
        peer.capabilities = CAPABILITIES
        params = call("endless")
        while True:
            frame = await peer.ask("tools/call", params)
            if "error" in frame:
                break
            rounds += 1
            ((key, _),) = frame["result"]["inputRequests"].items()
            params = call("endless", inputResponses={key: text("x")}, requestState=frame["result"]["requestState"])
    assert rounds == MAX_ROUNDS
    assert frame["error"]["code"] == -32603
    assert f"asked in {MAX_ROUNDS} rounds" in caplog.text


async def test_nothing_is_held_for_a_client_that_does_not_come_back(server: Server) -> None:
    async with wired(server) as peer:
        await interrupted(peer, call("ask"))
        await settle()
        statistics = server.session_statistics()[0]
        assert (statistics.running, statistics.awaited, server.statistics().running) == (0, 0, 0)


async def test_a_handler_that_catches_exceptions_does_not_catch_a_question(server: Server) -> None:
    @server.tool
    async def cautious(ctx: Context) -> str:
        try:
            return await ctx.sample("?", max_tokens=1)
        except Exception:
            return "swallowed"

    async with wired(server) as peer:
        await interrupted(peer, call("cautious"))


async def test_a_fault_beside_a_question_counts(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    @server.tool
    async def half(ctx: Context) -> str:
        async def ask() -> None:
            await ctx.sample("?", max_tokens=1)

        async def fail() -> None:
            raise ValueError("hunter2")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            tasks.start_soon(fail)
        return "never"

    async with wired(server) as peer:
        peer.capabilities = CAPABILITIES
        frame = await peer.ask("tools/call", call("half"))
        assert frame.get("error", {}).get("code") == -32603 or frame["result"].get("isError") is True
        assert "hunter2" not in json.dumps(frame)
        assert "hunter2" in caplog.text


async def test_other_methods_cannot_ask(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    @server.completion("p", "a")
    async def nosy(typed: str, ctx: Context) -> list[str]:
        return [await ctx.sample("?", max_tokens=1)]

    async with wired(server) as peer:
        peer.capabilities = CAPABILITIES
        params = {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": ""}}
        assert (await peer.error("completion/complete", params))["code"] == -32603
    assert "a handler of completion/complete cannot ask the client" in caplog.text


# ---------------------------------------------------------------------- the rules by themselves


def test_keys_may_be_named() -> None:
    rounds = Rounds(None, {"city": b'"Oslo"'})
    assert rounds.ask("elicitation/create", {"message": "?"}, "city") == b'"Oslo"'
    with pytest.raises(LocalProtocolError, match="was another one before"):
        rounds.ask("elicitation/create", {"message": "something else?"}, "city")


def test_a_state_keeps_what_was_answered_and_done() -> None:
    first = Rounds(None, None)
    assert first.ask("roots/list", {}) is None
    (key,) = first.questions
    second = Rounds(first.next_state(), {key: msgspec.Raw(b'{"roots":[]}')})
    assert bytes(second.ask("roots/list", {})) == b'{"roots":[]}'
    second.keep("paid", {"n": 1})
    assert second.ask("roots/list", {}) is None
    state = second.next_state()
    decoded = msgspec.json.decode(state, type=RoundState)
    assert {k: bytes(v) for k, v in decoded.answers.items()} == {key: b'{"roots":[]}'}
    third = Rounds(state, None)
    assert bytes(third.recall("paid") or b"") == b'{"n":1}'
    assert third.recall("other") is None
    assert bytes(third.ask("roots/list", {})) == b'{"roots":[]}'


def test_arguments_have_one_digest_however_they_are_written() -> None:
    assert arguments_digest("t", msgspec.Raw(b'{"a":1,"b":2}')) == arguments_digest("t", {"b": 2, "a": 1})
    assert arguments_digest("t", msgspec.Raw(b"")) == arguments_digest("t", None)
    assert arguments_digest("t", {"a": 1}) != arguments_digest("t", {"a": 2})
    assert arguments_digest("t") != arguments_digest("u")
    with pytest.raises(InvalidParams):
        arguments_digest("t", msgspec.Raw(b"{"))
