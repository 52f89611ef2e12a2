"""Responses of an application as clients of our listener get them."""

import anyio
import pytest
from transports.listening import MUCH, TEXT, echo, get, serving

from mcpcore.errors import LocalProtocolError
from mcpcore_transports.web.access import AccessEntry
from mcpcore_transports.web.exchange import Headers, WebRequest, WebResponse

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


async def test_request_and_response() -> None:
    async with serving(echo) as served, served.connect() as wire:
        status, headers, body = await wire.ask("/a%20b/c?x=%20y", b"hello")
        assert (status, body) == (200, b"POST /a b/c?x=%20y hello")
        assert headers["content-length"] == str(len(body))
        assert headers["content-type"] == "text/plain"
        assert headers["date"].endswith(" GMT")
        assert "server" not in {name.lower() for name in headers}
        assert "connection" not in headers


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


@pytest.mark.parametrize(
    ("asked", "headers", "expected"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", TEXT, b"3\r\none\r\n5\r\n two \r\n5\r\nthree\r\n0\r\n\r\n"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", (("content-length", "13"),), b"one two three"),
        (b"GET / HTTP/1.0\r\n\r\n", TEXT, b"one two three"),
        (b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", TEXT, b""),
    ],
)
async def test_parts_that_go_with_the_head_and_with_the_end(asked: bytes, headers: Headers, expected: bytes) -> None:
    async def app(request: WebRequest, response: WebResponse) -> None:
        await response.start(200, headers, first=b"one")
        await response.send(b" two ")
        await response.finish(b"three")

    entries: list[AccessEntry] = []
    async with serving(app, access_log=entries.append) as served, served.connect() as wire:
        await wire.send(asked)
        await wire.until(b"\r\n\r\n")
        assert await wire.exactly(len(expected)) == expected
        await wire.send(b"\r\n")
    assert [entry.sent_bytes for entry in entries] == [13 if expected else 0]


async def test_a_last_part_beyond_the_declared_length_is_refused() -> None:
    async def app(request: WebRequest, response: WebResponse) -> None:
        await response.start(200, (("content-length", "4"),), first=b"one")
        with pytest.raises(LocalProtocolError, match="longer"):
            await response.finish(b"two")
        await response.finish(b"!")

    async with serving(app) as served, served.connect() as wire:
        assert (await wire.ask())[2] == b"one!"
