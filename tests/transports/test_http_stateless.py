"""2026-07-28 over HTTP: no sessions, disconnects that cancel, subscriptions, and headers that mirror the body."""

from typing import Any

import anyio
import pytest
from transports.raw_http import MODERN, Event, Site, Wire, call, message, modern, serving, until

from mcpcore import Context

pytestmark = pytest.mark.anyio

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


def listen(id: Any = "sub", **wanted: Any) -> dict[str, Any]:
    return message("subscriptions/listen", {"notifications": wanted}, id=id)


# -- what may be posted ----------------------------------------------------------------------------------------------


async def test_notifications_are_accepted_without_any_of_the_headers() -> None:
    async with serving() as site, site.connect() as wire:
        for body in (
            message("notifications/cancelled", {"requestId": 1}, id=None),
            message("notifications/unheard-of", id=None),
        ):
            answer = await site.post(wire, body, {"Mcp-Protocol-Version": MODERN})
            assert (answer.status, await answer.body()) == (202, b"")


async def test_a_notification_cancels_nobody() -> None:
    """Ids are the callers' own: by id it could only ever hit somebody else's request."""
    async with serving() as site, site.connect() as wire, site.connect() as other:
        await site.send(wire, *modern(call("wait", id=7)))
        await site.offer.began.wait()
        body = message("notifications/cancelled", {"requestId": 7}, id=None)
        assert (await site.post(other, body, {"Mcp-Protocol-Version": MODERN})).status == 202
        site.offer.go.set()
        assert (await (await wire.answer()).json())["result"]["content"][0]["text"] == "waited"


@pytest.mark.parametrize(
    "body",
    [
        [],
        [message("tools/list")],
        [message("notifications/initialized", id=None)],
        {"jsonrpc": "2.0", "id": 1, "result": {}},
        {"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": "no"}},
        {"jsonrpc": "2.0", "id": 1},
        {"id": 1, "method": "tools/list"},
        {"jsonrpc": "2.0", "id": None, "method": "tools/list"},
        {"jsonrpc": "2.0", "id": 1.5, "method": "tools/list"},
        5,
    ],
)
async def test_batches_responses_and_nonsense_are_refused(body: Any) -> None:
    async with serving() as site, site.connect() as wire:
        answer = await site.post(wire, body, {"Mcp-Protocol-Version": MODERN, "Mcp-Method": "tools/list"})
        found = await answer.json()
        assert (answer.status, found["error"]["code"]) == (400, -32600)


@pytest.mark.parametrize("body", [b"", b"{", b'{"jsonrpc": "2.0", "id": 1', b"\xff\xfe", b"nope"])
async def test_what_is_no_json_is_told_so(body: bytes) -> None:
    async with serving() as site, site.connect() as wire:
        for headers in ({"Mcp-Protocol-Version": MODERN}, {}):
            answer = await site.post(wire, body, headers)
            assert (answer.status, (await answer.json())["error"]["code"]) == (400, -32700)


