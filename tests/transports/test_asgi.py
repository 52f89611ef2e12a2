"""The ASGI adapter: driven directly, mounted in Starlette, and under real servers with real sockets."""

import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import anyio
import hypercorn.asyncio
import hypercorn.config
import hypercorn.trio
import pytest
import uvicorn
from anyio.abc import SocketStream
from starlette.applications import Starlette
from starlette.routing import Mount

from mcpcore.errors import ConnectionLost, LocalProtocolError
from mcpcore_transports.web.asgi import AsgiApp, Message
from mcpcore_transports.web.exchange import Application, BodyTooLarge, WebRequest, WebResponse
from mcpcore_transports.web.limits import HttpLimits

pytestmark = pytest.mark.anyio

PATIENCE_SECONDS = 20
TEXT = (("content-type", "text/plain"),)
BRIEF = HttpLimits(body_seconds=0.2, write_seconds=0.2, quiet_seconds=0.1)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


async def echo(request: WebRequest, response: WebResponse) -> None:
    body = await request.body(1000)
    text = f"{request.method} {request.mount}|{request.path}?{request.query} ".encode()
    await response.send_whole(200, TEXT, text + body)


class Exchange:
    """An ASGI server for one request, with the client's moves in the test's hands."""

    def __init__(self, method: str = "POST", path: str = "/mcp", **scope: Any) -> None:
        headers = scope.pop("headers", [])
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "query_string": b"",
            "headers": headers,
            "client": ("10.0.0.1", 5),
            **scope,
        }
        self.sent: list[Message] = []
        self.arrived: Callable[[Message], None]
        self._incoming: list[Message] = []
        self._more = anyio.Event()
        self._news = anyio.Event()
        self.stalled: anyio.Event | None = None

    def body(self, piece: bytes, *, more: bool = False) -> "Exchange":
        return self._put({"type": "http.request", "body": piece, "more_body": more})

    def leave(self) -> "Exchange":
        return self._put({"type": "http.disconnect"})

    def _put(self, message: Message) -> "Exchange":
        self._incoming.append(message)
        self._more.set()
        return self

    async def receive(self) -> Message:
        while not self._incoming:
            self._more = anyio.Event()
            await self._more.wait()
        return self._incoming.pop(0)

    async def send(self, message: Message) -> None:
        if self.stalled is not None:
            await self.stalled.wait()
        await anyio.lowlevel.checkpoint()
        self.sent.append(message)
        self._news.set()
        self._news = anyio.Event()

    async def until(self, count: int) -> None:
        with anyio.fail_after(PATIENCE_SECONDS):
            while len(self.sent) < count:
                await self._news.wait()

    async def run(self, app: Application, limits: HttpLimits | None = None) -> "Exchange":
        with anyio.fail_after(PATIENCE_SECONDS):
            await AsgiApp(app, limits=limits)(self.scope, self.receive, self.send)
        return self

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def content(self) -> bytes:
        assert [message["type"] for message in self.sent[1:]] == ["http.response.body"] * (len(self.sent) - 1)
        return b"".join(message["body"] for message in self.sent[1:])

    @property
    def complete(self) -> bool:
        return not self.sent[-1].get("more_body", False)


# -- driven directly -------------------------------------------------------------------------------------------------


async def test_request_and_response() -> None:
    exchange = Exchange(query_string=b"a=%20", headers=[(b"X-A", b"1"), (b"x-a", b"caf\xe9")])
    seen: list[WebRequest] = []

    async def app(request: WebRequest, response: WebResponse) -> None:
        seen.append(request)
        assert await request.body(5) == b"hello"
        assert await request.body(5) == b"hello"
        assert not response.started
        await response.send_whole(201, (("X-B", "é"),), b"there")
        assert response.started

    await exchange.body(b"he", more=True).body(b"llo", more=True).body(b"").run(app)
    assert exchange.sent[0]["headers"] == [(b"x-b", b"\xe9"), (b"content-length", b"5")]
    assert (exchange.status, exchange.content, exchange.complete) == (201, b"there", True)
    request = seen[0]
    assert (request.method, request.path, request.query, request.client) == ("POST", "/mcp", "a=%20", "10.0.0.1")
    assert dict(request.headers) == {"x-a": "1, café"}
    assert list(request.header_values("x-a")) == ["1", "café"]


