"""The HTTP transport of a client, and the channel behind it: which generation a server is, one request, its errors.

Against scripted servers on real sockets, on the ordinary clock of each backend. Every wait is for an event and bounded.
"""

import gc
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from transports.raw_http import serving as offering
from transports.scripted_mcp import MODERN, Asked, Sessions, answering, discovered, until
from transports.scripted_server import PATIENCE_SECONDS

from mcpcore import Client, ConnectFailed, ConnectionLost, DeadlineExceeded, LocalProtocolError, PeerError
from mcpcore.errors import RemoteProtocolError
from mcpcore_transports.http import events
from mcpcore_transports.http.authorized import Authorization, Call
from mcpcore_transports.http.client import HttpTransport
from mcpcore_transports.http.failures import HttpError, HttpRefused
from mcpcore_transports.web.client import HttpClient

pytestmark = pytest.mark.anyio

BRIEF_SECONDS = 0.05
"""A deadline that a test lets pass."""


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)


def text_of(result: Any) -> str:
    [block] = result.content
    return str(block.text)


class Modern:
    """A server of 2026-07-28; `call` answers tools/call."""

    def __init__(self, call: Callable[[Asked], Awaitable[None]]) -> None:
        self.call = call
        self.log: list[Asked] = []
        self.tools: list[dict[str, Any]] = []

    def seen(self, method: str) -> list[Asked]:
        return [asked for asked in self.log if asked.method == method]

    async def __call__(self, asked: Asked) -> None:
        self.log.append(asked)
        if asked.method == "server/discover":
            await asked.result(discovered())
        elif asked.method == "tools/list":
            result = {"tools": self.tools, "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
            await asked.result(result)
        else:
            await self.call(asked)


# -- which generation ------------------------------------------------------------------------------------------------


async def test_a_modern_server_is_known_by_its_first_answer() -> None:
    server = Modern(lambda asked: asked.text("done"))
    async with answering(server) as served, Client(served.url) as client:
        assert client.revision == MODERN
        assert text_of(await client.call_tool("x")) == "done"
    assert [asked.method for asked in server.log] == ["server/discover", "tools/call"]
    call = server.log[-1].headers
    assert call["mcp-protocol-version"] == MODERN
    assert (call["mcp-method"], call["mcp-name"]) == ("tools/call", "x")
    assert "application/json" in call["accept"]
    assert "text/event-stream" in call["accept"]
    assert "mcp-session-id" not in call


@pytest.mark.parametrize(
    "refusal",
    [
        lambda asked: asked.status(400, b"Bad Request: no valid session ID"),
        lambda asked: asked.status(404, b"<h1>Not Found</h1>", "text/html"),
        lambda asked: asked.status(405),
        lambda asked: asked.status(406),
        lambda asked: asked.status(415),
        lambda asked: asked.error(-32601),
        lambda asked: asked.error(-32601, status=404),
        lambda asked: asked.error(-32602, status=400),
        lambda asked: asked.error(-32000, "Bad Request: Server not initialized", 400, id=None),
        lambda asked: asked.error(-32600, "Missing session ID", 400, id="server-error"),
        lambda asked: asked.error(-32603, status=500),
    ],
)
async def test_whatever_refuses_the_first_question_is_asked_to_initialize(
    refusal: Callable[[Asked], Awaitable[None]],
) -> None:
    server = Sessions(server_discover=refusal)
    async with answering(server) as served, Client(served.url) as client:
        assert client.revision == "2025-11-25"
        await client.ping()
    assert [asked.method for asked in server.log][:3] == ["server/discover", "initialize", "notifications/initialized"]


@pytest.mark.parametrize("status", [401, 403, 429, 500, 502, 503])
@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_refusal_of_this_caller_at_this_time_says_nothing_about_generations(status: int, era: Any) -> None:
    asked_for: list[str] = []

    async def refuse(asked: Asked) -> None:
        asked_for.append(asked.method)
        await asked.status(status, b"<p>go away</p>\r\n<p>more</p>", "text/html")

    async with answering(refuse) as served:
        with pytest.raises(HttpRefused) as refused:
            async with Client(served.url, era=era):
                raise AssertionError
    assert (refused.value.status, refused.value.line) == (status, "<p>go away</p>")
    assert f"HTTP {status}" in str(refused.value)
    assert "more" not in str(refused.value)
    assert asked_for == ["server/discover" if era == "auto" else "initialize"]


async def test_a_login_that_is_asked_for_in_json_rpc_is_still_a_login() -> None:
    async with answering(lambda asked: asked.error(-32001, "Unauthorized", 401)) as served:
        with pytest.raises(HttpRefused) as refused:
            async with Client(served.url):
                raise AssertionError
    assert refused.value.status == 401
    assert "auth=" in str(refused.value)


async def test_nobody_there() -> None:
    async with answering(lambda asked: asked.status(200)) as served:
        pass
    with pytest.raises(ConnectFailed, match="is running") as refused:
        async with Client(served.url):
            raise AssertionError
    assert not isinstance(refused.value, HttpError)


async def test_a_wrong_path_is_told_with_what_was_tried() -> None:
    async with answering(lambda asked: asked.status(404, b"no such page")) as served:
        with pytest.raises(HttpRefused, match=r"check its path.*and by GET: HTTP 404") as refused:
            async with Client(served.url):
                raise AssertionError
    assert (refused.value.status, refused.value.line) == (404, "no such page")


async def test_a_redirect_is_not_followed_and_says_where_it_goes() -> None:
    async with answering(lambda asked: asked.status(307, location="/mcp/?token=secret")) as served:
        with pytest.raises(HttpRefused, match="goes to /mcp/: give the URL") as refused:
            async with Client(served.url):
                raise AssertionError
    assert "secret" not in str(refused.value)


async def test_a_modern_server_that_does_not_know_initialize_is_not_asked_for_an_event_stream() -> None:
    seen: list[str] = []

    async def refuse(asked: Asked) -> None:
        seen.append(asked.method)
        await asked.error(-32601, status=404)

    async with answering(refuse) as served:
        with pytest.raises(ConnectFailed, match="refused initialize"):
            async with Client(served.url, era="legacy"):
                raise AssertionError
    assert seen == ["initialize"]


async def test_a_refusal_larger_than_anybody_reads() -> None:
    async def refuse(asked: Asked) -> None:
        await asked.caller.send(b"HTTP/1.1 500 X\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(64):
            await asked.raw(b"sorry\n" * 4096)
        await asked.end()

    async with answering(refuse) as served:
        with pytest.raises(HttpRefused) as refused:
            async with Client(served.url):
                raise AssertionError
    assert refused.value.line == "sorry"


@pytest.mark.parametrize("generation", ["modern", "legacy", "sse"])
async def test_our_own_server_is_found_whatever_it_serves(generation: str) -> None:
    async with offering(sse_path="/sse") as site:
        url = site.url.replace("/mcp", "/sse") if generation == "sse" else site.url
        era: Any = "legacy" if generation == "legacy" else "auto"
        heard: list[float] = []

        async def show(progress: float, total: float | None, message: str | None) -> None:
            heard.append(progress)

        async def city(params: Any) -> dict[str, str]:
            return {"name": "Paris"}

        async with Client(url, era=era, on_elicit=city) as client:
            assert (client.revision == MODERN) == (generation == "modern")
            assert text_of(await client.call_tool("add", {"a": 1, "b": 2})) == "3"
            assert text_of(await client.call_tool("count", {"upto": 50}, on_progress=show)) == "50"
            assert heard == [*range(1, 51)]
            assert text_of(await client.call_tool("ask")) == "Paris"
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.call_tool, "hang")
                await site.offer.hanging.wait()
                tasks.cancel_scope.cancel()
            await site.offer.cancelled.wait()
            assert text_of(await client.call_tool("add", {"a": 2, "b": 2})) == "4"


# -- the forms of an answer ------------------------------------------------------------------------------------------


async def test_every_answer_may_come_as_an_event_stream() -> None:
    async def stream(asked: Asked) -> None:
        server.log.append(asked)
        if "id" not in (asked.body or {}):
            await asked.status(405 if asked.verb == "GET" else 202)
            return
        result, headers = server.welcome() if asked.method == "initialize" else ({}, {})
        await asked.begin_events(**headers)
        if asked.method == "server/discover":
            await asked.event({"jsonrpc": "2.0", "id": asked.body["id"], "error": {"code": -32601, "message": "no"}})
        else:
            await asked.event(asked.said("done") if asked.method == "tools/call" else asked.answer(result))
        await asked.end()

    server = Sessions()
    async with answering(stream) as served, Client(served.url) as client:
        assert text_of(await client.call_tool("x")) == "done"
    assert server.seen("tools/call")[0].headers["mcp-session-id"] == "s1"


async def test_an_event_stream_may_hold_anything_beside_the_answer() -> None:
    async def call(asked: Asked) -> None:
        await asked.begin_events()
        await asked.raw(b": keep-alive\n\n")
        await asked.event(id="1")
        await asked.raw(b"data: this is not JSON\n\n")
        await asked.raw(b"event: other\ndata: [1]\n\n")
        await asked.event({"jsonrpc": "2.0", "id": "somebody else's", "result": {"content": []}})
        await asked.event({"jsonrpc": "2.0", "method": "notifications/nobody/knows"})
        await asked.event(asked.said("done"))
        await asked.end()

    async with answering(Modern(call)) as served, Client(served.url) as client:
        assert text_of(await client.call_tool("x")) == "done"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda asked: asked.status(200, b"{this is not JSON", "application/json"), "no JSON-RPC response"),
        (lambda asked: asked.status(200, b"", "application/json"), "no JSON-RPC response"),
        (lambda asked: asked.status(200, b"<p>welcome</p>", "text/html"), "no JSON-RPC response"),
        (lambda asked: asked.status(202), "HTTP 202"),
        (lambda asked: asked.json({"jsonrpc": "2.0", "id": 4711, "result": {}}), "no JSON-RPC response"),
        (lambda asked: asked.json([]), "no JSON-RPC response"),
    ],
)
async def test_what_is_no_answer(answer: Callable[[Asked], Awaitable[None]], text: str) -> None:
    async with answering(Modern(answer)) as served, Client(served.url) as client:
        with pytest.raises(ConnectionLost, match=text) as lost:
            await client.call_tool("x")
        assert not isinstance(lost.value, ConnectFailed)  # something was done, perhaps


