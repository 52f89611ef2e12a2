"""web/proxy as rules, and the way through a proxy on real sockets."""

import ssl
from collections.abc import Iterator

import anyio
import anyio.abc
import pytest
from transports.scripted_server import Authority, Caller, Script, ok, serving

from mcpcore.errors import ConnectFailed
from mcpcore_transports.web.client import HttpClient
from mcpcore_transports.web.proxy import Proxies
from mcpcore_transports.web.urls import parse_url

LIMIT = 1024


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    for variable in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)
    return monkeypatch


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def chosen(environment: dict[str, str], url: str = "http://server.example/") -> str | None:
    proxy = Proxies(environment).proxy_for(parse_url(url).origin)
    return None if proxy is None else proxy.origin.shown


@pytest.mark.parametrize(
    ("environment", "http", "https"),
    [
        ({}, None, None),
        ({"HTTP_PROXY": "http://p:1"}, "p:1", None),
        ({"http_proxy": "p"}, "p:80", None),
        ({"https_proxy": "https://p/"}, None, "p:443"),
        ({"HTTPS_PROXY": "http://[::2]:8/"}, None, "[::2]:8"),
        ({"ALL_PROXY": "http://a:1", "HTTPS_PROXY": "http://s:2"}, "a:1", "s:2"),
        ({"HTTP_PROXY": "http://upper:1", "http_proxy": "http://lower:2"}, "lower:2", None),
        ({"HTTP_PROXY": "http://upper:1", "http_proxy": ""}, "upper:1", None),
        ({"HTTP_PROXY": "http://header:1", "REQUEST_METHOD": "GET"}, None, None),
        ({"HTTP_PROXY": "http://header:1", "REQUEST_METHOD": "GET", "ALL_PROXY": "http://a:1"}, "a:1", "a:1"),
        ({"http_proxy": "http://p:1", "REQUEST_METHOD": "GET"}, "p:1", None),
    ],
)
def test_which_variable_counts(environment: dict[str, str], http: str | None, https: str | None) -> None:
    assert chosen(environment) == http
    assert chosen(environment, "https://server.example/") == https


@pytest.mark.parametrize(
    ("no_proxy", "url", "direct"),
    [
        ("", "http://server.example/", False),
        ("*", "http://server.example/", True),
        ("a.example, *", "http://server.example/", True),
        ("server.example", "http://server.example/", True),
        ("SERVER.example", "http://server.EXAMPLE./", True),
        ("example", "http://server.example/", True),
        (".example", "http://server.example/", True),
        ("*.example", "http://server.example/", True),
        (".server.example", "http://server.example/", True),
        ("erver.example", "http://server.example/", False),
        ("other.example,server.example:80", "http://server.example/", True),
        ("server.example:81", "http://server.example/", False),
        ("server.example:443", "https://server.example/", True),
        ("10.0.0.0/8", "http://10.1.2.3/", True),
        ("10.0.0.0/8", "http://11.1.2.3/", False),
        ("10.1.2.3", "http://10.1.2.3/", True),
        ("10.1.2.3:8080", "http://10.1.2.3/", False),
        ("10.1.2.3:8080", "http://10.1.2.3:8080/", True),
        ("1.2.3", "http://10.1.2.3/", False),
        ("10.0.0.0/8", "http://[::ffff:10.1.2.3]/", True),
        ("fd00::/8", "http://[fd00::1]/", True),
        ("fd00::1", "http://[fd00::1]/", True),
        ("[fd00::1]:81", "http://[fd00::1]/", False),
        ("[fd00::1]:81", "http://[fd00::1]:81/", True),
        (", . :80", "http://server.example/", False),
        ("", "http://localhost:8000/", True),
        ("", "http://a.localhost/", True),
        ("", "http://127.1.2.3/", True),
        ("", "http://[::1]:8000/", True),
        ("", "http+unix://%2Fs/", True),
    ],
)
@pytest.mark.parametrize("variable", ["no_proxy", "NO_PROXY"])
def test_no_proxy(variable: str, no_proxy: str, url: str, direct: bool) -> None:
    environment = {"ALL_PROXY": "http://proxy:1", variable: no_proxy}
    assert chosen(environment, url) == (None if direct else "proxy:1")


@pytest.mark.parametrize(
    "value", ["socks5://secret:secret@p:1", "http://secret:secret@", "http://p:secret", "secret:secret@p:x"]
)
def test_a_variable_that_names_no_proxy_fails_where_it_is_needed(value: str) -> None:
    environment = {"HTTPS_PROXY": value}
    assert chosen(environment) is None
    assert chosen(environment, "https://localhost/") is None
    with pytest.raises(ConnectFailed, match="HTTPS_PROXY") as failed:
        chosen(environment, "https://server.example/")
    assert "secret" not in str(failed.value)


