"""Which request goes where: two eras at one path, decided per message, and what is refused before it is looked at."""

from typing import Any

import anyio
import pytest
from transports.raw_http import MODERN, Site, call, initialize, message, modern, offer, serving, until

from mcpcore.revisions import Era
from mcpcore_transports.web.limits import HttpLimits

pytestmark = pytest.mark.anyio

VERSION = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


# -- two eras --------------------------------------------------------------------------------------------------------


async def test_both_eras_on_one_connection() -> None:
    async with serving() as site, site.talk() as talk:
        for value in range(3):
            answer = await site.modern(talk.wire, call("add", {"a": value, "b": 1}, id="x"))
            found = await answer.json()
            assert (answer.status, found["id"]) == (200, "x")
            assert found["result"]["structuredContent"] == {"result": value + 1}
            assert found["result"]["resultType"] == "complete"
            assert "mcp-session-id" not in answer.headers
            assert await talk.tool("add", {"a": value, "b": 2}) == str(value + 2)
        requests = site.server.statistics().requests
        assert (requests["2025-11-25"], requests[MODERN]) == (4, 3)  # the handshake counts
        assert len(site.endpoint.sessions) == 1


@pytest.mark.parametrize(
    ("header", "envelope", "status", "code"),
    [
        (MODERN, MODERN, 200, None),
        (None, MODERN, 400, -32020),
        (MODERN, None, 400, -32602),
        ("2025-11-25", MODERN, 400, -32020),
        (MODERN, "2025-11-25", 400, -32020),
        ("2099-01-01", "2099-01-01", 400, -32022),
        (MODERN, "2099-01-01", 400, -32020),
        ("2099-01-01", None, 400, -32600),
        ("foo", None, 400, -32600),
        (f" {MODERN}\t", MODERN, 200, None),
        (f"{MODERN}, {MODERN}", MODERN, 400, -32020),
        (None, None, 400, -32600),
        ("2025-11-25", None, 400, -32600),
    ],
)
async def test_the_era_is_that_of_the_header_or_of_the_envelope(
    header: str | None, envelope: str | None, status: int, code: int | None
) -> None:
    async with serving() as site, site.connect() as wire:
        body: dict[str, Any] = message("tools/list", {})
        if envelope is not None:
            body["params"] = {"_meta": {VERSION: envelope, CAPABILITIES: {}}}
        answer = await site.post(wire, body, {"Mcp-Protocol-Version": header, "Mcp-Method": "tools/list"})
        found = await answer.json()
        assert answer.status == status, found
        assert found.get("error", {}).get("code") == code
        if code == -32022:
            assert found["error"]["data"] == {"supported": [MODERN], "requested": "2099-01-01"}


async def test_a_session_id_means_nothing_in_the_stateless_era() -> None:
    async with serving() as site, site.connect() as wire:
        answer = await site.modern(wire, call("add", {"a": 1, "b": 2}), mcp_session_id="nobody", last_event_id="1.1")
        assert answer.status == 200
        assert "mcp-session-id" not in answer.headers
        assert len(site.endpoint.sessions) == 0


async def test_discovery_needs_an_envelope_like_every_request() -> None:
    async with serving() as site, site.connect() as wire:
        answer = await site.modern(wire, message("server/discover"))
        found = (await answer.json())["result"]
        assert found["supportedVersions"][0] == MODERN
        answer = await site.post(wire, message("server/discover"))
        assert (answer.status, (await answer.json())["error"]["code"]) == (400, -32602)


@pytest.mark.parametrize("method", ["initialize", "tools/list"])
async def test_a_server_without_the_handshake_era_says_so(method: str) -> None:
    async with serving(offer(eras=[Era.MODERN])) as site, site.connect() as wire:
        body = initialize() if method == "initialize" else message(method)
        answer = await site.post(wire, body)
        found = (await answer.json())["error"]
        if method == "initialize":
            assert (answer.status, found["code"]) == (404, -32601)
            assert found["data"] == {"supported": [MODERN]}
            assert "no handshake" in found["message"]
        else:
            assert (answer.status, found["code"]) == (400, -32602)
            assert VERSION in found["message"]
        for verb in ("GET", "DELETE"):
            refused = await wire.ask(verb, "/mcp", {"Mcp-Session-Id": "x"})
            assert (refused.status, refused.headers["allow"]) == (405, "POST, OPTIONS")
            await refused.body()
        answer = await site.modern(wire, call("add", {"a": 1, "b": 2}))
        assert answer.status == 200
        assert len(site.endpoint.sessions) == 0


