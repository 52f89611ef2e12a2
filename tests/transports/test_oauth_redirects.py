"""The listener that a browser comes back to: what it takes, what it refuses, and that it takes one answer only."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import anyio
import pytest
from transports.protected_site import fetch

from mcpcore_transports.oauth import redirects as module
from mcpcore_transports.oauth.errors import LoginFailed
from mcpcore_transports.oauth.redirects import HEAD_BYTES, MAX_CONNECTIONS, Redirects, open_redirects

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def waiting(found: list[Mapping[str, str]] | None = None) -> AsyncIterator[Redirects]:
    """A login that waits for the state "mine"; what it gets is put into `found`."""

    async def wait() -> None:
        response = await redirects.wait(lambda response: response.get("state") == "mine")
        if found is not None:
            found.append(response)

    async with open_redirects() as redirects, anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        yield redirects
        tasks.cancel_scope.cancel()


async def test_it_takes_one_redirect_and_shows_a_page() -> None:
    found: list[Mapping[str, str]] = []
    async with waiting(found) as redirects:
        assert redirects.uri.startswith("http://127.0.0.1:")
        first = await fetch(f"{redirects.uri}?code=a%20b&state=mine")
        assert (first.status, b"Almost done" in first.body) == (200, True)
        assert first.headers["cache-control"] == "no-store"
        assert first.headers["referrer-policy"] == "no-referrer"
        assert first.headers["content-security-policy"].startswith("default-src 'none'")
        second = await fetch(f"{redirects.uri}?code=other&state=mine")
        assert (second.status, b"Used before" in second.body) == (400, True)
        assert b"a b" not in first.body + second.body
    assert found == [{"code": "a b", "state": "mine"}]


@pytest.mark.parametrize(
    ("query", "status", "title"),
    [("?error=access_denied&state=mine", 200, b"Not logged in"), ("?code=a&state=x", 400, b"Another login")],
)
async def test_its_page_tells_what_happened(query: str, status: int, title: bytes) -> None:
    found: list[Mapping[str, str]] = []
    async with waiting(found) as redirects:
        page = await fetch(redirects.uri + query)
        assert (page.status, title in page.body) == (status, True)
    assert len(found) == 1, "and who waits for it is to judge"


@pytest.mark.parametrize(
    ("path", "verb", "headers", "status"),
    [
        ("/", "GET", {}, 404),
        ("/favicon.ico", "GET", {}, 404),
        ("/callback", "GET", {}, 400),
        ("/callback?code=a&state=mine&state=mine", "GET", {}, 400),
        ("/callback?code=a&state=mine", "POST", {}, 405),
        ("/callback?code=a&state=mine", "GET", {"host": "evil.example"}, 421),
        ("/callback?code=a&state=mine", "GET", {"sec_fetch_dest": "image"}, 400),
        ("/callback?" + "&".join(f"a{n}=1" for n in range(99)), "GET", {}, 400),
        ("/callback?code=" + HEAD_BYTES * "x", "GET", {}, 0),
    ],
)
async def test_what_is_no_redirect_ends_no_login(path: str, verb: str, headers: dict[str, str], status: int) -> None:
    found: list[Mapping[str, str]] = []
    async with waiting(found) as redirects:
        origin = redirects.uri.removesuffix("/callback")
        assert (await fetch(origin + path, verb=verb, **headers)).status == status
        assert found == []
        assert (await fetch(f"{redirects.uri}?code=a&state=mine")).status == 200
    assert len(found) == 1


async def test_garbage_and_silence_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HEAD_SECONDS", 0.05)
    async with waiting() as redirects:
        for said in (b"\x16\x03\x01 hello\r\n\r\n", b"GET", b""):
            async with await anyio.connect_tcp("127.0.0.1", redirects.port) as stream:
                await stream.send(said)
                answer = b""
                with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                    while True:
                        answer += await stream.receive()
                assert (b" 400 " in answer) is (len(said) > 3)


async def test_no_more_connections_than_a_browser_opens() -> None:
    async with waiting() as redirects:
        idle = [await anyio.connect_tcp("127.0.0.1", redirects.port) for _ in range(MAX_CONNECTIONS)]
        await anyio.wait_all_tasks_blocked()
        while (await fetch(f"{redirects.uri}?code=a&state=mine")).status != 0:
            await anyio.lowlevel.checkpoint()
        for stream in idle:
            await stream.aclose()


async def test_nobody_listens_afterwards_however_it_ends() -> None:
    with pytest.raises(RuntimeError):
        async with open_redirects() as redirects:
            raise RuntimeError
    with pytest.raises(OSError):
        await fetch(f"{redirects.uri}?code=a&state=mine")
    with anyio.CancelScope() as scope:
        async with open_redirects() as redirects:
            scope.cancel()
            await anyio.sleep_forever()
    with pytest.raises(OSError):
        await fetch(f"{redirects.uri}?code=a&state=mine")


async def test_a_port_that_is_taken() -> None:
    async with open_redirects() as redirects:
        with pytest.raises(LoginFailed, match="redirect_port"):
            async with open_redirects(redirects.port):
                raise AssertionError
