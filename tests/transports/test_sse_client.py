"""The client of HTTP+SSE servers (2024-11-05): where it posts, and what happens when one of the two ways breaks.

Against scripted servers on real sockets, on the ordinary clock of each backend. Every wait is for an event and bounded.
"""

import gc
import json
from typing import Any

import anyio
import pytest
from transports.scripted_mcp import Asked, answering, until
from transports.scripted_server import Served

from mcpcore import Client, ConnectFailed, ConnectionLost, DeadlineExceeded
from mcpcore_transports.http.authorized import Authorization, Call
from mcpcore_transports.http.client import HttpTransport
from mcpcore_transports.http.failures import HttpError
from mcpcore_transports.sse import client as sse
from mcpcore_transports.web.client import HttpClient

pytestmark = pytest.mark.anyio

BRIEF_SECONDS = 0.05


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


class Old:
    """A server of that generation: GET at /mcp, POST where `endpoint` says."""

    def __init__(self, endpoint: str = "messages?session=1") -> None:
        self.endpoint = endpoint
        self.log: list[Asked] = []
        self.stream: Asked | None = None
        self.accepts = 202
        self.answers = True
        self.kind = "text/event-stream"

    def seen(self, method: str) -> list[Asked]:
        return [asked for asked in self.log if asked.method == method]

    async def __call__(self, asked: Asked) -> None:
        self.log.append(asked)
        if asked.verb == "GET":
            await asked.begin_events()
            await asked.raw(b": hello\n\nevent: endpoint\ndata: %b\n\n" % self.endpoint.encode())
            self.stream = asked
            await asked.gone()
        elif asked.path.startswith("/mcp"):
            await asked.status(405)
        elif asked.method == "tools/call" and self.accepts != 202:
            if self.accepts:
                await asked.status(self.accepts, b"not that")
            else:
                await asked.gone()
        else:
            await asked.status(202, b"Accepted")
            if asked.method == "initialize":
                result = {
                    "protocolVersion": "2024-11-05",
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "old", "version": "1"},
                }
                await self.send(asked.answer(result))
            elif asked.method == "ping":
                await self.send(asked.answer({}))
            elif asked.method == "tools/call" and self.answers:
                await self.send(asked.said(asked.tool))

    async def send(self, message: Any) -> None:
        assert self.stream is not None
        await self.stream.raw(b"event: message\ndata: %b\n\n" % json.dumps(message).encode())


@pytest.mark.parametrize("endpoint", ["messages?session=1", "/messages?session=1", "http://127.0.0.1:{port}/messages"])
@pytest.mark.parametrize("era", ["auto", "legacy", "2024-11-05"])
async def test_messages_are_posted_where_the_server_says(endpoint: str, era: Any) -> None:
    server = Old()
    async with answering(server) as served:
        server.endpoint = endpoint.format(port=served.port)
        async with Client(served.url, era=era) as client:
            assert client.revision == "2024-11-05"
            assert text_of(await client.call_tool("x")) == "x"
    assert {asked.path.partition("?")[0] for asked in server.log if asked.method == "tools/call"} == {"/messages"}
    assert all("mcp-session-id" not in asked.headers for asked in server.log)


@pytest.mark.parametrize(
    "endpoint", ["http://127.0.0.2:{port}/x", "https://127.0.0.1:{port}/x", "//elsewhere/x", "http://[x/", "file:///x"]
)
async def test_nothing_is_posted_anywhere_else(endpoint: str) -> None:
    server = Old()
    async with answering(server) as served:
        server.endpoint = endpoint.format(port=served.port)
        with pytest.raises(ConnectFailed, match=r"another origin|where to post"):
            async with Client(served.url, auth="secret"):
                raise AssertionError
    assert [asked.method for asked in server.log] == ["server/discover", "initialize", "GET"]


async def test_credentials_go_with_every_request_as_they_are_at_that_moment() -> None:
    class Auth(Authorization):
        asked = 0

        async def headers(self, call: Call) -> dict[str, str]:
            self.asked += 1
            return {"Authorization": f"Bearer {self.asked}"}

    server = Old()
    async with answering(server) as served:
        server.endpoint = f"http://127.0.0.1:{served.port}/messages"
        async with Client(served.url, headers={"x-team": "7"}, auth=Auth()) as client:
            await client.call_tool("x")
        assert [asked.headers["authorization"] for asked in server.log] == [f"Bearer {n}" for n in range(1, 7)][
            : len(server.log)
        ]
        assert {asked.headers["x-team"] for asked in server.log} == {"7"}
        seen = len(server.log)
        async with Client(served.url.replace("//", "//name:word@")) as client:
            await client.call_tool("x")
        assert all(asked.headers["authorization"].startswith("Basic ") for asked in server.log[seen:])


