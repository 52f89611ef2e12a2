"""This library's client against a server made with the official SDK, over HTTP under uvicorn: every generation.

One server process serves all tests of a way to serve; each test has its own connection, on both backends.
"""

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from mcpcore import Client, PeerError, Revision
from mcpcore.types import BlobResourceContents, TextContent, TextResourceContents

pytestmark = pytest.mark.anyio

PATIENCE_SECONDS = 30
SERVER = Path(__file__).parent / "servers" / "official_over_http.py"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


WAYS = [
    ("sessions", "auto"),
    ("sessions", "legacy"),
    ("sessions", "2025-06-18"),
    ("sessions", "2025-03-26"),
    ("stateless", "auto"),
    ("stateless", "legacy"),
    ("json", "auto"),
    ("json", "legacy"),
    ("sse", "auto"),
    ("sse", "2024-11-05"),
]
"""How it is served, and the era that the client asks for."""


@pytest.fixture(scope="module", params=WAYS, ids="-".join)
def way(request: pytest.FixtureRequest) -> tuple[str, str]:
    found: tuple[str, str] = request.param
    return found


@pytest.fixture(scope="module")
def how(way: tuple[str, str]) -> str:
    return way[0]


@pytest.fixture
def era(way: tuple[str, str]) -> str:
    return way[1]


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[[str], str]]:
    """The URL of a server that is started when it is first asked for."""
    urls: dict[str, str] = {}

    def started(how: str) -> str:
        if how not in urls:
            command = [sys.executable, str(SERVER), how]
            process = processes.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            processes.callback(process.kill)
            assert process.stdout is not None
            urls[how] = f"http://127.0.0.1:{int(process.stdout.readline())}/{'sse' if how == 'sse' else 'mcp'}"
        return urls[how]

    with ExitStack() as processes:
        yield started


@pytest.fixture
def url(serve: Callable[[str], str], how: str) -> str:
    return serve(how)


@asynccontextmanager
async def connected(url: str, era: Any, **options: Any) -> AsyncIterator[Client]:
    with anyio.fail_after(PATIENCE_SECONDS):
        async with Client(url, era=era, **options) as client:
            yield client


def text_of(result: Any) -> list[str]:
    assert all(isinstance(block, TextContent) for block in result.content)
    return [block.text for block in result.content]


def asks(client: Client, how: str) -> bool:
    """Whether this server can ask something on this connection: without a session it has no way back."""
    return client.revision is Revision.R2026_07_28 or how in ("sessions", "sse")


async def test_the_generation_is_found(url: str, how: str, era: str) -> None:
    expected = {"auto": "2025-11-25" if how == "sse" else "2026-07-28", "legacy": "2025-11-25"}.get(era, era)
    async with connected(url, era) as client:
        assert client.revision == expected
        assert client.server_info is not None
        assert client.server_info.name == "official"
        assert client.instructions == "Mind the gap."
        await client.ping()


async def test_tools(url: str, era: str) -> None:
    async with connected(url, era) as client:
        assert {"add", "count", "hang", "ask"} <= {tool.name for tool in await client.list_tools()}
        assert text_of(await client.call_tool("add", {"a": 2, "b": 3})) == ["5"]
        refused = await client.call_tool("refuse")
        assert refused.is_error
        assert "the disk is full" in text_of(refused)[0]


async def test_progress_and_logs(url: str, how: str, era: str) -> None:
    seen: list[tuple[float, float | None]] = []
    heard: list[Any] = []

    async def show(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total))

    async def log(params: Any) -> None:
        heard.append(params.data)

    async with connected(url, era, on_log=log) as client:
        assert '"counted": 5' in text_of(await client.call_tool("count", {"upto": 5}, on_progress=show))[0]
    if how != "json":  # then it says nothing but the answer
        assert seen == [(step, 5) for step in range(1, 6)]
        assert heard == [f"did {step}" for step in range(1, 6)]


async def test_questions(url: str, how: str, era: str) -> None:
    async def elicit(params: Any) -> dict[str, str]:
        return {"name": "Paris" if params.message == "Which city?" else "Rome"}

    async def sample(params: Any) -> str:
        return "42"

    async with connected(url, era, on_elicit=elicit, on_sample=sample, roots=["file:///home/somebody"]) as client:
        if not asks(client, how):
            return
        if client.revision.at_least(Revision.R2025_06_18):
            assert text_of(await client.call_tool("ask")) == ["Paris, Rome"]
        assert text_of(await client.call_tool("think")) == ["42"]
        assert text_of(await client.call_tool("where")) == ["file:///home/somebody"]


async def test_resources_prompts_and_completion(url: str, era: str) -> None:
    async with connected(url, era) as client:
        assert {resource.uri for resource in await client.list_resources()} == {"config://app", "blob://logo"}
        (text,) = (await client.read_resource("config://app")).contents
        assert isinstance(text, TextResourceContents)
        assert '"port": 80' in text.text
        (blob,) = (await client.read_resource("blob://logo")).contents
        assert isinstance(blob, BlobResourceContents)
        assert blob.blob == b"\x89PNG"
        with pytest.raises(PeerError):
            await client.read_resource("config://nowhere")
        (message,) = (await client.get_prompt("greet", {"who": "Bo"})).messages
        assert message.content == TextContent(text="Hello Bo")
        assert (await client.complete("greet", "who", "an")).values == ["ann", "anton"]


async def test_a_cancelled_call_is_cancelled_in_the_tool(url: str, how: str, era: str) -> None:
    async with connected(url, era) as client:
        if how == "json" or (how == "stateless" and client.revision is not Revision.R2026_07_28):
            return  # nobody there knows the call any more, or looks for a client that leaves
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "hang")
            await client.call_tool("await_event", {"name": "hanging"})
            tasks.cancel_scope.cancel()
        assert text_of(await client.call_tool("await_event", {"name": "cancelled"})) == ["cancelled"]


async def test_fifty_calls_at_once_get_their_own_answers(url: str, era: str) -> None:
    answers: dict[int, list[str]] = {}

    async with connected(url, era) as client:

        async def call(number: int) -> None:
            answers[number] = text_of(await client.call_tool("add", {"a": number, "b": 1}))

        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(call, number)
    assert answers == {number: [str(number + 1)] for number in range(50)}


async def test_changes_are_told(url: str) -> None:
    async with connected(url, "auto") as client:
        if client.revision is not Revision.R2026_07_28:  # the official server declares them from there on only
            assert client.capabilities.tools is None or not client.capabilities.tools.list_changed
            return
        async with client.listen(tools=True, resources=["config://app"]) as changes:
            await client.call_tool("touch")
            changed = await anext(changes)
            assert (changed.kind, changed.uri) == ("resource", "config://app")
