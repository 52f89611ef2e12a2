"""Clients of 2026-07-28 before a server of the handshake era, message by message."""

from contextlib import asynccontextmanager
from typing import Any

import anyio
import msgspec
import pytest
from core.bridged import CAPABILITIES, INITIALIZED, META, Behind, End, bridged, discovery
from core.raw_peer import in_virtual_time

from mcpcore.bridge.bridge import Bridge
from mcpcore.bridge.piping import ASK_SECONDS
from mcpcore.channel import Envelope, Inbox, Origin
from mcpcore.errors import CODE_INTERNAL_ERROR, CODE_INVALID_PARAMS, CODE_METHOD_NOT_FOUND
from mcpcore.jsonrpc import Request
from mcpcore.principal import Principal

pytestmark = pytest.mark.anyio

KEY = "io.modelcontextprotocol/"
FORM = {"message": "Which city?", "requestedSchema": {"type": "object", "properties": {}}}


def call(name: str = "x", **members: Any) -> dict[str, Any]:
    return {"name": name, "_meta": META, **members}


async def refuse_probe(behind: Behind) -> None:
    server = await behind.server()
    probe = await server.hear("server/discover")
    await server.say({"id": probe["id"], "error": {"code": -32601, "message": "what?"}})


async def shake(behind: Behind, **changed: Any) -> tuple[End, Any]:
    """Play a server's handshake; returns its end, and what it was told of the client."""
    server = await behind.server()
    first = await server.hear("initialize")
    await server.answer(first, {**INITIALIZED, **changed})
    await server.hear("notifications/initialized")
    return server, first["params"]


@asynccontextmanager
async def reached(patience: float = 15.0, **changed: Any) -> Any:
    """A bridge whose client has asked server/discover, and its server."""
    async with bridged(patience=patience) as (front, behind, bridge):
        await front.say({"id": "d", "method": "server/discover", "params": {"_meta": META}})
        await refuse_probe(behind)
        server, told = await shake(behind, **changed)
        yield front, server, bridge, await front.hear(), told, behind


async def test_discovery_is_made_of_the_handshake() -> None:
    async with reached(instructions="Mind.") as (_, _, bridge, answer, told, _):
        found = answer["result"]
        assert found["supportedVersions"] == [
            "2026-07-28",
            "2024-11-05",
            "2025-03-26",
            "2025-06-18",
            "2025-11-25",
        ]
        assert found["capabilities"] == CAPABILITIES
        assert (found["instructions"], found["resultType"], found["ttlMs"]) == ("Mind.", "complete", 0)
        assert found["_meta"] == {f"{KEY}serverInfo": {"name": "behind", "version": "1"}}
        assert told["capabilities"] == {"elicitation": {"form": {}}}
        assert told["protocolVersion"] == "2025-11-25"
        assert {era.value for era in bridge.spoken} == {"legacy"}


async def test_only_the_envelope_is_taken_off_and_put_on() -> None:
    async with reached() as (front, server, *_):
        meta = {**META, "progressToken": 5, "mine": {"a": 1}, f"{KEY}clientInfo": {"name": "c", "version": "1"}}
        await front.say(
            {"id": 5, "method": "tools/call", "params": {"name": "x", "arguments": {"b": 1.50}, "_meta": meta}}
        )
        asked = await server.hear("tools/call")
        assert asked["params"] == {
            "name": "x",
            "arguments": {"b": 1.5},
            "_meta": {"progressToken": 5, "mine": {"a": 1}},
        }
        await server.say({"method": "notifications/progress", "params": {"progressToken": asked["id"], "progress": 1}})
        assert (await front.hear("notifications/progress"))["params"]["progressToken"] == 5
        await server.say(b'{"jsonrpc":"2.0","id":5,"result":{"content":[ {"x" :1.0}],"_meta":{"own":1}}}')
        answer = await front.hear_bytes()
        assert b'"content":[ {"x" :1.0}]' in answer
        result = msgspec.json.decode(answer)["result"]
        assert result["resultType"] == "complete"
        assert result["_meta"] == {"own": 1, f"{KEY}serverInfo": {"name": "behind", "version": "1"}}
        await front.say({"id": 6, "method": "tools/list", "params": {"_meta": META}})
        await server.answer(await server.hear("tools/list"), {"tools": []})
        listed = (await front.hear())["result"]
        assert (listed["ttlMs"], listed["cacheScope"]) == (0, "private")


