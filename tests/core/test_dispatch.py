"""Middleware, methods and notifications of the application's own, and what a handler cannot break."""

from typing import Any

import anyio
import pytest
from core.wire import PATIENCE, Frame, settle, wired

from mcpcore import Client, Context, InvalidParams, RequestError, Server
from mcpcore.dispatch import MAX_NOTICES, ExtensionParams
from mcpcore.errors import LocalProtocolError, PeerError
from mcpcore.middleware import Next, Outgoing
from mcpcore.principal import Principal
from mcpcore.revisions import REVISIONS, Era, Revision
from mcpcore.types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
)

pytestmark = pytest.mark.anyio

R24, R25_03, R25_06, R25_11, R26 = REVISIONS


@pytest.fixture
def server() -> Server:
    server = Server("s")

    @server.tool
    async def echo(text: str, ctx: Context) -> str:
        await ctx.progress(1, message="working")
        await ctx.warning("careful")
        return text

    return server


# ---------------------------------------------------------------------- inbound


async def test_inbound_middleware_surrounds_every_request_in_order(server: Server, revision: Revision) -> None:
    seen: list[str] = []

    def named(name: str) -> Any:
        async def middleware(ctx: Context, call_next: Next) -> Any:
            seen.append(f"{name} before {ctx.method}")
            try:
                return await call_next(ctx)
            finally:
                seen.append(f"{name} after")

        return middleware

    server.inbound = [named("outer"), named("inner")]
    async with wired(server) as peer:
        await peer.hello(revision)
        await peer.call("echo", {"text": "x"})
        await peer.error("tools/call", {"name": "gone"})
    order = ["outer before tools/call", "inner before tools/call", "inner after", "outer after"]
    assert seen == order * 2


async def test_inbound_middleware_may_change_or_refuse(server: Server, revision: Revision) -> None:
    async def gate(ctx: Context, call_next: Next) -> Any:
        params = ctx.params
        if isinstance(params, CallToolRequestParams):
            if params.name == "secret":
                raise RequestError(403, "not for you")
            result = await call_next(ctx)
            assert isinstance(result, CallToolResult)
            return CallToolResult(content=[*result.content, TextContent(text="checked")])
        return await call_next(ctx)

    server.inbound = [gate]
    async with wired(server) as peer:
        await peer.hello(revision)
        result = await peer.call("echo", {"text": "x"})
        assert [block["text"] for block in result["content"]] == ["x", "checked"]
        assert await peer.error("tools/call", {"name": "secret"}) == {"code": 403, "message": "not for you"}
        assert (await peer.result("tools/list"))["tools"]


