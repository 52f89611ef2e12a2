"""http/under_hypercorn: hypercorn as the host, with its own configuration, and stopping in time all the same."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from transports.scripted_server import Authority

from mcpcore import Client, ConnectionLost, LocalProtocolError, Server, serve
from mcpcore_transports.http.client import HttpTransport
from mcpcore_transports.http.under_hypercorn import serve as serve_hypercorn
from mcpcore_transports.web.access import AccessEntry
from mcpcore_transports.web.client import HttpClient

pytestmark = pytest.mark.anyio

PATIENCE_SECONDS = 20


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


class Offer:
    """A server, and what has happened to it."""

    def __init__(self) -> None:
        self.events: list[str] = []

        @asynccontextmanager
        async def lifespan(server: Server) -> AsyncIterator[None]:
            self.events.append("up")
            try:
                yield
            finally:
                self.events.append("down")

        self.server = Server("x", lifespan=lifespan)
        self.waiting = anyio.Event()

        @self.server.tool
        async def add(a: int, b: int) -> int:
            return a + b

        @self.server.tool
        async def wait() -> None:
            self.waiting.set()
            try:
                await anyio.sleep_forever()
            except BaseException:
                self.events.append("cancelled")
                raise


@asynccontextmanager
async def serving(offer: Offer, **options: Any) -> AsyncIterator[str]:
    """Served until the block ends; then everything is cancelled."""
    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:

            async def run(*, task_status: Any) -> None:
                await serve(offer.server, "http", http_server="hypercorn", port=0, task_status=task_status, **options)

            (url,) = await tasks.start(run)
            yield url
            tasks.cancel_scope.cancel()


async def test_calls_and_the_lifespan_around_them() -> None:
    offer, entries = Offer(), list[AccessEntry]()
    async with serving(offer, access_log=entries.append) as url:
        for era in ("modern", "legacy"):
            async with Client(url, era=era) as client:  # type: ignore[arg-type]
                assert (await client.call_tool("add", {"a": 1, "b": 2})).structured_content == {"result": 3}
        assert offer.events == ["up"]
    assert offer.events == ["up", "down"]
    assert {(entry.method, entry.path, entry.client) for entry in entries} >= {("POST", "/mcp", "127.0.0.1")}
    assert all(entry.sent_bytes > 0 for entry in entries if entry.method == "POST" and entry.status == 200)


async def test_stopping_lets_what_runs_have_the_grace_and_then_cancels_it() -> None:
    offer, returned = Offer(), anyio.Event()
    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:

            async def run(*, task_status: Any) -> None:
                await serve_hypercorn(offer.server, port=0, grace=0.1, task_status=task_status)
                offer.events.append("returned")
                returned.set()

            (url,) = await tasks.start(run)

            async def call() -> None:
                with pytest.raises(ConnectionLost):
                    async with Client(url, era="modern") as client:
                        await client.call_tool("wait")

            async with anyio.create_task_group() as calling:
                calling.start_soon(call)
                await offer.waiting.wait()
                offer.server.stop(0.1)
                await returned.wait()
    assert offer.events == ["up", "cancelled", "down", "returned"]


def authority_and_certificate(folder: Path) -> tuple[Authority, str]:
    """The second is a file with the key in it, too."""
    authority = Authority(folder)
    authority.server_context("localhost", "127.0.0.1")
    (file,) = [str(path) for path in folder.iterdir() if path.suffix == ".pem"]
    return authority, file


@pytest.mark.parametrize("name", ["config.toml", "config.py"])
async def test_tls_and_http_2_from_a_configuration(tmp_path: Path, name: str) -> None:
    authority, pem = authority_and_certificate(tmp_path)
    config = tmp_path / name
    config.write_text(f'certfile = "{pem}"\nkeyfile = "{pem}"\nloglevel = "ERROR"\n')
    context = authority.client_context()
    offer = Offer()
    async with serving(offer, hypercorn_config=config) as url:
        assert url.startswith("https://127.0.0.1:")
        https = HttpClient(ssl_context=context)
        async with Client(HttpTransport(url, client=https)) as client:
            assert (await client.call_tool("add", {"a": 1, "b": 2})).structured_content == {"result": 3}
        await https.aclose()

        def protocol() -> str | None:
            context.set_alpn_protocols(["h2", "http/1.1"])
            port = int(url.rpartition(":")[2].partition("/")[0])
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS) as raw:
                with context.wrap_socket(raw, server_hostname="localhost") as wrapped:
                    return wrapped.selected_alpn_protocol()

        assert await anyio.to_thread.run_sync(protocol) == "h2"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("x = [", "config.toml: "),
        ('bind = "0.0.0.0:1"', "sets bind, .*--host, --port"),
        ("workers = 2", "sets workers, .*--workers"),
        ("graceful_timeout = 9", "sets graceful_timeout, .*--grace"),
        ('certfile = "x"', "TLS needs both"),
        ('certfile = "x"\nkeyfile = "y"', "No such file"),
    ],
)
async def test_a_configuration_that_cannot_be(tmp_path: Path, text: str | None, message: str) -> None:
    config = tmp_path / "config.toml"
    if text is not None:
        config.write_text(text)
    offer = Offer()
    with pytest.raises(LocalProtocolError, match=message):
        await serve_hypercorn(offer.server, port=0, hypercorn_config=config)
    assert offer.events == []


async def test_a_body_that_does_not_come_is_given_up() -> None:
    offer = Offer()
    async with serving(offer, read_timeout=0.2) as url:
        port = int(url.rpartition(":")[2].partition("/")[0])
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(
                b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
            )
            assert b" 408 " in await stream.receive()


async def test_others_that_can_reach_it_need_to_be_allowed() -> None:
    with pytest.raises(LocalProtocolError, match="--allow-host"):
        await serve_hypercorn(Offer().server, host="0.0.0.0", port=0)


async def test_the_words_of_its_choice() -> None:
    with pytest.raises(LocalProtocolError, match="http_server is h11 or hypercorn, not 'uvicorn'"):
        await serve(Server("x"), "http", http_server="uvicorn")
