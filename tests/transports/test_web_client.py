"""web/client with request, request_head, response and response_parser, against scripted servers on real sockets.

Real sockets and a jumping clock do not go together: these tests run on the ordinary clock of each backend, wait for
events only, and bound every wait. Deadlines that have to pass are a few hundredths of a second.
"""

import gc
import socket
from collections.abc import Awaitable, Callable

import anyio
import anyio.abc
import anyio.streams.tls
import pytest
from transports.scripted_server import Authority, Caller, ok, serving

from mcpcore.errors import ConnectFailed, ConnectionLost, DeadlineExceeded, LocalProtocolError, RemoteProtocolError
from mcpcore_transports.web.client import HttpClient
from mcpcore_transports.web.client_limits import ClientLimits
from mcpcore_transports.web.exchange import BodyTooLarge
from mcpcore_transports.web.response_parser import MAX_INTERIM_RESPONSES

pytestmark = pytest.mark.anyio

BRIEF_SECONDS = 0.05
"""A deadline that a test lets pass."""

LIMIT = 1024


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def answering(*answers: bytes) -> Callable[[Caller], Awaitable[None]]:
    """A script that gives these answers to the requests of a connection, and then closes it."""

    async def script(caller: Caller) -> None:
        for answer in answers:
            if not await caller.request():
                return
            await caller.send(answer)

    return script


async def test_a_request_is_sent_as_one_message_with_its_headers() -> None:
    seen: list[bytes] = []

    async def script(caller: Caller) -> None:
        seen.append(await caller.stream.receive())
        await caller.send(ok(b"{}", b"X-One: 1\r\nVary: a\r\nvary: b\r\n"))

    async with serving(script) as server, HttpClient(headers=(("X-Kept", "1"), ("Accept", "no"))) as client:
        url = f"{server.url}?q=a b".replace(" ", "%20") + "#fragment"
        async with client.request("POST", url, headers=(("accept", "text/plain"),), body=b"[1]") as response:
            assert (response.status, response.reason) == (200, "OK")
            assert response.headers["x-one"] == "1"
            assert response.headers["vary"] == "a, b"
            assert response.header_values("vary") == ["a", "b"]
            assert await response.read(LIMIT) == b"{}"
            assert await response.read(LIMIT) == b""
    start, *lines = seen[0].split(b"\r\n")
    assert start == b"POST /mcp?q=a%20b HTTP/1.1"
    assert lines[-2:] == [b"", b"[1]"]
    assert sorted(lines[:-2]) == sorted(
        [
            b"host: 127.0.0.1:%d" % server.port,
            b"X-Kept: 1",
            b"user-agent: mcpcore",
            b"accept-encoding: identity",
            b"accept: text/plain",
            b"content-length: 3",
        ]
    )


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET /x", ()),
        ("CONNECT", ()),
        ("GET", (("x y", "1"),)),
        ("GET", (("x", "secret\r\ny: 1"),)),
        ("GET", (("x", "secret\0"),)),
        ("GET", (("x", "secret…"),)),
        ("GET", (("Host", "other"),)),
        ("GET", (("transfer-encoding", "chunked"),)),
    ],
)
async def test_what_cannot_be_sent_is_refused_before_connecting(
    method: str, headers: tuple[tuple[str, str], ...]
) -> None:
    async with HttpClient() as client:
        with pytest.raises(LocalProtocolError) as refused:
            client.request(method, "http://127.0.0.1:1/", headers=headers)
    assert "secret" not in str(refused.value)
    if method == "GET":
        with pytest.raises(LocalProtocolError):
            HttpClient(headers=headers)


async def test_user_information_becomes_credentials_and_shows_nowhere(free_port: int) -> None:
    seen: list[bytes] = []

    async def script(caller: Caller) -> None:
        while request := await caller.request():
            seen.append(request)
            await caller.send(ok())

    async with serving(script) as server, HttpClient() as client:
        url = server.url.replace("127", "us%3Aer:pass%40word@127")
        async with client.request("GET", url) as response:
            await response.read(LIMIT)
        async with client.request("GET", url, headers=(("Authorization", "Bearer x"),)) as response:
            await response.read(LIMIT)
        with pytest.raises(ConnectFailed) as failed:
            async with client.request("GET", f"http://user:password@127.0.0.1:{free_port}/path?secret"):
                pass
    assert b"authorization: Basic dXM6ZXI6cGFzc0B3b3Jk\r\n" in seen[0]
    assert b"pass" not in seen[0]
    assert b"Basic" not in seen[1]
    text = repr(failed.value) + repr(failed.value.__cause__)
    assert "password" not in text
    assert "secret" not in text


