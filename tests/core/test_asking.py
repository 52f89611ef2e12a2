"""Asking the client while answering it: one handler, and what each revision makes of its questions."""

from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from core.wire import PATIENCE, Frame, Peer, wired

from mcpcore import Client, Context, DeadlineExceeded, Server, ToolError
from mcpcore.errors import PeerError
from mcpcore.revisions import REVISIONS, Era, Revision
from mcpcore.types import (
    CreateMessageRequestParams,
    ElicitRequestFormParams,
    ElicitRequestURLParams,
    ElicitResult,
    SamplingMessage,
    TextContent,
    Tool,
    ToolChoice,
)

pytestmark = pytest.mark.anyio

R24, R25_03, R25_06, R25_11, R26 = REVISIONS
ELICITING = pytest.mark.parametrize("revision", [R25_06, R25_11, R26])
ALL: Frame = {"elicitation": {"form": {}, "url": {}}, "sampling": {"tools": {}}, "roots": {"listChanged": True}}
TEXT = {"role": "assistant", "content": {"type": "text", "text": "short"}, "model": "m", "stopReason": "endTurn"}


@dataclass
class City:
    name: str
    people: int = 0


@pytest.fixture
def server() -> Server:
    return Server("s")


async def question(peer: Peer, id: int | str) -> tuple[int | str, str, Frame, Frame]:
    """The one question of a request: its id or key, method and parameters, and what has to come back with it."""
    if peer.revision.era is Era.LEGACY:
        frame = await peer.receive()
        return frame["id"], frame["method"], frame.get("params", {}), {}
    result = (await peer.response(id))["result"]
    assert result["resultType"] == "input_required"
    ((key, asked),) = result["inputRequests"].items()
    assert "id" not in asked
    assert "jsonrpc" not in asked
    return key, asked["method"], asked.get("params", {}), {"requestState": result["requestState"]}


async def converse(peer: Peer, method: str, params: Frame, *answers: Frame) -> tuple[Frame, list[Frame]]:
    """The response to a request once its questions are answered one after another, and the questions."""
    id = peer.request(method, params)
    asked: list[Frame] = []
    for answer in answers:
        key, kind, told, state = await question(peer, id)
        asked.append({"method": kind, "params": told})
        if peer.revision.era is Era.LEGACY:
            peer.respond(key, answer)
        else:
            id = peer.request(method, {**params, **state, "inputResponses": {key: answer}})
    return await peer.response(id), asked


async def call(peer: Peer, name: str, *answers: Frame) -> tuple[Frame, list[Frame]]:
    return await converse(peer, "tools/call", {"name": name, "arguments": {}}, *answers)


def said(response: Frame) -> str:
    text: str = response["result"]["content"][0]["text"]
    return text


# ---------------------------------------------------------------------- forms


@ELICITING
async def test_a_form_is_asked_and_its_answer_is_typed(server: Server, revision: Revision) -> None:
    @server.tool
    async def where(ctx: Context) -> str:
        answer = await ctx.elicit("Which city?", City)
        assert isinstance(answer.content, City)
        return f"{answer.action} {answer.content.name} {answer.content.people}"

    async with wired(server) as peer:
        await peer.hello(revision, ALL)
        response, (asked,) = await call(peer, "where", {"action": "accept", "content": {"name": "Paris", "people": 3}})
    assert said(response) == "accept Paris 3"
    assert asked["method"] == "elicitation/create"
    assert asked["params"]["message"] == "Which city?"
    assert asked["params"]["requestedSchema"]["properties"]["name"] == {"type": "string"}
    assert asked["params"]["requestedSchema"]["required"] == ["name"]


@ELICITING
@pytest.mark.parametrize("action", ["decline", "cancel"])
async def test_a_user_may_refuse(server: Server, revision: Revision, action: str) -> None:
    @server.tool
    async def where(ctx: Context) -> str:
        answer = await ctx.elicit("Which city?", City)
        return f"{answer.action} {answer.content}"

    async with wired(server) as peer:
        await peer.hello(revision, ALL)
        response, _ = await call(peer, "where", {"action": action})
    assert said(response) == f"{action} None"


