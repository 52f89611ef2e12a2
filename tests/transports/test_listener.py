"""Our HTTP listener as clients see it: real sockets, both backends, raw bytes.

Deadlines are short through `HttpLimits`. Every wait of a test has PATIENCE_SECONDS: a slow machine is no failure.
"""

import errno
import logging
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream

from mcpcore.errors import ConnectionLost, LocalProtocolError
from mcpcore_transports.web import access, departures, listener
from mcpcore_transports.web.access import AccessEntry
from mcpcore_transports.web.exchange import Application, WebRequest, WebResponse
from mcpcore_transports.web.limits import HttpLimits
from mcpcore_transports.web.listener import serve_http

pytestmark = pytest.mark.anyio

PATIENCE_SECONDS = 20
TEXT = (("content-type", "text/plain"),)
MUCH = b"x" * 1_000_000


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


class Served:
    """A running listener."""

    def __init__(
        self, addresses: list[Any], stopping: anyio.Event, ended: anyio.Event, cancel: Callable[[], None]
    ) -> None:
        self.addresses = addresses
        self.stopping = stopping
        self.ended = ended
        self.cancel = cancel

    @asynccontextmanager
    async def connect(self) -> AsyncIterator["Wire"]:
        address = self.addresses[0]
        if isinstance(address, str):
            stream: SocketStream = await anyio.connect_unix(address)
        else:
            stream = await anyio.connect_tcp(*address)
        async with stream:
            yield Wire(stream)


