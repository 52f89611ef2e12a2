"""Tools: what a call becomes on the wire of each revision, and what it must never become."""

import json
import logging
import threading
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from core.wire import Frame, wired

from mcpcore import Client, Context, LocalProtocolError, RequestError, ResourceNotFound, SchemaError, Server, ToolError
from mcpcore.catalogue import tool as tool_module
from mcpcore.revisions import REVISIONS, Era, Revision
from mcpcore.types import (
    Annotations,
    AudioContent,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    Icon,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
    ToolAnnotations,
)

pytestmark = pytest.mark.anyio

R24, R25_03, R25_06, R25_11, R26 = REVISIONS
SERVER_INFO = {"io.modelcontextprotocol/serverInfo": {"name": "tools", "version": "1"}}
SECRET = "hunter2 in /etc/shadow"


def expected(revision: Revision, result: Frame) -> Frame:
    """A result with what 2026-07-28 adds to each."""
    return {**result, "resultType": "complete", "_meta": SERVER_INFO} if revision is R26 else result


def text(value: str) -> Frame:
    return {"type": "text", "text": value}


@pytest.fixture
def server() -> Server:
    return Server("tools", version="1")


# ---------------------------------------------------------------------- results


async def test_an_object_is_text_and_from_2025_06_18_on_structured(server: Server, revision: Revision) -> None:
    @server.tool
    async def count(word: str) -> dict[str, int]:
        return {"n": len(word)}

    async with wired(server) as peer:
        await peer.hello(revision)
        result = await peer.call("count", {"word": "abc"})
    content: Frame = {"content": [text('{"n":3}')]}
    if revision.at_least(R25_06):
        content["structuredContent"] = {"n": 3}
    assert result == expected(revision, content)


@pytest.mark.parametrize(("value", "shown"), [(3, "3"), ([1, 2], "[1,2]"), ("a", "a"), (None, None), (True, "true")])
async def test_what_is_no_object_is_wrapped(server: Server, revision: Revision, value: Any, shown: str | None) -> None:
    @server.tool
    async def give() -> Any:
        return value

    async with wired(server) as peer:
        await peer.hello(revision)
        result = await peer.call("give")
    if shown is None:  # nothing promised and nothing returned: nothing to tell
        assert result == expected(revision, {"content": []})
        return
    content: Frame = {"content": [text(shown)]}
    if revision.at_least(R25_06):
        content["structuredContent"] = {"result": value}
    assert result == expected(revision, content)


async def test_a_declared_list_is_promised_as_it_is_sent(server: Server, revision: Revision) -> None:
    @server.tool
    async def lines() -> list[str]:
        return ["a", "b"]

    async with wired(server) as peer:
        await peer.hello(revision)
        (tool,) = (await peer.result("tools/list"))["tools"]
        result = await peer.call("lines")
    if not revision.at_least(R25_06):
        assert "outputSchema" not in tool
        assert "structuredContent" not in result
        return
    assert tool["outputSchema"]["type"] == "object"
    assert tool["outputSchema"]["required"] == ["result"]
    assert result["structuredContent"] == {"result": ["a", "b"]}
    assert result["content"] == [text('["a","b"]')]


async def test_an_output_schema_of_any_type_is_whole_on_2026_07_28_and_wrapped_before(
    server: Server, revision: Revision
) -> None:
    @server.tool(output_schema={"type": "array", "items": {"type": "integer"}})
    async def numbers() -> CallToolResult:
        return CallToolResult(content=[], structured_content=[1, 2])

    async with wired(server) as peer:
        await peer.hello(revision)
        (tool,) = (await peer.result("tools/list"))["tools"]
        result = await peer.call("numbers")
    if revision is R26:
        assert tool["outputSchema"] == {"type": "array", "items": {"type": "integer"}}
        assert result["structuredContent"] == [1, 2]
    elif revision.at_least(R25_06):
        assert tool["outputSchema"]["properties"]["result"] == {"type": "array", "items": {"type": "integer"}}
        assert result["structuredContent"] == {"result": [1, 2]}
        assert result["content"] == [text("[1,2]")]
    else:
        assert "structuredContent" not in result
        assert result["content"] == [text("[1,2]")]


