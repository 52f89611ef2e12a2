"""How a client answers what a server asks: by a response on a legacy wire, by another round of the call since 2026."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
from core.scripted import Frame, Peer, Scripted, handshake, stateless

from mcpcore import (
    Client,
    Context,
    DeadlineExceeded,
    LocalProtocolError,
    PeerError,
    RemoteProtocolError,
    RequestError,
    Server,
)
from mcpcore.channel import Inbox
from mcpcore.client import MAX_ROUNDS, ROUND_PAUSE_SECONDS
from mcpcore.errors import CODE_INVALID_PARAMS, CODE_METHOD_NOT_FOUND, CODE_MISSING_CAPABILITY
from mcpcore.jsonrpc import ErrorResponse, Response
from mcpcore.types import CreateMessageResult, ElicitResult, Root, TextContent

pytestmark = pytest.mark.anyio

PATIENCE_SECONDS = 30
on_virtual_time = pytest.mark.parametrize("anyio_backend", ["trio"], indirect=True)
"""For tests in which time has to pass: only trio has a clock that jumps."""

both_eras = pytest.mark.parametrize("era", ["modern", "legacy"])

FORM: Frame = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "default": 7}},
    "required": ["name"],
}


@dataclass
class City:
    name: str


@pytest.fixture
def server() -> Server:
    server = Server("asking")

    @server.tool
    async def ask(ctx: Context) -> str:
        first = await ctx.elicit("Which city?", City)
        if first.content is None:
            return first.action
        second = await ctx.elicit("And then?", City)
        return f"{first.content.name} {second.action}"

    @server.tool
    async def visit(ctx: Context) -> str:
        return (await ctx.elicit_url("Please look", "https://example.com/x")).action

    @server.tool
    async def think(ctx: Context) -> str:
        return await ctx.sample("6 * 7?", max_tokens=5)

    @server.tool
    async def where(ctx: Context) -> list[str]:
        return [f"{root.uri} {root.name}" for root in await ctx.list_roots()]

    return server


def words(result: Any) -> str:
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text


# ---------------------------------------------------------------------- what callbacks may return


ELICITED = {
    "a dict": ({"name": "Rome"}, "Rome accept"),
    "a struct": (City("Rome"), "Rome accept"),
    "None": (None, "decline"),
    "a result": (ElicitResult(action="accept", content={"name": "Rome"}), "Rome accept"),
    "a cancellation": (ElicitResult(action="cancel"), "cancel"),
}


@both_eras
@pytest.mark.parametrize(("answer", "expected"), ELICITED.values(), ids=ELICITED)
async def test_a_form_is_answered(server: Server, era: str, answer: Any, expected: str) -> None:
    async def elicit(params: Any) -> Any:
        assert params.requested_schema["properties"]["name"]["type"] == "string"
        return answer

    async with Client(server, era=era, on_elicit=elicit) as client:
        assert words(await client.call_tool("ask")) == expected


@both_eras
@pytest.mark.parametrize(
    ("answer", "expected"), [(True, "accept"), (False, "decline"), (ElicitResult(action="cancel"), "cancel")]
)
async def test_a_page_is_offered(server: Server, era: str, answer: Any, expected: str) -> None:
    async def open_page(params: Any) -> Any:
        assert params.url == "https://example.com/x"
        return answer

    async with Client(server, era=era, on_elicit_url=open_page) as client:
        assert words(await client.call_tool("visit")) == expected


@both_eras
@pytest.mark.parametrize(
    "answer", ["42", CreateMessageResult(role="assistant", content=TextContent(text="42"), model="oracle")]
)
async def test_a_model_is_sampled(server: Server, era: str, answer: Any) -> None:
    async def sample(params: Any) -> Any:
        assert params.messages[0].content == TextContent(text="6 * 7?")
        assert params.max_tokens == 5
        return answer

    async with Client(server, era=era, on_sample=sample) as client:
        assert words(await client.call_tool("think")) == "42"


async def _roots() -> list[Any]:
    return ["file:///b"]


@both_eras
@pytest.mark.parametrize(
    ("roots", "expected"),
    [
        ([], []),
        (["file:///a%20b"], ["file:///a%20b None"]),
        ([Path("/srv/data")], ["file:///srv/data data"]),
        ([Root(uri="file:///c", name="C")], ["file:///c C"]),
        (_roots, ["file:///b None"]),
    ],
)
async def test_roots_are_told(server: Server, era: str, roots: Any, expected: list[str]) -> None:
    async with Client(server, era=era, roots=roots) as client:
        assert (await client.call_tool("where")).structured_content == {"result": expected}


@both_eras
@pytest.mark.parametrize("tool", ["ask", "visit", "think", "where"])
async def test_what_a_client_cannot_answer_is_not_asked(server: Server, era: str, tool: str) -> None:
    async with Client(server, era=era) as client:
        if era == "modern":
            with pytest.raises(PeerError) as refused:
                await client.call_tool(tool)
            assert refused.value.code == CODE_MISSING_CAPABILITY
        else:
            result = await client.call_tool(tool)
            assert result.is_error
            assert "this client" in words(result)


@both_eras
async def test_an_answer_that_does_not_fit_the_form_is_this_sides_mistake(server: Server, era: str) -> None:
    async def elicit(params: Any) -> Any:
        return {"name": 3}

    async with Client(server, era=era, on_elicit=elicit) as client:
        if era == "modern":
            with pytest.raises(LocalProtocolError, match="name"):
                await client.call_tool("ask")
        else:  # the question came from the server, so that is who hears of it
            assert (await client.call_tool("ask")).is_error
        assert await client.list_tools()


# ---------------------------------------------------------------------- questions on a legacy wire


async def asked(method: str, params: Frame, **options: Any) -> Any:
    """What a legacy client answers to a question in the middle of a call: the result, or the error's code."""
    found: list[Any] = []

    async def answer(peer: Peer, frame: Frame) -> Any:
        inbox = Inbox()
        await peer.ask(method, params, inbox)
        message = (await inbox.receive()).message
        if isinstance(message, ErrorResponse):
            found.append(message.error.code)
        else:
            assert isinstance(message, Response)
            found.append(message.result)
        return {"content": []}

    with anyio.fail_after(PATIENCE_SECONDS):
        async with Client(Scripted(handshake(answer)), era="legacy", **options) as client:
            await client.call_tool("x")
    return found[0]