async def test_an_answer_with_neither_a_result_nor_an_error() -> None:
    async def call(asked: Asked) -> None:
        await asked.json({"jsonrpc": "2.0", "id": asked.body["id"], "result": {}, "error": {"code": 1, "message": ""}})

    async with answering(Modern(call)) as served, Client(served.url) as client:
        with pytest.raises(RemoteProtocolError):
            await client.call_tool("x")


@pytest.mark.parametrize("begun", [False, True])
async def test_a_response_that_ends_before_the_answer(begun: bool) -> None:
    async def call(asked: Asked) -> None:
        if begun:
            await asked.begin_events()
            await asked.event({"jsonrpc": "2.0", "method": "notifications/message", "params": {}}, id="9")
        asked.drop()

    server = Modern(call)
    async with answering(server) as served, Client(served.url) as client:
        await client.list_tools()
        with pytest.raises(ConnectionLost) as lost:
            await client.call_tool("x")
        assert not isinstance(lost.value, ConnectFailed)
    # Nobody knows whether it ran, so it is not sent again; and 2026-07-28 has no coming back.
    assert [asked.method for asked in server.log].count("tools/call") == 1
    assert server.seen("GET") == []


async def test_an_event_stream_that_ends_in_order_before_the_answer() -> None:
    async def call(asked: Asked) -> None:
        await asked.begin_events()
        await asked.end()

    async with answering(Modern(call)) as served, Client(served.url) as client:
        with pytest.raises(ConnectionLost, match="ended before the answer"):
            await client.call_tool("x")