@ELICITING
@pytest.mark.parametrize(
    "answer",
    [
        {"action": "accept", "content": {"people": 3}},
        {"action": "accept", "content": {"name": 5}},
        {"action": "accept"},
        {"action": "maybe"},
        {},
    ],
)
async def test_an_answer_that_does_not_fit_is_the_clients_mistake(
    server: Server, revision: Revision, answer: Frame
) -> None:
    @server.tool
    async def where(ctx: Context) -> str:
        await ctx.elicit("Which city?", City)
        raise AssertionError("must not get here")

    async with wired(server) as peer:
        await peer.hello(revision, ALL)
        response, _ = await call(peer, "where", answer)
        assert response.get("error", {}).get("code") == -32602 or response["result"]["isError"] is True
        assert "must not get here" not in str(response)
        assert (await peer.error("tools/call", {"name": "gone"}))["code"] == -32602  # and the session goes on


@pytest.mark.parametrize("revision", [R25_11, R26])
async def test_a_page_is_offered(server: Server, revision: Revision) -> None:
    @server.tool
    async def pay(ctx: Context) -> str:
        answer = await ctx.elicit_url("Pay here", "https://example.com/pay")
        return f"{answer.action} {answer.content}"

    async with wired(server) as peer:
        await peer.hello(revision, ALL)
        response, (asked,) = await call(peer, "pay", {"action": "accept"})
    assert said(response) == "accept None"
    params = dict(asked["params"])
    assert bool(params.pop("elicitationId", None)) == (revision is R25_11)
    assert params == {"mode": "url", "message": "Pay here", "url": "https://example.com/pay"}


# ---------------------------------------------------------------------- sampling, roots


async def test_the_clients_model_is_asked(server: Server, revision: Revision) -> None:
    @server.tool
    async def shorten(ctx: Context) -> str:
        return await ctx.sample("Summarise this", max_tokens=10, system_prompt="be brief", temperature=0.5)

    async with wired(server) as peer:
        await peer.hello(revision, ALL)
        response, (asked,) = await call(peer, "shorten", TEXT)
    assert said(response) == "short"
    assert asked == {
        "method": "sampling/createMessage",
        "params": {
            "messages": [{"role": "user", "content": {"type": "text", "text": "Summarise this"}}],
            "maxTokens": 10,
            "systemPrompt": "be brief",
            "temperature": 0.5,
        },
    }


@pytest.mark.parametrize("revision", [R25_11, R26])
async def test_the_clients_model_is_given_tools(server: Server, revision: Revision) -> None:
    @server.tool
    async def plan(ctx: Context) -> str:
        message = await ctx.sample_message(
            [SamplingMessage(role="user", content=TextContent(text="go"))],
            max_tokens=5,
            tools=[Tool(name="look", input_schema={"type": "object"})],
            tool_choice=ToolChoice(mode="required"),
        )
        return f"{message.stop_reason} {[type(block).__name__ for block in message.blocks]}"

    answer = {
        "role": "assistant",
        "model": "m",
        "stopReason": "toolUse",
        "content": [{"type": "tool_use", "id": "1", "name": "look", "input": {}}, {"type": "text", "text": "x"}],
    }
    async with wired(server) as peer:
        await peer.hello(revision, ALL)
        response, (asked,) = await call(peer, "plan", answer)
    assert said(response) == "toolUse ['ToolUseContent', 'TextContent']"
    assert asked["params"]["tools"] == [{"name": "look", "inputSchema": {"type": "object"}}]
    assert asked["params"]["toolChoice"] == {"mode": "required"}