async def test_a_ping_is_answered() -> None:
    assert type(await asked("ping", {})).__name__ == "EmptyResult"


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("roots/list", {}, CODE_METHOD_NOT_FOUND),
        ("sampling/createMessage", {"messages": [], "maxTokens": 1}, CODE_METHOD_NOT_FOUND),
        ("elicitation/create", {"message": "?", "requestedSchema": FORM}, CODE_INVALID_PARAMS),
        ("elicitation/create", {"mode": "url", "message": "?", "url": "x", "elicitationId": "1"}, CODE_INVALID_PARAMS),
        ("elicitation/create", {"mode": "telepathy", "message": "?"}, CODE_INVALID_PARAMS),
        ("sampling/createMessage", {"messages": 3}, CODE_INVALID_PARAMS),
        ("tools/call", {"name": "x"}, CODE_METHOD_NOT_FOUND),
        ("com.example/whatever", {}, CODE_METHOD_NOT_FOUND),
    ],
)
async def test_what_was_not_declared_is_refused(method: str, params: Frame, code: int) -> None:
    assert await asked(method, params) == code


async def test_sampling_with_tools_must_be_declared() -> None:
    async def sample(params: Any) -> str:
        return "fine"

    params = {"messages": [], "maxTokens": 1, "tools": [{"name": "t", "inputSchema": {"type": "object"}}]}
    assert await asked("sampling/createMessage", params, on_sample=sample) == CODE_INVALID_PARAMS
    result = await asked("sampling/createMessage", params, on_sample=sample, sample_tools=True)
    assert result.content == TextContent(text="fine")


async def test_a_callback_may_refuse_in_its_own_words() -> None:
    async def sample(params: Any) -> str:
        raise RequestError(-1, "User rejected sampling request")

    assert await asked("sampling/createMessage", {"messages": [], "maxTokens": 1}, on_sample=sample) == -1


async def test_the_defaults_of_a_form_are_filled_in() -> None:
    async def elicit(params: Any) -> Any:
        return {"name": "x"}

    result = await asked("elicitation/create", {"message": "?", "requestedSchema": FORM}, on_elicit=elicit)
    assert result.content == {"name": "x", "age": 7}


@on_virtual_time
async def test_the_clock_stands_still_while_a_person_thinks() -> None:
    async def answer(peer: Peer, frame: Frame) -> Any:
        await anyio.sleep(6)
        inbox = Inbox()
        await peer.ask("elicitation/create", {"message": "?", "requestedSchema": FORM}, inbox)
        await inbox.receive()
        await anyio.sleep(frame["params"]["arguments"]["seconds"])
        return {"content": []}

    async def elicit(params: Any) -> Any:
        await anyio.sleep(1000)
        return {"name": "x"}

    async with Client(Scripted(handshake(answer)), era="legacy", on_elicit=elicit) as client:
        await client.call_tool("x", {"seconds": 3.9}, timeout=10)
        started = anyio.current_time()
        with pytest.raises(DeadlineExceeded):
            await client.call_tool("x", {"seconds": 4.1}, timeout=10)
        assert anyio.current_time() - started == pytest.approx(1010)