@pytest.mark.parametrize(
    ("root_path", "path", "expected"),
    [
        ("", "/mcp", b"|/mcp"),
        ("/api", "/api/mcp", b"/api|/mcp"),  # ASGI 2.3, Starlette: the path is whole
        ("/api", "/mcp", b"/api|/mcp"),  # servers and middleware that take the prefix off
        ("/api/", "/api/mcp", b"/api|/mcp"),
        ("/api", "/api", b"/api|/"),
        ("/api", "/apis/mcp", b"/api|/apis/mcp"),
        ("", "", b"|/"),
    ],
)
async def test_mount(root_path: str, path: str, expected: bytes) -> None:
    exchange = await Exchange("GET", path, root_path=root_path).body(b"").run(echo)
    assert exchange.content == b"GET " + expected + b"? "


async def test_starlette_mount_without_lifespan() -> None:
    outer = Starlette(routes=[Mount("/outer", routes=[Mount("/inner", app=AsgiApp(echo))])])
    exchange = Exchange("POST", "/outer/inner/mcp").body(b"x")
    await outer(exchange.scope, exchange.receive, exchange.send)
    assert exchange.content == b"POST /outer/inner|/mcp? x"


async def test_stream() -> None:
    exchange = Exchange("GET").body(b"")
    go_on = anyio.Event()

    async def app(request: WebRequest, response: WebResponse) -> None:
        await response.start(200, TEXT)
        await go_on.wait()
        await response.send(b"one ")
        await response.send(b"")
        await response.send(b"two")
        await response.finish()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exchange.run, app)
        await exchange.until(2)  # the head, and what makes servers send it, before there is anything to send
        assert exchange.content == b""
        go_on.set()
    assert exchange.content == b"one two"
    assert exchange.complete


@pytest.mark.parametrize(("method", "content"), [("GET", b"one two"), ("HEAD", b"")])
async def test_parts_that_go_with_the_head_and_with_the_end(method: str, content: bytes) -> None:
    exchange = Exchange(method).body(b"")

    async def app(request: WebRequest, response: WebResponse) -> None:
        await response.start(200, TEXT, first=b"one ")
        await response.finish(b"two")

    await exchange.run(app)
    assert exchange.content == content
    assert exchange.complete
    assert len(exchange.sent) == 3


async def test_head_and_bodiless_statuses() -> None:
    exchange = await Exchange("HEAD").body(b"").run(echo)
    assert (exchange.content, exchange.sent[0]["headers"][-1]) == (b"", (b"content-length", b"12"))

    async def app(request: WebRequest, response: WebResponse) -> None:
        await response.send_whole(204, (), b"")

    exchange = await Exchange().body(b"").run(app)
    assert exchange.sent[0]["headers"] == []


@pytest.mark.parametrize("declared", [True, False])
async def test_body_too_large(declared: bool) -> None:
    headers = [(b"content-length", b"1001")] if declared else []
    exchange = Exchange(headers=headers)
    for _ in range(1 if declared else 11):
        exchange.body(b"x" * 100, more=True)
    await exchange.run(echo)
    assert exchange.status == 413
    assert exchange.complete


async def test_slow_body() -> None:
    exchange = await Exchange().body(b"x", more=True).run(echo, BRIEF)
    assert exchange.status == 408


async def test_client_that_leaves_in_the_middle_of_a_body() -> None:
    outcome: list[BaseException] = []

    async def app(request: WebRequest, response: WebResponse) -> None:
        try:
            await request.body(1000)
        except ConnectionLost as error:
            outcome.append(error)
            raise

    exchange = await Exchange().body(b"x", more=True).leave().run(app)
    assert len(outcome) == 1
    assert exchange.sent == []


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_client_that_leaves_cancels(method: str) -> None:
    exchange = Exchange(method).body(b"")
    began = anyio.Event()
    outcome: list[BaseException] = []

    async def app(request: WebRequest, response: WebResponse) -> None:
        if method == "POST":
            await request.body(10)
        began.set()
        try:
            await anyio.sleep_forever()
        except BaseException as error:
            outcome.append(error)
            raise

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(exchange.run, app)
        with anyio.fail_after(PATIENCE_SECONDS):
            await began.wait()
        exchange.leave()
    assert isinstance(outcome[0], anyio.get_cancelled_exc_class())
    assert exchange.sent == []


async def test_application_is_told_that_its_client_left_and_can_send_no_more() -> None:
    exchange = Exchange().body(b"")
    gone = anyio.Event()

    async def app(request: WebRequest, response: WebResponse) -> None:
        request.when_gone(gone.set)
        await request.body(10)
        await response.start(200, TEXT)
        exchange.leave()
        await gone.wait()
        with pytest.raises(ConnectionLost):
            await response.send(b"to nobody")

    await exchange.run(app)
    assert exchange.content == b""
    assert not exchange.complete