@pytest.fixture
def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_chunks_come_as_they_are_sent() -> None:
    read = anyio.create_memory_object_stream[bytes](0)

    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for piece in (b"one", b"two", b"three"):
            await caller.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            assert await read[1].receive() == piece  # the next one is sent when this one was seen
        await caller.send(b"0\r\n\r\n")

    async with serving(script) as server, HttpClient() as client:
        async with client.request("GET", server.url) as response:
            async for piece in response.stream():
                await read[0].send(piece)
    for end in read:
        end.close()


async def test_a_cancelled_wait_for_a_piece_loses_nothing() -> None:
    going = anyio.Event()

    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n")
        await going.wait()
        await caller.send(b"late")

    async with serving(script) as server, HttpClient() as client:
        async with client.request("GET", server.url) as response:
            with anyio.move_on_after(BRIEF_SECONDS) as scope:
                await response.receive()
            assert scope.cancelled_caught
            going.set()
            assert await response.read(LIMIT) == b"late"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (LIMIT + 1) + b"x",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        + b"300\r\n"
        + b"x" * 0x300
        + b"\r\n200\r\n"
        + b"x" * 0x200,
    ],
    ids=["declared", "counted"],
)
async def test_a_body_that_is_too_large_closes_the_connection(answer: bytes) -> None:
    closed = anyio.Event()

    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.send(answer)
        await caller.closed()
        closed.set()

    async with serving(script) as server, HttpClient() as client:
        async with client.request("GET", server.url) as response:
            with pytest.raises(BodyTooLarge):
                await response.read(LIMIT)
            await closed.wait()
            with pytest.raises(anyio.ClosedResourceError):
                await response.receive()


async def test_a_body_as_large_as_the_limit_is_read() -> None:
    async with serving(answering(ok(b"x" * LIMIT))) as server, HttpClient() as client:
        async with client.request("GET", server.url) as response:
            assert await response.read(LIMIT) == b"x" * LIMIT


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"SSH-2.0-OpenSSH\r\n\r\n", "does not answer in valid HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1, 2\r\n\r\n", "does not answer in valid HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000, "larger than 65536 bytes"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * (MAX_INTERIM_RESPONSES + 1), "interim"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "does not answer in valid HTTP/1.1"),
    ],
)
async def test_an_answer_that_is_not_http_is_the_servers_fault(answer: bytes, text: str) -> None:
    async with serving(answering(answer)) as server, HttpClient() as client:
        with pytest.raises(RemoteProtocolError, match=text) as broken:
            async with client.request("GET", server.url):
                pass
        assert "0 in use, 0 idle" in repr(client)
    assert f"127.0.0.1:{server.port}" in str(broken.value)
    assert len(str(broken.value)) < 300


async def test_interim_responses_are_passed_over() -> None:
    hints = b"HTTP/1.1 100 Continue\r\n\r\n" + b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    async with serving(answering(hints + ok(b"yes"))) as server, HttpClient() as client:
        async with client.request("GET", server.url) as response:
            assert (response.status, await response.read(LIMIT)) == (200, b"yes")


@pytest.mark.parametrize(
    ("method", "head"), [("HEAD", b"200 OK"), ("GET", b"304 Not Modified"), ("GET", b"204 No Content")]
)
async def test_responses_without_a_body_end_with_their_head(method: str, head: bytes) -> None:
    answer = b"HTTP/1.1 " + head + b"\r\ncontent-length: 999999\r\n\r\n"
    async with serving(answering(answer, answer)) as server, HttpClient() as client:
        for _ in range(2):
            async with client.request(method, server.url) as response:
                assert await response.read(10) == b""
        assert server.connections == 1


