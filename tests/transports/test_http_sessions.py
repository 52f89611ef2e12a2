"""Sessions of 2025-03-26 to 2025-11-25: whose they are, how they end, and what travels in them besides answers."""

import random
from typing import Any

import anyio
import pytest
from transports.raw_http import Answer, call, initialize, message, serving, until

from mcpcore_transports.web.exchange import WebRequest

pytestmark = pytest.mark.anyio

REVISIONS = ["2025-03-26", "2025-06-18", "2025-11-25"]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


async def by_token(request: WebRequest) -> str | None:
    """`Bearer NAME` is NAME; anything else is nobody."""
    scheme, _, name = request.headers.get("authorization", "").partition(" ")
    return name or None if scheme == "Bearer" else None


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}"}


# -- beginning and ending --------------------------------------------------------------------------------------------


async def test_session_ids_cannot_be_guessed() -> None:
    async with serving() as site:
        ids = set()
        for _ in range(50):
            async with site.talk() as talk:
                ids.add(talk.id)
        assert len(ids) == 50
        # 32 bytes of randomness, in characters that a header may have.
        assert all(len(id) >= 43 and id.isascii() and id.isprintable() and " " not in id for id in ids)
        prefixes = {id[:6] for id in ids}
        assert len(prefixes) == 50


@pytest.mark.parametrize("revision", REVISIONS)
async def test_what_was_negotiated_is_what_comes(revision: str) -> None:
    async with serving() as site, site.talk(revision) as talk:
        assert talk.result["protocolVersion"] == revision
        found = await (await talk.post(call("add", {"a": 1, "b": 2}))).json()
        assert ("structuredContent" in found["result"]) == (revision >= "2025-06-18")
        assert "resultType" not in found["result"]
        assert site.server.statistics().requests[revision] == 2


async def test_initialize_is_refused_for_nothing_that_a_header_says() -> None:
    async with serving() as site, site.connect() as wire:
        for headers in ({}, {"MCP-Protocol-Version": "2025-11-25"}, {"MCP-Protocol-Version": "1999-01-01"}):
            answer = await site.post(wire, initialize(), headers)
            assert answer.status == 200
            assert "mcp-session-id" in answer.headers
            await answer.body()


async def test_a_faulty_initialize_leaves_no_session() -> None:
    async with serving() as site, site.connect() as wire:
        answer = await site.post(wire, message("initialize", {"protocolVersion": 5}))
        assert (answer.status, (await answer.json())["error"]["code"]) == (400, -32602)
        assert "mcp-session-id" not in answer.headers
        await until(lambda: len(site.endpoint.sessions) == 0)
        await until(lambda: site.server.statistics().sessions == 0)


async def test_initializing_twice_is_refused_and_changes_nothing() -> None:
    async with serving() as site, site.talk("2025-06-18") as talk:
        answer = await talk.post(initialize("2025-03-26"))
        assert (await answer.json())["error"]["code"] == -32600
        assert len(site.endpoint.sessions) == 1
        found = await (await talk.post(call("add", {"a": 1, "b": 2}))).json()
        assert found["result"]["structuredContent"] == {"result": 3}


async def test_without_a_session_there_is_nothing_but_initialize() -> None:
    async with serving() as site, site.connect() as wire:
        for body in (message("tools/list"), message("notifications/initialized", id=None), [message("tools/list")]):
            answer = await site.post(wire, body)
            assert answer.status == 400
            assert "Mcp-Session-Id" in (await answer.json())["error"]["message"]
        answer = await wire.ask("GET", "/mcp", {"Accept": "text/event-stream"})
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
        await answer.body()
        answer = await wire.ask("DELETE", "/mcp")
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
        await answer.body()
        answer = await site.post(wire, message("tools/list"), {"Mcp-Session-Id": "nobody"})
        assert answer.status == 404


async def test_delete_ends_the_session_with_what_runs_in_it() -> None:
    async with serving() as site, site.talk() as talk, site.connect() as other, site.connect() as third:
        stream = await talk.get(third)
        await stream.event()
        await talk.send(call("hang", {"steps": 1}, token=1), wire=other)
        running = await other.answer()
        await site.offer.hanging.wait()
        answer = await talk.delete()
        assert (answer.status, await answer.body()) == (204, b"")
        await site.offer.cancelled.wait()
        # Both streams end in an orderly way.
        assert all("result" not in found for found in await running.messages())
        assert await stream.messages() == []
        for again in (
            lambda: talk.post(call("add", {"a": 1, "b": 2})),
            lambda: talk.get(talk.wire),
            lambda: talk.delete(),
            lambda: talk.post(message("notifications/initialized", id=None)),
        ):
            answer = await again()
            assert answer.status == 404
            await answer.body()
        await until(lambda: site.server.statistics().sessions == 0)
        assert len(site.endpoint.sessions) == 0