async def test_a_result_of_the_tools_own_goes_out_as_it_is(server: Server, revision: Revision) -> None:
    @server.tool
    async def own() -> CallToolResult:
        return CallToolResult(content=[TextContent(text="no")], is_error=True, meta={"com.example/cost": 3})

    async with wired(server) as peer:
        await peer.hello(revision)
        result = await peer.call("own")
    assert result["content"] == [text("no")]
    assert result["isError"] is True
    assert result["_meta"]["com.example/cost"] == 3
    assert ("io.modelcontextprotocol/serverInfo" in result["_meta"]) == (revision is R26)


async def test_content_blocks_are_sent_as_each_revision_knows_them(server: Server, revision: Revision) -> None:
    @server.tool
    async def blocks() -> list[ContentBlock]:
        return [
            TextContent(text="t", annotations=Annotations(audience=["user"], priority=0.5)),
            ImageContent(data=b"i", mime_type="image/png"),
            AudioContent(data=b"a", mime_type="audio/wav"),
            ResourceLink(uri="file:///l", name="l"),
            EmbeddedResource(resource=TextResourceContents(uri="file:///e", text="e")),
        ]

    async with wired(server) as peer:
        await peer.hello(revision)
        result = await peer.call("blocks")
    kinds = [block["type"] for block in result["content"]]
    assert kinds == [
        "text",
        "image",
        "audio" if revision.at_least(R25_03) else "text",
        "resource_link" if revision.at_least(R25_06) else "text",
        "resource",
    ]
    assert result["content"][0]["annotations"] == {"audience": ["user"], "priority": 0.5}
    assert result["content"][1]["data"] == "aQ=="
    assert "structuredContent" not in result


async def test_one_block_alone_is_a_list_of_one(server: Server) -> None:
    @server.tool
    async def picture() -> ImageContent:
        return ImageContent(data=b"\x00", mime_type="image/png")

    async with Client(server) as client:
        assert (await client.call_tool("picture")).content == [ImageContent(data=b"\x00", mime_type="image/png")]


async def test_what_json_cannot_hold_is_a_failure_of_the_tool(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    @server.tool
    async def odd() -> Any:
        return object()

    @server.tool
    async def hidden() -> CallToolResult:
        return CallToolResult(content=[], structured_content={"x": object()})

    async with wired(server) as peer:
        assert (await peer.call("odd"))["isError"] is True
        # The result is only encoded when it leaves: the request is still answered, once.
        frame = await peer.ask("tools/call", {"name": "hidden"})
        assert frame["error"]["code"] == -32603
        assert await peer.drain() == []
    assert "object" not in b"".join(peer.raw).decode()


# ---------------------------------------------------------------------- descriptions


async def test_a_tool_is_listed_with_what_the_revision_knows(server: Server, revision: Revision) -> None:
    @server.tool(
        title="Add",
        annotations=ToolAnnotations(read_only_hint=True),
        icons=[Icon(src="https://example.com/i.png")],
        meta={"com.example/tag": "x"},
    )
    async def add(a: int, b: int = 2) -> int:
        """Add two numbers."""
        return a + b

    async with wired(server) as peer:
        await peer.hello(revision)
        (tool,) = (await peer.result("tools/list"))["tools"]
    assert tool["name"] == "add"
    assert tool["description"] == "Add two numbers."
    assert tool["inputSchema"]["properties"] == {"a": {"type": "integer"}, "b": {"type": "integer", "default": 2}}
    assert tool["inputSchema"]["required"] == ["a"]
    assert ("annotations" in tool) == revision.at_least(R25_03)
    assert ("title" in tool) == revision.at_least(R25_06)
    assert ("outputSchema" in tool) == revision.at_least(R25_06)
    assert ("_meta" in tool) == revision.at_least(R25_06)
    assert ("icons" in tool) == revision.at_least(R25_11)


async def test_the_context_is_no_argument(server: Server) -> None:
    @server.tool
    async def who(ctx: Context) -> str:
        return str(ctx.client_info.name if ctx.client_info else None)

    async with Client(server, name="me") as client:
        (tool,) = await client.list_tools()
        assert tool.input_schema["properties"] == {}
        assert (await client.call_tool("who")).structured_content == {"result": "me"}


# ---------------------------------------------------------------------- failures


async def test_a_tool_error_is_told_word_for_word(server: Server, revision: Revision) -> None:
    @server.tool
    async def refuse() -> str:
        raise ToolError("the file is too big: split it")

    async with wired(server) as peer:
        await peer.hello(revision)
        result = await peer.call("refuse")
    assert result == expected(revision, {"content": [text("the file is too big: split it")], "isError": True})


async def test_a_tool_error_out_of_a_task_group_is_a_tool_error(server: Server) -> None:
    @server.tool
    async def grouped() -> str:
        async def fail() -> None:
            async with anyio.create_task_group() as inner:
                inner.start_soon(deeper)

        async def deeper() -> None:
            raise ToolError("from below")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail)
        return "never"

    @server.tool
    async def two() -> str:
        raise ExceptionGroup("both", [ToolError("one"), ValueError(SECRET)])

    async with wired(server) as peer:
        assert (await peer.call("grouped"))["content"] == [text("from below")]
        (block,) = (await peer.call("two"))["content"]
        assert block["text"].startswith("tool 'two' failed; ")
    assert SECRET.encode() not in b"".join(peer.raw)