async def test_a_server_without_the_stateless_era_says_so() -> None:
    async with serving(offer(eras=[Era.LEGACY])) as site, site.talk() as talk:
        answer = await site.modern(talk.wire, call("add", {"a": 1, "b": 2}))
        found = (await answer.json())["error"]
        assert answer.status == 400
        assert "2025-11-25" in found["message"]
        assert await talk.tool("add", {"a": 1, "b": 2}) == "3"


# -- the order of checks ---------------------------------------------------------------------------------------------


def changed(body: dict[str, Any], **params: Any) -> dict[str, Any]:
    return {**body, "params": {**body["params"], **params}}


async def refused(site: Site, body: Any, headers: dict[str, Any]) -> tuple[int, int]:
    async with site.connect() as wire:
        answer = await site.post(wire, body, headers)
        found = await answer.json()
        return answer.status, found["error"]["code"]


async def test_of_several_faults_the_first_in_order_is_told() -> None:
    """Spec checklist SHM-32: each request fails on its own rung and on every later one."""
    async with serving() as site:
        good, headers = modern(call("route", {"region": "eu"}))
        meta = good["params"]["_meta"]
        wrong = {**headers, "Mcp-Method": "tools/list", "Mcp-Name": "other"}
        # JSON, then JSON-RPC.
        assert await refused(site, b"{", wrong) == (400, -32700)
        assert await refused(site, {"id": 1, "method": "nope"}, wrong) == (400, -32600)
        # The envelope is incomplete, the headers contradict, the revision is unknown, the method too.
        bare = {"_meta": {VERSION: "2099-01-01"}}
        assert await refused(site, message("nope", bare), wrong) == (400, -32602)
        # The headers contradict; the revision is not served and the method unknown.
        alien = {"_meta": {**meta, VERSION: "2099-01-01"}}
        assert await refused(site, message("nope", alien), wrong) == (400, -32020)
        # The revision is not served; the method is unknown.
        agreed = {"Mcp-Protocol-Version": "2099-01-01", "Mcp-Method": "nope"}
        assert await refused(site, message("nope", alien), agreed) == (400, -32022)
        # The method is unknown, and so are its parameters.
        unknown = {"Mcp-Protocol-Version": MODERN, "Mcp-Method": "nope"}
        assert await refused(site, message("nope", {"_meta": meta, "name": 5}), unknown) == (404, -32601)
        # A method of the other era.
        other = {"Mcp-Protocol-Version": MODERN, "Mcp-Method": "logging/setLevel"}
        assert await refused(site, message("logging/setLevel", {"_meta": meta}), other) == (404, -32601)
        # The parameters are wrong, and the headers of arguments too.
        method = {"Mcp-Protocol-Version": MODERN, "Mcp-Method": "tools/call"}
        assert await refused(site, changed(good, name=5), method) == (400, -32602)
        # The headers of arguments are missing.
        assert await refused(site, good, headers) == (400, -32020)


async def test_a_missing_capability_has_its_own_code() -> None:
    async with serving() as site, site.connect() as wire:
        answer = await site.modern(wire, call("ask"))
        found = (await answer.json())["error"]
        assert (answer.status, found["code"]) == (400, -32021)
        assert found["data"] == {"requiredCapabilities": {"elicitation": {"form": {}}}}


async def test_host_and_origin_come_before_the_verb_and_the_body() -> None:
    async with serving() as site, site.connect() as wire:
        answer = await wire.ask("POST", "/mcp", {"Host": "evil.example"}, b"{")
        assert answer.status == 421
        await answer.body()
        answer = await wire.ask("PUT", "/mcp", {"Origin": "https://evil.example"}, b"{")
        assert answer.status == 403


# -- what a client may send and accept -------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["PUT", "PATCH", "HEAD", "TRACE"])
async def test_other_verbs_are_told_which_there_are(verb: str) -> None:
    async with serving() as site, site.connect() as wire:
        answer = await wire.ask(verb, "/mcp")
        assert answer.status == 405
        assert answer.headers["allow"] == "POST, GET, DELETE, OPTIONS"


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        (None, 415),
    ],
)
async def test_content_types(kind: str | None, status: int) -> None:
    async with serving() as site:
        body, headers = modern(call("add", {"a": 1, "b": 2}))
        for whole in ((body, headers), (initialize(), {})):
            # A body that was not read closes the connection.
            async with site.connect() as wire:
                answer = await site.post(wire, whole[0], {**whole[1], "Content-Type": kind})
                assert answer.status == status


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        (None, 200),
        ("*/*", 200),
        ("application/json", 200),
        ("text/event-stream", 200),
        ("application/*", 200),
        ("Application/Json , text/event-stream;q=0.5", 200),
        ("application/json;q=0, text/event-stream; q=0.0", 406),
        ("text/html", 406),
        ("image/*", 406),
        ("", 406),
    ],
)
async def test_accept_variants(accept: str | None, status: int) -> None:
    async with serving() as site, site.connect() as wire:
        body, headers = modern(call("add", {"a": 1, "b": 2}))
        answer = await site.post(wire, body, {**headers, "Accept": accept})
        assert answer.status == status, await answer.body()
        await answer.body()
        answer = await site.post(wire, initialize(), {"Accept": accept})
        assert answer.status == status
        found = await answer.json()
        assert ("result" in found) == (status == 200)
        await until(lambda: len(site.endpoint.sessions) == (status == 200))