async def test_what_is_larger_than_a_client_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcpcore_transports.http.channel.MAX_ANSWER_BYTES", 4096)
    monkeypatch.setattr(events.read_events, "__defaults__", (4096,))

    async def call(asked: Asked) -> None:
        if asked.tool == "json":
            await asked.text("x" * 5000)
        else:
            await asked.begin_events()
            await asked.event(id="1")
            await asked.event(asked.said("x" * 5000), id="2")
            await asked.end()

    async with answering(Modern(call)) as served, Client(served.url) as client:
        for tool in ("json", "events"):
            with pytest.raises(ConnectionLost, match="4096"):
                await client.call_tool(tool)


@pytest.mark.parametrize("status", [200, 400, 404, 409, 429, 500, 503])
async def test_an_error_of_the_peer_counts_whatever_the_status(status: int) -> None:
    server = Modern(lambda asked: asked.error(-32603, "broken", status))
    async with answering(server) as served, Client(served.url) as client:
        with pytest.raises(PeerError, match="broken") as error:
            await client.call_tool("x")
    assert error.value.code == -32603


@pytest.mark.parametrize(
    ("status", "kind"), [(400, HttpRefused), (403, HttpRefused), (413, HttpRefused), (502, HttpError)]
)
async def test_a_status_without_an_error_of_the_peer(status: int, kind: type[HttpError]) -> None:
    server = Modern(lambda asked: asked.status(status, b"why\nmore"))
    async with answering(server) as served, Client(served.url) as client:
        with pytest.raises(HttpError) as refused:
            await client.call_tool("x")
        assert type(refused.value) is kind
        assert (refused.value.status, refused.value.line) == (status, "why")
        server.call = lambda asked: asked.text("done")
        assert text_of(await client.call_tool("x")) == "done"