@pytest.mark.parametrize("status", [400, 404, 413, 500])
async def test_a_call_whose_post_is_refused_fails(status: int) -> None:
    server = Old()
    async with answering(server) as served, Client(served.url) as client:
        server.accepts = status
        with pytest.raises(HttpError) as refused:
            await client.call_tool("x")
        assert (refused.value.status, refused.value.line) == (status, "not that")
        with pytest.raises(ConnectionLost):
            await client.ping()


async def test_a_call_whose_post_is_never_accepted_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "POST_SECONDS", BRIEF_SECONDS)
    server = Old()
    async with answering(server) as served, Client(served.url) as client:
        server.accepts = 0
        with pytest.raises(ConnectionLost, match="did not accept"):
            await client.call_tool("x")


@pytest.mark.parametrize("how", ["ends", "breaks", "breaks HTTP"])
async def test_a_stream_that_dies_fails_the_calls_that_wait_for_it(how: str) -> None:
    server = Old()
    server.answers = False
    async with answering(server) as served, Client(served.url) as client:
        lost = 0

        async def ask() -> None:
            nonlocal lost
            with pytest.raises(ConnectionLost) as error:
                await client.call_tool("x")
            assert not isinstance(error.value, ConnectFailed)
            lost += 1

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(ask)
            await until(lambda: len(server.seen("tools/call")) == 3)
            assert server.stream is not None
            if how == "ends":
                await server.stream.end()
            elif how == "breaks":
                await server.stream.caller.stream.aclose()
            else:
                await server.stream.caller.send(b"this is no chunk\r\n")
        assert lost == 3


async def test_a_call_is_given_up_by_saying_so() -> None:
    server = Old()
    server.answers = False
    async with answering(server) as served, Client(served.url) as client:
        with pytest.raises(DeadlineExceeded):
            await client.call_tool("x", timeout=BRIEF_SECONDS)
        await client.ping()
        await until(lambda: bool(server.seen("notifications/cancelled")))
    id = server.seen("tools/call")[0].body["id"]
    assert server.seen("notifications/cancelled")[0].body["params"]["requestId"] == id


@pytest.mark.parametrize("how", ["silence", "end", "garbage", "no stream", "refused"])
async def test_a_stream_that_does_not_say_where_to_post(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "ENDPOINT_SECONDS", BRIEF_SECONDS)

    async def handle(asked: Asked) -> None:
        if asked.verb == "POST":
            await asked.status(405)
        elif how == "no stream":
            await asked.status(200, b"<p>hello</p>", "text/html")
        elif how == "refused":
            await asked.status(401, b"who?")
        else:
            await asked.begin_events()
            if how == "garbage":
                await asked.raw(b"event: endpoint\ndata: \xff\xfe http://x y\n\n")
            elif how == "end":
                await asked.end()
                return
            await asked.gone()

    async with answering(handle) as served:
        with pytest.raises(ConnectFailed, match=r"HTTP 405.*by GET"):
            async with Client(served.url):
                raise AssertionError


async def test_leaving_leaves_nothing_behind() -> None:
    pool = HttpClient()
    server = Old()
    server.answers = False
    async with answering(server) as served:
        await _leave_while_a_call_runs(served, pool, server)
        assert "0 in use" in repr(pool)
        await pool.aclose()
        await until(lambda: server.stream is not None and server.stream.over, "the stream was left open")
    gc.collect()


async def _leave_while_a_call_runs(served: Served, pool: HttpClient, server: Old) -> None:
    async def ask() -> None:
        with pytest.raises(ConnectionLost):
            await client.call_tool("x")

    async with anyio.create_task_group() as tasks:
        async with Client(HttpTransport(served.url, client=pool)) as client:
            tasks.start_soon(ask)
            await until(lambda: bool(server.seen("tools/call")))


async def test_what_means_nothing_on_the_stream_is_passed_over() -> None:
    server = Old()
    async with answering(server) as served, Client(served.url) as client:
        assert server.stream is not None
        await server.stream.raw(b": " + b"x" * 100_000 + b"\n\n")
        await server.stream.raw(b"event: nobody/knows\ndata: {}\n\n")
        await server.send({"jsonrpc": "2.0", "id": "x", "result": {}})
        assert text_of(await client.call_tool("x")) == "x"