async def test_unread_body_does_not_hide_the_leaving() -> None:
    """A stream that began without the body being read: what is left of the body is no disconnect, and hides none."""
    exchange = Exchange().body(b"x" * 100, more=True).body(b"x" * 100)
    cancelled = anyio.get_cancelled_exc_class()
    outcome: list[BaseException] = []

    async def app(request: WebRequest, response: WebResponse) -> None:
        await response.start(200, TEXT)
        await response.send(b"alive")
        exchange.leave()
        try:
            await anyio.sleep_forever()
        except cancelled as error:
            outcome.append(error)
            raise

    await exchange.run(app)
    assert exchange.content == b"alive"
    assert len(outcome) == 1


async def test_idle_bytes() -> None:
    exchange = Exchange("GET").body(b"")

    async def app(request: WebRequest, response: WebResponse) -> None:
        await response.start(200, TEXT, idle_bytes=b":\n")
        await exchange.until(5)
        await response.send(b"data")
        await response.finish()

    await exchange.run(app, BRIEF)
    assert exchange.content.startswith(b":\n" * 3)
    assert exchange.content.endswith(b"data")


async def test_client_that_does_not_read() -> None:
    exchange = Exchange("GET").body(b"")
    outcome: list[BaseException] = []

    async def app(request: WebRequest, response: WebResponse) -> None:
        await response.start(200, TEXT)
        exchange.stalled = anyio.Event()
        try:
            await response.send(b"x")
        except ConnectionLost as error:
            outcome.append(error)
            raise

    await exchange.run(app, BRIEF)
    assert "has not read" in str(outcome[0])


async def test_client_that_does_not_read_idle_bytes() -> None:
    exchange = Exchange("GET").body(b"")
    gone = anyio.Event()

    async def app(request: WebRequest, response: WebResponse) -> None:
        request.when_gone(gone.set)
        await response.start(200, TEXT, idle_bytes=b":\n")
        exchange.stalled = anyio.Event()
        await anyio.sleep_forever()

    await exchange.run(app, BRIEF)
    assert gone.is_set()


async def test_server_that_raises_on_send() -> None:
    exchange = Exchange("GET").body(b"")

    async def broken(message: Message) -> None:
        raise OSError("gone")

    async def app(request: WebRequest, response: WebResponse) -> None:
        with pytest.raises(ConnectionLost):
            await response.start(200, TEXT)
        with pytest.raises(ConnectionLost):
            await response.send(b"x")

    await AsgiApp(app)(exchange.scope, exchange.receive, broken)


async def test_failing_application(caplog: pytest.LogCaptureFixture) -> None:
    async def app(request: WebRequest, response: WebResponse) -> None:
        raise RuntimeError("secret")

    exchange = await Exchange().body(b"").run(app)
    assert exchange.status == 500
    assert b"secret" not in exchange.content
    assert caplog.text.count("RuntimeError: secret") == 1


async def test_failure_after_the_start_is_the_servers_to_log(caplog: pytest.LogCaptureFixture) -> None:
    async def app(request: WebRequest, response: WebResponse) -> None:
        await response.start(200, TEXT)
        raise RuntimeError("late")

    exchange = Exchange().body(b"")
    with pytest.raises(RuntimeError, match="late"):
        await exchange.run(app)
    assert not exchange.complete
    assert caplog.text == ""


async def test_application_without_an_answer() -> None:
    async def app(request: WebRequest, response: WebResponse) -> None:
        if request.path == "/half":
            await response.start(200, TEXT)

    assert (await Exchange().body(b"").run(app)).status == 500
    with pytest.raises(LocalProtocolError, match="without finishing"):
        await Exchange("GET", "/half").body(b"").run(app)


async def test_one_response_per_request() -> None:
    async def app(request: WebRequest, response: WebResponse) -> None:
        for early in (response.send(b"x"), response.finish()):
            with pytest.raises(LocalProtocolError):
                await early
        await response.send_whole(200, TEXT, b"one")
        for late in (response.send_whole(200, TEXT, b"two"), response.start(200, TEXT), response.send(b"x")):
            with pytest.raises(LocalProtocolError):
                await late
        with pytest.raises(BodyTooLarge):
            await request.body(0)

    exchange = await Exchange(headers=[(b"content-length", b"1")]).body(b"x").run(app)
    assert exchange.content == b"one"