async def test_a_question_waits_for_the_client_to_come_back() -> None:
    async with reached() as (front, server, *_):
        await front.say({"id": 1, "method": "tools/call", "params": call()})
        asked = await server.hear("tools/call")
        await server.say({"id": 70, "method": "elicitation/create", "params": FORM})
        required = (await front.hear())["result"]
        assert required["resultType"] == "input_required"
        ((key, question),) = required["inputRequests"].items()
        assert (question["method"], question["params"]["message"]) == ("elicitation/create", "Which city?")

        state = required["requestState"]
        answers = {key: {"action": "accept", "content": {"name": "Rome"}}}
        retry = call(requestState=state, inputResponses=answers)
        # Not with another method, not a second time, and not with a state that was never handed out.
        wrong = await front.ask(2, "prompts/get", retry)
        assert wrong["error"]["code"] == CODE_INVALID_PARAMS
        await front.say({"id": 3, "method": "tools/call", "params": retry})
        answer = await server.hear()
        assert (answer["id"], answer["result"]) == (70, {"action": "accept", "content": {"name": "Rome"}})
        again = await front.ask(4, "tools/call", retry)
        assert again["error"]["code"] == CODE_INVALID_PARAMS
        assert (await front.ask(5, "tools/call", call(requestState="made up")))["error"]["code"] == CODE_INVALID_PARAMS
        await server.answer(asked, {"content": []})
        assert (await front.hear())["id"] == 3


async def test_an_answer_that_is_missing_is_asked_for_again() -> None:
    async with reached() as (front, server, *_):
        await front.say({"id": 1, "method": "tools/call", "params": call()})
        await server.hear("tools/call")
        await server.say({"id": 70, "method": "elicitation/create", "params": FORM})
        first = (await front.hear())["result"]
        again = (await front.ask(2, "tools/call", call(requestState=first["requestState"])))["result"]
        assert again["inputRequests"] == first["inputRequests"]
        assert again["requestState"] != first["requestState"]


@in_virtual_time
async def test_a_client_that_does_not_come_back_cancels() -> None:
    async with reached(2 * ASK_SECONDS) as (front, server, *_):
        await front.say({"id": 1, "method": "tools/call", "params": call()})
        asked = await server.hear("tools/call")
        await server.say({"id": 70, "method": "elicitation/create", "params": FORM})
        state = (await front.hear())["result"]["requestState"]
        began = anyio.current_time()
        cancelled = await server.hear("notifications/cancelled")
        assert cancelled["params"]["requestId"] == asked["id"]
        assert anyio.current_time() - began == pytest.approx(ASK_SECONDS)
        assert (await front.ask(2, "tools/call", call(requestState=state)))["error"]["code"] == CODE_INVALID_PARAMS


async def test_what_cannot_be_asked_in_this_era_is_refused() -> None:
    async with reached() as (front, server, *_):
        await front.say({"id": 1, "method": "tools/list", "params": {"_meta": META}})
        asked = await server.hear("tools/list")
        for id, method, code in ((70, "elicitation/create", CODE_INTERNAL_ERROR), (71, "x/y", CODE_METHOD_NOT_FOUND)):
            await server.say({"id": id, "method": method, "params": FORM})
            answer = await server.hear()
            assert (answer["id"], answer["error"]["code"]) == (id, code)
        await server.answer(asked, {"tools": []})
        await front.hear()
        await server.say({"id": 72, "method": "ping"})
        assert (await server.hear())["result"] == {}
        await server.say({"id": 73, "method": "roots/list"})
        assert "no request runs" in (await server.hear())["error"]["message"]