async def test_a_server_that_does_not_speak_http() -> None:
    async def call(asked: Asked) -> None:
        await asked.caller.send(b"what?\r\n\r\n")
        asked.drop()

    async with answering(Modern(call)) as served, Client(served.url) as client:
        with pytest.raises(ConnectionLost, match="HTTP"):
            await client.call_tool("x")


# -- giving up -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["cancelling", "timeout"])
@pytest.mark.parametrize("begun", [False, True])
async def test_a_modern_call_is_given_up_by_closing_the_connection(by: str, begun: bool) -> None:
    running, gone = anyio.Event(), anyio.Event()

    async def call(asked: Asked) -> None:
        if begun:
            await asked.begin_events()
        running.set()
        await asked.gone()
        gone.set()

    server = Modern(call)
    async with answering(server) as served, Client(served.url) as client:
        if by == "timeout":
            with pytest.raises(DeadlineExceeded):
                await client.call_tool("x", timeout=BRIEF_SECONDS)
        else:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.call_tool, "x")
                await running.wait()
                tasks.cancel_scope.cancel()
        await gone.wait()
        await client.ping()
    assert server.seen("notifications/cancelled") == []


@pytest.mark.parametrize("by", ["cancelling", "timeout"])
async def test_a_call_of_a_session_is_given_up_by_saying_so(by: str) -> None:
    running, told = anyio.Event(), anyio.Event()

    async def call(asked: Asked) -> None:
        running.set()
        await asked.gone()

    async def hear(asked: Asked) -> None:
        await asked.status(202)
        told.set()

    server = Sessions(call=call, notifications_cancelled=hear)
    async with answering(server) as served, Client(served.url) as client:
        if by == "timeout":
            with pytest.raises(DeadlineExceeded):
                await client.call_tool("x", timeout=BRIEF_SECONDS)
        else:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.call_tool, "x")
                await running.wait()
                tasks.cancel_scope.cancel()
        await told.wait()
    [cancelled] = server.seen("notifications/cancelled")
    assert cancelled.body["params"]["requestId"] == server.seen("tools/call")[0].body["id"]
    assert cancelled.headers["mcp-session-id"] == "s1"


async def test_leaving_while_calls_run_leaves_nothing_behind() -> None:
    running = 0

    async def call(asked: Asked) -> None:
        nonlocal running
        running += 1
        await asked.gone()

    pool = HttpClient()
    server = Sessions(call=call)
    async with answering(server) as served:
        lost: list[BaseException] = []

        async def ask(client: Client) -> None:
            try:
                await client.call_tool("x")
            except ConnectionLost as error:
                lost.append(error)

        async with anyio.create_task_group() as tasks:
            async with Client(HttpTransport(served.url, client=pool)) as client:
                for _ in range(5):
                    tasks.start_soon(ask, client)
                await until(lambda: running == 5)
        assert len(lost) == 5
        assert [asked.verb for asked in server.log].count("DELETE") == 1
        assert "0 in use" in repr(pool)
        await pool.aclose()
        await until(lambda: server.open == 0, "a connection was left open")
    gc.collect()


async def test_a_server_that_does_not_confirm_the_end_of_a_session_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mcpcore_transports.http.client.DELETE_SECONDS", BRIEF_SECONDS)
    server = Sessions(DELETE=lambda asked: asked.gone())
    async with answering(server) as served:
        async with Client(served.url) as client:
            await client.ping()
        assert [asked.headers["mcp-session-id"] for asked in server.seen("DELETE")] == ["s1"]