async def test_roots_are_told(server: Server, revision: Revision) -> None:
    @server.tool
    async def where(ctx: Context) -> list[str]:
        return [f"{root.uri} {root.name}" for root in await ctx.list_roots()]

    async with wired(server) as peer:
        await peer.hello(revision, ALL)
        response, (asked,) = await call(peer, "where", {"roots": [{"uri": "file:///a", "name": "a"}]})
    assert said(response) == '["file:///a a"]'
    assert asked["method"] == "roots/list"


# ---------------------------------------------------------------------- every kind of handler


async def test_prompts_and_resources_ask_too(server: Server, revision: Revision) -> None:
    @server.prompt
    async def write(ctx: Context) -> str:
        return await ctx.sample("style?", max_tokens=5)

    @server.resource("notes://{name}")
    async def notes(name: str, ctx: Context) -> str:
        return await ctx.sample(f"{name}?", max_tokens=5)

    async with wired(server) as peer:
        await peer.hello(revision, ALL)
        response, _ = await converse(peer, "prompts/get", {"name": "write"}, TEXT)
        assert response["result"]["messages"][0]["content"]["text"] == "short"
        response, _ = await converse(peer, "resources/read", {"uri": "notes://a"}, TEXT)
        assert response["result"]["contents"][0]["text"] == "short"


async def test_several_questions_after_each_other(server: Server, revision: Revision) -> None:
    @server.tool
    async def dialogue(ctx: Context) -> str:
        first = await ctx.sample("one", max_tokens=5)
        again = await ctx.sample("one", max_tokens=5)  # the same words, another question
        roots = await ctx.list_roots()
        return f"{first} {again} {len(roots)}"

    async with wired(server) as peer:
        await peer.hello(revision, ALL)
        other = {**TEXT, "content": {"type": "text", "text": "long"}}
        response, asked = await call(peer, "dialogue", TEXT, other, {"roots": []})
    assert said(response) == "short long 0"
    assert [one["method"] for one in asked] == ["sampling/createMessage"] * 2 + ["roots/list"]


async def test_what_is_asked_together_goes_out_together(server: Server, revision: Revision) -> None:
    @server.tool
    async def both(ctx: Context) -> str:
        told: dict[str, str] = {}

        async def ask(text: str) -> None:
            told[text] = await ctx.sample(text, max_tokens=5)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, "one")
            tasks.start_soon(ask, "two")
        return f"{told['one']} {told['two']}"

    async with wired(server) as peer:
        await peer.hello(revision, ALL)
        id = peer.request("tools/call", {"name": "both"})
        answers = {text: {**TEXT, "content": {"type": "text", "text": text.upper()}} for text in ("one", "two")}
        if revision.era is Era.LEGACY:
            for frame in [await peer.receive(), await peer.receive()]:
                peer.respond(frame["id"], answers[frame["params"]["messages"][0]["content"]["text"]])
        else:
            result = (await peer.response(id))["result"]
            assert len(result["inputRequests"]) == 2
            responses = {
                key: answers[asked["params"]["messages"][0]["content"]["text"]]
                for key, asked in result["inputRequests"].items()
            }
            params = {"name": "both", "inputResponses": responses, "requestState": result["requestState"]}
            id = peer.request("tools/call", params)
        assert said(await peer.response(id)) == "ONE TWO"


# ---------------------------------------------------------------------- what a client cannot do

ASKING: dict[str, tuple[Any, Frame]] = {
    "form": (lambda ctx: ctx.elicit("?", City), {"elicitation": {"form": {}}}),
    "url": (lambda ctx: ctx.elicit_url("?", "https://example.com"), {"elicitation": {"url": {}}}),
    "sample": (lambda ctx: ctx.sample("?", max_tokens=1), {"sampling": {}}),
    "tools": (
        lambda ctx: ctx.sample_message("?", max_tokens=1, tools=[Tool(name="t", input_schema={"type": "object"})]),
        {"sampling": {"tools": {}}},
    ),
    "roots": (lambda ctx: ctx.list_roots(), {"roots": {}}),
}


