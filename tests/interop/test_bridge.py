"""The official SDK's client, through a bridge, to the official SDK's server: every transport and era on either side.

One bridge process serves HTTP and HTTP+SSE before each server; a client over stdio starts a bridge of its own. The last
server is one of this library that knows no handshake, because the official one always does.
"""

import gc
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
import pytest
from interop.listening import PATIENCE_SECONDS, SERVERS, running
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.sse import sse_client

import mcpcore
import mcpcore_transports
from mcpcore.revisions import LATEST, LATEST_HANDSHAKE

pytestmark = [
    pytest.mark.anyio,
    # The SDK's client leaves the iterators of its HTTP library to the garbage collector, which trio reports.
    pytest.mark.filterwarnings("ignore:Async generator 'http(x|core)2:ResourceWarning"),
]

PYTHONPATH = os.pathsep.join(
    dict.fromkeys(str(Path(package.__file__ or "").parents[1]) for package in (mcpcore, mcpcore_transports))
)
URL = re.compile(r"mcpcore: listening on (http://\S+)")
FRONTS = [("stdio", "auto"), ("stdio", "legacy"), ("http", "auto"), ("http", "legacy"), ("sse", "legacy")]
BEHIND = ["stdio", "http", "sse", "modern"]


def bridge(target: str, *words: str) -> list[str]:
    return [sys.executable, "-P", "-m", "mcpcore", "bridge", target, *words]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Each front has one of them."""
    return str(request.param)


@pytest.fixture(scope="module", params=BEHIND)
def behind(request: pytest.FixtureRequest) -> Iterator[str]:
    """The TARGET of a server."""
    with ExitStack() as stack:
        if request.param == "stdio":
            yield f"stdio:{sys.executable} {SERVERS / 'official.py'}"
        elif request.param == "modern":
            serve = f"{sys.executable} -P -m mcpcore run {SERVERS / 'ours.py'} --era modern"
            yield f"stdio:env PYTHONPATH={PYTHONPATH} {serve}"
        else:
            how = "sse" if request.param == "sse" else "sessions"
            command = [sys.executable, str(SERVERS / "official_over_http.py"), how]
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stack.callback(process.kill)
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/{'sse' if how == 'sse' else 'mcp'}"


@pytest.fixture(scope="module")
def urls(behind: str) -> Iterator[dict[str, str]]:
    """Where a bridge to it listens."""
    words = ("--transport", "http,sse", "--port", "0", "--grace", "1", "--backend", "trio")
    with running(bridge(behind, *words), URL, 2, PYTHONPATH=PYTHONPATH) as (http, sse):
        yield {"http": http[1], "sse": sse[1]}


@asynccontextmanager
async def connected(front: str, mode: str, behind: str, urls: dict[str, str], **options: Any) -> AsyncIterator[Client]:
    target: Any = urls.get(front)
    if front == "stdio":
        command, *args = bridge(behind)
        target = StdioServerParameters(command=command, args=args, env={"PYTHONPATH": PYTHONPATH})
    elif front == "sse":
        target = sse_client(target)
    with anyio.fail_after(PATIENCE_SECONDS):
        async with Client(target, mode=mode, cache=None, **options) as client:
            yield client
    gc.collect()


@pytest.mark.parametrize(
    ("front", "mode", "anyio_backend"),
    [(*front, ("asyncio", "trio")[number % 2]) for number, front in enumerate(FRONTS)],
    ids=["-".join(front) for front in FRONTS],
)
async def test_everything_passes(front: str, mode: str, behind: str, urls: dict[str, str]) -> None:
    asked: list[str] = []
    logs: list[Any] = []
    logged = anyio.Event()
    seen: list[tuple[float, float | None]] = []

    async def elicit(context: Any, params: Any) -> types.ElicitResult:
        asked.append(params.message)
        return types.ElicitResult(action="accept", content={"name": "Paris" if len(asked) == 1 else "Rome"})

    async def sample(context: Any, params: Any) -> types.CreateMessageResult:
        return types.CreateMessageResult(role="assistant", content=types.TextContent(text="42"), model="oracle")

    async def roots(context: Any) -> types.ListRootsResult:
        return types.ListRootsResult(roots=[types.Root(uri="file:///home/somebody")])

    async def log(params: types.LoggingMessageNotificationParams) -> None:
        logs.append(params.data)
        if len(logs) == 3:
            logged.set()

    async def show(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total))

    options: dict[str, Any] = {
        "elicitation_callback": elicit,
        "sampling_callback": sample,
        "list_roots_callback": roots,
        "logging_callback": log,
        "log_level": "info" if mode == "auto" else None,
    }
    async with connected(front, mode, behind, urls, **options) as client:
        assert client.protocol_version == (LATEST if mode == "auto" else LATEST_HANDSHAKE)
        assert client.server_info.name in ("official", "ours")
        assert {"add", "count"} <= {tool.name for tool in (await client.list_tools()).tools}

        result = await client.call_tool("count", {"upto": 3}, progress_callback=show)
        assert not result.is_error
        assert seen == [(1, 3), (2, 3), (3, 3)]
        await logged.wait()
        assert logs == ["did 1", "did 2", "did 3"]

        await client.call_tool("forget", {})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "hang", {})
            await client.call_tool("await_event", {"name": "hanging"})
            tasks.cancel_scope.cancel()
        assert (await client.call_tool("await_event", {"name": "cancelled"})).content[0].text == "cancelled"

        assert (await client.call_tool("ask", {})).content[0].text == "Paris, Rome"
        assert asked == ["Which city?", "And after Paris?"]
        assert (await client.call_tool("think", {})).content[0].text == "42"
        assert "file:///home/somebody" in (await client.call_tool("where", {})).content[0].text

        refused = await client.call_tool("refuse", {})
        assert (refused.is_error, "the disk is full" in refused.content[0].text) == (True, True)
        with pytest.raises(MCPError):
            await client.read_resource("config://nowhere")
        assert json.loads((await client.read_resource("config://app")).contents[0].text) == {"port": 80}
        assert (await client.get_prompt("greet", {"who": "Bo"})).messages[0].content.text == "Hello Bo"