async def test_an_idle_session_expires_and_a_busy_one_does_not() -> None:
    async with serving(idle_seconds=1) as site, site.talk() as quiet, site.talk() as talk:
        await talk.send(call("wait", {"steps": 1}, token=1))
        answer = await talk.wire.answer()
        async with site.talk() as reading, site.connect() as wire:
            stream = await reading.get(wire)
            await stream.event()
            await until(lambda: len(site.endpoint.sessions) == 2)
            # Whoever expired was neither the one with a running request nor the one that reads.
            assert (await quiet.post(call("add", {"a": 1, "b": 2}))).status == 404
            assert await reading.tool("add", {"a": 1, "b": 2}) == "3"
        site.offer.go.set()
        assert (await answer.messages())[-1]["result"]["content"][0]["text"] == "waited"
        await until(lambda: len(site.endpoint.sessions) == 0)
        await until(lambda: site.server.statistics().sessions == 0)
        assert (await talk.post(call("add", {"a": 1, "b": 2}))).status == 404


async def test_there_is_a_limit_to_sessions() -> None:
    async with serving(max_sessions=2) as site, site.talk() as one, site.talk(), site.connect() as wire:
        answer = await site.post(wire, initialize())
        assert (answer.status, (await answer.json())["error"]["code"]) == (503, -31503)
        assert int(answer.headers["retry-after"]) > 0
        assert "mcp-session-id" not in answer.headers
        assert (await one.delete()).status == 204
        assert (await site.post(wire, initialize())).status == 200


# -- whose it is -----------------------------------------------------------------------------------------------------


async def test_to_anyone_else_there_is_no_such_session() -> None:
    async with (
        serving(auth=by_token) as site,
        site.talk(headers=bearer("alice"), elicitation={}) as talk,
        site.connect() as wire,
    ):
        bob = {"authorization": "Bearer bob"}
        mallory = {**talk.headers, **bearer("bob")}
        await talk.send(call("ask", id="q"))
        asking = await talk.wire.answer()
        question = await _first_message(asking)
        stolen = {"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept", "content": {"name": "Evil"}}}
        for body in (call("who"), stolen, message("notifications/cancelled", {"requestId": "q"}, id=None)):
            answer = await site.post(wire, body, mallory)
            assert answer.status == 404
            await answer.body()
        answer = await talk.get(wire, **bob)
        assert answer.status == 404
        await answer.body()
        answer = await talk.delete(wire, **bob)
        assert answer.status == 404
        await answer.body()
        # An id alone is no credential.
        answer = await site.post(wire, call("who"), {"Mcp-Session-Id": talk.id})
        assert answer.status == 401
        await answer.body()
        answer = await talk.post({**stolen, "result": {"action": "accept", "content": {"name": "Rome"}}}, wire=wire)
        assert answer.status == 202
        assert (await asking.messages())[-1]["result"]["content"][0]["text"] == "Rome"
        assert len(site.endpoint.sessions) == 1


async def test_each_call_knows_who_it_is_for() -> None:
    async with serving(auth=by_token) as site, site.connect() as wire:
        async with site.talk(headers=bearer("alice")) as alice, site.talk(headers=bearer("bob")) as bob:
            for turn in range(20):
                assert await alice.tool("who", id=turn) == "alice"
                assert await bob.tool("who", id=turn) == "bob"
                answer = await site.modern(wire, call("who", id=turn), authorization="Bearer carol")
                assert (await answer.json())["result"]["content"][0]["text"] == "carol"
        assert site.offer.principals == ["alice", "bob", "carol"] * 20


async def _first_message(answer: Answer) -> Any:
    """The first thing on a stream that is a message."""
    while (event := await answer.event()) is not None:
        if event.data:
            return event.json()
    raise AssertionError("the stream ended")


# -- headers and batches ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "status"),
    [("2025-11-25", 200), (None, 200), (" 2025-11-25 ", 200), ("2025-06-18", 200), ("foo", 400), ("2099-01-01", 400)],
)
async def test_the_version_header_in_a_session(version: str | None, status: int) -> None:
    async with serving() as site, site.talk() as talk:
        answer = await talk.post(call("add", {"a": 1, "b": 2}), mcp_protocol_version=version)
        assert answer.status == status
        found = await answer.json()
        assert ("error" in found) == (status == 400)