@pytest.mark.parametrize("kind", ASKING)
async def test_a_client_is_not_asked_for_what_it_did_not_declare(server: Server, revision: Revision, kind: str) -> None:
    ask, required = ASKING[kind]

    @server.tool
    async def curious(ctx: Context) -> str:
        await ask(ctx)
        raise AssertionError("must not get here")

    @server.prompt
    async def nosy(ctx: Context) -> str:
        await ask(ctx)
        raise AssertionError("must not get here")

    declared: Frame = {"url": {"elicitation": {"form": {}}}, "form": {"elicitation": {"url": {}}}}.get(kind, {})
    if kind == "tools":
        declared = {"sampling": {}}
    async with wired(server) as peer:
        await peer.hello(revision, declared)
        response = await peer.ask("tools/call", {"name": "curious"})
        refused = await peer.error("prompts/get", {"name": "nosy"})
        assert not [frame for frame in peer.seen if "method" in frame and "id" in frame]
    if revision is R26:
        assert response["error"]["code"] == -32021
        assert response["error"]["data"] == {"requiredCapabilities": required}
        assert refused["data"] == {"requiredCapabilities": required}
    else:
        assert response["result"]["isError"] is True
        assert said(response).startswith("tool 'curious' cannot go on: this client")
        assert refused["code"] == -32602


@pytest.mark.parametrize("kind", ["form", "url", "tools"])
async def test_what_a_revision_does_not_have_is_not_asked_even_if_declared(server: Server, kind: str) -> None:
    """A client may declare more than the revision that was agreed on knows: it counts as not declared."""
    ask, _ = ASKING[kind]

    @server.tool
    async def curious(ctx: Context) -> str:
        await ask(ctx)
        raise AssertionError("must not get here")

    for revision in (R24, R25_03) if kind == "form" else (R24, R25_03, R25_06):
        async with wired(server) as peer:
            await peer.hello(revision, ALL)
            response = await peer.ask("tools/call", {"name": "curious"})
            assert said(response).startswith("tool 'curious' cannot go on: this client")


@pytest.mark.parametrize("revision", [R25_06, R25_11, R26])
async def test_an_empty_elicitation_capability_means_forms(server: Server, revision: Revision) -> None:
    @server.tool
    async def where(ctx: Context) -> str:
        return (await ctx.elicit("Which city?", City)).action

    async with wired(server) as peer:
        await peer.hello(revision, {"elicitation": {}})
        response, _ = await call(peer, "where", {"action": "cancel"})
    assert said(response) == "cancel"


async def test_capabilities_of_one_request_are_not_those_of_the_next(server: Server) -> None:
    @server.tool
    async def where(ctx: Context) -> list[str]:
        return [root.uri for root in await ctx.list_roots()]

    async with wired(server) as peer:
        await peer.hello(R26, {"roots": {}})
        assert (await peer.result("tools/call", {"name": "where"}))["resultType"] == "input_required"
        peer.capabilities = {}
        assert (await peer.error("tools/call", {"name": "where"}))["code"] == -32021


# ---------------------------------------------------------------------- when the answer does not come (handshake era)


async def test_an_error_of_the_client_is_the_handlers_to_deal_with(server: Server, legacy: Revision) -> None:
    @server.tool
    async def careful(ctx: Context) -> str:
        try:
            return await ctx.sample("?", max_tokens=1)
        except PeerError as error:
            raise ToolError(f"the user said no ({error.code})") from None

    @server.tool
    async def careless(ctx: Context) -> str:
        return await ctx.sample("?", max_tokens=1)

    async with wired(server) as peer:
        await peer.hello(legacy, ALL)
        for name, text in (("careful", "the user said no (-1)"), ("careless", "tool 'careless' failed")):
            id = peer.request("tools/call", {"name": name})
            asked = await peer.until("sampling/createMessage")
            peer.write({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -1, "message": "hunter2"}})
            response = await peer.response(id)
            assert response["result"]["isError"] is True
            assert said(response).startswith(text)
            assert "hunter2" not in str(response)


