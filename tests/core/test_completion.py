"""Completion of prompt arguments and of the parts of a template."""

from typing import Any

import pytest
from core.wire import Frame, wired

from mcpcore import Client, Context, SchemaError, Server
from mcpcore.errors import PeerError
from mcpcore.revisions import REVISIONS, Revision
from mcpcore.types import CompleteResult, Completion

pytestmark = pytest.mark.anyio

R24, R25_03, R25_06, R25_11, R26 = REVISIONS


def ask(name: str, argument: str, value: str, **more: Any) -> Frame:
    kind, key = ("ref/resource", "uri") if "://" in name else ("ref/prompt", "name")
    return {"ref": {"type": kind, key: name}, "argument": {"name": argument, "value": value}, **more}


@pytest.fixture
def server() -> Server:
    server = Server("s")

    @server.prompt
    async def hello(who: str) -> str:
        return who

    @server.completion("hello", "who")
    async def who(typed: str, settled: dict[str, str], ctx: Context) -> list[str]:
        names = ("ann", "anna", "bob", *settled.values())
        return [name for name in names if name.startswith(typed)]

    @server.completion("file:///{name}", "name")
    async def name(typed: str) -> list[str]:
        return [f"{typed}{n}" for n in range(150)]

    return server


async def test_values_and_their_number(server: Server, revision: Revision) -> None:
    async with wired(server) as peer:
        await peer.hello(revision)
        result = await peer.result("completion/complete", ask("hello", "who", "an"))
        assert result["completion"] == {"values": ["ann", "anna"], "total": 2}
        result = await peer.result("completion/complete", ask("hello", "who", "zz"))
        assert result["completion"] == {"values": [], "total": 0}


async def test_at_most_a_hundred_values_are_sent(server: Server, revision: Revision) -> None:
    async with wired(server) as peer:
        await peer.hello(revision)
        completion = (await peer.result("completion/complete", ask("file:///{name}", "name", "f")))["completion"]
    assert completion == {"values": [f"f{n}" for n in range(100)], "total": 150, "hasMore": True}


async def test_settled_arguments_reach_the_function(server: Server, revision: Revision) -> None:
    async with wired(server) as peer:
        await peer.hello(revision)
        params = ask("hello", "who", "c", context={"arguments": {"other": "carl"}})
        assert (await peer.result("completion/complete", params))["completion"]["values"] == ["carl"]


async def test_completions_of_its_own_shape(server: Server) -> None:
    @server.completion("a", "x")
    async def own(typed: str) -> Completion:
        return Completion(values=["v"], total=9)

    @server.completion("a", "y")
    async def whole(typed: str) -> CompleteResult:
        return CompleteResult(completion=Completion(values=["w"]))

    @server.completion("a", "z")
    async def nothing(typed: str) -> None:
        return None

    async with Client(server) as client:
        assert await client.complete("a", "x", "") == Completion(values=["v"], total=9)
        assert await client.complete("a", "y", "") == Completion(values=["w"])
        assert (await client.complete("a", "z", "")).values == []
        with pytest.raises(PeerError, match="nothing completes the argument 'q' of 'a'"):
            await client.complete("a", "q", "")


@pytest.mark.parametrize(
    "params",
    [
        ask("hello", "other", "x"),
        ask("nobody", "who", "x"),
        {"ref": {"type": "ref/what", "name": "hello"}, "argument": {"name": "who", "value": ""}},
        {"ref": {"type": "ref/prompt", "name": "hello"}},
        {"ref": {"type": "ref/prompt", "name": "hello"}, "argument": {"name": "who", "value": 5}},
    ],
)
async def test_a_wrong_request_is_refused(server: Server, revision: Revision, params: Frame) -> None:
    async with wired(server) as peer:
        await peer.hello(revision)
        assert (await peer.error("completion/complete", params))["code"] == -32602


async def test_without_completions_there_is_no_such_method(revision: Revision) -> None:
    server = Server("s")
    server.prompt(name="p")(lambda x: x)
    async with wired(server) as peer:
        await peer.hello(revision)
        error = await peer.error("completion/complete", ask("p", "x", ""))
    assert error == {"code": -32601, "message": "this server has no method 'completion/complete'"}


@pytest.mark.parametrize("fn", [lambda: ["x"], lambda a, b, c: []])
def test_a_completion_takes_the_text_and_perhaps_what_is_settled(fn: Any) -> None:
    with pytest.raises(SchemaError, match="takes the typed text"):
        Server("s").completion("a", "b")(fn)
