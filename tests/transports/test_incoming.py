"""Requests as an application of our listener gets them."""

import pytest
from transports.listening import TEXT, Probe, echo, get, post, serving

from mcpcore.errors import ConnectionLost
from mcpcore_transports.web.exchange import WebRequest, WebResponse
from mcpcore_transports.web.limits import HttpLimits

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


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


async def test_slow_body() -> None:
    async with serving(echo, limits=HttpLimits(body_seconds=0.2)) as served, served.connect() as wire:
        await wire.send(post("/", b"12345")[:-1])
        status, headers, _ = await wire.response()
        assert (status, headers["connection"]) == (408, "close")