# ---------------------------------------------------------------------- rounds


def question(message: str = "?") -> Frame:
    return {"method": "elicitation/create", "params": {"message": message, "requestedSchema": FORM}}


def required(state: str | None = "s", **requests: Frame) -> Frame:
    found: Frame = {"resultType": "input_required"}
    if requests:
        found["inputRequests"] = requests
    if state is not None:
        found["requestState"] = state
    return found


DONE: Frame = {"resultType": "complete", "content": [{"type": "text", "text": "done"}]}


class Rounds:
    """Answers with each of these in turn, the last one for ever, and keeps what it was sent."""

    def __init__(self, *answers: Any) -> None:
        self._answers = answers
        self.frames: list[Frame] = []

    async def __call__(self, peer: Peer, frame: Frame) -> Any:
        self.frames.append(frame)
        return self._answers[min(len(self.frames), len(self._answers)) - 1]


async def by_message(params: Any) -> Any:
    return {"name": params.message}


STATE = 'a "quoted" \\ é \u2028 \U0001f600 +/=\n'


async def test_each_round_is_a_request_of_its_own_with_the_state_as_it_came() -> None:
    rounds = Rounds(required(STATE, q=question("one")), required(None, r=question("two")), DONE)
    async with Client(Scripted(stateless(rounds)), on_elicit=by_message) as client:
        assert words(await client.call_tool("x", {"a": 1})) == "done"
    first, second, third = rounds.frames
    assert len({frame["id"] for frame in rounds.frames}) == 3
    assert "requestState" not in first["params"]
    assert "inputResponses" not in first["params"]
    assert second["params"]["requestState"] == STATE
    assert second["params"]["inputResponses"] == {"q": {"action": "accept", "content": {"name": "one", "age": 7}}}
    assert "requestState" not in third["params"]
    assert set(third["params"]["inputResponses"]) == {"r"}
    for frame in rounds.frames:
        assert frame["params"]["arguments"] == {"a": 1}
        assert frame["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"


@pytest.mark.parametrize("ask", ["call_tool", "get_prompt", "read_resource"])
async def test_all_three_methods_may_be_answered_with_questions(ask: str) -> None:
    complete = {
        "call_tool": DONE,
        "get_prompt": {"resultType": "complete", "messages": []},
        "read_resource": {"resultType": "complete", "contents": [], "ttlMs": 10**9},
    }[ask]
    rounds = Rounds(required("s", q=question()), complete)
    async with Client(Scripted(stateless(rounds)), on_elicit=by_message) as client:
        await getattr(client, ask)("a://b")
        assert len(rounds.frames) == 2
        await getattr(client, ask)("a://b")  # what took answers is not kept, whatever its ttlMs
        assert len(rounds.frames) == 3


async def test_the_questions_of_a_round_are_asked_side_by_side() -> None:
    waiting = 0
    both = anyio.Event()

    async def elicit(params: Any) -> Any:
        nonlocal waiting
        waiting += 1
        if waiting == 2:
            both.set()
        await both.wait()
        return {"name": params.message}

    rounds = Rounds(required("s", a=question("A"), b=question("B"), c={"method": "roots/list"}), DONE)
    with anyio.fail_after(PATIENCE_SECONDS):
        async with Client(Scripted(stateless(rounds)), on_elicit=elicit, roots=["file:///r"]) as client:
            await client.call_tool("x")
    responses = rounds.frames[1]["params"]["inputResponses"]
    assert {key: responses[key]["content"]["name"] for key in "ab"} == {"a": "A", "b": "B"}
    assert responses["c"] == {"roots": [{"uri": "file:///r"}]}


async def test_rounds_are_capped() -> None:
    rounds = Rounds(required("s", q=question()))
    async with Client(Scripted(stateless(rounds)), on_elicit=by_message) as client:
        with pytest.raises(RemoteProtocolError, match=str(MAX_ROUNDS)):
            await client.call_tool("x")
    assert len(rounds.frames) == MAX_ROUNDS


@on_virtual_time
async def test_a_retry_without_a_question_waits_longer_each_time() -> None:
    rounds = Rounds(required("a"), required("b"), required("c"), DONE)
    async with Client(Scripted(stateless(rounds))) as client:
        started = anyio.current_time()
        await client.call_tool("x")
        waited = anyio.current_time() - started
    assert [frame["params"].get("requestState") for frame in rounds.frames] == [None, "a", "b", "c"]
    assert ROUND_PAUSE_SECONDS * 7 / 2 <= waited <= ROUND_PAUSE_SECONDS * 7


@pytest.mark.parametrize(
    "result",
    [
        required("s", q={"method": "com.example/whatever", "params": {}}),
        required("s", q={"method": "tools/call", "params": {"name": "x"}}),
        required("s", q={"method": "elicitation/create", "params": {"message": 3}}),
        required("s", q={"params": {}}),
        required(None),
        {"resultType": "com.example/other", "content": []},
    ],
    ids=["unknown", "not a question", "garbled", "no method", "empty", "another type"],
)
async def test_what_is_no_question_is_the_servers_mistake(result: Frame) -> None:
    rounds = Rounds(result)
    async with Client(Scripted(stateless(rounds)), on_elicit=by_message) as client:
        with pytest.raises(RemoteProtocolError):
            await client.call_tool("x")
    assert len(rounds.frames) == 1


async def test_a_list_may_not_be_answered_with_a_question() -> None:
    rounds = Rounds(required("s", q=question()))
    async with Client(Scripted(stateless(rounds)), on_elicit=by_message) as client:
        with pytest.raises(RemoteProtocolError):
            await client.list_tools()
    assert len(rounds.frames) == 1


@pytest.mark.parametrize(
    "asked_for",
    [
        question(),
        {"method": "roots/list"},
        {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 1}},
    ],
)
async def test_a_question_that_was_not_declared_is_the_servers_mistake(asked_for: Frame) -> None:
    rounds = Rounds(required("s", q=asked_for))
    async with Client(Scripted(stateless(rounds))) as client:
        with pytest.raises(RemoteProtocolError, match="this client"):
            await client.call_tool("x")
    assert len(rounds.frames) == 1