async def test_logs_come_only_to_who_wants_them() -> None:
    async with reached() as (front, server, *_):
        note = {"method": "notifications/message", "params": {"level": "info", "data": "n"}}
        await front.say({"id": 1, "method": "tools/call", "params": call()})
        asked = await server.hear("tools/call")
        await server.say(note)
        await server.answer(asked, {"content": []})
        assert (await front.hear())["id"] == 1

        await front.say(
            {"id": 2, "method": "tools/call", "params": {"name": "x", "_meta": {**META, f"{KEY}logLevel": "info"}}}
        )
        level = await server.hear("logging/setLevel")
        assert level["params"] == {"level": "info"}
        await server.answer(level, {})
        asked = await server.hear("tools/call")
        await server.say({"method": "notifications/message", "params": {"level": "debug", "data": "d"}})
        await server.say(note)
        assert (await front.hear("notifications/message"))["params"]["data"] == "n"
        await server.answer(asked, {"content": []})
        assert (await front.hear())["id"] == 2


async def test_changes_come_by_listening() -> None:
    async with reached() as (front, server, *_):
        wanted = {"toolsListChanged": True, "promptsListChanged": True, "resourceSubscriptions": ["a://1"]}
        await front.say(
            {"id": "l", "method": "subscriptions/listen", "params": {"notifications": wanted, "_meta": META}}
        )
        watch = await server.hear("resources/subscribe")
        assert watch["params"] == {"uri": "a://1"}
        await server.answer(watch, {})
        acknowledged = (await front.hear("notifications/subscriptions/acknowledged"))["params"]
        assert acknowledged["notifications"] == {"toolsListChanged": True, "resourceSubscriptions": ["a://1"]}
        mine = {"_meta": {f"{KEY}subscriptionId": "l"}}
        await server.say({"method": "notifications/resources/updated", "params": {"uri": "a://1"}})
        assert (await front.hear("notifications/resources/updated"))["params"] == {"uri": "a://1", **mine}
        await server.say({"method": "notifications/prompts/list_changed"})
        await server.say({"method": "notifications/tools/list_changed"})
        assert (await front.hear("notifications/tools/list_changed"))["params"] == mine
        await front.say({"method": "notifications/cancelled", "params": {"requestId": "l"}})
        assert (await server.hear("resources/unsubscribe"))["params"] == {"uri": "a://1"}


@pytest.mark.parametrize(
    ("code", "seen"), [(-32002, CODE_INVALID_PARAMS), (-32042, CODE_INTERNAL_ERROR), (-32000, -32000), (7, 7)]
)
async def test_retired_codes_are_not_sent(code: int, seen: int) -> None:
    async with reached() as (front, server, *_):
        await front.say({"id": 1, "method": "resources/read", "params": {"uri": "a://1", "_meta": META}})
        asked = await server.hear("resources/read")
        await server.say({"id": asked["id"], "error": {"code": code, "message": "m", "data": {"d": 1}}})
        assert (await front.hear())["error"] == {"code": seen, "message": "m", "data": {"d": 1}}


async def test_methods_of_the_other_era_are_unknown() -> None:
    async with reached() as (front, server, *_):
        for method in ("ping", "logging/setLevel", "resources/subscribe", "initialize"):
            assert (await front.ask(method, method, {"_meta": META}))["error"]["code"] == CODE_METHOD_NOT_FOUND
        assert await server.heard_nothing()


# ---------------------------------------------------------------------- without a session: everybody's requests


