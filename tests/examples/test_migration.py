"""examples/migration: the guide, played: three servers that offer the same, and one that leaves HTTP+SSE behind."""

import os
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import mcp
import mcp.server
import mcp.server.mcpserver
import mcp.server.mcpserver.exceptions
import pytest
from cli.program import LIMIT_SECONDS, PYTHONPATH, environment, site
from mcp import ClientSession
from mcp.client.sse import sse_client

import mcpcore
from mcpcore import Client, ConnectFailed, PeerError
from mcpcore.transport import client_transport
from mcpcore_transports.http import asgi_app

pytestmark = pytest.mark.anyio

MIGRATION = Path(__file__).parents[2] / "examples" / "migration"
GUIDE = (MIGRATION / "guide.md").read_text()
SECONDS = "0.05"
"""Between two reports of watch.py."""


both_backends = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


@pytest.fixture
def anyio_backend() -> str:
    """Where the other end is what matters."""
    return "trio"


@pytest.fixture(autouse=True)
async def _deadline(anyio_backend: str) -> Any:
    with anyio.fail_after(LIMIT_SECONDS * 2):
        yield


# -- three servers ---------------------------------------------------------------------------------------------------


def essentials(schema: dict[str, Any]) -> dict[str, Any]:
    """What a model makes of a schema: the names and types of its properties, their defaults, and which it needs."""
    properties = {name: (one["type"], one.get("default")) for name, one in sorted(schema.get("properties", {}).items())}
    return {"type": schema["type"], "properties": properties, "required": sorted(schema.get("required", ()))}


async def offer_of(client: Client) -> dict[str, Any]:
    """Everything that the server offers, and what it answers."""
    seen: list[Any] = []

    async def show(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total, message))

    results = [
        await client.call_tool("add", {"a": 2}),
        await client.call_tool("add", {"a": 2, "b": 5}),
        await client.call_tool("find", {"title": "dune"}),
        await client.call_tool("read", {"title": "dune", "chapters": 3}, on_progress=show),
    ]
    failures = [await client.call_tool("find", {"title": "x"}), await client.call_tool("add", {"a": "two"})]
    got = await client.get_prompt("recommend", {"topic": "sand"})
    return {
        "instructions": client.instructions,
        "tools": [
            (one.name, one.description, essentials(one.input_schema), essentials(one.output_schema or {}))
            for one in sorted(await client.list_tools(), key=lambda tool: tool.name)
        ],
        "resources": [(one.uri, one.name, one.description, one.mime_type) for one in await client.list_resources()],
        "templates": [(one.uri_template, one.name, one.mime_type) for one in await client.list_templates()],
        "prompts": [
            (one.name, one.description, [(argument.name, argument.required) for argument in one.arguments or ()])
            for one in await client.list_prompts()
        ],
        "results": [(one.structured_content, bool(one.is_error)) for one in results],
        "progress": seen,
        "failures": [one.is_error for one in failures],
        "says why": "there is no book 'x'; there are dune, emma" in failures[0].content[0].text,
        "read": [
            (await client.read_resource(uri)).contents[0].text for uri in ("library://about", "library://books/emma")
        ],
        "prompt": [(one.role, one.content.text) for one in got.messages],
    }


def command(python: str, name: str) -> Any:
    quiet = {"FASTMCP_CHECK_FOR_UPDATES": "off", "FASTMCP_SHOW_SERVER_BANNER": "false"}  # nothing here leaves loopback
    path = {"PYTHONPATH": PYTHONPATH} if name == "ours.py" else {}
    return client_transport("stdio")([python, str(MIGRATION / name)], env={**path, **quiet})


