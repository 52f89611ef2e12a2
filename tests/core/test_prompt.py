"""Prompts: arguments, messages, and what is wrong with a request for one."""

from typing import Any

import pytest
from core.wire import Frame, wired

from mcpcore import Client, Context, LocalProtocolError, SchemaError, Server
from mcpcore.revisions import REVISIONS, Revision
from mcpcore.types import (
    AudioContent,
    EmbeddedResource,
    GetPromptResult,
    Icon,
    ImageContent,
    PromptMessage,
    TextContent,
    TextResourceContents,
)

pytestmark = pytest.mark.anyio

R24, R25_03, R25_06, R25_11, R26 = REVISIONS
INFO = {"io.modelcontextprotocol/serverInfo": {"name": "s", "version": "0.0.0"}}


@pytest.fixture
def server() -> Server:
    return Server("s")


async def test_a_string_is_one_message_of_the_user(server: Server, revision: Revision) -> None:
    @server.prompt
    async def greet(who: str, times: int = 1) -> str:
        """Greet somebody."""
        return f"hi {who}! " * times

    async with wired(server) as peer:
        await peer.hello(revision)
        result = await peer.result("prompts/get", {"name": "greet", "arguments": {"who": "ann", "times": "2"}})
        (listed,) = (await peer.result("prompts/list"))["prompts"]
    full: Frame = {
        "description": "Greet somebody.",
        "messages": [{"role": "user", "content": {"type": "text", "text": "hi ann! hi ann! "}}],
    }
    assert result == ({**full, "resultType": "complete", "_meta": INFO} if revision is R26 else full)
    assert listed == {
        "name": "greet",
        "description": "Greet somebody.",
        "arguments": [{"name": "who", "required": True}, {"name": "times", "required": False}],
    }


async def test_blocks_messages_and_results(server: Server, revision: Revision) -> None:
    @server.prompt
    async def mixed() -> list[Any]:
        return [
            "text",
            ImageContent(data=b"i", mime_type="image/png"),
            EmbeddedResource(resource=TextResourceContents(uri="x://y", text="t")),
            AudioContent(data=b"a", mime_type="audio/wav"),
            PromptMessage(role="assistant", content=TextContent(text="so?")),
        ]

    @server.prompt
    async def whole() -> GetPromptResult:
        return GetPromptResult(messages=[], description="mine")

    async with wired(server) as peer:
        await peer.hello(revision)
        messages = (await peer.result("prompts/get", {"name": "mixed"}))["messages"]
        assert [(message["role"], message["content"]["type"]) for message in messages] == [
            ("user", "text"),
            ("user", "image"),
            ("user", "resource"),
            ("user", "audio" if revision.at_least(R25_03) else "text"),
            ("assistant", "text"),
        ]
        result = await peer.result("prompts/get", {"name": "whole"})
        assert (result["messages"], result["description"]) == ([], "mine")


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"name": "greet"}, "`who`"),
        ({"name": "greet", "arguments": {"who": "a", "n": "x"}}, "`n`"),
        ({"name": "greet", "arguments": {"who": "a", "other": "x"}}, "`other`"),
        ({"name": "greet", "arguments": {"who": 5}}, "arguments"),
        ({"name": "nobody"}, "'nobody'"),
        ({"arguments": {}}, "name"),
    ],
)
async def test_what_is_wrong_is_named_in_an_error(server: Server, revision: Revision, params: Frame, told: str) -> None:
    @server.prompt
    async def greet(who: str, n: int = 1) -> str:
        raise AssertionError("must not run")

    async with wired(server) as peer:
        await peer.hello(revision)
        error = await peer.error("prompts/get", params)
    assert error["code"] == -32602
    assert told in error["message"]


async def test_a_prompt_is_listed_with_what_the_revision_knows(server: Server, revision: Revision) -> None:
    @server.prompt(name="p", title="Prompt", description="d", icons=[Icon(src="data:,x")], meta={"com.example/a": 1})
    async def other_name(ctx: Context) -> str:
        return ctx.revision

    async with wired(server) as peer:
        await peer.hello(revision)
        (listed,) = (await peer.result("prompts/list"))["prompts"]
        result = await peer.result("prompts/get", {"name": "p"})
    full: Frame = {"name": "p", "description": "d"}
    if revision.at_least(R25_06):
        full |= {"title": "Prompt", "_meta": {"com.example/a": 1}}
    if revision.at_least(R25_11):
        full["icons"] = [{"src": "data:,x"}]
    assert listed == full
    assert result["messages"][0]["content"]["text"] == revision


async def test_a_failure_of_a_prompt_leaks_nothing(
    server: Server, revision: Revision, caplog: pytest.LogCaptureFixture
) -> None:
    @server.prompt
    async def broken() -> str:
        raise RuntimeError("hunter2")

    @server.prompt
    async def odd() -> Any:
        return 5

    async with wired(server) as peer:
        await peer.hello(revision)
        for name in ("broken", "odd"):
            error = await peer.error("prompts/get", {"name": name})
            assert error == {"code": -32603, "message": "internal error; the server's log has the details"}
    assert b"hunter2" not in b"".join(peer.raw)
    assert "a prompt returns strings, content blocks or PromptMessages, not int" in caplog.text


def test_registration_names_what_is_wrong() -> None:
    server = Server("s")
    with pytest.raises(SchemaError, match="needs a name"):
        server.prompt(lambda: "x")
    server.prompt(name="a")(lambda: "x")
    with pytest.raises(LocalProtocolError, match="there is a prompt 'a' already"):
        server.prompt(name="a")(lambda: "x")
    server.remove_prompt("a")
    with pytest.raises(LocalProtocolError, match="there is no prompt 'a' to remove"):
        server.remove_prompt("a")


async def test_the_client_gets_typed_messages(server: Server) -> None:
    server.prompt(name="hello", inline=True)(lambda who: f"hi {who}")
    async with Client(server) as client:
        result = await client.get_prompt("hello", {"who": "you"})
    assert result.messages == [PromptMessage(role="user", content=TextContent(text="hi you"))]