async def test_an_error_of_a_callback_comes_out_of_the_call_alone() -> None:
    async def elicit(params: Any) -> Any:
        raise ZeroDivisionError

    rounds = Rounds(required("s", a=question(), b=question()))
    async with Client(Scripted(stateless(rounds)), on_elicit=elicit) as client:
        with pytest.raises((ZeroDivisionError, ExceptionGroup)) as failed:
            await client.call_tool("x")
        if isinstance(failed.value, ExceptionGroup):
            assert failed.value.split(ZeroDivisionError)[1] is None
    assert len(rounds.frames) == 1


@on_virtual_time
async def test_each_round_has_the_whole_timeout_and_the_person_has_none() -> None:
    async def answer(peer: Peer, frame: Frame) -> Any:
        await anyio.sleep(8)
        return DONE if "inputResponses" in frame["params"] else required("s", q=question())

    async def elicit(params: Any) -> Any:
        await anyio.sleep(1000)
        return {"name": "x"}

    async with Client(Scripted(stateless(answer)), on_elicit=elicit) as client:
        started = anyio.current_time()
        await client.call_tool("x", timeout=10)
        assert anyio.current_time() - started == pytest.approx(1016)


async def test_a_person_who_thinks_takes_no_place_from_other_calls() -> None:
    release, thinking = anyio.Event(), anyio.Event()

    async def answer(peer: Peer, frame: Frame) -> Any:
        if frame["params"]["name"] == "plain" or "inputResponses" in frame["params"]:
            return DONE
        return required("s", q=question())

    async def elicit(params: Any) -> Any:
        thinking.set()
        await release.wait()
        return {"name": "x"}

    with anyio.fail_after(PATIENCE_SECONDS):
        async with (
            Client(Scripted(stateless(answer)), on_elicit=elicit, max_in_flight=1) as client,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(client.call_tool, "asking")
            await thinking.wait()
            assert words(await client.call_tool("plain")) == "done"
            release.set()


async def test_a_request_of_a_modern_server_is_left_unanswered(caplog: pytest.LogCaptureFixture) -> None:
    """2026-07-28 has no requests of servers and no responses of clients."""
    inbox = Inbox()

    async def answer(peer: Peer, frame: Frame) -> Any:
        await peer.ask("roots/list", {}, inbox)
        return DONE

    async with Client(Scripted(stateless(answer)), roots=["file:///secret"]) as client:
        await client.call_tool("x")
        await client.call_tool("x")
        await anyio.wait_all_tasks_blocked()
        assert not inbox.holds(lambda message: True)
    assert "roots/list" in caplog.text