async def test_json_that_is_nested_without_end_is_refused() -> None:
    async with serving() as site, site.connect() as wire:
        for body in (b"[" * 100_000, b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":' + b'{"a":' * 50_000):
            answer = await site.post(wire, body, {"Mcp-Protocol-Version": MODERN})
            assert answer.status == 400
            await answer.body()
        assert (await site.modern(wire, call("add", {"a": 1, "b": 2}))).status == 200


# -- leaving cancels -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("mode", ["json", "only-json", "event-stream", "after-events"])
async def test_leaving_cancels_in_every_response_mode(mode: str, reset: bool) -> None:
    async with serving() as site:
        wire = await site.wire()
        steps, token = {"event-stream": (3, 1), "after-events": (0, 1)}.get(mode, (0, None))
        body, headers = modern(call("hang", {"steps": steps}, token=token))
        if mode == "only-json":
            headers["Accept"] = "application/json"
        await site.send(wire, body, headers)
        await site.offer.hanging.wait()
        if steps:
            answer = await wire.answer()
            assert answer.kind == "text/event-stream"
            await answer.event()
        left = anyio.current_time()
        await wire.close(reset=reset)
        await site.offer.cancelled.wait()
        # 10 ms is the aim; the bound is for a loaded machine.
        assert anyio.current_time() - left < 0.5
        await until(lambda: site.server.statistics().running == 0)


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
async def test_leaving_ends_a_subscription(reset: bool) -> None:
    async with serving() as site:
        wire = await site.wire()
        answer = await site.modern(wire, listen(toolsListChanged=True))
        await answer.event()
        assert site.server.statistics().listeners == 1
        await wire.close(reset=reset)
        await until(lambda: site.server.statistics().listeners == 0)


async def test_leaving_cancels_while_the_body_is_unread() -> None:
    """A stream whose reader stopped long ago is not kept by what the handler still wants to send."""
    async with serving() as site, site.connect(receive_buffer=4096) as wire:
        await site.send(wire, *modern(call("pour", token=1)))
        await site.offer.began.wait()
        await wire.close(reset=True)
        await site.offer.cancelled.wait()
        assert site.offer.pulled < 100


@pytest.mark.parametrize("token", [None, 1], ids=["json", "event-stream"])
async def test_leaving_reaches_the_tool_without_delay(token: int | None) -> None:
    """The host cancels what does not end by itself a quarter of a second later: that is not what is seen here."""
    times = []
    async with serving() as site:
        for _ in range(5):
            site.offer.hanging, site.offer.cancelled = Event(), Event()
            wire = await site.wire()
            await site.send(wire, *modern(call("hang", {"steps": 1}, token=token)))
            await site.offer.hanging.wait()
            left = anyio.current_time()
            await wire.close()
            await site.offer.cancelled.wait()
            times.append(anyio.current_time() - left)
    # The best of five, since another process may hold up any one of them.
    assert min(times) < 0.1


async def test_two_clients_may_use_the_same_id() -> None:
    async with serving() as site, site.connect() as stays:
        leaves = await site.wire()
        await site.send(leaves, *modern(call("hang", id=1)))
        await site.send(stays, *modern(call("wait", id=1)))
        await site.offer.hanging.wait()
        await site.offer.began.wait()
        await leaves.close()
        await site.offer.cancelled.wait()
        site.offer.go.set()
        found = await (await stays.answer()).json()
        assert (found["id"], found["result"]["content"][0]["text"]) == (1, "waited")
        assert site.offer.cancelled.count == 1


async def test_fifty_clients_with_the_same_id_and_token() -> None:
    async with serving() as site:
        seen: dict[int, list[int]] = {}

        async def one(upto: int) -> None:
            async with site.connect() as wire:
                found = await (await site.modern(wire, call("count", {"upto": upto}, id=1, token="t"))).messages()
                assert found[-1]["result"]["structuredContent"] == {"result": upto}
                seen[upto] = [step["params"]["progress"] for step in found[:-1]]

        async with anyio.create_task_group() as tasks:
            for upto in range(1, 51):
                tasks.start_soon(one, upto)
        assert seen == {upto: list(range(1, upto + 1)) for upto in range(1, 51)}


# -- subscriptions ---------------------------------------------------------------------------------------------------


async def test_a_subscription_is_acknowledged_and_filtered() -> None:
    async with serving() as site, site.connect() as wire, site.connect() as other:
        answer = await site.modern(wire, listen(toolsListChanged=True, resourceSubscriptions=["note://one"]))
        assert (answer.status, answer.kind) == (200, "text/event-stream")
        event = await answer.event()
        assert event is not None
        found = event.json()
        assert found["method"] == "notifications/subscriptions/acknowledged"
        assert found["params"]["notifications"] == {
            "toolsListChanged": True,
            "resourceSubscriptions": ["note://one"],
        }
        assert found["params"]["_meta"] == {SUBSCRIPTION: "sub"}
        second = await site.modern(other, listen(id=5, promptsListChanged=True))
        event = await second.event()
        assert event is not None
        assert event.json()["params"]["_meta"] == {SUBSCRIPTION: 5}
        await site.server.notify_resource_updated("note://other")
        await site.server.notify_resource_updated("note://one")
        event = await answer.event()
        assert event is not None
        assert event.id is None
        found = event.json()
        assert (found["method"], found["params"]["uri"]) == ("notifications/resources/updated", "note://one")
        assert found["params"]["_meta"] == {SUBSCRIPTION: "sub"}
        site.server.remove_tool("refuse")
        event = await answer.event()
        assert event is not None
        assert event.json()["method"] == "notifications/tools/list_changed"
        # Stopping is an answer, not a broken connection.
        site.server.stop(1)
        [last] = await answer.messages()
        assert last["id"] == "sub"
        assert last["result"]["_meta"][SUBSCRIPTION] == "sub"
        [last] = await second.messages()
        assert last["id"] == 5


async def test_a_subscription_is_a_stream_even_where_answers_are_json() -> None:
    async with serving(json_response=True) as site, site.connect() as wire, site.connect() as other:
        answer = await site.modern(wire, listen(toolsListChanged=True))
        assert answer.kind == "text/event-stream"
        refused = await site.modern(other, listen(toolsListChanged=True), accept="application/json")
        assert refused.status == 406
        await refused.body()
        refused = await site.modern(other, message("subscriptions/listen", {}))
        assert (refused.status, (await refused.json())["error"]["code"]) == (400, -32602)


async def test_a_subscription_that_is_not_read_costs_nothing_and_holds_nobody_up() -> None:
    async with serving() as site, site.connect(receive_buffer=4096) as stalled, site.connect() as wire:
        uris = [f"note://{number}-{'x' * 200}" for number in range(900)]
        await site.send(stalled, *modern(listen(resourceSubscriptions=uris)))
        await until(lambda: site.server.statistics().listeners == 1)
        for _ in range(30):
            for uri in uris:
                await site.server.notify_resource_updated(uri)
            answer = await site.modern(wire, call("add", {"a": 1, "b": 2}))
            assert (await answer.json())["result"]["structuredContent"] == {"result": 3}


# -- headers that mirror the body ------------------------------------------------------------------------------------


async def routed(
    site: Site, wire: Wire, arguments: Any, remove: str | None = None, **headers: Any
) -> tuple[int, int | None]:
    body, mirrored = modern(call("route", arguments))
    fields: dict[str, Any] = {**mirrored, **{name.replace("_", "-"): value for name, value in headers.items()}}
    if remove is not None:
        fields[remove] = None
    answer = await site.post(wire, body, fields)
    found = await answer.json()
    return answer.status, found.get("error", {}).get("code")


GOOD = (200, None)
BAD = (400, -32020)


async def test_the_standard_headers_have_to_say_what_the_body_says() -> None:
    async with serving() as site, site.connect() as wire:
        for arguments, headers, expected in (
            ({}, {}, GOOD),
            ({}, {"Mcp_Method": "TOOLS/CALL"}, BAD),
            ({}, {"Mcp_Method": "tools/list"}, BAD),
            ({}, {"remove": "Mcp-Method"}, BAD),
            ({}, {"Mcp_Name": "add"}, BAD),
            ({}, {"Mcp_Name": "Route"}, BAD),
            ({}, {"remove": "Mcp-Name"}, BAD),
            ({}, {"Mcp_Name": "=?base64?cm91dGU=?="}, GOOD),
            ({}, {"Mcp_Name": "=?base64?cm91dGU?="}, BAD),
            ({}, {"Mcp_Name": "  route\t"}, GOOD),
        ):
            assert await routed(site, wire, arguments, **headers) == expected, (arguments, headers)


@pytest.mark.parametrize("name", ["Mcp-Method", "Mcp-Name", "Mcp-Protocol-Version", "Mcp-Param-Region"])
async def test_a_header_that_is_there_twice_is_refused(name: str) -> None:
    """The first and the last reader of duplicates disagree about which one counts."""
    async with serving() as site, site.connect() as wire:
        body, headers = modern(call("route", {"region": "eu"}))
        headers["Mcp-Param-Region"] = "eu"
        headers[name.lower()] = headers[name]
        answer = await site.post(wire, body, headers)
        assert (answer.status, (await answer.json())["error"]["code"]) == BAD


async def test_annotated_arguments_have_to_be_mirrored() -> None:
    async with serving() as site, site.connect() as wire:
        for arguments, headers, expected in (
            ({"region": "eu"}, {"Mcp_Param_Region": "eu"}, GOOD),
            ({"region": "eu"}, {"MCP_PARAM_REGION": "eu"}, GOOD),
            ({"region": "eu"}, {"Mcp_Param_Region": "us"}, BAD),
            ({"region": "eu"}, {"Mcp_Param_Region": "EU"}, BAD),
            ({"region": "eu"}, {}, BAD),
            ({}, {"Mcp_Param_Region": "eu"}, BAD),
            ({"region": None}, {}, GOOD),
            ({"region": "Köln"}, {"Mcp_Param_Region": "=?base64?S8O2bG4=?="}, GOOD),
            ({"size": 42}, {"Mcp_Param_Size": "42"}, GOOD),
            ({"size": 42}, {"Mcp_Param_Size": "42.0"}, GOOD),
            ({"size": 42}, {"Mcp_Param_Size": "43"}, BAD),
            ({}, {"Mcp_Param_Unknown": "whatever"}, GOOD),
        ):
            assert await routed(site, wire, arguments, **headers) == expected, (arguments, headers)


async def test_a_session_needs_no_mirrored_headers() -> None:
    async with serving() as site, site.talk() as talk:
        assert await talk.tool("route", {"region": "eu"}, mcp_param_region="us") == '{"region": "eu"}'


async def test_resources_and_prompts_have_names_too() -> None:
    async with serving() as site, site.connect() as wire:
        answer = await site.modern(wire, message("resources/read", {"uri": "note://one"}))
        assert (await answer.json())["result"]["contents"][0]["text"] == "a note"
        answer = await site.modern(wire, message("resources/read", {"uri": "note://one"}), mcp_name="note://two")
        assert (answer.status, (await answer.json())["error"]["code"]) == BAD
        answer = await site.modern(wire, message("prompts/get", {"name": "greet", "arguments": {"who": "you"}}))
        assert (await answer.json())["result"]["messages"][0]["content"]["text"] == "Hello you"


# -- several tasks of one handler ------------------------------------------------------------------------------------


async def test_tasks_of_one_handler_may_notify_at_once() -> None:
    """Also as the very first thing, and while the answer is on its way."""
    async with serving() as site, site.connect() as wire:

        @site.server.tool
        async def many(ctx: Context) -> int:
            async def one(number: int) -> None:
                for step in range(20):
                    await ctx.info(f"{number}.{step} " + "x" * 5000)

            async with anyio.create_task_group() as tasks:
                for number in range(20):
                    tasks.start_soon(one, number)
            return 20

        body = call("many")
        body["params"]["_meta"] = {"io.modelcontextprotocol/logLevel": "info"}
        answer = await site.modern(wire, body)
        found = await answer.messages()
        assert found[-1]["result"]["structuredContent"] == {"result": 20}
        said = [one["params"]["data"].split()[0] for one in found[:-1]]
        assert sorted(said) == sorted(f"{number}.{step}" for number in range(20) for step in range(20))
        for number in range(20):
            assert [one for one in said if one.startswith(f"{number}.")] == [f"{number}.{step}" for step in range(20)]


async def test_what_is_sent_while_a_handler_ends_comes_before_its_answer_or_not_at_all() -> None:
    """A task that outlives the handler, in the program's own task group, is caught in the middle of a send."""
    outliving = Event()
    async with serving() as site, anyio.create_task_group() as tasks:

        @site.server.tool
        async def leave(ctx: Context) -> str:
            async def stay() -> None:
                for step in range(1, 50):
                    await ctx.progress(step, message="x" * 100_000)
                    outliving.set()

            tasks.start_soon(stay)
            await outliving.wait()
            return "left"

        async with site.connect(receive_buffer=4096) as wire:
            answer = await site.modern(wire, call("leave", token=1))
            found = await answer.messages()
            assert found[-1]["result"]["content"][0]["text"] == "left"
            steps = [one["params"]["progress"] for one in found[:-1]]
            assert steps == list(range(1, len(steps) + 1))