async def test_a_redirect_is_an_answer() -> None:
    answer = b"HTTP/1.1 307 Temporary Redirect\r\nlocation: /other\r\ncontent-length: 0\r\n\r\n"
    async with serving(answering(answer)) as server, HttpClient() as client:
        async with client.request("POST", server.url, body=b"x") as response:
            assert (response.status, response.headers["location"]) == (307, "/other")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n9\r\nshort",
    ],
)
async def test_a_body_that_is_cut_off_is_a_lost_connection(answer: bytes) -> None:
    async with serving(answering(answer)) as server, HttpClient() as client:
        async with client.request("GET", server.url) as response:
            with pytest.raises(ConnectionLost, match="before the response was complete"):
                await response.read(LIMIT)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nconte"])
async def test_a_connection_that_ends_before_the_head_is_lost(answer: bytes) -> None:
    async def script(caller: Caller) -> None:
        await caller.request()
        if answer:
            await caller.send(answer)

    async with serving(script) as server, HttpClient() as client:
        with pytest.raises(ConnectionLost, match=f"127.0.0.1:{server.port} closed the connection") as lost:
            async with client.request("GET", server.url):
                pass
        assert not isinstance(lost.value, ConnectFailed)
        assert server.connections == 1


async def test_a_body_may_end_with_the_connection() -> None:
    async with serving(answering(b"HTTP/1.1 200 OK\r\n\r\nall of it")) as server, HttpClient() as client:
        async with client.request("GET", server.url) as response:
            assert await response.read(LIMIT) == b"all of it"
        assert "0 in use, 0 idle" in repr(client)