class Caller:
    """A request as HTTP brings it, and what came back."""

    def __init__(self, bridge: Bridge, tasks: Any, principal: str | None) -> None:
        self._bridge = bridge
        self._tasks = tasks
        who = None if principal is None else Principal(subject=principal)
        self._origin = Origin(transport="http", principal=who)
        self.inbox = Inbox()

    def send(self, method: str, params: Any, id: Any = 1) -> None:
        request = Request(id, method, msgspec.Raw(msgspec.json.encode(params)))
        self._tasks.start_soon(self._bridge.answer, Envelope(request, self.inbox, self._origin))

    async def hear(self) -> Any:
        return (await self.inbox.receive()).message


async def test_principals_do_not_share_a_session_behind() -> None:
    behind = Behind()
    bridge = Bridge(behind)
    with anyio.fail_after(15):
        async with bridge.running(), anyio.create_task_group() as tasks:
            anne, bob, bert = (Caller(bridge, tasks, name) for name in ("anne", "bob", "bob"))
            anne.send("tools/call", call())
            await refuse_probe(behind)
            hers, _ = await shake(behind)
            await hers.hear("tools/call")
            bob.send("tools/call", call())
            his, _ = await shake(behind)
            await his.hear("tools/call")
            bert.send("tools/list", {"_meta": META})
            await his.answer(await his.hear("tools/list"), {"tools": []})
            await bert.hear()
            assert bridge.statistics().upstreams == 2

            await hers.say({"id": 70, "method": "elicitation/create", "params": FORM})
            state = (await anne.hear()).result.request_state
            thief = Caller(bridge, tasks, "bob")
            thief.send("tools/call", call(requestState=state, inputResponses={"question-70": {"action": "decline"}}))
            assert (await thief.hear()).error.code == CODE_INVALID_PARAMS
            tasks.cancel_scope.cancel()


async def test_a_question_that_does_not_say_whose_it_is_reaches_nobody() -> None:
    behind = Behind()
    bridge = Bridge(behind)
    with anyio.fail_after(15):
        async with bridge.running(), anyio.create_task_group() as tasks:
            one, two = (Caller(bridge, tasks, None) for _ in range(2))
            one.send("tools/call", call())
            await refuse_probe(behind)
            server, _ = await shake(behind)
            await server.hear("tools/call")
            two.send("tools/call", call())
            await server.hear("tools/call")
            await server.say({"id": 70, "method": "elicitation/create", "params": FORM})
            assert "which of them" in (await server.hear())["error"]["message"]
            assert (one.inbox.size, two.inbox.size) == (0, 0)
            tasks.cancel_scope.cancel()


async def test_a_request_that_waits_for_its_client_leaves_no_doubt_about_the_next_one() -> None:
    behind = Behind()
    bridge = Bridge(behind)
    with anyio.fail_after(15):
        async with bridge.running(), anyio.create_task_group() as tasks:
            one, two = (Caller(bridge, tasks, None) for _ in range(2))
            one.send("tools/call", call())
            await refuse_probe(behind)
            server, _ = await shake(behind)
            for id, caller in ((70, one), (71, two)):
                if caller is two:
                    two.send("tools/call", call())
                await server.hear("tools/call")
                await server.say({"id": id, "method": "elicitation/create", "params": FORM})
                assert list((await caller.hear()).result.input_requests) == [f"question-{id}"]
            tasks.cancel_scope.cancel()


async def discovered(behind: Behind) -> End:
    server = await behind.server()
    await server.answer(await server.hear("server/discover"), discovery())
    return server