async def test_lifespan_is_acknowledged() -> None:
    sent: list[Message] = []
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await AsgiApp(echo)({"type": "lifespan"}, receive, send)
    assert [message["type"] for message in sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_websockets_are_refused() -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await AsgiApp(echo)({"type": "websocket", "path": "/"}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_unknown_scopes_are_refused() -> None:
    with pytest.raises(LocalProtocolError, match="carrier-pigeon"):
        await AsgiApp(echo)({"type": "carrier-pigeon"}, Exchange().receive, Exchange().send)


# -- under real servers ----------------------------------------------------------------------------------------------

Run = Callable[[Any, socket.socket, anyio.Event], Coroutine[Any, Any, None]]


async def run_hypercorn(serve: Any, app: Any, listening: socket.socket, stop: anyio.Event) -> None:
    config = hypercorn.config.Config()
    config.bind = [f"fd://{listening.detach()}"]
    config.graceful_timeout = 0.2
    await serve(app, config, shutdown_trigger=stop.wait)


async def run_uvicorn(app: Any, listening: socket.socket, stop: anyio.Event) -> None:
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve, [listening])
        await stop.wait()
        server.should_exit = True


SERVERS = [
    pytest.param("asyncio", partial(run_hypercorn, hypercorn.asyncio.serve), id="hypercorn-asyncio"),
    pytest.param("trio", partial(run_hypercorn, hypercorn.trio.serve), id="hypercorn-trio"),
    pytest.param("asyncio", run_uvicorn, id="uvicorn"),
]
under_servers = pytest.mark.parametrize(("anyio_backend", "run"), SERVERS)


@asynccontextmanager
async def serving(app: Application, run: Run, limits: HttpLimits | None = None) -> AsyncIterator[tuple[str, int]]:
    listening = socket.create_server(("127.0.0.1", 0))
    address = cast("tuple[str, int]", listening.getsockname())
    stop = anyio.Event()
    with anyio.fail_after(PATIENCE_SECONDS * 2):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run, AsgiApp(app, limits=limits), listening, stop)
            yield address
            stop.set()


async def read_until(stream: SocketStream, end: bytes) -> bytes:
    found = b""
    with anyio.fail_after(PATIENCE_SECONDS):
        while end not in found:
            found += await stream.receive()
    return found


@under_servers
async def test_real_request(run: Run) -> None:
    async with serving(echo, run) as address, await anyio.connect_tcp(*address) as stream:
        for _ in range(3):
            await stream.send(b"POST /p%20q?x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe")
            await stream.send(b"llo")
            assert b"200" in await read_until(stream, b"POST |/p q?x hello")


@under_servers
async def test_real_stream(run: Run) -> None:
    go_on = anyio.Event()

    async def app(request: WebRequest, response: WebResponse) -> None:
        await request.body(100)
        await response.start(200, TEXT, idle_bytes=b": idle\n")
        await go_on.wait()
        await response.send(b"data")
        await response.finish()

    limits = HttpLimits(quiet_seconds=0.1)
    async with serving(app, run, limits) as address, await anyio.connect_tcp(*address) as stream:
        await stream.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
        await read_until(stream, b"\r\n\r\n")  # the head, before there is data
        await read_until(stream, b": idle\n")
        go_on.set()
        await read_until(stream, b"data")


@under_servers
@pytest.mark.parametrize("streaming", [True, False])
async def test_real_client_that_leaves_cancels(run: Run, streaming: bool) -> None:
    began, ended = anyio.Event(), anyio.Event()
    outcome: list[BaseException] = []

    async def app(request: WebRequest, response: WebResponse) -> None:
        await request.body(100)
        if streaming:
            await response.start(200, TEXT)
        began.set()
        try:
            await anyio.sleep_forever()
        except BaseException as error:
            outcome.append(error)
            raise
        finally:
            ended.set()

    async with serving(app, run) as address:
        async with await anyio.connect_tcp(*address) as stream:
            await stream.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}")
            with anyio.fail_after(PATIENCE_SECONDS):
                await began.wait()
        with anyio.fail_after(PATIENCE_SECONDS):
            await ended.wait()
    assert isinstance(outcome[0], anyio.get_cancelled_exc_class())


@under_servers
async def test_real_body_too_large(run: Run) -> None:
    async with serving(echo, run) as address, await anyio.connect_tcp(*address) as stream:
        await stream.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        await stream.send(b"400\r\n" + b"x" * 1024 + b"\r\n")
        assert b" 413 " in await read_until(stream, b"\r\n\r\n")


@under_servers
async def test_real_slow_body(run: Run) -> None:
    async with serving(echo, run, BRIEF) as address, await anyio.connect_tcp(*address) as stream:
        await stream.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhell")
        assert b" 408 " in await read_until(stream, b"\r\n\r\n")