class Odd(Exception):
    def __str__(self) -> str:
        return SECRET


@pytest.mark.parametrize(
    "error",
    [
        ValueError(SECRET),
        Odd(),
        KeyError(SECRET),
        ExceptionGroup(SECRET, [OSError(SECRET)]),
        StopAsyncIteration(SECRET),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_an_unexpected_exception_is_logged_once_and_leaks_nothing(
    server: Server, revision: Revision, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    @server.tool
    async def boom() -> str:
        raise error

    async with wired(server) as peer:
        await peer.hello(revision, log_level="debug")
        result = await peer.call("boom", progressToken="t")
        assert await peer.drain() == []
    assert result["isError"] is True
    (block,) = result["content"]
    assert block["text"].startswith("tool 'boom' failed; the server's log has the details under reference ")
    reference = block["text"].rpartition(" ")[2]
    wire = b"".join(peer.raw)
    assert b"hunter2" not in wire
    assert b"shadow" not in wire
    assert b"Traceback" not in wire
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert reference in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is error


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({}, "`a`"),
        ({"a": "x"}, "`a`"),
        ({"a": 1, "b": [1]}, "`b`"),
        ({"a": 1, "c": 3}, "`c`"),
        ({"a": 1, "where": {"city": 5}}, "where.city"),
    ],
)
async def test_a_wrong_argument_is_named_to_the_model(
    server: Server, revision: Revision, arguments: Frame, named: str
) -> None:
    @server.tool
    async def add(a: int, b: int = 1, where: dict[str, str] | None = None) -> int:
        raise AssertionError("must not run")

    async with wired(server) as peer:
        await peer.hello(revision)
        result = await peer.call("add", arguments)
    assert result["isError"] is True
    (block,) = result["content"]
    assert block["text"].startswith("invalid arguments for tool 'add': ")
    assert named in block["text"] or (named == "where.city" and "where" in block["text"])


@pytest.mark.parametrize("arguments", [[], "x", 5])
async def test_arguments_that_are_no_object_do_not_reach_the_tool(server: Server, arguments: Any) -> None:
    @server.tool
    async def take(a: int = 1) -> int:
        raise AssertionError("must not run")

    @server.tool(input_schema={"type": "object"})
    async def raw(arguments: dict[str, Any]) -> int:
        raise AssertionError("must not run")

    async with wired(server) as peer:
        for name in ("take", "raw"):
            frame = await peer.ask("tools/call", {"name": name, "arguments": arguments})
            assert frame.get("error", {}).get("code") == -32602 or frame["result"]["isError"] is True
        assert (await peer.error("tools/call", {"arguments": {}}))["code"] == -32602


async def test_a_tool_that_is_not_there_is_an_error_of_the_request(server: Server, revision: Revision) -> None:
    server.tool(name="some", inline=True)(lambda: 1)
    async with wired(server) as peer:
        await peer.hello(revision)
        error = await peer.error("tools/call", {"name": "other"})
    assert error == {"code": -32602, "message": "there is no tool 'other'"}


async def test_a_tool_may_answer_with_a_json_rpc_error(server: Server) -> None:
    @server.tool
    async def strict() -> str:
        raise RequestError(1234, "not today", {"why": "rain"})

    async with wired(server) as peer:
        error = await peer.error("tools/call", {"name": "strict"})
    assert error == {"code": 1234, "message": "not today", "data": {"why": "rain"}}


async def test_a_missing_resource_inside_a_tool_is_told_to_the_model(server: Server) -> None:
    @server.tool
    async def open_it() -> str:
        raise ResourceNotFound("file:///x")

    async with Client(server) as client:
        result = await client.call_tool("open_it")
        assert result.is_error
        assert "file:///x" in str(result.content)


# ---------------------------------------------------------------------- timeouts


async def test_a_tool_that_takes_too_long_is_cancelled_and_says_so(server: Server, revision: Revision) -> None:
    cancelled = []

    @server.tool(timeout=0.01)
    async def slow() -> str:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.append(True)
        return "never"

    async with wired(server) as peer:
        await peer.hello(revision)
        result = await peer.call("slow")
    assert result["isError"] is True
    assert result["content"] == [text("tool 'slow' did not finish within 0.01 seconds")]
    assert cancelled == [True]


async def test_a_timeout_of_the_tools_own_is_an_unexpected_failure(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    @server.tool(timeout=1000)
    async def inner() -> str:
        raise TimeoutError(SECRET)

    async with wired(server) as peer:
        (block,) = (await peer.call("inner"))["content"]
    assert "failed; the server's log" in block["text"]
    assert b"hunter2" not in b"".join(peer.raw)


# ---------------------------------------------------------------------- streaming


async def test_each_item_is_progress_and_all_are_the_result(server: Server, revision: Revision) -> None:
    @server.tool
    async def tail(n: int) -> AsyncIterator[str]:
        for i in range(n):
            yield f"line {i}"

    async with wired(server) as peer:
        await peer.hello(revision)
        id = peer.request("tools/call", {"name": "tail", "arguments": {"n": 2}}, progressToken="t")
        first, second = await peer.receive(), await peer.receive()
        response = await peer.response(id)
    for n, frame in ((1, first), (2, second)):
        params = {"progressToken": "t", "progress": n}
        if revision.at_least(R25_03):
            params["message"] = f"line {n - 1}"
        assert frame == {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
    content: Frame = {"content": [text("line 0"), text("line 1")]}
    if revision.at_least(R25_06):
        content["structuredContent"] = {"result": ["line 0", "line 1"]}
    assert response["result"] == expected(revision, content)


async def test_a_stream_without_a_token_sends_the_result_only(server: Server) -> None:
    @server.tool
    async def tail() -> AsyncIterator[int]:
        yield 1
        yield 2

    async with wired(server) as peer:
        assert (await peer.call("tail"))["content"] == [text("1"), text("2")]
        assert len(peer.seen) == 1


async def test_a_cancelled_stream_is_closed_in_its_own_task(server: Server) -> None:
    closed = anyio.Event()

    @server.tool
    async def endless() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
                await anyio.sleep_forever()
        finally:
            closed.set()

    async with wired(server) as peer:
        id = peer.request("tools/call", {"name": "endless"}, progressToken=1)
        await peer.until("notifications/progress")
        peer.notify("notifications/cancelled", {"requestId": id})
        with anyio.fail_after(20):
            await closed.wait()
        assert await peer.drain() == []


async def test_an_error_in_the_middle_of_a_stream_ends_it(server: Server) -> None:
    @server.tool
    async def half() -> AsyncIterator[int]:
        yield 1
        raise ToolError("the disk is full")

    @server.tool(timeout=0.01)
    async def late() -> AsyncIterator[int]:
        yield 1
        await anyio.sleep_forever()

    async with wired(server) as peer:
        assert await peer.call("half", progressToken=1) == expected(
            R26, {"content": [text("the disk is full")], "isError": True}
        )
        (block,) = (await peer.call("late"))["content"]
        assert block == text("tool 'late' did not finish within 0.01 seconds")


async def test_a_stream_without_end_is_ended(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool_module, "MAX_STREAMED_ITEMS", 5)

    @server.tool
    async def endless() -> AsyncIterator[int]:
        while True:
            yield 1

    async with Client(server) as client:
        result = await client.call_tool("endless")
    assert result.is_error
    assert result.content == [TextContent(text="tool 'endless' ended after 5 items, which is the limit")]


# ---------------------------------------------------------------------- raw schemas, threads, registration


async def test_a_tool_with_its_own_schema_gets_the_arguments_unchecked(server: Server, revision: Revision) -> None:
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "if": {"required": ["x"]}, "then": {}}

    @server.tool(input_schema=schema, name="raw")
    async def handle(arguments: dict[str, Any], ctx: Context) -> dict[str, Any]:
        return {"got": arguments, "id": ctx.request_id}

    @server.tool(input_schema={"type": "object"})
    async def nothing() -> str:
        return "called"

    async with wired(server) as peer:
        await peer.hello(revision)
        if revision is R26:
            assert (await peer.result("tools/list"))["tools"][0]["inputSchema"] == schema
        result = await peer.call("raw", {"x": "unchecked", "y": [None]}, id="r1")
        assert json.loads(result["content"][0]["text"]) == {"got": {"x": "unchecked", "y": [None]}, "id": "r1"}
        frame = await peer.ask("tools/call", {"name": "raw"})
        assert json.loads(frame["result"]["content"][0]["text"])["got"] == {}
        assert (await peer.call("nothing", {"any": 1}))["content"] == [text("called")]


async def test_an_inline_tool_runs_on_the_event_loop(server: Server) -> None:
    @server.tool(inline=True)
    def where() -> int:
        return threading.get_ident()

    async with Client(server) as client:
        result = await client.call_tool("where")
    assert result.structured_content == {"result": threading.get_ident()}


def test_registration_names_what_is_wrong() -> None:
    server = Server("s")
    with pytest.raises(SchemaError, match="needs a name"):
        server.tool(lambda: 1)
    with pytest.raises(SchemaError, match='"type": "object"'):
        server.tool(name="a", input_schema={"type": "array"})(lambda arguments: 1)
    with pytest.raises(SchemaError, match="one dict and a Context"):
        server.tool(name="a", input_schema={"type": "object"})(lambda one, two: 1)
    with pytest.raises(LocalProtocolError, match="more than 0 seconds"):
        server.tool(name="a", timeout=0)(lambda: 1)
    server.tool(name="a")(lambda: 1)
    with pytest.raises(LocalProtocolError, match="there is a tool 'a' already"):
        server.tool(name="a")(lambda: 2)
    with pytest.raises(LocalProtocolError, match="there is no tool 'b' to remove"):
        server.remove_tool("b")


async def test_both_eras_get_the_same_answer_in_memory(server: Server) -> None:
    @server.tool
    async def add(a: int, b: int) -> int:
        return a + b

    for era in ("modern", "legacy"):
        async with Client(server, era=era) as client:
            assert client.revision.era is Era(era)
            assert (await client.call_tool("add", {"a": 1, "b": 2})).structured_content == {"result": 3}