async def test_an_unknown_path_is_nothing() -> None:
    async with serving() as site, site.connect() as wire:
        for path in ("/", "/mcp/extra", "/sse", "/messages", "/mcp%2f"):
            answer = await wire.ask("POST", path, {}, b"{}")
            assert answer.status == (404 if path != "/mcp%2f" else 415), path
            await answer.body()


async def test_the_endpoint_may_be_the_root() -> None:
    async with serving(path="/") as site, site.connect() as wire:
        assert (await site.modern(wire, call("add", {"a": 1, "b": 2}))).status == 200
    async with serving(path="/deep/mcp/") as site, site.connect() as wire:
        assert (await site.modern(wire, call("add", {"a": 1, "b": 2}))).status == 200


# -- one JSON body, or events ----------------------------------------------------------------------------------------


async def test_an_answer_is_json_unless_something_comes_before_it() -> None:
    async with serving() as site, site.connect() as wire:
        # Without a token nobody wants progress.
        answer = await site.modern(wire, call("count", {"upto": 3}))
        assert (answer.kind, (await answer.json())["result"]["structuredContent"]) == (
            "application/json",
            {"result": 3},
        )
        answer = await site.modern(wire, call("count", {"upto": 3}, token="t"))
        assert (answer.status, answer.kind) == (200, "text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        assert "no-cache" in answer.headers["cache-control"]
        events = await answer.events()
        assert {(event.event, event.id) for event in events} == {("message", None)}
        found = [event.json() for event in events]
        assert [one["params"]["progress"] for one in found[:-1]] == [1, 2, 3]
        assert {one["params"]["progressToken"] for one in found[:-1]} == {"t"}
        assert found[-1]["result"]["structuredContent"] == {"result": 3}


@pytest.mark.parametrize("how", ["accept", "option"])
async def test_json_only_leaves_notifications_out(how: str) -> None:
    async with serving(json_response=how == "option") as site, site.connect() as wire:
        accept = "application/json" if how == "accept" else "application/json, text/event-stream"
        answer = await site.modern(wire, call("count", {"upto": 3}, token=1), accept=accept)
        assert (answer.status, (await answer.json())["result"]["structuredContent"]) == (200, {"result": 3})
        async with site.talk() as talk:
            answer = await talk.post(call("count", {"upto": 3}, token=1), accept=accept)
            assert (answer.status, (await answer.json())["result"]["structuredContent"]) == (200, {"result": 3})


async def test_a_thousand_steps_arrive_in_order_and_before_the_result() -> None:
    async with serving() as site, site.connect() as wire, site.talk() as talk:
        for answer in (
            await site.modern(wire, call("count", {"upto": 1000}, token=1)),
            await talk.post(call("count", {"upto": 1000}, token=1)),
        ):
            found = await answer.messages()
            assert [one["params"]["progress"] for one in found[:-1]] == list(range(1, 1001))
            assert found[-1]["result"]["structuredContent"] == {"result": 1000}


async def test_what_goes_wrong_in_a_tool_tells_nothing_of_the_exception() -> None:
    async with serving() as site, site.connect() as wire:
        answer = await site.modern(wire, call("crash"))
        body = await answer.body()
        assert answer.status == 200
        assert b"crash" in body
        assert b"secret" not in body
        answer = await site.modern(wire, call("refuse"))
        found = (await answer.json())["result"]
        assert (found["isError"], found["content"][0]["text"]) == (True, "the disk is full")


async def test_a_question_is_a_final_answer_that_asks_for_input() -> None:
    async with serving() as site, site.connect() as wire:
        answer = await site.modern(wire, call("ask"), capabilities={"elicitation": {}})
        found = (await answer.json())["result"]
        assert found["resultType"] == "input_required"
        [(key, question)] = found["inputRequests"].items()
        assert question["params"]["message"] == "Which city?"
        again = call(
            "ask",
            id=2,
            requestState=found["requestState"],
            inputResponses={key: {"action": "accept", "content": {"name": "Rome"}}},
        )
        answer = await site.modern(wire, again, capabilities={"elicitation": {}})
        found = (await answer.json())["result"]
        assert (found["resultType"], found["content"][0]["text"]) == ("complete", "Rome")


async def test_the_keep_alive_of_a_quiet_stream() -> None:
    async with serving(limits=HttpLimits(quiet_seconds=0.2)) as site, site.connect() as wire, site.connect() as other:
        answer = await site.modern(wire, call("wait", {"steps": 1}, token=1))
        assert (await answer.event()) is not None
        async with site.talk() as talk:
            quiet = await talk.get(other)
            # Nothing but comments comes until the tool is told to go on.
            assert (await quiet.event()).data == ""  # what primes it
            for _ in range(2):
                await quiet.comment()
                await answer.comment()
        site.offer.go.set()
        assert [one["params"]["progress"] for one in (await answer.messages())[:-1]] == [2]


async def test_streams_that_stay_open_have_a_limit_and_others_none() -> None:
    listen = message("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, id="sub")
    async with serving(max_streams=2, sse_path="/sse") as site, site.talk() as talk:
        async with site.connect() as one, site.connect() as two, site.connect() as third:
            assert (await talk.get(one)).status == 200
            assert (await site.modern(two, listen)).status == 200
            assert site.endpoint.count_streams() == 2
            for asked in (talk.get(third), site.modern(third, listen), third.ask("GET", "/sse")):
                refused = await asked
                assert (refused.status, int(refused.headers["retry-after"]) > 0) == (503, True)
                assert "--max-streams" in (await refused.json())["error"]["message"]
            assert (await third.ask("GET", site.path, {"Accept": "text/event-stream"})).status == 405
            answer = await talk.post(call("wait", {"steps": 1}, token=1))
            assert (await answer.event()) is not None  # an event stream, too, and one that ends
            site.offer.go.set()
            await answer.messages()
        await until(lambda: site.endpoint.count_streams() == 0)
        async with site.connect() as wire:
            assert (await wire.ask("GET", "/sse")).status == 200


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", ["/sse", "/sse/messages?session_id=old"])
async def test_the_usual_place_of_sse_says_where_to_go_when_it_is_not_served(path: str, method: str) -> None:
    async with serving() as site, site.connect() as wire:
        answer = await wire.ask(method, path)
        assert (answer.status, answer.headers["link"]) == (404, '</mcp>; rel="successor-version"')
        assert "speaks Streamable HTTP, at /mcp" in (await answer.json())["error"]["message"]
    async with serving(sse_path="/old") as site, site.connect() as wire:
        assert "link" not in (await wire.ask(method, "/else")).headers
    async with serving(path=None, sse_path="/old") as site, site.connect() as wire:
        assert "link" not in (await wire.ask(method, path)).headers


async def test_a_busy_server_says_when_to_come_back() -> None:
    async with serving(offer(max_running=1)) as site, site.connect() as one, site.connect() as two, site.talk() as talk:
        await site.send(one, *modern(call("wait")))
        await site.offer.began.wait()
        answer = await site.modern(two, call("add", {"a": 1, "b": 2}))
        assert (answer.status, (await answer.json())["error"]["code"]) == (503, -31503)
        assert int(answer.headers["retry-after"]) > 0
        answer = await talk.post(call("add", {"a": 1, "b": 2}))
        assert (answer.status, (await answer.json())["error"]["code"]) == (503, -31503)
        assert int(answer.headers["retry-after"]) > 0
        site.offer.go.set()
        assert (await one.answer()).status == 200
        assert await talk.tool("add", {"a": 1, "b": 2}) == "3"


# -- operations ------------------------------------------------------------------------------------------------------


async def test_health_and_readiness() -> None:
    async with serving() as site, site.connect() as wire:
        for path, text in (("/healthz", b"ok\n"), ("/readyz", b"ready\n")):
            # Probes come by address, from wherever they like.
            answer = await wire.ask("GET", path, {"Host": "10.0.0.7"})
            assert (answer.status, await answer.body()) == (200, text)
        await site.send(wire, *modern(call("wait")))
        await site.offer.began.wait()
        site.endpoint.drain()
        async with site.connect() as probe:
            answer = await probe.ask("GET", "/readyz")
            assert (answer.status, await answer.body()) == (503, b"draining\n")
            answer = await probe.ask("GET", "/healthz")
            assert (answer.status, await answer.body()) == (200, b"ok\n")
        # Drained is not stopped: what runs goes on.
        site.offer.go.set()
        assert (await wire.answer()).status == 200


async def test_a_draining_server_begins_no_session() -> None:
    async with serving() as site, site.talk() as talk, site.connect() as wire:
        site.endpoint.drain()
        answer = await site.post(wire, initialize())
        assert answer.status == 503
        assert "retry-after" in answer.headers
        await answer.body()
        assert await talk.tool("add", {"a": 1, "b": 2}) == "3"
        # A stream that nothing will come on any more ends at once.
        stream = await talk.get(wire)
        with anyio.fail_after(5):
            assert await stream.messages() == []