@pytest.mark.parametrize("status", [400, 404, 405, 500])
async def test_an_end_that_the_server_refuses_is_an_end_all_the_same(status: int) -> None:
    server = Sessions(DELETE=lambda asked: asked.status(status, b"x" * 100_000))
    async with answering(server) as served:
        async with Client(served.url):
            pass
    assert len(server.seen("DELETE")) == 1


async def test_an_http_client_that_is_closed_under_a_call() -> None:
    pool = HttpClient()
    running = anyio.Event()

    async def call(asked: Asked) -> None:
        running.set()
        await asked.gone()

    async with answering(Modern(call)) as served, Client(HttpTransport(served.url, client=pool)) as client:
        async with anyio.create_task_group() as tasks:

            async def ask() -> None:
                with pytest.raises(ConnectionLost, match="closed"):
                    await client.call_tool("x")

            tasks.start_soon(ask)
            await running.wait()
            await pool.aclose()
        with pytest.raises(ConnectionLost, match="closed"):
            await client.call_tool("x")


# -- headers ---------------------------------------------------------------------------------------------------------


async def test_headers_and_a_token_go_with_every_request() -> None:
    server = Sessions()
    headers = {"X-Team": "7", "Accept": "nonsense", "authorization": "Basic old"}
    async with answering(server) as served, Client(served.url, headers=headers, auth="token") as client:
        await client.call_tool("x")
    assert {asked.method for asked in server.log} >= {"server/discover", "initialize", "tools/call", "GET", "DELETE"}
    for asked in server.log:
        assert asked.headers["x-team"] == "7"
        assert asked.headers["authorization"] == "Bearer token"
        assert asked.headers.get("accept") != "nonsense" or asked.verb == "DELETE"
        assert len(asked.names) == len(set(asked.names))


async def test_an_auth_object_is_asked_for_each_request() -> None:
    class Auth(Authorization):
        asked = 0

        async def headers(self, call: Call) -> dict[str, str]:
            self.asked += 1
            return {"Authorization": f"Bearer {self.asked}"}

    auth = Auth()
    server = Modern(lambda asked: asked.text("done"))
    async with answering(server) as served, Client(served.url, auth=auth) as client:
        await client.call_tool("x")
    assert [asked.headers["authorization"] for asked in server.log] == ["Bearer 1", "Bearer 2"]


async def test_an_auth_object_that_fails_fails_the_call_and_nothing_else() -> None:
    class Auth(Authorization):
        broken = False

        async def headers(self, call: Call) -> dict[str, str]:
            if self.broken:
                raise RuntimeError("password=secret")
            return {}

    auth = Auth()
    server = Modern(lambda asked: asked.text("done"))
    async with answering(server) as served, Client(served.url, auth=auth) as client:
        auth.broken = True
        with pytest.raises(ConnectFailed, match="RuntimeError") as failed:
            await client.call_tool("x")
        assert "secret" not in str(failed.value)
        auth.broken = False
        assert text_of(await client.call_tool("x")) == "done"


async def test_an_auth_object_that_gives_what_no_header_can_be() -> None:
    class Auth(Authorization):
        value = "fine"

        async def headers(self, call: Call) -> dict[str, str]:
            return {"Authorization": self.value}

    auth = Auth()
    async with answering(Modern(lambda asked: asked.text("done"))) as served, Client(served.url, auth=auth) as client:
        auth.value = "secret\r\nx: 1"
        with pytest.raises(ConnectFailed, match="line break") as failed:
            await client.call_tool("x")
        assert "secret" not in str(failed.value)


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("http://", {}),
        ("http://x y/", {}),
        ("http://localhost/", {"headers": {"x y": "1"}}),
        ("http://localhost/", {"headers": {"x": "secret\n"}}),
        ("http://localhost/", {"headers": {"Host": "secret"}}),
        ("http://localhost/", {"auth": "secret\r\nx: 1"}),
    ],
)
def test_what_can_never_be_sent_is_refused_at_once(url: str, options: dict[str, Any]) -> None:
    with pytest.raises(LocalProtocolError) as refused:
        Client(url, **options)
    assert "secret" not in str(refused.value)