async def test_a_question_has_a_deadline(legacy: Revision) -> None:
    server = Server("s", ask_timeout=0.01)

    @server.tool
    async def impatient(ctx: Context) -> str:
        with pytest.raises(DeadlineExceeded):
            await ctx.list_roots()
        return "gave up"

    async with wired(server) as peer:
        await peer.hello(legacy, ALL)
        id = peer.request("tools/call", {"name": "impatient"})
        asked = await peer.until("roots/list")
        cancelled = await peer.until("notifications/cancelled")
        assert cancelled["params"]["requestId"] == asked["id"]
        assert said(await peer.response(id)) == "gave up"
        peer.respond(asked["id"], {"roots": []})  # too late: nobody waits for it
        assert await peer.drain() == []


async def test_cancelling_a_request_cancels_its_question(server: Server, legacy: Revision) -> None:
    ended = anyio.Event()

    @server.tool
    async def where(ctx: Context) -> str:
        try:
            await ctx.list_roots()
        finally:
            ended.set()
        raise AssertionError("must not get here")

    async with wired(server) as peer:
        await peer.hello(legacy, ALL)
        id = peer.request("tools/call", {"name": "where"})
        asked = await peer.until("roots/list")
        peer.notify("notifications/cancelled", {"requestId": id, "reason": "changed my mind"})
        with anyio.fail_after(PATIENCE):
            await ended.wait()
        frames = await peer.drain()
        assert [frame["method"] for frame in frames] == ["notifications/cancelled"]
        assert frames[0]["params"]["requestId"] == asked["id"]


async def test_a_client_that_goes_away_ends_the_question(server: Server, legacy: Revision) -> None:
    ended = anyio.Event()

    @server.tool
    async def where(ctx: Context) -> None:
        try:
            await ctx.list_roots()
        finally:
            ended.set()

    async with wired(server) as peer:
        await peer.hello(legacy, ALL)
        peer.request("tools/call", {"name": "where"})
        await peer.until("roots/list")
        peer.eof()
        with anyio.fail_after(PATIENCE):
            await ended.wait()
        await peer.end()


# ---------------------------------------------------------------------- our own client, both eras


@pytest.mark.parametrize("era", ["modern", "legacy", "2025-06-18"])
async def test_the_same_handler_and_the_same_callbacks_on_both_eras(server: Server, era: str) -> None:
    @server.tool
    async def everything(ctx: Context) -> list[str]:
        city = await ctx.elicit("Which city?", City)
        told = [str(city.content)]
        if era != "2025-06-18":
            told.append((await ctx.elicit_url("Open?", "https://example.com")).action)
        told.append(await ctx.sample("?", max_tokens=3))
        told += [root.uri for root in await ctx.list_roots()]
        return told

    async def elicit(params: ElicitRequestFormParams) -> Any:
        return {"name": "Oslo", "people": 7}

    async def open_page(params: ElicitRequestURLParams) -> bool:
        return params.url == "https://example.com"

    async def sample(params: CreateMessageRequestParams) -> str:
        return f"{params.max_tokens} tokens"

    async with Client(
        server, era=era, on_elicit=elicit, on_elicit_url=open_page, on_sample=sample, roots=["file:///a"]
    ) as client:
        result = await client.call_tool("everything")
    expected = ["City(name='Oslo', people=7)", "accept", "3 tokens", "file:///a"]
    if era == "2025-06-18":
        del expected[1]
    assert result.structured_content == {"result": expected}


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_callback_may_decline(server: Server, era: str) -> None:
    @server.tool
    async def where(ctx: Context) -> list[str]:
        return [(await ctx.elicit(text, City)).action for text in ("one", "two")]

    async def elicit(params: ElicitRequestFormParams) -> Any:
        return None if params.message == "one" else ElicitResult(action="cancel")

    async with Client(server, era=era, on_elicit=elicit) as client:
        assert (await client.call_tool("where")).structured_content == {"result": ["decline", "cancel"]}