async def test_an_answer_before_the_request_was_read_counts() -> None:
    async def script(caller: Caller) -> None:
        await caller.stream.receive(100)
        await caller.send(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 4\r\n\r\nmuch")

    async with serving(script) as server, HttpClient() as client:
        async with client.request("POST", server.url, body=b"x" * 20_000_000) as response:
            assert (response.status, await response.read(LIMIT)) == (413, b"much")
        assert server.connections == 1


async def test_leaving_early_closes_at_once() -> None:
    closed = anyio.Event()

    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n")
        await caller.closed()
        closed.set()

    async with serving(script) as server, HttpClient() as client:
        async with client.request("GET", server.url) as response:
            async for piece in response.stream():
                assert piece == b"x"
                break
        assert "0 in use, 0 idle" in repr(client)
        await closed.wait()
        with pytest.raises(anyio.ClosedResourceError):
            await response.receive()


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx"], ids=["head", "body"])
async def test_cancellation_closes_at_once(answer: bytes) -> None:
    asked = anyio.Event()
    closed = anyio.Event()

    async def script(caller: Caller) -> None:
        await caller.request()
        if answer:
            await caller.send(answer)
        asked.set()
        await caller.closed()
        closed.set()

    async def ask(client: HttpClient, url: str) -> None:
        async with client.request("GET", url) as response:
            await response.read(LIMIT)

    async with serving(script) as server, HttpClient() as client:
        async with anyio.create_task_group() as group:
            group.start_soon(ask, client, server.url)
            await asked.wait()
            group.cancel_scope.cancel()
        assert "0 in use, 0 idle" in repr(client)
        await closed.wait()


async def test_a_caller_that_is_cancelled_already_sends_nothing() -> None:
    async with serving(answering(ok())) as server, HttpClient() as client:
        with anyio.CancelScope() as scope:
            scope.cancel()
            async with client.request("GET", server.url):
                pass
        assert scope.cancelled_caught
        async with client.request("GET", server.url) as response:
            await response.read(LIMIT)
        assert server.connections == 1


async def test_a_response_may_be_left_by_another_task() -> None:
    async with serving(answering(ok())) as server, HttpClient() as client:
        request = client.request("GET", server.url)
        response = await request.__aenter__()
        async with anyio.create_task_group() as group:
            group.start_soon(response.read, LIMIT)
        async with anyio.create_task_group() as group:
            group.start_soon(request.__aexit__, None, None, None)
        assert "0 in use, 1 idle" in repr(client)


async def _silence(caller: Caller) -> None:
    await caller.closed()


async def test_a_server_that_does_not_answer_in_time() -> None:
    limits = ClientLimits(head_seconds=BRIEF_SECONDS)
    async with serving(_silence) as server, HttpClient(limits=limits) as client:
        with pytest.raises(DeadlineExceeded, match=r"did not answer within 0\.05 seconds"):
            async with client.request("GET", server.url):
                pass
        assert "0 in use, 0 idle" in repr(client)


async def test_a_head_that_trickles_has_one_deadline() -> None:
    async def script(caller: Caller) -> None:
        while True:
            await caller.send(b"H")
            with anyio.move_on_after(BRIEF_SECONDS / 5):
                await caller.closed()
                return

    limits = ClientLimits(head_seconds=BRIEF_SECONDS)
    async with serving(script) as server, HttpClient(limits=limits) as client:
        with pytest.raises(DeadlineExceeded):
            async with client.request("GET", server.url):
                pass


async def test_a_body_that_falls_silent() -> None:
    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nx")
        await caller.closed()

    limits = ClientLimits(body_seconds=BRIEF_SECONDS)
    async with serving(script) as server, HttpClient(limits=limits) as client:
        async with client.request("GET", server.url) as response:
            with pytest.raises(ConnectionLost, match=r"has sent nothing for 0\.05 seconds"):
                await response.read(LIMIT)
            assert "0 in use, 0 idle" in repr(client)


async def test_a_server_that_does_not_read() -> None:
    limits = ClientLimits(write_seconds=BRIEF_SECONDS)
    with socket.create_server(("127.0.0.1", 0)) as listener:  # nobody accepts, so that nothing reads ahead either
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        async with HttpClient(limits=limits) as client:
            with pytest.raises(ConnectionLost, match=r"has taken nothing of what was sent to it for 0\.05 seconds"):
                async with client.request("POST", url, body=b"x" * 20_000_000):
                    pass
            assert "0 in use, 0 idle" in repr(client)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx"], ids=["head", "body"])
async def test_closing_from_another_task_ends_what_runs(answer: bytes) -> None:
    asked = anyio.Event()
    ended = anyio.Event()

    async def script(caller: Caller) -> None:
        await caller.request()
        if answer:
            await caller.send(answer)
        asked.set()
        await caller.closed()

    async def ask(client: HttpClient, url: str) -> None:
        with pytest.raises(anyio.ClosedResourceError):
            async with client.request("GET", url) as response:
                await response.read(LIMIT)
        ended.set()

    async with serving(script) as server:
        client = HttpClient()
        async with anyio.create_task_group() as group:
            group.start_soon(ask, client, server.url)
            await asked.wait()
            await client.aclose()
            await ended.wait()
        assert repr(client) == "<HttpClient <Pool closed: 0 in use, 0 idle, 0 dialing>>"
        with pytest.raises(anyio.ClosedResourceError):
            async with client.request("GET", server.url):
                pass
        await client.aclose()


async def test_closing_ends_a_connection_attempt(authority: Authority) -> None:
    arrived = anyio.Event()
    ended = anyio.Event()

    async def script(caller: Caller) -> None:
        arrived.set()
        await caller.closed()

    async def ask(client: HttpClient, url: str) -> None:
        with pytest.raises(anyio.ClosedResourceError):
            async with client.request("GET", url):
                pass
        ended.set()

    async with serving(script) as server:
        client = HttpClient(ssl_context=authority.client_context())
        async with anyio.create_task_group() as group:
            group.start_soon(ask, client, f"https://127.0.0.1:{server.port}/")
            await arrived.wait()
            await client.aclose()
            await ended.wait()


async def test_many_tasks_share_a_client() -> None:
    async def script(caller: Caller) -> None:
        while request := await caller.request():
            await caller.send(ok(request[-2:]))

    async def ask(client: HttpClient, url: str, number: int) -> None:
        for _ in range(3):
            async with client.request("POST", url, body=b"%02d" % number) as response:
                assert await response.read(LIMIT) == b"%02d" % number

    async with serving(script) as server, HttpClient() as client:
        async with anyio.create_task_group() as group:
            for number in range(50):
                group.start_soon(ask, client, server.url, number)
        assert "0 in use, 16 idle" in repr(client)
    gc.collect()  # an unclosed socket would complain here