async def both(python: str, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    # Without a probe first: theirs may take longer to start than one waits for its answer.
    async with Client(command(python, name), era="legacy") as client:
        theirs = await offer_of(client)
    async with Client(command(sys.executable, "ours.py")) as client:
        return theirs, await offer_of(client)


async def test_official_and_ours_offer_the_same() -> None:
    theirs, ours = await both(sys.executable, "official.py")
    assert theirs == ours
    assert len(ours["tools"]) == 3
    assert ours["says why"]


@pytest.mark.fastmcp
async def test_fastmcp_and_ours_offer_the_same() -> None:
    theirs, ours = await both(os.environ["MCPCORE_FASTMCP"], "with_fastmcp.py")
    assert theirs == ours


async def test_what_differs() -> None:
    async with Client(command(sys.executable, "ours.py")) as client:
        bent = await client.call_tool("add", {"a": "2"})
        assert bent.is_error
        assert "argument `a`: expected `int`, got `str`" in bent.content[0].text
        missing = await client.call_tool("find", {"title": "x"})
        assert missing.content[0].text == "there is no book 'x'; there are dune, emma"
        with pytest.raises(PeerError, match="-32602"):
            await client.call_tool("none")
    async with Client(command(sys.executable, "official.py"), era="legacy") as client:
        assert (await client.call_tool("add", {"a": "2"})).structured_content == {"result": 3}
        missing = await client.call_tool("find", {"title": "x"})
        assert missing.content[0].text.startswith("Error executing tool find: ")
        assert (await client.call_tool("none")).is_error


def named(cell: str, homes: dict[str, Any]) -> Any:
    """What a name in the table stands for."""
    first, *rest = cell.strip("` ").split(".")
    found = homes[first]
    for name in rest:
        found = getattr(found, name)
    return found


def test_the_table_has_names_that_exist() -> None:
    rows = [line.strip("|").split("|") for line in GUIDE.splitlines() if line.startswith("| `")]
    assert len(rows) > 10
    theirs = {
        "MCPServer": mcp.server.MCPServer,
        "Context": mcp.server.mcpserver.Context,
        "ToolError": mcp.server.mcpserver.exceptions.ToolError,
        "Client": mcp.Client,
    }
    ours = {name: getattr(mcpcore, name) for name in ("Server", "Context", "ToolError", "Client")}
    for official, _, mine in rows:
        assert named(official, theirs) is not None
        assert named(mine, ours | {"asgi_app": asgi_app}) is not None


@pytest.mark.fastmcp
def test_the_names_of_fastmcp_exist_too() -> None:
    names = [line.strip("|").split("|")[1].strip("` ") for line in GUIDE.splitlines() if line.startswith("| `")]
    script = (
        "from fastmcp import FastMCP, Context, Client\nfrom fastmcp.exceptions import ToolError\n"
        f"print([{', '.join(names)}] and 'all there')"
    )
    done = subprocess.run(
        [os.environ["MCPCORE_FASTMCP"], "-c", script],
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert done.stdout == "all there\n", done.stderr


# -- away from HTTP+SSE ----------------------------------------------------------------------------------------------


async def old_client(url: str) -> list[Any]:
    """A client of 2024-11-05: what it is answered."""
    async with sse_client(url) as streams, ClientSession(*streams) as session:
        await session.initialize()
        tools = sorted(tool.name for tool in (await session.list_tools()).tools)
        result = await session.call_tool("find", {"title": "emma"})
        return [tools, result.structured_content, bool(result.is_error)]


async def new_client(url: str) -> list[Any]:
    async with Client(url, name="moved") as client:
        tools = sorted(tool.name for tool in await client.list_tools())
        result = await client.call_tool("find", {"title": "emma"})
        return [tools, result.structured_content, bool(result.is_error)]


ANSWERS = [["add", "find", "read"], {"title": "emma", "pages": 474}, False]


@contextmanager
def legacy_server() -> Iterator[str]:
    """official.py over HTTP+SSE, as it was before."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [sys.executable, str(MIGRATION / "official.py"), "sse", str(port)]
    with subprocess.Popen(words, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if "Uvicorn running" in line:
                    break
            yield f"http://127.0.0.1:{port}/sse"
        finally:
            process.kill()


class Watching:
    """A running watch.py."""

    def __init__(self, process: "subprocess.Popen[str]", urls: list[str]) -> None:
        self._process = process
        self.http, self.sse = urls

    def counted(self, wanted: str) -> int:
        """Read on until a line begins with these words; the number in it."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(wanted):
                return int(line.rpartition(": ")[2])
        raise AssertionError(f"watch.py has ended before it said {wanted!r}")


@contextmanager
def watching() -> Iterator[Watching]:
    words = [sys.executable, str(MIGRATION / "watch.py"), "0", SECONDS]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, env=environment(), text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            urls = [process.stderr.readline().rpartition("listening on ")[2].strip() for _ in range(2)]
            yield Watching(process, urls)
        finally:
            process.kill()


async def test_the_old_client_is_answered_the_same_before_and_after() -> None:
    with legacy_server() as url:
        assert await old_client(url) == ANSWERS
    with watching() as watched:
        assert watched.sse.endswith("/sse")
        assert await old_client(watched.sse) == ANSWERS
        assert await anyio.to_thread.run_sync(watched.counted, "sse 2025-11-25 mcp: ") > 0
        # It moves.
        assert await new_client(watched.http) == ANSWERS
        assert await anyio.to_thread.run_sync(watched.counted, "http 2026-07-28 moved: ") > 0


def answer_to(url: str) -> tuple[int, str, str]:
    try:
        with urllib.request.urlopen(url, timeout=LIMIT_SECONDS) as answer:
            return answer.status, "", answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.headers.get("link", ""), refused.read().decode()


@both_backends
async def test_counters_and_the_end_of_sse(anyio_backend: str) -> None:
    """The commands of the guide, one after the other on the same port."""
    commands = re.findall(r"^ +mcpcore run ours\.py --transport (\S+)$", GUIDE, re.MULTILINE)
    assert commands == ["http,sse", "http"]
    ours = MIGRATION / "ours.py"
    backend = ("--backend", anyio_backend)
    with site(ours, "--metrics", *backend, transport=commands[0], endpoints=2) as served:
        http, sse = served.urls
        assert await old_client(sse) == ANSWERS
        assert await new_client(http) == ANSWERS
        counters = answer_to(f"http://127.0.0.1:{served.port}/metrics")[2]
        counted = re.findall(r"^mcpcore_client_requests_total{(.*)} (\S+)$", counters, re.MULTILINE)
        by_kind = {labels: float(count) for labels, count in counted}
        assert by_kind['revision="2025-11-25",transport="sse"'] >= 3
        assert by_kind['revision="2026-07-28",transport="http"'] >= 3
        port = str(served.port)
        assert await anyio.to_thread.run_sync(served.stop) == 0
    with site(ours, "--port", port, *backend, transport=commands[1]) as served:
        assert served.urls == [http]
        assert await new_client(http) == ANSWERS
        where = "use a client that speaks Streamable HTTP, at /mcp"
        status, link, text = answer_to(sse)
        assert (status, link) == (404, '</mcp>; rel="successor-version"')
        assert where in text
        with pytest.raises(ConnectFailed, match=where):
            await new_client(sse)
        with pytest.raises(BaseException) as refused:
            await old_client(sse)
        assert "404" in str(_innermost(refused.value))


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