async def test_a_batch_is_answered_together_where_the_revision_has_batches() -> None:
    async with serving() as site, site.talk("2025-03-26") as talk:
        batch = [
            call("add", {"a": 1, "b": 2}, id="one"),
            message("notifications/initialized", id=None),
            call("add", {"a": 3, "b": 4}, id=2),
            {"jsonrpc": "2.0", "id": 3},
            call("count", {"upto": 2}, id=4, token=1),
        ]
        answer = await talk.post(batch)
        found = {one.get("id"): one for one in await answer.json()}
        assert found["one"]["result"]["content"][0]["text"] == "3"
        assert found[2]["result"]["content"][0]["text"] == "7"
        assert found[3]["error"]["code"] == -32600
        assert found[4]["result"]["content"][0]["text"] == "2"
        answer = await talk.post([message("notifications/initialized", id=None)] * 2)
        assert (answer.status, await answer.body()) == (202, b"")
        answer = await talk.post(
            [{"jsonrpc": "2.0", "id": 99, "result": {}}, {"jsonrpc": "2.0", "id": 98, "result": {}}]
        )
        assert answer.status == 202
        for refused in ([], [call("add", {}, id=1), {"jsonrpc": "2.0", "id": 9, "result": {}}]):
            answer = await talk.post(refused)
            assert (answer.status, (await answer.json())["error"]["code"]) == (400, -32600)


@pytest.mark.parametrize("revision", ["2025-06-18", "2025-11-25"])
async def test_a_batch_is_refused_where_the_revision_has_none(revision: str) -> None:
    async with serving() as site, site.talk(revision) as talk:
        answer = await talk.post([call("add", {"a": 1, "b": 2})])
        assert (answer.status, (await answer.json())["error"]["code"]) == (400, -32600)


# -- answers, questions, cancellation --------------------------------------------------------------------------------


async def test_fifty_posts_with_the_same_id_get_fifty_answers() -> None:
    async with serving() as site, site.talk() as talk:
        found: dict[int, str] = {}

        async def alone(value: int) -> None:
            async with site.connect() as wire:
                answer = await talk.post(call("add", {"a": value, "b": 1000}, id=1), wire=wire)
                # What takes longer than a server's patience, on a machine that stalls, comes as a stream.
                whole = answer.kind == "application/json"
                message = await answer.json() if whole else (await answer.messages())[-1]
                found[value] = message["result"]["content"][0]["text"]

        async with anyio.create_task_group() as tasks:
            for value in range(50):
                tasks.start_soon(alone, value)
        assert found == {value: str(value + 1000) for value in range(50)}


async def test_fifty_streams_with_the_same_id_and_token_do_not_mix() -> None:
    async with serving() as site, site.talk() as talk:
        seen: dict[int, list[int]] = {}

        async def one(upto: int) -> None:
            async with site.connect() as wire:
                answer = await talk.post(call("count", {"upto": upto}, id=1, token="t"), wire=wire)
                found = await answer.messages()
                assert found[-1]["result"]["structuredContent"] == {"result": upto}
                seen[upto] = [step["params"]["progress"] for step in found[:-1]]

        async with anyio.create_task_group() as tasks:
            for upto in range(1, 51):
                tasks.start_soon(one, upto)
        assert seen == {upto: list(range(1, upto + 1)) for upto in range(1, 51)}


async def test_a_question_goes_out_on_the_stream_of_its_request() -> None:
    async with (
        serving() as site,
        site.talk(elicitation={}) as talk,
        site.connect() as listening,
        site.connect() as answering,
    ):
        unasked = await talk.get(listening)
        await unasked.event()
        await talk.send(call("ask", id="q"))
        asking = await talk.wire.answer()
        question = await _first_message(asking)
        assert question["method"] == "elicitation/create"
        content = {"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept", "content": {"name": "Rome"}}}
        answer = await talk.post(content, wire=answering)
        assert (answer.status, await answer.body()) == (202, b"")
        assert (await asking.messages())[-1]["result"]["content"][0]["text"] == "Rome"
        # It was on no other stream.
        assert (await talk.delete()).status == 204
        assert await unasked.messages() == []


async def test_a_client_that_takes_only_json_is_asked_on_its_listening_stream() -> None:
    async with (
        serving(json_response=True) as site,
        site.talk(elicitation={}) as talk,
        site.connect() as listening,
        site.connect() as answering,
    ):
        unasked = await talk.get(listening)
        await talk.send(call("ask", id="q"))
        question = await _first_message(unasked)
        refusal = {"jsonrpc": "2.0", "id": question["id"], "result": {"action": "decline"}}
        assert (await talk.post(refusal, wire=answering)).status == 202
        found = await (await talk.wire.answer()).json()
        assert found["result"]["content"][0]["text"] == "decline"