@pytest.mark.anyio
async def test_http_goes_through_the_proxy_in_absolute_form(environment: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []

    async def script(caller: Caller) -> None:
        while request := await caller.request():
            seen.append(request)
            await caller.send(ok())

    async with serving(script) as proxy:
        environment.setenv("HTTP_PROXY", f"http://us%3Aer:word@127.0.0.1:{proxy.port}")
        async with HttpClient() as client:
            for _ in range(2):
                async with client.request("POST", "http://server.example:81/mcp?a", body=b"x") as response:
                    assert await response.read(LIMIT) == b"ok"
        assert proxy.connections == 1
    start, *lines = seen[1].split(b"\r\n")
    assert start == b"POST http://server.example:81/mcp?a HTTP/1.1"
    assert b"host: server.example:81" in lines
    assert b"proxy-authorization: Basic dXM6ZXI6d29yZA==" in lines


@pytest.mark.anyio
async def test_the_environment_may_be_left_alone(environment: pytest.MonkeyPatch, authority: Authority) -> None:
    environment.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with HttpClient(trust_env=False) as client:
        with pytest.raises(ConnectFailed, match=r"server\.invalid"):
            async with client.request("GET", "http://server.invalid/"):
                pass


def tunnelling(asked: list[bytes], port: int) -> Script:
    """A proxy that connects everything to one port of this machine."""

    async def copy(source: anyio.abc.ByteStream, target: anyio.abc.ByteStream) -> None:
        try:
            async for data in source:
                await target.send(data)
        except (anyio.BrokenResourceError, ssl.SSLError):
            pass

    async def script(caller: Caller) -> None:
        asked.append(await caller.request())
        async with await anyio.connect_tcp("127.0.0.1", port) as onward, anyio.create_task_group() as group:
            await caller.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            group.start_soon(copy, onward, caller.stream)
            await copy(caller.stream, onward)
            group.cancel_scope.cancel()

    return script


@pytest.mark.anyio
@pytest.mark.parametrize("proxy_scheme", ["http", "https"])
async def test_https_goes_through_a_tunnel(
    environment: pytest.MonkeyPatch, authority: Authority, proxy_scheme: str
) -> None:
    asked: list[bytes] = []
    seen: list[bytes] = []

    async def script(caller: Caller) -> None:
        while request := await caller.request():
            seen.append(request)
            await caller.send(ok(b"x" * 50_000))

    server_tls = authority.server_context("server.example")
    proxy_tls = authority.server_context("127.0.0.1") if proxy_scheme == "https" else None
    async with serving(script, tls=server_tls) as server:
        async with serving(tunnelling(asked, server.port), tls=proxy_tls) as proxy:
            environment.setenv("https_proxy", f"{proxy_scheme}://name:word@127.0.0.1:{proxy.port}")
            async with HttpClient(ssl_context=authority.client_context()) as client:
                for _ in range(2):
                    async with client.request("POST", "https://server.example/mcp", body=b"y" * 100_000) as response:
                        assert len(await response.read(100_000)) == 50_000
                with pytest.raises(ConnectFailed, match=r"the certificate of other\.example:443 is not trusted"):
                    async with client.request("GET", "https://other.example/"):
                        pass
            assert proxy.connections == 2
    assert asked[0] == (
        b"CONNECT server.example:443 HTTP/1.1\r\nhost: server.example:443\r\n"
        b"proxy-authorization: Basic bmFtZTp3b3Jk\r\n\r\n"
    )
    assert seen[0].startswith(b"POST /mcp HTTP/1.1\r\nhost: server.example\r\n")
    assert b"proxy-authorization" not in seen[0]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n", "name and password in the env"),
        (b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno", "status 403"),
        (b"SSH-2.0-x\r\n\r\n", "valid HTTP/1.1"),
        (b"", "closed the connection before it answered"),
    ],
)
async def test_a_proxy_that_gives_no_tunnel(
    environment: pytest.MonkeyPatch, authority: Authority, answer: bytes, text: str
) -> None:
    async def script(caller: Caller) -> None:
        await caller.request()
        if answer:
            await caller.send(answer)

    async with serving(script) as proxy:
        environment.setenv("ALL_PROXY", f"http://name:password@127.0.0.1:{proxy.port}")
        async with HttpClient(ssl_context=authority.client_context()) as client:
            with pytest.raises(ConnectFailed, match=text) as failed:
                async with client.request("GET", "https://server.example/"):
                    pass
            assert repr(client).endswith("0 in use, 0 idle, 0 dialing>>")
    assert "ALL_PROXY" in str(failed.value)
    assert "server.example:443" in str(failed.value)
    assert "name:password" not in str(failed.value)


@pytest.mark.anyio
async def test_a_proxy_that_is_not_there(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HTTP_PROXY", "http://name:password@127.0.0.1:1")
    async with HttpClient() as client:
        with pytest.raises(ConnectFailed, match=r"cannot connect to 127\.0\.0\.1:1: .* HTTP_PROXY") as failed:
            async with client.request("GET", "http://server.example/"):
                pass
    assert "password" not in str(failed.value)
