"""web/dialing and web/wire: TCP, Unix sockets and TLS, against scripted servers on real sockets.

On the ordinary clock of each backend. Deadlines that have to pass are a few hundredths of a second.
"""

import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import anyio.abc
import anyio.streams.tls
import pytest
from transports.scripted_server import Authority, Caller, ok, serving

from mcpcore.errors import ConnectFailed, ConnectionLost
from mcpcore_transports.web.client import HttpClient
from mcpcore_transports.web.client_limits import ClientLimits

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


async def _silence(caller: Caller) -> None:
    await caller.closed()


@pytest.fixture
def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_nobody_listens(free_port: int) -> None:
    async with HttpClient() as client:
        with pytest.raises(ConnectFailed) as failed:
            async with client.request("GET", f"http://127.0.0.1:{free_port}/"):
                pass
    assert f"127.0.0.1:{free_port}" in str(failed.value)
    assert "Connection refused" in str(failed.value)
    assert "check" in str(failed.value)


@pytest.mark.parametrize("host", ["nothing.invalid", "a" * 64 + ".invalid"])
async def test_a_name_that_nobody_has(host: str) -> None:
    async with HttpClient() as client:
        with pytest.raises(ConnectFailed, match=host):
            async with client.request("GET", f"http://{host}/"):
                pass


async def test_a_connection_that_does_not_come_up_in_time() -> None:
    limits = ClientLimits(connect_seconds=BRIEF_SECONDS)
    async with (
        serving(_silence) as server,
        HttpClient(limits=limits, ssl_context=ssl.create_default_context()) as client,
    ):
        with pytest.raises(ConnectFailed, match=r"was not ready for requests within 0\.05 seconds"):
            async with client.request("GET", f"https://127.0.0.1:{server.port}/"):
                pass


async def test_a_unix_socket(tmp_path: Path) -> None:
    seen: list[bytes] = []
    ended = anyio.Event()

    async def script(caller: Caller) -> None:
        while request := await caller.request():
            seen.append(request)
            await caller.send(ok())
        ended.set()

    path = tmp_path / "socket"
    async with serving(script, path=path) as server, HttpClient() as client:
        url = "http+unix://" + str(path).replace("/", "%2F") + "/mcp"
        for _ in range(2):
            async with client.request("GET", url) as response:
                assert await response.read(LIMIT) == b"ok"
        assert server.connections == 1
        with pytest.raises(ConnectFailed, match=r"the Unix socket .*: No such file"):
            async with client.request("GET", url.replace("socket", "nothing")):
                pass
        await client.aclose()
        await ended.wait()  # a Unix socket of anyio's that is closed and cancelled at once fails in its event loop
    assert seen[0].startswith(b"GET /mcp HTTP/1.1\r\nhost: localhost\r\n")


def _has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


async def test_ipv6() -> None:
    """Where this machine has no IPv6, the request must get as far as the kernel and say so."""
    async with serving(answering(ok()), host="::1" if _has_ipv6() else "127.0.0.1") as server, HttpClient() as client:
        request = client.request("GET", f"http://[::1]:{server.port}/")
        if _has_ipv6():
            async with request as response:
                assert await response.read(LIMIT) == b"ok"
        else:
            with pytest.raises(ConnectFailed, match=rf"\[::1\]:{server.port}"):
                async with request:
                    pass


async def test_tls_with_a_trusted_certificate(authority: Authority) -> None:
    chosen: list[str | None] = []

    async def script(caller: Caller) -> None:
        chosen.append(caller.stream.extra(anyio.streams.tls.TLSAttribute.alpn_protocol))
        while await caller.request():
            await caller.send(ok(b"x" * 100_000))

    tls = authority.server_context("localhost", "127.0.0.1")
    context = authority.client_context()
    async with serving(script, tls=tls) as server, HttpClient(ssl_context=context) as client:
        for host in ("127.0.0.1", "127.0.0.1", "localhost"):
            async with client.request("POST", f"https://{host}:{server.port}/", body=b"y" * 1_000_000) as response:
                assert len(await response.read(200_000)) == 100_000
        assert server.connections == 2
    assert chosen == [None, None]  # what is asked for is the business of whoever made the context


async def test_the_default_tls_context_asks_for_http_1_1(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[str | None] = []

    async def script(caller: Caller) -> None:
        chosen.append(caller.stream.extra(anyio.streams.tls.TLSAttribute.alpn_protocol))
        await answering(ok())(caller)

    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate_file()))
    async with serving(script, tls=authority.server_context("127.0.0.1")) as server, HttpClient() as client:
        async with client.request("GET", f"https://127.0.0.1:{server.port}/") as response:
            assert await response.read(LIMIT) == b"ok"
    assert chosen == ["http/1.1"]


async def test_certificates_are_checked(authority: Authority) -> None:
    tls = authority.server_context("other.example")
    async with serving(answering(ok()), tls=tls) as server:
        for context in (authority.client_context(), None):
            async with HttpClient(ssl_context=context) as client:
                with pytest.raises(ConnectFailed, match=r"certificate of 127\.0\.0\.1:.* is not trusted"):
                    async with client.request("GET", f"https://127.0.0.1:{server.port}/"):
                        pass
                assert "0 in use, 0 idle" in repr(client)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
async def test_https_to_a_server_without_tls(authority: Authority, answer: bytes) -> None:
    async def script(caller: Caller) -> None:
        await caller.stream.receive()
        if answer:
            await caller.send(answer)

    async with serving(script) as server, HttpClient(ssl_context=authority.client_context()) as client:
        with pytest.raises(ConnectFailed, match="check that it speaks https"):
            async with client.request("GET", f"https://127.0.0.1:{server.port}/"):
                pass


@pytest.mark.parametrize("goodbye", [True, False])
async def test_under_tls_a_body_must_not_end_with_a_cut(authority: Authority, goodbye: bool) -> None:
    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.send(b"HTTP/1.1 200 OK\r\n\r\nperhaps all of it")
        if not goodbye:
            await caller.stream.transport_stream.aclose()  # type: ignore[attr-defined]

    tls = authority.server_context("127.0.0.1")
    async with serving(script, tls=tls) as server, HttpClient(ssl_context=authority.client_context()) as client:
        async with client.request("GET", f"https://127.0.0.1:{server.port}/") as response:
            if goodbye:
                assert await response.read(LIMIT) == b"perhaps all of it"
            else:
                with pytest.raises(ConnectionLost, match="cut off"):
                    await response.read(LIMIT)
