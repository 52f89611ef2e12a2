"""A bridge whose two sides speak the same era passes bytes, and reads none of them."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import msgspec
import pytest
from core.bridged import INITIALIZED, META, Behind, End, bridged, discovery, shaken

from mcpcore import Bridge, splicing
from mcpcore.bridge import front as front_module
from mcpcore.channel import Channel, Envelope, Inbox, Origin, Verifier
from mcpcore.errors import CODE_HEADER_MISMATCH
from mcpcore.jsonrpc import Notification, Request

pytestmark = pytest.mark.anyio

ODD = b'{ "arguments" :{"b":1.50,  "a":[ 1,2 ],"a":"twice"}, "name"\t:"x","zz":{"unknown":null} }'
ODD_RESULT = b'{"content":[ {"text":"\\u00e4" , "type":"text"}],  "structuredContent" : {"z":1,"a":2e3},"later":[ ]}'


async def probed(front: End, behind: Behind, params: Any = None, method: str = "tools/list") -> tuple[End, Any]:
    """A first request without a handshake; the server's end and what it was asked."""
    await front.say({"id": "first", "method": method, "params": {"_meta": META, **(params or {})}})
    server = await behind.server()
    await server.answer(await server.hear("server/discover"), discovery())
    return server, await server.hear(method)