async def test_secrets_show_up_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    server = Sessions(DELETE=lambda asked: asked.status(500), call=lambda asked: asked.status(502, b"bad gateway"))
    async with answering(server) as served:
        url = served.url.replace("127.0.0.1", "name:secret1@127.0.0.1") + "?key=secret2"
        transport = HttpTransport(url, headers={"x-key": "secret3"})
        async with Client(transport) as client:
            with pytest.raises(HttpError) as first:
                await client.call_tool("x")
    with pytest.raises(ConnectFailed) as second:
        async with Client(url, auth="secret4"):
            raise AssertionError
    assert server.log[0].headers["authorization"].startswith("Basic ")
    shown = f"{first.value!r} {second.value!r} {transport!r} {client!r} {caplog.text}"
    assert "secret" not in shown


# -- arguments in headers --------------------------------------------------------------------------------------------


def routed(*names: str) -> dict[str, Any]:
    properties = {name: {"type": "string", "x-mcp-header": name.title()} for name in names}
    return {"name": "route", "inputSchema": {"type": "object", "properties": properties}}


async def test_arguments_that_a_tool_wants_in_headers_are_put_there() -> None:
    server = Modern(lambda asked: asked.text("done"))
    server.tools = [routed("region")]
    async with answering(server) as served, Client(served.url) as client:
        await client.call_tool("route", {"region": "eu"})  # never listed
        await client.list_tools()
        await client.call_tool("route", {"region": "Zürich "})
        await client.call_tool("route", {})
    first, second, third = (asked.headers for asked in server.seen("tools/call"))
    assert "mcp-param-region" not in first
    assert second["mcp-param-region"].startswith("=?base64?")
    assert "mcp-param-region" not in third


async def test_a_call_without_the_right_headers_is_made_once_more_with_them() -> None:
    async def call(asked: Asked) -> None:
        if "mcp-param-region" in asked.headers:
            await asked.text("done")
        else:
            await asked.error(-32020, "header mismatch", 400)

    server = Modern(call)
    server.tools = [routed("region")]
    async with answering(server) as served, Client(served.url) as client:
        assert text_of(await client.call_tool("route", {"region": "eu"})) == "done"
        server.call = lambda asked: asked.error(-32020, "header mismatch", 400)
        with pytest.raises(PeerError):
            await client.call_tool("route", {"region": "eu"})
    assert len(server.seen("tools/call")) == 3


async def test_arguments_do_not_go_into_the_headers_of_a_session() -> None:
    async def listed(asked: Asked) -> None:
        await asked.result({"tools": [routed("region")]})

    server = Sessions(tools_list=listed)
    async with answering(server) as served, Client(served.url) as client:
        await client.list_tools()
        await client.call_tool("route", {"region": "eu"})
    assert "mcp-param-region" not in server.seen("tools/call")[0].headers


async def test_a_tool_that_wants_impossible_headers_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    server = Modern(lambda asked: asked.text("done"))
    bad = {"type": "object", "properties": {"a": {"type": "number", "x-mcp-header": "A"}}}
    server.tools = [routed("region"), {"name": "bad", "inputSchema": bad}]
    async with answering(server) as served, Client(served.url) as client:
        assert [tool.name for tool in await client.list_tools()] == ["route"]
    assert "'bad'" in caplog.text


async def test_a_call_that_may_have_run_is_not_sent_again_on_another_connection() -> None:
    """The connection is a kept one, and it breaks at once: as if it had been closed while it was idle."""

    async def call(asked: Asked) -> None:
        asked.drop()

    server = Modern(call)
    async with answering(server) as served, Client(served.url) as client:
        await client.list_tools()
        with pytest.raises(ConnectionLost):
            await client.call_tool("x")
        server.call = lambda asked: asked.text("done")
        assert text_of(await client.call_tool("x")) == "done"
    assert len(server.seen("tools/call")) == 2


async def test_a_hundred_calls_at_once_get_their_own_answers() -> None:
    server = Modern(lambda asked: asked.text(asked.tool))
    async with answering(server) as served, Client(served.url) as client:
        answers: dict[int, str] = {}

        async def ask(number: int) -> None:
            answers[number] = text_of(await client.call_tool(str(number)))

        with anyio.fail_after(PATIENCE_SECONDS):
            async with anyio.create_task_group() as tasks:
                for number in range(100):
                    tasks.start_soon(ask, number)
    assert answers == {number: str(number) for number in range(100)}
