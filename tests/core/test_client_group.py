"""Several servers used as one."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import anyio
import pytest
from core.bridged import INITIALIZED, Behind
from core.raw_peer import in_virtual_time

from mcpcore import ClientGroup, ConnectionLost, Context, LocalProtocolError, Server, serve
from mcpcore.group.member import MAX_RECONNECT_SECONDS, RECONNECT_SECONDS

pytestmark = pytest.mark.anyio

PATIENCE_SECONDS = 20


def weather() -> Server:
    server = Server("weather", version="1")

    @server.tool
    async def forecast(city: str, ctx: Context) -> str:
        """What it will be."""
        await ctx.progress(1, total=1, message=city)
        return f"{city}: rain"

    @server.resource("weather://now")
    async def now() -> str:
        return "rain"

    @server.resource("weather://{city}/now")
    async def now_in(city: str) -> str:
        return f"rain in {city}"

    @server.prompt
    async def ask(city: str) -> str:
        return f"How is {city}?"

    return server


def notes() -> Server:
    server = Server("notes", version="1")

    @server.tool(name="read.note")
    async def read() -> str:
        return "a note"

    @server.resource("weather://now")
    async def now() -> str:
        return "a note on the weather"

    @server.resource("note://one")
    async def one() -> str:
        return "one"

    return server


async def test_servers_side_by_side() -> None:
    seen: list[Any] = []

    async def show(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total, message))

    with anyio.fail_after(PATIENCE_SECONDS):
        async with ClientGroup({"weather": weather(), "notes": notes()}) as group:
            assert list(group.clients) == ["weather", "notes"]
            first, second = await group.list_tools()
            assert (first.name, first.description) == ("weather__forecast", "What it will be.")
            assert second.name.startswith("notes__read_note_")
            result = await group.call_tool("weather__forecast", {"city": "Rome"}, on_progress=show)
            assert (result.content[0].text, seen) == ("Rome: rain", [(1, 1, "Rome")])
            assert (await group.call_tool(second.name)).content[0].text == "a note"

            assert {resource.uri for resource in await group.list_resources()} == {"weather://now", "note://one"}
            assert (await group.read_resource("note://one")).contents[0].text == "one"
            assert (await group.read_resource("weather://now")).contents[0].text == "rain"
            assert (await group.read_resource("weather://Rome/now")).contents[0].text == "rain in Rome"
            assert [prompt.name for prompt in await group.list_prompts()] == ["weather__ask"]
            prompt = await group.get_prompt("weather__ask", {"city": "Rome"})
            assert prompt.messages[0].content.text == "How is Rome?"
            assert (await group.clients["weather"].call_tool("forecast", {"city": "Oslo"})).content[
                0
            ].text == "Oslo: rain"
            assert group.errors == {}


async def test_a_tool_is_found_without_a_list() -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        async with ClientGroup({"weather": weather()}) as group:
            assert (await group.call_tool("weather__forecast", {"city": "Rome"})).content[0].text == "Rome: rain"
            with pytest.raises(LocalProtocolError, match="no server that is connected has the tool 'weather__x'"):
                await group.call_tool("weather__x")
            with pytest.raises(LocalProtocolError, match="has the resource 'no://where'"):
                await group.read_resource("no://where")
            with pytest.raises(LocalProtocolError, match="there is no server 'x'; there are weather"):
                group.client("x")


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_one_that_fails_takes_no_other_down(tmp_path: Path, anyio_backend: str) -> None:
    servers = {
        "missing": {"command": "no-such-program"},
        "wrong": {"command": "x", "args": ["${NOT_THERE}"]},
        "off": {"command": "no-such-program", "disabled": True},
        "odd": {"url": "http://a.example:port/mcp"},
    }
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": servers}))
    with anyio.fail_after(PATIENCE_SECONDS):
        async with ClientGroup(path, environment={}) as group:
            await group.add("weather", weather())
            assert list(group.clients) == ["weather"]
            assert set(group.errors) == {"missing", "wrong", "odd"}
            assert "no-such-program" in str(group.errors["missing"])
            assert "server 'wrong', args[0]: the environment has no NOT_THERE" in str(group.errors["wrong"])
            assert "port" in str(group.errors["odd"])
            assert group.disabled == {"off"}
            assert [tool.name for tool in await group.list_tools()] == ["weather__forecast"]
            with pytest.raises(ConnectionLost, match=r"server 'missing' is not connected: .*no-such-program"):
                group.client("missing")
            with pytest.raises(LocalProtocolError, match="NOT_THERE"):
                group.client("wrong")
            with pytest.raises(LocalProtocolError, match=r"not connected: .*missing"):
                await group.call_tool("missing__x")


async def test_servers_come_and_go() -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        async with ClientGroup() as group:
            assert await group.list_tools() == []
            await group.add("a", weather())
            await group.add("b", weather())
            assert [tool.name for tool in await group.list_tools()] == ["a__forecast", "b__forecast"]
            with pytest.raises(LocalProtocolError, match="already"):
                await group.add("a", weather())
            with pytest.raises(LocalProtocolError, match="'c': it needs"):
                await group.add("c", {})
            client = group.clients["a"]
            await group.remove("a")
            with pytest.raises(anyio.ClosedResourceError):
                await client.list_tools()
            assert [tool.name for tool in await group.list_tools()] == ["b__forecast"]
            with pytest.raises(LocalProtocolError):
                await group.call_tool("a__forecast", {"city": "Rome"})
            with pytest.raises(LocalProtocolError, match="no server 'a'"):
                await group.remove("a")
            await group.add("a", weather())
            assert (await group.call_tool("a__forecast", {"city": "Rome"})).is_error is not True
    with pytest.raises(anyio.ClosedResourceError):
        await group.add("d", weather())


async def _answer(behind: Behind) -> Any:
    """Play a server that knows the handshake only."""
    server = await behind.server()
    probe = await server.hear("server/discover")
    await server.say({"id": probe["id"], "error": {"code": -32601, "message": "what?"}})
    await server.answer(await server.hear("initialize"), {**INITIALIZED, "capabilities": {"tools": {}}})
    await server.hear("notifications/initialized")
    return server


@in_virtual_time
async def test_a_server_that_is_lost_is_connected_to_again() -> None:
    behind = Behind()
    with anyio.fail_after(3600):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_answer_and_break, behind)
            async with ClientGroup({"a": behind, "weather": weather()}) as group:
                first = group.clients["a"]
                with pytest.raises(ConnectionLost):
                    await first.list_tools()
                await anyio.wait_all_tasks_blocked()
                assert list(group.clients) == ["weather"]
                assert "lost" in str(group.errors["a"])
                began = anyio.current_time()
                server = await _answer(behind)
                assert 0 < anyio.current_time() - began <= RECONNECT_SECONDS
                await anyio.wait_all_tasks_blocked()
                assert group.clients["a"] is not first
                assert group.errors == {}
                behind.absent = True
                server.pipe.break_off()
                await anyio.sleep(600)
                tried = behind.connections
                assert "nobody is there" in str(group.errors["a"])
                await anyio.sleep(600)
                assert 10 <= behind.connections - tried <= 1 + 600 / (MAX_RECONNECT_SECONDS / 2)


async def _answer_and_break(behind: Behind) -> None:
    server = await _answer(behind)
    await server.hear("tools/list")
    server.pipe.break_off()


@in_virtual_time
async def test_a_server_that_does_not_answer_holds_up_nobody() -> None:
    behind = Behind()
    began = anyio.current_time()
    async with ClientGroup({"silent": behind, "weather": weather()}, start_timeout=3) as group:
        assert anyio.current_time() - began == 3
        assert "still being connected" in str(group.errors["silent"])
        assert [tool.name for tool in await group.list_tools()] == ["weather__forecast"]
    assert behind.open == 0


async def test_a_group_is_closed_from_wherever_it_is_left() -> None:
    behind = Behind()

    async def cancel_when_connected(scope: anyio.CancelScope) -> None:
        await _answer(behind)
        scope.cancel()

    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as scope:
                tasks.start_soon(cancel_when_connected, scope)
                async with ClientGroup({"a": behind}):
                    await anyio.sleep_forever()
        assert behind.open == 0
        group = ClientGroup({"weather": weather()})
        with pytest.raises(ValueError, match="mine"):
            async with group:
                raise ValueError("mine")
        async with group:
            with pytest.raises(LocalProtocolError, match="open already"):
                await group.__aenter__()


@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_by_command_and_by_url(tmp_path: Path, anyio_backend: str) -> None:
    file = tmp_path / "demo.py"
    file.write_text(
        "from mcpcore import Server\ns = Server('d')\n@s.tool\nasync def add(a: int, b: int) -> int: return a + b\n"
    )
    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:

            async def listen(*, task_status: Any) -> None:
                await serve(weather(), "http,sse", port=0, task_status=task_status)

            http, sse = await tasks.start(listen)
            servers = {
                "http": {"url": http, "headers": {"X-A": "1"}},
                "sse": {"type": "sse", "url": sse},
                "local": {
                    "command": sys.executable,
                    "args": ["-P", "-m", "mcpcore", "run", str(file)],
                    "env": {"PYTHONPATH": os.pathsep.join(sys.path)},
                },
            }
            async with ClientGroup({"mcpServers": servers}) as group:
                assert {tool.name for tool in await group.list_tools()} == {
                    "http__forecast",
                    "sse__forecast",
                    "local__add",
                }
                assert (await group.call_tool("local__add", {"a": 1, "b": 2})).content[0].text == "3"
                assert (await group.call_tool("sse__forecast", {"city": "Rome"})).content[0].text == "Rome: rain"
            tasks.cancel_scope.cancel()