async def test_a_session_passes_bytes_and_reads_none(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []
    async with bridged() as (front, behind, _):
        server = await shaken(front, behind)
        for module, name in (
            (splicing, "_decode_outline"),
            (splicing, "_decode_members"),
            (front_module, "outline_of"),
        ):
            monkeypatch.setattr(module, name, read.append)
        await front.say(b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":%b}' % ODD)
        assert await server.hear_bytes() == b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":%b}' % ODD
        await server.say(b'{"jsonrpc":"2.0","id":7,"result":%b}' % ODD_RESULT)
        assert await front.hear_bytes() == b'{"jsonrpc":"2.0","id":7,"result":%b}' % ODD_RESULT
        assert read == []


async def test_a_request_without_a_session_passes_as_it_is() -> None:
    async with bridged() as (front, behind, _):
        server, first = await probed(front, behind)
        await server.answer(first, {"resultType": "complete", "tools": []})
        assert await front.hear() == {
            "jsonrpc": "2.0",
            "id": "first",
            "result": {"resultType": "complete", "tools": []},
        }
        params = b'{"_meta" :%b, %b' % (json.dumps(META).encode(), ODD[2:])
        await front.say(b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":%b}' % params)
        assert await server.hear_bytes() == b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":%b}' % params
        await server.say(b'{"jsonrpc":"2.0","id":7,"result":%b}' % ODD_RESULT)
        assert await front.hear_bytes() == b'{"jsonrpc":"2.0","id":7,"result":%b}' % ODD_RESULT


async def test_progress_finds_its_way_by_the_callers_token() -> None:
    async with bridged() as (front, behind, _):
        server = await shaken(front, behind)
        params = {"name": "x", "_meta": {"progressToken": "mine"}}
        await front.say({"id": 1, "method": "tools/call", "params": params})
        asked = await server.hear("tools/call")
        assert (asked["id"], asked["params"]) == ("mine", params)
        # Another request whose token is taken behind: it gets a name of its own there, and keeps its own in front.
        await front.say({"id": "mine", "method": "tools/call", "params": params})
        other = await server.hear("tools/call")
        assert other["id"] == other["params"]["_meta"]["progressToken"] != "mine"
        for request, progress in ((other, 2), (asked, 1)):
            told = {"progressToken": request["id"], "progress": progress}
            await server.say({"method": "notifications/progress", "params": told})
            assert (await front.hear("notifications/progress"))["params"] == {**told, "progressToken": "mine"}
        await server.answer(other, {"n": 2})
        assert await front.hear() == {"jsonrpc": "2.0", "id": "mine", "result": {"n": 2}}
        await server.answer(asked, {"n": 1})
        assert await front.hear() == {"jsonrpc": "2.0", "id": 1, "result": {"n": 1}}


async def test_errors_pass_with_code_and_data() -> None:
    error = {"code": -32042, "message": "sign in", "data": {"elicitations": [1, {"a": None}]}}
    async with bridged() as (front, behind, _):
        server = await shaken(front, behind)
        await front.say({"id": 1, "method": "tools/call", "params": {"name": "x"}})
        await server.say({"id": (await server.hear())["id"], "error": error})
        assert (await front.hear())["error"] == error


async def test_what_nobody_knows_passes_in_both_directions() -> None:
    async with bridged() as (front, behind, _):
        server = await shaken(front, behind)
        await front.say({"id": 1, "method": "x/unknown", "params": {"a": 1}})
        asked = await server.hear("x/unknown")
        assert asked["params"] == {"a": 1}
        await server.answer(asked, {"b": 2})
        assert (await front.hear())["result"] == {"b": 2}
        await front.say({"method": "notifications/x", "params": {"c": 3}})
        assert (await server.hear("notifications/x"))["params"] == {"c": 3}
        await server.say({"method": "notifications/y", "params": {"d": 4}})
        assert (await front.hear("notifications/y"))["params"] == {"d": 4}
        await server.say({"id": 1, "method": "y/unknown", "params": {"e": 5}})
        question = await front.hear("y/unknown")
        assert question["params"] == {"e": 5}
        await front.say({"id": question["id"], "error": {"code": -5, "message": "no", "data": [1]}})
        assert (await server.hear())["error"] == {"code": -5, "message": "no", "data": [1]}


async def test_a_cancellation_passes_and_so_does_that_of_a_question() -> None:
    async with bridged() as (front, behind, _):
        server = await shaken(front, behind)
        await front.say({"id": 1, "method": "tools/call", "params": {"name": "x"}})
        asked = await server.hear("tools/call")
        await server.say({"id": 9, "method": "elicitation/create", "params": {"message": "?"}})
        question = await front.hear("elicitation/create")
        await server.say({"method": "notifications/cancelled", "params": {"requestId": 9}})
        assert (await front.hear("notifications/cancelled"))["params"]["requestId"] == question["id"]
        await front.say({"method": "notifications/cancelled", "params": {"requestId": 1, "reason": "enough"}})
        assert (await server.hear("notifications/cancelled"))["params"]["requestId"] == asked["id"]
        assert await front.heard_nothing()


async def test_logs_keep_their_place_before_the_result() -> None:
    async with bridged() as (front, behind, _):
        server = await shaken(front, behind)
        await front.say({"id": 1, "method": "tools/call", "params": {"name": "x", "_meta": {"progressToken": 1}}})
        asked = await server.hear("tools/call")
        for number in range(3):
            await server.say({"method": "notifications/message", "params": {"level": "info", "data": number}})
            told = {"progressToken": asked["id"], "progress": number}
            await server.say({"method": "notifications/progress", "params": told})
        await server.answer(asked, {})
        heard = [await front.hear() for _ in range(7)]
        assert [message.get("method", "result")[14:] for message in heard] == ["message", "progress"] * 3 + [""]
        await server.say({"method": "notifications/message", "params": {"level": "info", "data": "later"}})
        assert (await front.hear("notifications/message"))["params"]["data"] == "later"


async def test_a_client_before_its_handshake() -> None:
    async with bridged() as (front, behind, _):
        assert (await front.ask(1, "ping", {}))["result"] == {}
        assert "initialize first" in (await front.ask(2, "tools/list", {}))["error"]["message"]
        assert behind.connections == 0
        await shaken(front, behind)
        again = await front.ask(3, "initialize", INITIALIZED)
        assert "initialized already" in again["error"]["message"]


async def test_a_call_is_repeated_with_the_headers_that_the_server_wants() -> None:
    """Over HTTP a modern server wants some arguments mirrored, which a client on stdio cannot know."""
    sent: list[Any] = []

    class Mirroring(Behind):
        def refuses(self, tool: Any) -> None:
            return None

        def headers_for(self, tool: Any, arguments: Any) -> dict[str, str]:
            sent.append((tool.name, arguments))
            return {"mcp-param-region": arguments["region"]}

    behind = Mirroring()
    params = {"name": "x", "arguments": {"region": "Rome"}}
    async with bridged(behind) as (front, _, _):
        server, asked = await probed(front, behind, params, "tools/call")
        await server.say({"id": asked["id"], "error": {"code": CODE_HEADER_MISMATCH, "message": "Mcp-Param-Region"}})
        listed = await server.hear("tools/list")
        tool = {"name": "x", "inputSchema": {"type": "object"}}
        await server.answer(listed, {"resultType": "complete", "tools": [tool]})
        again = await server.hear("tools/call")
        assert again["params"]["arguments"] == {"region": "Rome"}
        await server.answer(again, {"resultType": "complete", "content": []})
        assert (await front.hear())["result"]["content"] == []
    assert sent == [("x", {"region": "Rome"})]


class Compared(Verifier):
    """Notes what it is given to compare."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def check(self, method: str, meta: Any, params: Any) -> None:
        self.seen.append((method, params.name))

    def check_arguments(self, input_schema: Any, arguments: Any) -> None:
        self.seen.append((input_schema, bytes(arguments)))


async def test_what_http_repeats_of_a_call_is_compared_here() -> None:
    """Behind stdio nobody else could."""
    behind, verifier = Behind(), Compared()
    bridge = Bridge(behind)
    params = msgspec.Raw(b'{"_meta":%b,"name":"x","arguments":{"a": 1}}' % json.dumps(META).encode())
    with anyio.fail_after(15):
        async with bridge.running(), anyio.create_task_group() as tasks:
            for attempt in range(2):
                envelope = Envelope(Request(1, "tools/call", params), inbox := Inbox(), Origin(verifier=verifier))
                tasks.start_soon(bridge.answer, envelope)
                if not attempt:
                    server = await behind.server()
                    await server.answer(await server.hear("server/discover"), discovery())
                    tool = {"name": "x", "inputSchema": {"type": "object"}}
                    await server.answer(await server.hear("tools/list"), {"resultType": "complete", "tools": [tool]})
                await server.answer(await server.hear("tools/call"), {"resultType": "complete"})
                await inbox.receive()
    assert verifier.seen == 2 * [("tools/call", "x"), ({"type": "object"}, b'{"a": 1}')]


class Reluctant(Channel):
    """Sends a notification only when it is allowed to, as HTTP does when a server takes its time to accept one."""

    def __init__(self, channel: Channel, allowed: anyio.Event) -> None:
        self._channel = channel
        self._allowed = allowed

    async def receive(self) -> Envelope:
        return await self._channel.receive()

    async def send(self, envelope: Envelope) -> None:
        if isinstance(envelope.message, Notification) and envelope.message.method == "notifications/x":
            await self._allowed.wait()
        await self._channel.send(envelope)

    async def aclose(self) -> None:
        await self._channel.aclose()


async def test_a_request_does_not_overtake_what_was_said_before_it() -> None:
    allowed = anyio.Event()

    class Slow(Behind):
        @asynccontextmanager
        async def connect(self) -> AsyncIterator[Channel]:
            async with super().connect() as channel:
                yield Reluctant(channel, allowed)

    async with bridged(Slow()) as (front, behind, _):
        server = await shaken(front, behind)
        await front.say({"method": "notifications/x", "params": {"n": 1}})
        await front.say({"method": "notifications/x", "params": {"n": 2}})
        await front.say({"id": 1, "method": "x/y"})
        assert await server.heard_nothing()
        allowed.set()
        assert [(await server.hear("notifications/x"))["params"]["n"] for _ in range(2)] == [1, 2]
        await server.answer(await server.hear("x/y"), {})
        assert (await front.hear())["result"] == {}


async def test_calls_at_once_do_not_meet() -> None:
    async with bridged() as (front, behind, _):
        server = await shaken(front, behind)
        for number in range(50):
            await front.say({"id": number, "method": "x", "params": {"n": number}})
        asked = [await server.hear() for _ in range(50)]
        for request in reversed(asked):
            await server.answer(request, request["params"])
        answers = [await front.hear() for _ in range(50)]
        assert {answer["id"]: answer["result"]["n"] for answer in answers} == {n: n for n in range(50)}


async def test_what_is_no_json_object_is_refused_or_passed() -> None:
    async with bridged() as (front, behind, _):
        server = await shaken(front, behind)
        await front.say({"id": 1, "method": "x", "params": [1, 2]})
        assert (await server.hear("x"))["params"] == [1, 2]
        await front.say(b'{"jsonrpc":"2.0","id":2,"method":"x","params":["io.modelcontextprotocol/protocolVersion"]}')
        assert (await front.hear())["error"]["code"] == -32602