class Wire:
    """The client's end of a connection."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.held = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send(data)

    async def until(self, end: bytes) -> bytes:
        """What comes up to and with `end`."""
        with anyio.fail_after(PATIENCE_SECONDS):
            while end not in self.held:
                self.held += await self.stream.receive()
        found, _, self.held = self.held.partition(end)
        return found + end

    async def exactly(self, count: int) -> bytes:
        with anyio.fail_after(PATIENCE_SECONDS):
            while len(self.held) < count:
                self.held += await self.stream.receive()
        found, self.held = self.held[:count], self.held[count:]
        return found

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        with anyio.fail_after(PATIENCE_SECONDS):
            try:
                while True:
                    self.held += await self.stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return self.held

    async def response(self, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        """One response with a content-length."""
        head = (await self.until(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head[:-4].split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = 0 if method == "HEAD" else int(headers.get("content-length", 0))
        return int(first.split(" ")[1]), headers, await self.exactly(length)

    async def ask(self, path: str = "/", body: bytes | None = None) -> tuple[int, dict[str, str], bytes]:
        await self.send(get(path) if body is None else post(path, body))
        return await self.response()

    def reset(self) -> None:
        """Break the connection off, instead of closing it in an orderly way."""
        raw = self.stream.extra(anyio.abc.SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def get(path: str = "/", headers: bytes = b"") -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: test\r\n%b\r\n" % (path.encode(), headers)


def post(path: str, body: bytes, headers: bytes = b"") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n%b\r\n%b" % (
        path.encode(),
        len(body),
        headers,
        body,
    )


@asynccontextmanager
async def serving(app: Application, **options: Any) -> AsyncIterator[Served]:
    """A listener on a free port; at the end it is stopped and has to have ended."""
    options.setdefault("stopping", anyio.Event())
    options.setdefault("grace", 0.2)
    if "uds" not in options and "sockets" not in options:
        options.setdefault("port", 0)
    ended = anyio.Event()
    with anyio.fail_after(PATIENCE_SECONDS * 2):
        async with anyio.create_task_group() as tasks:

            async def run(*, task_status: Any) -> None:
                await serve_http(app, task_status=task_status, **options)
                ended.set()

            served = Served(await tasks.start(run), options["stopping"], ended, tasks.cancel_scope.cancel)
            yield served
            served.stopping.set()


async def echo(request: WebRequest, response: WebResponse) -> None:
    """Says what it was asked."""
    body = await request.body(1_000_000)
    text = f"{request.method} {request.mount}{request.path}?{request.query} ".encode()
    await response.send_whole(200, TEXT, text + body)


class Probe:
    """An application that streams or waits, and tells what becomes of it."""

    def __init__(self, work: Callable[["Probe", WebRequest, WebResponse], Awaitable[None]]) -> None:
        self.work = work
        self.began = anyio.Event()
        self.gone = anyio.Event()
        self.ended = anyio.Event()
        self.outcome: BaseException | None = None

    async def __call__(self, request: WebRequest, response: WebResponse) -> None:
        self.began.set()
        try:
            await self.work(self, request, response)
        except BaseException as error:
            self.outcome = error
            raise
        finally:
            self.ended.set()

    async def wait(self, what: str) -> None:
        with anyio.fail_after(PATIENCE_SECONDS):
            await getattr(self, what).wait()

    @property
    def cancelled(self) -> bool:
        return isinstance(self.outcome, anyio.get_cancelled_exc_class())


async def wait_for_ever(probe: Probe, request: WebRequest, response: WebResponse) -> None:
    await anyio.sleep_forever()


async def stream_for_ever(probe: Probe, request: WebRequest, response: WebResponse) -> None:
    await response.start(200, TEXT)
    while True:
        await response.send(MUCH)


# -- requests and responses ------------------------------------------------------------------------------------------


async def test_request_and_response() -> None:
    async with serving(echo) as served, served.connect() as wire:
        status, headers, body = await wire.ask("/a%20b/c?x=%20y", b"hello")
        assert (status, body) == (200, b"POST /a b/c?x=%20y hello")
        assert headers["content-length"] == str(len(body))
        assert headers["content-type"] == "text/plain"
        assert headers["date"].endswith(" GMT")
        assert "server" not in {name.lower() for name in headers}
        assert "connection" not in headers


async def test_what_a_request_knows() -> None:
    seen: list[WebRequest] = []

    async def app(request: WebRequest, response: WebResponse) -> None:
        seen.append(request)
        await response.send_whole(204, (), b"")

    async with serving(app) as served, served.connect() as wire:
        await wire.send(get("/p", b"X-One: 1\r\nx-two: a\r\nX-Two: b\r\n"))
        status, headers, _ = await wire.response()
        assert status == 204
        assert "content-length" not in headers
        assert (await wire.ask())[0] == 204
    request = seen[0]
    assert (request.method, request.path, request.mount, request.query) == ("GET", "/p", "", "")
    assert (request.scheme, request.client) == ("http", "127.0.0.1")
    assert dict(request.headers) == {"host": "test", "x-one": "1", "x-two": "a, b"}
    assert list(request.header_values("x-two")) == ["a", "b"]
    assert list(request.header_values("x-three")) == []


async def test_many_requests_on_one_connection() -> None:
    async with serving(echo) as served, served.connect() as wire:
        for number in range(20):
            assert (await wire.ask(f"/{number}", b"b"))[2] == f"POST /{number}? b".encode()


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with serving(echo) as served, served.connect() as wire:
        await wire.send(get("/1") + post("/2", b"two") + get("/3"))
        assert [(await wire.response())[2] for _ in range(3)] == [b"GET /1? ", b"POST /2? two", b"GET /3? "]


async def test_request_that_comes_byte_by_byte() -> None:
    async with serving(echo) as served, served.connect() as wire:
        for byte in post("/slow", b"hello"):
            await wire.send(bytes([byte]))
        assert (await wire.response())[2] == b"POST /slow? hello"


async def test_chunked_request() -> None:
    async with serving(echo) as served, served.connect() as wire:
        await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n")
        await wire.send(b"3\r\nllo\r\n0\r\n\r\n")
        assert (await wire.response())[2] == b"POST /? hello"
        assert (await wire.ask("/again"))[2] == b"GET /again? "


async def test_url_as_target_replaces_host() -> None:
    async def app(request: WebRequest, response: WebResponse) -> None:
        assert list(request.header_values("host")) == [request.headers["host"]]
        await response.send_whole(200, TEXT, f"{request.headers['host']} {request.path} {request.query}".encode())

    async with serving(app) as served, served.connect() as wire:
        assert (await wire.ask("http://real:1/x?q"))[2] == b"real:1 /x q"
        assert (await wire.ask("HTTP://real"))[2] == b"real / "
        assert (await wire.ask("ftp://real/x"))[0] == 400


async def test_expect_continue() -> None:
    async with serving(echo) as served, served.connect() as wire:
        await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert await wire.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await wire.send(b"ok")
        assert (await wire.response())[2] == b"POST /? ok"
        assert (await wire.ask())[0] == 200


async def test_refused_expectation_gets_no_continue_and_ends_the_connection() -> None:
    async def app(request: WebRequest, response: WebResponse) -> None:
        await response.send_whole(403, TEXT, b"no")

    async with serving(app) as served, served.connect() as wire:
        await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        status, headers, _ = await wire.response()
        assert (status, headers["connection"]) == (403, "close")
        assert await wire.rest() == b""


async def test_head_has_no_body() -> None:
    async def app(request: WebRequest, response: WebResponse) -> None:
        if request.path == "/stream":
            await response.start(200, TEXT)
            await response.send(b"never seen")
            await response.finish()
        else:
            await response.send_whole(200, TEXT, b"12345")

    async with serving(app) as served, served.connect() as wire:
        await wire.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\nHEAD /stream HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await wire.response("HEAD"))[1]["content-length"] == "5"
        assert (await wire.response("HEAD"))[0] == 200
        assert (await wire.ask())[2] == b"12345"


async def test_http_1_0_gets_a_body_that_ends_with_the_connection() -> None:
    async def app(request: WebRequest, response: WebResponse) -> None:
        await response.start(200, TEXT)
        await response.send(b"one ")
        await response.send(b"two")
        await response.finish()

    async with serving(app) as served, served.connect() as wire:
        await wire.send(b"GET / HTTP/1.0\r\n\r\n")
        head, _, body = (await wire.rest()).partition(b"\r\n\r\n")
        assert body == b"one two"
        assert b"connection: close" in head
        assert b"transfer-encoding" not in head


async def test_stream() -> None:
    go_on = anyio.Event()

    async def app(request: WebRequest, response: WebResponse) -> None:
        assert not response.started
        await response.start(200, TEXT)
        assert response.started
        await go_on.wait()
        await response.send(b"hello")
        await response.send(b"")
        await response.send(b"x" * 16)
        await response.finish()

    async with serving(app) as served, served.connect() as wire:
        await wire.send(get())
        head = await wire.until(b"\r\n\r\n")  # before there is anything to send
        assert b"transfer-encoding: chunked\r\n" in head
        go_on.set()
        assert await wire.until(b"0\r\n\r\n") == b"5\r\nhello\r\n10\r\n" + b"x" * 16 + b"\r\n0\r\n\r\n"
        await wire.send(get())
        assert b"200 OK" in await wire.until(b"\r\n\r\n")


async def test_stream_of_known_length() -> None:
    async def app(request: WebRequest, response: WebResponse) -> None:
        await response.start(200, (("Content-Length", "4"),))
        await response.send(b"ab")
        with pytest.raises(LocalProtocolError):
            await response.send(b"cde")
        with pytest.raises(LocalProtocolError):
            await response.finish()
        await response.send(b"cd")
        await response.finish()

    async with serving(app) as served, served.connect() as wire:
        assert (await wire.ask())[2] == b"abcd"
        assert (await wire.ask())[2] == b"abcd"


async def test_large_response_to_a_slow_reader_arrives_whole() -> None:
    async def app(request: WebRequest, response: WebResponse) -> None:
        await response.start(200, TEXT)
        for _ in range(3):
            await response.send(MUCH)
        await response.finish()

    async with serving(app) as served, served.connect() as wire:
        await wire.send(get())
        await wire.until(b"\r\n\r\n")
        whole = await wire.until(b"0\r\n\r\n")
        assert whole.count(b"x") == 3 * len(MUCH)


@pytest.mark.parametrize(
    "header", [("x", "a\r\nb: c"), ("x\n", "a"), ("x", "\0"), ("x", "€"), ("Connection", "close"), ("Date", "never")]
)
async def test_headers_that_cannot_be_sent(header: tuple[str, str], caplog: pytest.LogCaptureFixture) -> None:
    async def app(request: WebRequest, response: WebResponse) -> None:
        await response.send_whole(200, (header,), b"")

    async with serving(app) as served, served.connect() as wire:
        assert (await wire.ask())[0] == 500
    assert "LocalProtocolError" in caplog.text


async def test_one_response_per_request() -> None:
    async def app(request: WebRequest, response: WebResponse) -> None:
        with pytest.raises(LocalProtocolError):
            await response.send(b"too early")
        with pytest.raises(LocalProtocolError):
            await response.finish()
        await response.send_whole(200, TEXT, b"one")
        for again in (response.send_whole(200, TEXT, b"two"), response.start(200, TEXT), response.send(b"three")):
            with pytest.raises(LocalProtocolError):
                await again

    async with serving(app) as served, served.connect() as wire:
        assert (await wire.ask())[2] == b"one"
        assert (await wire.ask())[2] == b"one"


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nx: " + b"y" * 70_000 + b"\r\n\r\n", 431),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ],
)
async def test_broken_head(sent: bytes, status: int) -> None:
    async with serving(echo) as served, served.connect() as wire:
        await wire.send(sent)
        found, headers, body = await wire.response()
        assert (found, headers["connection"]) == (status, "close")
        assert body.startswith(str(status).encode())
        assert await wire.rest() == b""


async def test_broken_chunks() -> None:
    async with serving(echo) as served, served.connect() as wire:
        await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n")
        status, headers, _ = await wire.response()
        assert (status, headers["connection"]) == (400, "close")


@pytest.mark.parametrize("framing", [b"Content-Length: 9000000", b"Transfer-Encoding: chunked"])
async def test_body_too_large_is_refused_and_the_answer_arrives(framing: bytes) -> None:
    async def app(request: WebRequest, response: WebResponse) -> None:
        await request.body(100_000)

    async with serving(app) as served, served.connect() as wire:
        await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n")
        for _ in range(10):  # more than is taken, less than is thrown away
            await wire.send(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        status, headers, _ = await wire.response()
        assert (status, headers["connection"]) == (413, "close")


async def test_unread_body_ends_the_connection_when_it_has_not_arrived() -> None:
    async def app(request: WebRequest, response: WebResponse) -> None:
        await response.send_whole(404, TEXT, b"none")

    async with serving(app) as served, served.connect() as wire:
        status, headers, _ = await wire.ask("/", b"it is all there")
        assert (status, headers.get("connection")) == (404, None)
        await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        status, headers, _ = await wire.response()
        assert (status, headers.get("connection")) == (404, "close")
        assert await wire.rest() == b""


async def test_failing_application(caplog: pytest.LogCaptureFixture) -> None:
    async def app(request: WebRequest, response: WebResponse) -> None:
        if request.path == "/late":
            await response.start(200, TEXT)
        raise RuntimeError("secret")

    async with serving(app) as served:
        async with served.connect() as wire:
            status, headers, body = await wire.ask()
            assert (status, headers["connection"]) == (500, "close")
            assert b"secret" not in body
        assert caplog.text.count("RuntimeError: secret") == 1
        async with served.connect() as wire:
            await wire.send(get("/late"))
            assert b"0\r\n\r\n" not in await wire.rest()
        assert caplog.text.count("RuntimeError: secret") == 2


async def test_application_without_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    async def app(request: WebRequest, response: WebResponse) -> None:
        if request.path == "/half":
            await response.start(200, TEXT)

    async with serving(app) as served:
        async with served.connect() as wire:
            assert (await wire.ask())[0] == 500
        async with served.connect() as wire:
            await wire.send(get("/half"))
            assert (await wire.rest()).endswith(b"\r\n\r\n")
    assert caplog.text.count("without finishing") == 2


async def test_connection_lost_elsewhere_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def app(request: WebRequest, response: WebResponse) -> None:
        raise ConnectionLost("the database left")

    async with serving(app) as served, served.connect() as wire:
        assert (await wire.ask())[0] == 500
    assert "the database left" in caplog.text


# -- clients that leave ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "reset", "half"])
async def test_client_that_leaves_cancels(how: str, caplog: pytest.LogCaptureFixture) -> None:
    probe = Probe(wait_for_ever)
    async with serving(probe) as served:
        async with served.connect() as wire:
            await wire.send(get())
            await probe.wait("began")
            if how == "half":
                await wire.stream.send_eof()
                await probe.wait("ended")
            elif how == "reset":
                wire.reset()
        await probe.wait("ended")
        assert probe.cancelled
        async with served.connect() as wire:
            await wire.send(get())  # the listener is alive
    assert caplog.text == ""


async def test_client_that_leaves_cancels_where_the_kernel_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "open_departures", departures._AskedDepartures)
    probe = Probe(wait_for_ever)
    async with serving(probe) as served:
        async with served.connect() as wire:
            await wire.send(post("/", b"x") + b"GET /pipelined HTTP/1.1\r\n"[:0])
            await probe.wait("began")
        await probe.wait("ended")
    assert probe.cancelled


async def test_application_is_told_that_its_client_left() -> None:
    async def work(probe: Probe, request: WebRequest, response: WebResponse) -> None:
        request.when_gone(probe.gone.set)
        await response.start(200, TEXT)
        await probe.gone.wait()
        with pytest.raises(ConnectionLost):
            await response.send(b"to nobody")

    probe = Probe(work)
    async with serving(probe) as served:
        async with served.connect() as wire:
            await wire.send(get())
            await wire.until(b"\r\n\r\n")
        await probe.wait("ended")
    assert probe.gone.is_set()
    assert probe.outcome is None


async def test_application_that_goes_on_is_cancelled() -> None:
    async def work(probe: Probe, request: WebRequest, response: WebResponse) -> None:
        request.when_gone(probe.gone.set)
        await anyio.sleep_forever()

    probe = Probe(work)
    async with serving(probe) as served:
        async with served.connect() as wire:
            await wire.send(get())
            await probe.wait("began")
        await probe.wait("ended")
    assert probe.gone.is_set()
    assert probe.cancelled


async def test_failing_callback_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("callback")

    async def work(probe: Probe, request: WebRequest, response: WebResponse) -> None:
        request.when_gone(fail)
        await anyio.sleep_forever()

    probe = Probe(work)
    async with serving(probe) as served:
        async with served.connect() as wire:
            await wire.send(get())
            await probe.wait("began")
        await probe.wait("ended")
        async with served.connect():
            pass
    assert caplog.text.count("RuntimeError: callback") == 1


async def test_removed_callback_is_not_called() -> None:
    async def work(probe: Probe, request: WebRequest, response: WebResponse) -> None:
        request.when_gone(probe.gone.set)
        request.when_gone(None)
        await anyio.sleep_forever()

    probe = Probe(work)
    async with serving(probe) as served:
        async with served.connect() as wire:
            await wire.send(get())
            await probe.wait("began")
        await probe.wait("ended")
    assert not probe.gone.is_set()


async def test_half_closed_client_gets_a_prompt_answer() -> None:
    async with serving(echo) as served, served.connect() as wire:
        await wire.send(get("/1") + get("/2"))
        await wire.stream.send_eof()
        rest = await wire.rest()
        assert rest.count(b"HTTP/1.1 200 OK") == 2


async def test_pipelining_client_that_leaves_is_noticed() -> None:
    probe = Probe(wait_for_ever)
    async with serving(probe) as served:
        async with served.connect() as wire:
            await wire.send(get() + get("/unread") * 100)
            await probe.wait("began")
            await wire.send(get("/unread") * 100)
        await probe.wait("ended")
    assert probe.cancelled


async def test_client_that_leaves_in_the_middle_of_a_body() -> None:
    async def work(probe: Probe, request: WebRequest, response: WebResponse) -> None:
        await request.body(100)

    probe = Probe(work)
    async with serving(probe) as served:
        async with served.connect() as wire:
            await wire.send(post("/", b"12345")[:-1])
            await probe.wait("began")
        await probe.wait("ended")
    assert isinstance(probe.outcome, ConnectionLost)


async def test_many_resets_leave_the_listener_alone(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(echo) as served:
        for at in range(30):
            async with served.connect() as wire:
                await wire.send(get()[: at + 1])
                wire.reset()
        async with served.connect() as wire:
            assert (await wire.ask())[0] == 200
    assert caplog.text == ""


# -- deadlines -------------------------------------------------------------------------------------------------------


async def test_slow_head() -> None:
    async with serving(echo, limits=HttpLimits(head_seconds=0.2)) as served, served.connect() as wire:
        await wire.send(b"GET / HT")
        status, headers, _ = await wire.response()
        assert (status, headers["connection"]) == (408, "close")


async def test_dripping_head() -> None:
    """Bytes that keep coming do not move the deadline."""
    async with serving(echo, limits=HttpLimits(head_seconds=0.3)) as served, served.connect() as wire:
        with anyio.fail_after(PATIENCE_SECONDS):
            async with anyio.create_task_group() as tasks:

                async def drip() -> None:
                    await wire.send(b"GET / HTTP/1.1\r\nx: ")
                    while True:
                        await wire.send(b"y")
                        with anyio.move_on_after(0.05):
                            await anyio.sleep_forever()

                tasks.start_soon(drip)
                assert (await wire.response())[0] == 408
                tasks.cancel_scope.cancel()


async def test_silent_connection_is_closed() -> None:
    async with serving(echo, limits=HttpLimits(head_seconds=0.1)) as served, served.connect() as wire:
        assert await wire.rest() == b""


async def test_idle_connection_is_closed() -> None:
    async with serving(echo, limits=HttpLimits(idle_seconds=0.1)) as served, served.connect() as wire:
        assert (await wire.ask())[0] == 200
        assert await wire.rest() == b""


async def test_slow_body() -> None:
    async with serving(echo, limits=HttpLimits(body_seconds=0.2)) as served, served.connect() as wire:
        await wire.send(post("/", b"12345")[:-1])
        status, headers, _ = await wire.response()
        assert (status, headers["connection"]) == (408, "close")


async def test_slow_application_is_not_hurried() -> None:
    async def app(request: WebRequest, response: WebResponse) -> None:
        await request.body(10)
        with anyio.move_on_after(0.5):
            await anyio.sleep_forever()
        await response.send_whole(200, TEXT, b"done")

    limits = HttpLimits(head_seconds=0.1, body_seconds=0.1, idle_seconds=0.1, write_seconds=0.1, quiet_seconds=0.1)
    async with serving(app, limits=limits) as served, served.connect() as wire:
        assert (await wire.ask("/", b"x"))[2] == b"done"


async def test_stalled_reader_is_given_up() -> None:
    probe = Probe(stream_for_ever)
    async with serving(probe, limits=HttpLimits(write_seconds=0.2)) as served, served.connect() as wire:
        await wire.send(get())
        await probe.wait("ended")
        assert isinstance(probe.outcome, ConnectionLost)


async def test_stalled_reader_that_is_only_sent_idle_bytes_is_given_up() -> None:
    async def work(probe: Probe, request: WebRequest, response: WebResponse) -> None:
        request.when_gone(probe.gone.set)
        await response.start(200, TEXT, idle_bytes=MUCH * 10)
        await anyio.sleep_forever()

    probe = Probe(work)
    limits = HttpLimits(write_seconds=0.2, quiet_seconds=0.1)
    async with serving(probe, limits=limits) as served, served.connect() as wire:
        await wire.send(get())
        await probe.wait("ended")
    assert probe.gone.is_set()
    assert probe.cancelled


async def test_idle_bytes() -> None:
    async def app(request: WebRequest, response: WebResponse) -> None:
        await response.start(200, TEXT, idle_bytes=b": idle\n")
        await anyio.sleep_forever()

    async with serving(app, limits=HttpLimits(quiet_seconds=0.1)) as served, served.connect() as wire:
        await wire.send(get())
        await wire.until(b"\r\n\r\n")
        for _ in range(3):
            assert await wire.exactly(12) == b"7\r\n: idle\n\r\n"


async def test_idle_bytes_never_come_between_the_parts_of_a_chunk() -> None:
    """The reader stalls long enough for many idle times; what it then reads is whole chunks."""

    async def work(probe: Probe, request: WebRequest, response: WebResponse) -> None:
        await response.start(200, TEXT, idle_bytes=b"i")
        for _ in range(4):
            await response.send(MUCH * 3)
        await response.finish()

    probe = Probe(work)
    async with serving(probe, limits=HttpLimits(quiet_seconds=0.05)) as served, served.connect() as wire:
        await wire.send(get())
        with anyio.move_on_after(0.5):
            await probe.ended.wait()
        assert not probe.ended.is_set()
        await wire.until(b"\r\n\r\n")
        sizes = []
        while size := int((await wire.until(b"\r\n"))[:-2], 16):
            sizes.append(size)
            assert (await wire.exactly(size + 2)).endswith(b"\r\n")
        assert [size for size in sizes if size > 1] == [3 * len(MUCH)] * 4


# -- many connections ------------------------------------------------------------------------------------------------


async def test_connections_beyond_the_limit_wait_for_room() -> None:
    release = anyio.Event()

    async def app(request: WebRequest, response: WebResponse) -> None:
        if request.path == "/hold":
            await response.start(200, TEXT)
            await release.wait()
            await response.finish()
        else:
            await response.send_whole(200, TEXT, b"")

    async with serving(app, limits=HttpLimits(max_connections=2)) as served:
        async with served.connect() as one, served.connect() as two, served.connect() as three:
            await one.send(get("/hold"))
            await one.until(b"\r\n\r\n")
            await two.send(get("/hold"))
            await two.until(b"\r\n\r\n")
            await three.send(get())
            with anyio.move_on_after(0.2):
                await three.response()
                pytest.fail("served beyond the limit")
            release.set()
            assert (await three.response())[0] == 200


async def test_idle_connections_make_room() -> None:
    async with serving(echo, limits=HttpLimits(max_connections=1)) as served:
        async with served.connect() as one:
            assert (await one.ask())[0] == 200
            async with served.connect() as two:
                assert (await two.ask())[0] == 200
            assert await one.rest() == b""


async def test_hundreds_of_streams() -> None:
    async def app(request: WebRequest, response: WebResponse) -> None:
        await response.start(200, TEXT)
        await anyio.sleep_forever()

    count = 300  # as many as fit into the usual limit of 1024 descriptors, with both ends in one process
    async with serving(app) as served:
        ends = [socket.create_connection(served.addresses[0]) for _ in range(count)]
        try:
            for end in ends:
                end.sendall(get())
                end.setblocking(False)
            for end in ends:
                with anyio.fail_after(PATIENCE_SECONDS):
                    await anyio.wait_readable(end)
                assert end.recv(1000).startswith(b"HTTP/1.1 200 OK")
        finally:
            for end in ends:
                end.close()


async def test_refused_accept_backs_off(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    calls = 0
    better = time.monotonic() + 0.35

    class Poor(socket.socket):
        def accept(self) -> Any:
            nonlocal calls
            calls += 1
            if time.monotonic() < better:
                raise OSError(errno.EMFILE, "Too many open files")
            if calls < 10:
                calls = 10
                raise OSError(errno.ECONNABORTED, "Software caused connection abort")
            return super().accept()

    poor = Poor(fileno=listening.detach())
    async with serving(echo, sockets=[poor]) as served, served.connect() as wire:
        assert (await wire.ask())[0] == 200
    assert 10 < calls < 20
    assert caplog.text.count("Too many open files") == 1


# -- stopping --------------------------------------------------------------------------------------------------------


async def test_stopping_closes_idle_connections_and_lets_requests_finish() -> None:
    release = anyio.Event()

    async def work(probe: Probe, request: WebRequest, response: WebResponse) -> None:
        await release.wait()
        await response.send_whole(200, TEXT, b"done")

    probe = Probe(work)
    async with serving(probe, grace=PATIENCE_SECONDS) as served:
        async with served.connect() as idle, served.connect() as busy:
            await busy.send(get())
            await probe.wait("began")
            served.stopping.set()
            assert await idle.rest() == b""
            with pytest.raises(OSError, match=r"\S"):
                await anyio.connect_tcp(*served.addresses[0])
            release.set()
            status, headers, body = await busy.response()
            assert (status, headers["connection"], body) == (200, "close", b"done")
            assert await busy.rest() == b""
            with anyio.fail_after(PATIENCE_SECONDS):
                await served.ended.wait()


@pytest.mark.parametrize("how", ["stop", "cancel"])
@pytest.mark.parametrize("work", [stream_for_ever, wait_for_ever])
async def test_nothing_a_client_does_holds_up_the_end(
    how: str, work: Callable[[Probe, WebRequest, WebResponse], Awaitable[None]]
) -> None:
    """With the default write deadline of 30 seconds: the grace has to be what ends it."""
    probe = Probe(work)
    with anyio.move_on_after(PATIENCE_SECONDS) as scope:
        async with serving(probe) as served:
            async with served.connect() as wire:
                await wire.send(get())
                await probe.wait("began")
                with anyio.move_on_after(0.1):
                    await probe.ended.wait()
                began = anyio.current_time()
                if how == "stop":
                    served.stopping.set()
                    await served.ended.wait()
                else:
                    served.cancel()
                    await anyio.sleep_forever()
        assert anyio.current_time() - began < 0.2 + 0.5 + 2  # the grace, what is promised beyond it, a slow machine
    assert not scope.cancelled_caught
    assert probe.cancelled


async def test_stop_without_connections() -> None:
    async with serving(echo, grace=PATIENCE_SECONDS) as served:
        served.stopping.set()
        with anyio.fail_after(PATIENCE_SECONDS / 2):
            await served.ended.wait()


# -- addresses, access log, TLS --------------------------------------------------------------------------------------


async def test_reports_its_address() -> None:
    async with serving(echo, host="127.0.0.1", port=0) as served:
        ((host, port),) = served.addresses
        assert host == "127.0.0.1"
        assert port > 0
        with pytest.raises(OSError, match=r"\S"):
            await serve_http(echo, port=port)


async def test_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    async with serving(echo, uds=str(path)) as served, served.connect() as wire:
        assert served.addresses == [str(path)]
        assert (await wire.ask())[0] == 200
        with pytest.raises(OSError, match=r"\S"):
            await serve_http(echo, uds=str(path))
    assert not path.exists()


async def test_access_log() -> None:
    entries: list[AccessEntry] = []
    first = anyio.Event()

    def write(entry: AccessEntry) -> None:
        entries.append(entry)
        first.set()

    async with serving(echo, access_log=write) as served:
        async with served.connect() as wire:
            await wire.ask("/p?token=secret")
            with anyio.fail_after(PATIENCE_SECONDS):
                await first.wait()  # while the listener runs
            await wire.ask("/%0Aq", b"x")
    one, two = entries
    assert one[:4] == ("GET", "/p", 200, len(b"GET /p?token=secret "))
    assert one.client == "127.0.0.1"
    assert 0 <= one.seconds < PATIENCE_SECONDS
    assert two.path == "/%0Aq"


async def test_failing_access_log(caplog: pytest.LogCaptureFixture) -> None:
    def write(entry: AccessEntry) -> None:
        raise RuntimeError("disk full")

    async with serving(echo, access_log=write) as served, served.connect() as wire:
        assert (await wire.ask())[0] == 200
        assert (await wire.ask())[0] == 200
    assert "disk full" in caplog.text


def test_access_log_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    written: list[AccessEntry] = []
    log = access.AccessLog(written.append)
    for number in range(access.MAX_WAITING_ENTRIES + 5):
        log.add(AccessEntry("GET", "/", number, 0, 0.0, ""))
    with caplog.at_level(logging.WARNING):
        log._flush()
    assert len(written) == access.MAX_WAITING_ENTRIES
    assert written[0].status == 5
    assert "5 access log entries were dropped" in caplog.text


def certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's context that trust each other."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cafile=str(file))


async def test_tls(tmp_path: Path) -> None:
    server, client = certificate(tmp_path)

    async def app(request: WebRequest, response: WebResponse) -> None:
        if request.path == "/stream":
            await response.start(200, TEXT)
            for _ in range(5):
                await response.send(MUCH)
            await response.finish()
        else:
            await response.send_whole(200, TEXT, request.scheme.encode() + await request.body(1000))

    async with serving(app, ssl_context=server, limits=HttpLimits(head_seconds=0.5)) as served:
        address = served.addresses[0]
        async with await anyio.connect_tcp(*address, ssl_context=client, tls_hostname="localhost") as stream:
            wire = Wire(stream)
            assert (await wire.ask("/", b"!"))[2] == b"https!"
            await wire.send(get("/stream", b"Connection: close\r\n"))
            assert (await wire.rest()).partition(b"\r\n\r\n")[2].count(b"x") == 5 * len(MUCH)
        async with served.connect() as plain:
            await plain.send(get())
            assert b"HTTP" not in await plain.rest()
        async with served.connect() as silent:
            assert b"HTTP" not in await silent.rest()


async def test_tls_client_that_leaves_cancels(tmp_path: Path) -> None:
    server, client = certificate(tmp_path)
    probe = Probe(wait_for_ever)
    async with serving(probe, ssl_context=server) as served:
        address = served.addresses[0]
        async with await anyio.connect_tcp(*address, ssl_context=client, tls_hostname="localhost") as stream:
            await stream.send(get())
            await probe.wait("began")
        await probe.wait("ended")
    assert probe.cancelled
