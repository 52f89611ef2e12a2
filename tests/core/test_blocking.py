"""Sync tools in worker threads, in real time: a virtual clock would jump while a thread is at work."""

import sys
import threading
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from core.wire import PATIENCE, wired

from mcpcore import Client, Context, Server, ToolError
from mcpcore.revisions import Revision

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What blocked threads wait for; opened at the end, so that none is left."""
    gate = threading.Event()
    yield gate
    gate.set()


async def test_a_sync_tool_runs_in_a_thread(revision: Revision) -> None:
    server = Server("s")

    @server.tool
    def where(ctx: Context) -> list[Any]:
        return [threading.current_thread() is threading.main_thread(), ctx.method]

    async with wired(server) as peer:
        await peer.hello(revision)
        assert (await peer.call("where"))["content"][0]["text"] == '[false,"tools/call"]'


async def test_a_hundred_blocked_sync_tools_leave_async_ones_alone(revision: Revision, gate: threading.Event) -> None:
    server = Server("s")

    @server.tool
    def block(n: int) -> int:
        assert gate.wait(PATIENCE)
        return n

    @server.tool
    async def quick() -> str:
        return "answered"

    async with wired(server) as peer:
        await peer.hello(revision)
        ids = [peer.request("tools/call", {"name": "block", "arguments": {"n": n}}) for n in range(100)]
        assert (await peer.call("quick"))["content"][0]["text"] == "answered"
        assert (await peer.result("tools/list"))["tools"]
        statistics = server.statistics().threads
        assert statistics.running == statistics.max_threads
        assert statistics.running + statistics.waiting == 100
        gate.set()
        answers = {(await peer.receive())["id"] for _ in ids}
    assert answers == set(ids)


async def test_what_a_sync_tool_raises_is_told_like_that_of_an_async_one(caplog: pytest.LogCaptureFixture) -> None:
    server = Server("s")

    @server.tool
    def refuse() -> None:
        raise ToolError("no such table")

    @server.tool
    def fail() -> None:
        raise ValueError("hunter2")

    @server.tool
    def leave() -> None:
        sys.exit("hunter2")

    async with wired(server) as peer:
        assert (await peer.call("refuse"))["content"][0]["text"] == "no such table"
        assert (await peer.call("fail"))["isError"] is True
        response = await peer.ask("tools/call", {"name": "leave"})
        assert response.get("error", {}).get("code") == -32603 or response["result"]["isError"] is True
        assert (await peer.call("refuse"))["isError"] is True
    assert b"hunter2" not in b"".join(peer.raw)


async def test_a_sync_tool_that_takes_too_long_is_left_behind(gate: threading.Event) -> None:
    server = Server("s")

    @server.tool(timeout=0.01)
    def block() -> None:
        gate.wait(PATIENCE)

    async with wired(server) as peer:
        result = await peer.call("block")
        assert result["content"][0]["text"] == "tool 'block' did not finish within 0.01 seconds"
        assert server.statistics().threads.abandoned == 1


async def test_a_blocked_sync_tool_does_not_hold_up_the_end(gate: threading.Event) -> None:
    server = Server("s")

    @server.tool
    def block() -> None:
        gate.wait(PATIENCE)

    async with wired(server) as peer:
        id = peer.request("tools/call", {"name": "block"})
        while not server.statistics().threads.running:
            await anyio.lowlevel.checkpoint()
        peer.notify("notifications/cancelled", {"requestId": id})
        while not server.statistics().threads.abandoned:
            await anyio.lowlevel.checkpoint()
        peer.eof()
        await peer.end()


async def test_resources_prompts_and_completions_run_in_threads_too() -> None:
    server = Server("s")
    threads: list[bool] = []

    def here() -> str:
        threads.append(threading.current_thread() is threading.main_thread())
        return "x"

    server.resource("x://r", name="r")(lambda: here())
    server.resource("x://t/{a}", name="t")(lambda a: here())
    server.prompt(name="p")(lambda: here())
    server.completion("p", "a")(lambda typed: [here()])
    async with Client(server) as client:
        await client.read_resource("x://r")
        await client.read_resource("x://t/1")
        await client.get_prompt("p")
        await client.complete("p", "a", "")
    assert threads == [False] * 4