async def test_cancelling_is_a_notification() -> None:
    async with serving() as site, site.talk() as talk, site.connect() as other:
        await talk.send(call("hang", {"steps": 1}, id="h", token=1), wire=other)
        running = await other.answer()
        await site.offer.hanging.wait()
        answer = await talk.post(message("notifications/cancelled", {"requestId": "unknown"}, id=None))
        assert answer.status == 202
        answer = await talk.post(message("notifications/cancelled", {"requestId": "h", "reason": "enough"}, id=None))
        assert answer.status == 202
        await site.offer.cancelled.wait()
        assert [found.get("method") for found in await running.messages()] == ["notifications/progress"]
        assert await talk.tool("add", {"a": 1, "b": 2}) == "3"


async def test_leaving_is_no_cancellation_in_this_era() -> None:
    async with serving() as site, site.talk() as talk:
        for reset in (False, True):
            site.offer.began = type(site.offer.began)()
            wire = await site.wire()
            await talk.send(call("wait", {"steps": 1}, token=1), wire=wire)
            await wire.answer()
            await site.offer.began.wait()
            await wire.close(reset=reset)
        [known] = site.endpoint.sessions._sessions.values()
        await until(lambda: not any(stream.attached for stream in known._streams.values()), "nobody noticed")
        assert await talk.tool("add", {"a": 1, "b": 2}) == "3"
        assert site.server.statistics().running == 2
        site.offer.go.set()
        await until(lambda: site.server.statistics().running == 0)
        [session] = site.server.session_statistics()
        assert (session.cancelled, session.answered) == (0, 4)


# -- the stream that belongs to no request ---------------------------------------------------------------------------


@pytest.mark.parametrize("revision", REVISIONS)
async def test_streams_are_primed_from_2025_11_25_on(revision: str) -> None:
    async with serving() as site, site.talk(revision) as talk, site.connect() as wire:
        unasked = await talk.get(wire)
        await site.server.notify_resource_updated("note://one")
        site.server.remove_tool("refuse")
        first = await unasked.event()
        assert first is not None
        assert (first.data == "") == (revision == "2025-11-25")
        assert first.id
        events = await (await talk.post(call("count", {"upto": 1}, token=1))).events()
        assert (events[0].data == "") == (revision == "2025-11-25")
        assert len({event.id for event in events}) == len(events)


async def test_the_newest_listening_stream_wins() -> None:
    async with serving() as site, site.talk() as talk:
        async with site.connect() as one, site.connect() as two, site.connect() as three:
            older = await talk.get(one)
            await older.event()
            newer = await talk.get(two)
            await newer.event()
            assert await older.messages() == []
            newest = await talk.get(three)
            await newest.event()
            assert await newer.messages() == []
            site.server.remove_tool("refuse")
            assert (await _first_message(newest))["method"] == "notifications/tools/list_changed"
            assert (await talk.delete()).status == 204
            assert await newest.messages() == []


async def test_subscriptions_arrive_on_the_listening_stream() -> None:
    async with serving() as site, site.talk() as talk, site.connect() as wire:
        unasked = await talk.get(wire)
        await site.server.notify_resource_updated("note://one")
        answer = await talk.post(message("resources/subscribe", {"uri": "note://one"}))
        assert answer.status == 200
        await answer.body()
        await site.server.notify_resource_updated("note://other")
        await site.server.notify_resource_updated("note://one")
        found = await _first_message(unasked)
        assert (found["method"], found["params"]) == ("notifications/resources/updated", {"uri": "note://one"})


# -- nothing is left behind ------------------------------------------------------------------------------------------


async def test_a_client_that_leaves_again_and_again_leaves_nothing_in_its_session() -> None:
    """Requests that were abandoned in every phase, cancelled ones and answered ones: their streams are forgotten."""
    async with serving() as site, site.talk() as talk:
        [session] = site.endpoint.sessions._sessions.values()
        chosen = random.Random(1)
        for turn in range(60):
            site.offer.began = type(site.offer.began)()
            wire = await site.wire()
            body = chosen.choice([call("wait", id=turn), call("wait", {"steps": 1}, id=turn, token=turn)])
            await talk.send(body, wire=wire)
            await site.offer.began.wait()
            if chosen.random() < 0.5:
                await talk.post(message("notifications/cancelled", {"requestId": turn}, id=None))
            await wire.close(reset=chosen.random() < 0.5)
        site.offer.go.set()
        await until(lambda: site.server.statistics().running == 0)
        # What was answered on an event stream may be asked for again; nothing else is kept.
        streams = session.statistics()["streams"]
        assert streams <= 61
        for _ in range(300):
            await (await talk.post(call("count", {"upto": 1}, token=1))).events()
        assert session.statistics()["streams"] <= 256 + 3
        before = session.statistics()["streams"]
        for _ in range(20):
            assert await talk.tool("add", {"a": 1, "b": 2}) == "3"
        assert session.statistics()["streams"] <= before
