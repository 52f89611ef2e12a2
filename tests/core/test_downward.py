"""A client of the handshake era before a server of 2026-07-28, message by message."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from core.bridged import INITIALIZE, End, bridged, discovery
from core.raw_peer import in_virtual_time

from mcpcore.errors import CODE_METHOD_NOT_FOUND, CODE_UPSTREAM_LOST

pytestmark = pytest.mark.anyio

KEY = "io.modelcontextprotocol/"
ENVELOPE = {
    f"{KEY}protocolVersion": "2026-07-28",
    f"{KEY}clientCapabilities": {"elicitation": {}},
    f"{KEY}clientInfo": {"name": "in front", "version": "1"},
    f"{KEY}logLevel": "info",
}
QUESTION = {
    "resultType": "input_required",
    "inputRequests": {"city": {"method": "elicitation/create", "params": {"message": "Which?", "requestedSchema": {}}}},
    "requestState": "sealed",
}


@asynccontextmanager
async def reached(revision: str = "2025-11-25", patience: float = 15.0) -> AsyncIterator[tuple[End, End, Any]]:
    """The client's end, the server's, and what the client was answered to initialize."""
    first = {**INITIALIZE, "params": {**INITIALIZE["params"], "protocolVersion": revision}}
    async with bridged(patience=patience) as (front, behind, _):
        await front.say(first)
        server = await behind.server()
        refused = await server.hear("initialize")
        await server.say({"id": refused["id"], "error": {"code": CODE_METHOD_NOT_FOUND, "message": "no handshake"}})
        server = await behind.server()
        await server.answer(await server.hear("server/discover"), discovery())
        answer = await front.hear()
        await front.say({"method": "notifications/initialized"})
        listen = await server.hear("subscriptions/listen")
        assert listen["params"]["notifications"] == {"toolsListChanged": True, "resourcesListChanged": True}
        await acknowledge(server, listen)
        yield front, server, answer["result"]


async def acknowledge(server: End, listen: Any) -> None:
    mine = {"_meta": {f"{KEY}subscriptionId": listen["id"]}}
    params = {"notifications": listen["params"]["notifications"], **mine}
    await server.say({"method": "notifications/subscriptions/acknowledged", "params": params})


async def test_the_handshake_is_made_of_the_discovery() -> None:
    async with reached() as (_, _, initialized):
        assert initialized["protocolVersion"] == "2025-11-25"
        assert initialized["serverInfo"] == {"name": "behind", "version": "1"}
        assert set(initialized["capabilities"]) == {"tools", "resources", "logging"}
        assert "resultType" not in initialized


async def test_only_the_envelope_is_put_on_and_taken_off() -> None:
    async with reached() as (front, server, _):
        params = b'{"name":"x","arguments":{ "b" :1.50},"_meta":{"progressToken":5,"mine":[ 1]}}'
        await front.say(b'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":%b}' % params)
        frame = await server.hear_bytes()
        assert b'"arguments":{ "b" :1.50}' in frame
        asked = msgspec.json.decode(frame)
        assert asked["params"]["_meta"] == {"progressToken": 5, "mine": [1], **ENVELOPE}
        await server.say({"method": "notifications/progress", "params": {"progressToken": asked["id"], "progress": 1}})
        assert (await front.hear("notifications/progress"))["params"]["progressToken"] == 5
        meta = b'"_meta":{"%bserverInfo":{"name":"b","version":"1"},"own":1}' % KEY.encode()
        result = b'{"resultType":"complete","content":[ {"x" :1.0}],"structuredContent":[1 ],%b}' % meta
        await server.say(b'{"jsonrpc":"2.0","id":5,"result":%b}' % result)
        answer = await front.hear_bytes()
        assert b'"content":[ {"x" :1.0}]' in answer
        assert msgspec.json.decode(answer)["result"] == {
            "content": [{"x": 1.0}],
            "structuredContent": {"result": [1]},
            "_meta": {"own": 1},
        }


async def test_a_question_in_a_result_is_asked_and_answered() -> None:
    async with reached() as (front, server, _):
        await front.say({"id": 1, "method": "tools/call", "params": {"name": "x", "arguments": {"a": 1}}})
        await server.answer(await server.hear("tools/call"), QUESTION)
        question = await front.hear("elicitation/create")
        assert question["params"]["message"] == "Which?"
        await front.answer(question, {"action": "accept", "content": {"name": "Rome"}, "_meta": {"x": 1}})
        again = await server.hear("tools/call")
        assert again["params"]["inputResponses"] == {"city": {"action": "accept", "content": {"name": "Rome"}}}
        assert (again["params"]["requestState"], again["params"]["arguments"]) == ("sealed", {"a": 1})
        assert again["params"]["_meta"] == ENVELOPE
        await server.answer(again, {"resultType": "complete", "content": []})
        assert (await front.hear())["result"] == {"content": []}


async def test_a_client_that_refuses_a_question_is_quoted() -> None:
    async with reached() as (front, server, _):
        await front.say({"id": 1, "method": "tools/call", "params": {"name": "x"}})
        await server.answer(await server.hear("tools/call"), QUESTION)
        question = await front.hear("elicitation/create")
        error = {"code": -1, "message": "no dialogs here", "data": {"why": "headless"}}
        await front.say({"id": question["id"], "error": error})
        assert (await front.hear())["error"] == error


@in_virtual_time
async def test_a_server_that_never_stops_asking() -> None:
    async with reached(patience=900) as (front, server, _):
        await front.say({"id": 1, "method": "tools/call", "params": {"name": "x"}})
        for _ in range(20):
            await server.answer(await server.hear("tools/call"), {**QUESTION, "inputRequests": {}})
        assert (await front.hear())["error"]["code"] == CODE_UPSTREAM_LOST


async def test_what_a_session_keeps_is_kept_here() -> None:
    async with reached() as (front, server, _):
        assert (await front.ask(1, "ping", {}))["result"] == {}
        assert (await front.ask(2, "logging/setLevel", {"level": "warning"}))["result"] == {}
        await front.say({"id": 3, "method": "tools/list"})
        asked = await server.hear("tools/list")
        assert asked["params"]["_meta"][f"{KEY}logLevel"] == "warning"
        await server.answer(asked, {"resultType": "complete", "tools": [], "ttlMs": 5, "cacheScope": "public"})
        assert (await front.hear())["result"] == {"tools": []}
        for method in ("server/discover", "subscriptions/listen"):
            await front.say({"id": method, "method": method, "params": {}})
            assert (await front.hear())["error"]["code"] in (CODE_METHOD_NOT_FOUND, -32602)
        assert await server.heard_nothing()


async def test_subscriptions_become_one_listen() -> None:
    async with reached() as (front, server, _):
        await front.say({"id": 1, "method": "resources/subscribe", "params": {"uri": "a://1"}})
        listen = await server.hear("subscriptions/listen")
        assert listen["params"]["notifications"]["resourceSubscriptions"] == ["a://1"]
        await acknowledge(server, listen)
        assert (await front.hear())["result"] == {}
        await server.hear("notifications/cancelled")  # of the one before
        mine = {"_meta": {f"{KEY}subscriptionId": listen["id"]}}
        await server.say({"method": "notifications/resources/updated", "params": {"uri": "a://1", **mine}})
        assert (await front.hear("notifications/resources/updated"))["params"] == {"uri": "a://1"}
        await server.say({"method": "notifications/tools/list_changed", "params": mine})
        await front.hear("notifications/tools/list_changed")
        await front.say({"id": 2, "method": "resources/unsubscribe", "params": {"uri": "a://1"}})
        listen = await server.hear("subscriptions/listen")
        assert "resourceSubscriptions" not in listen["params"]["notifications"]
        await acknowledge(server, listen)
        assert (await front.hear())["result"] == {}


async def test_output_that_is_no_object_is_wrapped_as_its_schema_is() -> None:
    async with reached() as (front, server, _):
        await front.say({"id": 1, "method": "tools/list"})
        tools = [
            {"name": "any", "inputSchema": {"type": "object"}, "outputSchema": {"anyOf": [{"type": "object"}]}},
            {"name": "plain", "inputSchema": {"type": "object"}, "outputSchema": {"type": "object"}, "later": [1]},
        ]
        await server.answer(await server.hear("tools/list"), {"resultType": "complete", "tools": tools})
        wrapped, plain = (await front.hear())["result"]["tools"]
        assert wrapped["outputSchema"]["properties"]["result"] == {"anyOf": [{"type": "object"}]}
        assert plain == tools[1]
        for name, seen in (("any", {"result": {"a": 1}}), ("plain", {"a": 1})):
            await front.say({"id": name, "method": "tools/call", "params": {"name": name}})
            result = {"resultType": "complete", "content": [], "structuredContent": {"a": 1}}
            await server.answer(await server.hear("tools/call"), result)
            assert (await front.hear())["result"]["structuredContent"] == seen


async def test_old_revisions_get_content_that_they_know() -> None:
    async with reached("2024-11-05") as (front, server, initialized):
        assert initialized["protocolVersion"] == "2024-11-05"
        await front.say({"id": 1, "method": "tools/call", "params": {"name": "x"}})
        link = {"type": "resource_link", "uri": "a://1", "name": "one"}
        result = {"resultType": "complete", "content": [link], "structuredContent": {"a": 1}}
        await server.answer(await server.hear("tools/call"), result)
        assert (await front.hear())["result"] == {"content": [{"type": "text", "text": "one: a://1"}]}


async def test_after_a_loss_it_listens_again() -> None:
    async with bridged() as (front, behind, _):
        await front.say(INITIALIZE)
        server = await behind.server()
        refused = await server.hear("initialize")
        await server.say({"id": refused["id"], "error": {"code": CODE_METHOD_NOT_FOUND, "message": "no handshake"}})
        for attempt in range(2):
            server = await behind.server()
            await server.answer(await server.hear("server/discover"), discovery())
            if not attempt:
                await front.hear()
                await front.say({"method": "notifications/initialized"})
            await acknowledge(server, await server.hear("subscriptions/listen"))
            if not attempt:
                server.pipe.break_off()
        await front.say({"id": 1, "method": "x/y"})
        await server.answer(await server.hear("x/y"), {"ok": 1})
        assert (await front.hear())["result"] == {"ok": 1}