@pytest.mark.parametrize("token", [None, "t", 1])
async def test_an_answer_that_comes_after_its_client_has_left_reaches_no_other(token: Any) -> None:
    """All HTTP clients may call a request 1, and share one connection to a server behind that is a process."""
    behind = Behind()
    bridge = Bridge(behind)
    meta = META if token is None else {**META, "progressToken": token}
    with anyio.fail_after(15):
        async with bridge.running(), anyio.create_task_group() as tasks:
            anne, bob = Caller(bridge, tasks, "anne"), Caller(bridge, tasks, "bob")
            anne.send("tools/call", {"name": "x", "_meta": meta})
            server = await discovered(behind)
            hers = await server.hear("tools/call")
            anne.inbox.close("gone")
            await server.hear("notifications/cancelled")
            bob.send("tools/call", {"name": "x", "_meta": meta})
            his = await server.hear("tools/call")
            late = {"progressToken": hers["params"]["_meta"].get("progressToken", hers["id"]), "progress": 1}
            await server.say({"method": "notifications/progress", "params": late})
            await server.answer(hers, {"secret": "of anne"})
            await server.answer(his, {"for": "bob"})
            assert bytes((await bob.hear()).result) == b'{"for": "bob"}'
            tasks.cancel_scope.cancel()


async def test_two_clients_with_the_same_id_and_token_hear_each_of_their_own() -> None:
    behind = Behind()
    bridge = Bridge(behind)
    with anyio.fail_after(15):
        async with bridge.running(), anyio.create_task_group() as tasks:
            callers = [Caller(bridge, tasks, "one") for _ in range(3)]
            asked = []
            for number, caller in enumerate(callers):
                id = "bridge-2" if number == 0 else 1
                caller.send("tools/call", {"name": "x", "_meta": {**META, "progressToken": "t"}}, id)
                if not number:
                    server = await discovered(behind)
                asked.append(await server.hear("tools/call"))
            for number, request in enumerate(asked):
                told = {"progressToken": request["params"]["_meta"]["progressToken"], "progress": number}
                await server.say({"method": "notifications/progress", "params": told})
                await server.answer(request, {"number": number})
            for number, caller in enumerate(callers):
                told = msgspec.to_builtins((await caller.hear()).params)
                assert (told["progressToken"], told["progress"]) == ("t", number)
                assert msgspec.json.decode((await caller.hear()).result) == {"number": number}
            tasks.cancel_scope.cancel()


async def test_a_subscription_has_the_name_in_front_that_its_client_gave_it() -> None:
    behind = Behind()
    bridge = Bridge(behind)
    with anyio.fail_after(15):
        async with bridge.running(), anyio.create_task_group() as tasks:
            one, two = (Caller(bridge, tasks, None) for _ in range(2))
            for number, caller in enumerate((one, two)):
                uri = f"note://{number}"
                caller.send("subscriptions/listen", {"_meta": META, "notifications": {"resourceSubscriptions": [uri]}})
                if not number:
                    server = await discovered(behind)
                request = await server.hear("subscriptions/listen")
                meta = {f"{KEY}subscriptionId": request["id"]}
                await server.say({"method": "notifications/resources/updated", "params": {"uri": uri, "_meta": meta}})
                await server.answer(request, {"resultType": "complete", "_meta": meta})
                update, answer = await caller.hear(), await caller.hear()
                seen = msgspec.json.decode(msgspec.json.encode(update.params))
                assert seen == {"uri": uri, "_meta": {f"{KEY}subscriptionId": 1}}
                assert msgspec.json.decode(answer.result)["_meta"] == {f"{KEY}subscriptionId": 1}
            tasks.cancel_scope.cancel()


async def test_an_idle_session_makes_room_for_another_one() -> None:
    behind = Behind()
    bridge = Bridge(behind, max_upstreams=1)
    with anyio.fail_after(15):
        async with bridge.running(), anyio.create_task_group() as tasks:
            anne, bob, carl = (Caller(bridge, tasks, name) for name in ("anne", "bob", "carl"))
            anne.send("tools/list", {"_meta": META})
            await refuse_probe(behind)
            server, _ = await shake(behind)
            await server.answer(await server.hear("tools/list"), {"tools": []})
            await anne.hear()
            bob.send("tools/list", {"_meta": META})
            server, _ = await shake(behind)
            await server.hear("tools/list")
            carl.send("tools/list", {"_meta": META})
            assert "limit" in (await carl.hear()).error.message
            tasks.cancel_scope.cancel()