async def test_a_fault_of_middleware_is_an_internal_error(
    server: Server, revision: Revision, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(ctx: Context, call_next: Next) -> Any:
        raise ValueError("hunter2")

    server.inbound = [broken]
    async with wired(server) as peer:
        await peer.hello(revision)
        error = await peer.error("tools/list")
    assert error == {"code": -32603, "message": "internal error; the server's log has the details"}
    assert "hunter2" in caplog.text


# ---------------------------------------------------------------------- outbound


async def test_outbound_middleware_sees_all_that_leaves_before_the_result(server: Server, revision: Revision) -> None:
    seen: list[tuple[str, str]] = []

    async def watch(outgoing: Outgoing, send: Any) -> Any:
        seen.append((outgoing.method, outgoing.context.method))
        return await send(outgoing)

    @server.tool
    async def where(ctx: Context) -> int:
        return len(await ctx.list_roots())

    server.outbound = [watch]
    async with wired(server) as peer:
        await peer.hello(revision, {"roots": {}}, log_level="debug")
        await peer.call("echo", {"text": "x"}, progressToken=1)
        assert [frame["method"] for frame in peer.seen[-3:-1]] == ["notifications/progress", "notifications/message"]
        peer.request("tools/call", {"name": "where"})
        await peer.drain()
    assert seen == [
        ("notifications/progress", "tools/call"),
        ("notifications/message", "tools/call"),
        ("roots/list", "tools/call"),
    ]


async def test_outbound_middleware_may_change_hold_back_or_refuse(server: Server, revision: Revision) -> None:
    async def censor(outgoing: Outgoing, send: Any) -> Any:
        if outgoing.method == "notifications/progress":
            return False
        if outgoing.method == "roots/list":
            raise RequestError(403, "no questions")
        changed = type(outgoing.params)(level="error", data="censored")
        return await send(Outgoing(outgoing.method, changed, outgoing.context))

    @server.tool
    async def where(ctx: Context) -> int:
        return len(await ctx.list_roots())

    server.outbound = [censor]
    async with wired(server) as peer:
        await peer.hello(revision, {"roots": {}}, log_level="debug")
        seen = len(peer.seen)
        await peer.call("echo", {"text": "x"}, progressToken=1)
        assert [frame.get("method") for frame in peer.seen[seen:]] == ["notifications/message", None]
        assert peer.seen[seen]["params"] == {"level": "error", "data": "censored"}
        assert await peer.error("tools/call", {"name": "where"}) == {"code": 403, "message": "no questions"}


# ---------------------------------------------------------------------- methods of one's own


async def test_a_catalogue_of_ones_own(revision: Revision) -> None:
    server = Server("s")
    schema = {"type": "object", "properties": {"q": {"type": "string"}}, "$comment": "kept"}

    @server.method("tools/list", capabilities={"tools": {"listChanged": False}})
    async def list_tools(ctx: Context, params: PaginatedRequestParams) -> ListToolsResult:
        return ListToolsResult(tools=[Tool(name=f"at {params.cursor}", input_schema=schema)], next_cursor="more")

    @server.method("tools/call")
    async def call_tool(ctx: Context, params: CallToolRequestParams) -> Any:
        if params.name != "any":
            raise InvalidParams("there is only 'any'")
        return CallToolResult(content=[TextContent(text=bytes(params.arguments).decode())])

    async with wired(server) as peer:
        result = await peer.hello(revision) or await peer.result("server/discover")
        assert result["capabilities"]["tools"] == {"listChanged": False}
        listed = await peer.result("tools/list", {"cursor": "here"})
        assert listed["nextCursor"] == "more"
        assert listed["tools"] == [{"name": "at here", "inputSchema": schema}]
        result = await peer.call("any", {"q": 1})
        assert result["content"] == [{"type": "text", "text": '{"q": 1}'}]
        assert ("resultType" in result) == (revision is R26)
        assert (await peer.error("tools/call", {"name": "x"}))["message"] == "there is only 'any'"


async def test_a_dict_is_sent_as_it_is(revision: Revision) -> None:
    server = Server("s")

    @server.method("tools/list", capabilities={"tools": {}})
    async def list_tools(ctx: Context, params: Any) -> Frame:
        return {"tools": [], "com.example/extra": True}

    async with wired(server) as peer:
        await peer.hello(revision)
        peer.request("tools/list", id="x")
        peer._methods.clear()  # what an author sends raw is the author's, so it is not checked here
        result = (await peer.response("x"))["result"]
    assert result["com.example/extra"] is True
    assert result.get("resultType") == ("complete" if revision is R26 else None)


async def test_a_method_of_an_extension(revision: Revision) -> None:
    server = Server("s")

    @server.method("com.example/add", capabilities={"extensions": {"com.example/math": {}}})
    async def add(ctx: Context, params: ExtensionParams) -> Frame:
        return {"sum": sum(params.members["numbers"]), "meta": dict(ctx.meta)}

    async with wired(server) as peer:
        result = await peer.hello(revision) or await peer.result("server/discover")
        assert result["capabilities"]["extensions"] == {"com.example/math": {}}
        result = await peer.result("com.example/add", {"numbers": [1, 2]}, **{"com.example/k": "v"})
        assert result["sum"] == 3
        assert result["meta"] == {"com.example/k": "v"}
        peer.write({"jsonrpc": "2.0", "id": "bad", "method": "com.example/add", "params": [1]})
        assert (await peer.response("bad"))["error"]["code"] in (-32600, -32602)


async def test_an_own_handler_replaces_that_of_the_catalogue(server: Server) -> None:
    @server.method("tools/list")
    async def hidden(ctx: Context, params: Any) -> ListToolsResult:
        return ListToolsResult(tools=[])

    async with Client(server) as client:
        assert await client.list_tools() == []
        assert (await client.call_tool("echo", {"text": "x"})).content == [TextContent(text="x")]


# ---------------------------------------------------------------------- notifications


async def test_a_notification_reaches_its_handler_and_is_never_answered(server: Server, revision: Revision) -> None:
    heard: list[Any] = []

    @server.notification("notifications/roots/list_changed")
    async def roots(params: Any) -> None:
        heard.append(type(params).__name__)

    @server.notification("com.example/event")
    async def event(params: Any) -> None:
        heard.append(bytes(params))

    async with wired(server) as peer:
        await peer.hello(revision)
        peer.notify("notifications/roots/list_changed")
        peer.notify("com.example/event", {"n": 1})
        peer.notify("com.example/unknown", {"n": 1})
        peer.notify("notifications/progress", {"progressToken": "nobody", "progress": 1})
        peer.notify("notifications/cancelled", {"requestId": "nobody"})
        peer.notify("notifications/cancelled", {"requestId": []})
        peer.notify("notifications/cancelled")
        peer.notify("tools/list", {})  # a request's name, but nobody waits for an answer
        assert await peer.drain() == []
        assert await peer.result("tools/list") is not None
    assert heard == ["NotificationParams", b'{"n": 1}']


async def test_a_notification_handler_that_fails_is_logged_and_the_next_one_runs(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[int] = []

    @server.notification("com.example/event")
    async def event(params: Any) -> None:
        heard.append(1)
        if len(heard) == 1:
            raise ValueError("hunter2")

    @server.notification("notifications/roots/list_changed")
    async def roots(params: Any) -> None:
        heard.append(2)

    async with wired(server) as peer:
        peer.notify("com.example/event")
        peer.notify("notifications/roots/list_changed", {"_meta": 5})  # does not decode
        peer.notify("com.example/event")
        assert await peer.drain() == []
    assert heard == [1, 1]
    assert "hunter2" in caplog.text


async def test_notifications_do_not_pile_up_behind_a_slow_handler(server: Server) -> None:
    heard = 0
    go_on = anyio.Event()

    @server.notification("com.example/event")
    async def event(params: Any) -> None:
        nonlocal heard
        await go_on.wait()
        heard += 1

    async with wired(server) as peer:
        for _ in range(10 * MAX_NOTICES):
            peer.notify("com.example/event")
        assert await peer.result("tools/list") is not None  # and they hold up nobody
        go_on.set()
        assert await peer.drain() == []
    assert MAX_NOTICES <= heard <= MAX_NOTICES + 1


# ---------------------------------------------------------------------- cancellation


async def test_a_cancelled_request_ends_and_is_not_answered(server: Server, revision: Revision) -> None:
    started, ended = anyio.Event(), anyio.Event()

    @server.tool
    async def slow() -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async with wired(server) as peer:
        await peer.hello(revision)
        id = peer.request("tools/call", {"name": "slow"}, progressToken=1)
        with anyio.fail_after(PATIENCE):
            await started.wait()
        peer.notify("notifications/cancelled", {"requestId": "another", "reason": "not this one"})
        await settle()
        assert not ended.is_set()
        peer.notify("notifications/cancelled", {"requestId": id, "reason": "enough"})
        with anyio.fail_after(PATIENCE):
            await ended.wait()
        assert await peer.drain() == []
        assert server.session_statistics()[0].cancelled == 1
        assert (await peer.call("echo", {"text": "on"}, id=id if revision.era is Era.MODERN else None))["content"]


async def test_a_handler_that_ignores_cancellation_is_not_answered_either(server: Server) -> None:
    go_on = anyio.Event()
    told: list[bool] = []

    @server.tool
    async def stubborn(ctx: Context) -> str:
        with anyio.CancelScope(shield=True):
            await go_on.wait()
            told.append(await ctx.send("com.example/late", {}))
        return "done"

    async with wired(server) as peer:
        id = peer.request("tools/call", {"name": "stubborn"})
        await settle()
        peer.notify("notifications/cancelled", {"requestId": id})
        await settle()
        go_on.set()
        assert await peer.drain() == []
    assert told == [False]


async def test_a_result_after_a_client_has_gone_is_dropped(server: Server) -> None:
    async with Client(server) as client:
        with pytest.raises(PeerError, match="there is no tool"):
            await client.call_tool("gone")
        with anyio.move_on_after(0):
            await client.call_tool("echo", {"text": "x"})
        assert (await client.call_tool("echo", {"text": "y"})).content == [TextContent(text="y")]


# ---------------------------------------------------------------------- scopes


async def test_a_tool_with_scopes_does_not_run_for_a_caller_without_them(revision: Revision) -> None:
    server = Server("s")
    ran: list[str] = []

    @server.tool(scopes=["files:write", "mcp"])
    async def write(ctx: Context) -> str:
        ran.append("write")
        return "written"

    for scopes, runs in ((["mcp"], False), (["mcp", "files:write", "more"], True)):
        who = Principal(subject="ann", scopes=frozenset(scopes))
        async with wired(server, principal=who) as peer:
            await peer.hello(revision)
            answer = await peer.ask("tools/call", {"name": "write", "arguments": {}})
            if not runs:
                assert answer["error"]["code"] == -32600
                assert "files:write" in answer["error"]["message"]
            assert ran == ["write"] * runs
            assert [tool["name"] for tool in (await peer.ask("tools/list"))["result"]["tools"]] == ["write"]


async def test_whoever_started_the_server_needs_no_scopes(revision: Revision) -> None:
    server = Server("s")

    @server.tool(scopes=["files:write"])
    async def write(ctx: Context) -> str:
        return str(ctx.principal)

    async with Client(server, era=revision) as client:
        assert (await client.call_tool("write")).content == [TextContent(text="None")]


def test_scopes_that_are_none() -> None:
    for scopes in ("files:write", ["a b"], ["offline_access"]):
        with pytest.raises(LocalProtocolError):
            Server("s").tool(scopes=scopes)(lambda: None)
