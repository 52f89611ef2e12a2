"""The same application in other people's servers: mounted under a prefix, with and without lifespan events."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount
from transports.raw_http import Event, Offer, Site, call, initialize, modern, offer, until
from transports.tokens import Issuer

from mcpcore import Server
from mcpcore.errors import LocalProtocolError
from mcpcore_transports.http.mounted import MountedApp, asgi_app
from mcpcore_transports.protected import JwtVerifier, Protected

pytestmark = pytest.mark.anyio

HOSTS = [("asyncio", "uvicorn"), ("asyncio", "hypercorn"), ("trio", "hypercorn")]


@pytest.fixture(params=HOSTS, ids="-".join)
def pair(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def anyio_backend(pair: tuple[str, str]) -> str:
    return pair[0]


@pytest.fixture
def host(pair: tuple[str, str]) -> str:
    return pair[1]


async def _uvicorn(app: Any, listening: socket.socket, stop: anyio.Event, *, lifespan: bool) -> None:
    import uvicorn

    config = uvicorn.Config(
        app, log_config=None, lifespan="on" if lifespan else "off", timeout_graceful_shutdown=1, ws="none"
    )
    server = uvicorn.Server(config)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve, [listening])
        await stop.wait()
        server.should_exit = True


async def _hypercorn(app: Any, listening: socket.socket, stop: anyio.Event, *, lifespan: bool) -> None:
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"fd://{listening.detach()}"]
    config.graceful_timeout = 1
    config.errorlog = None
    served = app
    if not lifespan:

        async def served(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "lifespan":  # what hypercorn takes for an application without them
                raise NotImplementedError
            await app(scope, receive, send)

    if "trio" in str(anyio.lowlevel.current_token().backend_class):
        from hypercorn.trio import serve
    else:
        from hypercorn.asyncio import serve  # type: ignore[assignment]
    await serve(served, config, shutdown_trigger=stop.wait)


@asynccontextmanager
async def hosted(
    host: str, app: Any, made: Offer, endpoint: Any, *, prefix: str, path: str = "/mcp", lifespan: bool = False
) -> AsyncIterator[Site]:
    """`app` under uvicorn or hypercorn, on a free port."""
    run: Callable[..., Awaitable[None]] = {"uvicorn": _uvicorn, "hypercorn": _hypercorn}[host]
    # With its protocol named, asyncio sets TCP_NODELAY on what it accepts.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    listening.listen(100)
    listening.setblocking(False)
    address = listening.getsockname()
    stop = anyio.Event()
    site = Site(made, endpoint, address, prefix + path, f"{prefix}/sse")

    async def serve() -> None:
        await run(app, listening, stop, lifespan=lifespan)
        site.stopped.set()

    with anyio.fail_after(40):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            try:
                yield site
            finally:
                stop.set()


def mounted(made: Offer, *, prefix: str = "/api", inside: Any = None, **options: Any) -> tuple[Any, MountedApp]:
    app = asgi_app(made.server, **options)
    return Starlette(routes=[Mount(prefix, app=app)], lifespan=inside), app


async def both_eras(site: Site) -> None:
    async with site.connect() as wire, site.talk() as talk:
        answer = await site.modern(wire, call("add", {"a": 1, "b": 2}))
        assert (answer.status, (await answer.json())["result"]["structuredContent"]) == (200, {"result": 3})
        found = await (await site.modern(wire, call("count", {"upto": 3}, token=1))).messages()
        assert [one["params"]["progress"] for one in found[:-1]] == [1, 2, 3]
        assert await talk.tool("add", {"a": 3, "b": 4}) == "7"
        found = await (await talk.post(call("count", {"upto": 3}, token=1))).messages()
        assert [one["params"]["progress"] for one in found[:-1]] == [1, 2, 3]


async def test_mounted_without_any_lifespan_wiring(host: str) -> None:
    made = offer()
    app, mount = mounted(made)
    async with hosted(host, app, made, mount._endpoint, prefix="/api") as site:
        await both_eras(site)
        for _ in range(20):
            async with site.talk() as talk:
                assert await talk.tool("add", {"a": 1, "b": 1}) == "2"
        async with site.connect() as wire:
            for _ in range(100):
                await (await site.modern(wire, call("add", {"a": 1, "b": 2}))).body()
        assert (made.entered, made.left) == (1, 0)


async def test_beside_the_routes_of_a_fastapi_application(host: str) -> None:
    made = offer()
    mount = asgi_app(made.server)
    app = FastAPI()

    @app.get("/hello")
    async def hello() -> dict[str, str]:
        return {"hello": "world"}

    app.mount("/api", mount)
    async with hosted(host, app, made, mount._endpoint, prefix="/api") as site:
        await both_eras(site)
        async with site.connect() as wire:
            answer = await wire.ask("GET", "/hello", {})
            assert (answer.status, await answer.json()) == (200, {"hello": "world"})


@pytest.mark.parametrize("path", ["/", "/mcp", "/deep/mcp"])
async def test_any_prefix_and_path(host: str, path: str) -> None:
    made = offer()
    app, mount = mounted(made, prefix="/a/b", path=path)
    async with hosted(host, app, made, mount._endpoint, prefix="/a/b", path=path) as site:
        await both_eras(site)


@pytest.mark.parametrize("lifespan", [False, True])
async def test_alone(host: str, lifespan: bool) -> None:
    made = offer()
    app = asgi_app(made.server)
    async with hosted(host, app, made, app._endpoint, prefix="", lifespan=lifespan) as site:
        await both_eras(site)
        await both_eras(site)
        assert (made.entered, made.left) == (1, 0)
    if lifespan:
        assert (made.entered, made.left) == (1, 1)


async def test_a_framework_that_wires_our_lifespan_enters_it_once(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # The sessions live in a task of the event loop here, so leaving the lifespan waits this long for them.
    monkeypatch.setattr("mcpcore.server.LEAVE_SECONDS", 0.1)
    made = offer()

    @asynccontextmanager
    async def inside(_: Any) -> AsyncIterator[None]:
        async with made.server.running():
            yield

    app, mount = mounted(made, inside=inside)
    async with hosted(host, app, made, mount._endpoint, prefix="/api", lifespan=True) as site:
        await until(lambda: made.entered == 1)
        await both_eras(site)
        assert (made.entered, made.left) == (1, 0)
    assert (made.entered, made.left) == (1, 1)


async def test_the_sse_endpoint_event_carries_the_prefix(host: str) -> None:
    made = offer()
    app, mount = mounted(made, sse_path="/sse")
    async with hosted(host, app, made, mount._endpoint, prefix="/api") as site, site.connect() as reading:
        stream = await reading.ask("GET", "/api/sse", {"Accept": "text/event-stream"})
        event = await stream.event()
        assert event is not None
        assert event.data.startswith("/api/sse/messages?session_id=")
        async with site.connect() as wire:
            import json

            body = json.dumps(initialize("2024-11-05")).encode()
            answer = await wire.ask("POST", event.data, {"Content-Type": "application/json"}, body)
            assert answer.status == 202
            found = await stream.event()
            assert found is not None
            assert found.json()["result"]["protocolVersion"] == "2024-11-05"


async def test_leaving_cancels_here_too(host: str) -> None:
    made = offer()
    app, mount = mounted(made)
    async with hosted(host, app, made, mount._endpoint, prefix="/api") as site:
        for steps, token in ((0, None), (2, 1)):
            made.hanging, made.cancelled = Event(), Event()
            wire = await site.wire()
            await site.send(wire, *modern(call("hang", {"steps": steps}, token=token)))
            await made.hanging.wait()
            await wire.close()
            await made.cancelled.wait()
        async with site.talk() as talk:
            wire = await site.wire()
            await talk.send(call("wait", {"steps": 1}, token=1), wire=wire)
            await wire.answer()
            await wire.close()
            made.go.set()
            await until(lambda: made.server.statistics().running == 0)
            [session] = made.server.session_statistics()
            assert session.cancelled == 0


async def test_foreign_hosts_are_refused_here_too(host: str) -> None:
    made = offer()
    app, mount = mounted(made)
    async with hosted(host, app, made, mount._endpoint, prefix="/api") as site, site.connect() as wire:
        wire.host = "evil.example"
        assert (await site.modern(wire, call("add", {"a": 1, "b": 2}))).status == 421


async def test_a_lifespan_that_fails_is_told(host: str, caplog: pytest.LogCaptureFixture) -> None:
    @asynccontextmanager
    async def broken(server: Server) -> AsyncIterator[None]:
        raise RuntimeError("no database")
        yield

    made = offer(lifespan=broken)
    app, mount = mounted(made)
    async with hosted(host, app, made, mount._endpoint, prefix="/api") as site, site.connect() as wire:
        answer = await site.modern(wire, call("add", {"a": 1, "b": 2}))
        assert answer.status == 500
        assert b"database" not in await answer.body()
    assert "no database" in caplog.text


@pytest.mark.parametrize("when", ["startup", "shutdown"])
async def test_lifespan_events_say_what_failed(when: str, host: str, caplog: pytest.LogCaptureFixture) -> None:
    @asynccontextmanager
    async def broken(server: Server) -> AsyncIterator[None]:
        if when == "startup":
            raise RuntimeError("no database")
        yield
        raise RuntimeError("no database")

    app = asgi_app(offer(lifespan=broken).server)
    incoming = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return incoming.pop(0)

    async def send(message: dict[str, Any]) -> None:
        await anyio.lowlevel.checkpoint()
        sent.append(message)

    with anyio.fail_after(20):
        await app({"type": "lifespan"}, receive, send)
    expected = ["lifespan.startup.failed"]
    if when == "shutdown":
        expected = ["lifespan.startup.complete", "lifespan.shutdown.failed"]
    assert [message["type"] for message in sent] == expected
    assert sent[-1]["message"] == "no database"


async def test_stopping_the_server_drains_and_does_not_begin_again(host: str) -> None:
    made = offer()
    app, mount = mounted(made)
    async with (
        hosted(host, app, made, mount._endpoint, prefix="/api") as site,
        site.talk() as talk,
        site.connect() as wire,
        site.connect() as other,
    ):
        await talk.send(call("wait"))
        await site.send(wire, *modern(call("wait")))
        await until(lambda: made.server.statistics().running == 2)
        made.server.stop(10)
        answer = await other.ask("GET", "/api/readyz")
        assert (answer.status, await answer.body()) == (503, b"draining\n")
        answer = await site.post(other, initialize())
        assert answer.status == 503
        await answer.body()
        made.go.set()
        for answer in (await talk.wire.answer(), await wire.answer()):
            assert (await answer.messages_or_json())[-1]["result"]["content"][0]["text"] == "waited"
        await until(lambda: made.server.statistics().sessions == 0)
        assert (made.entered, made.left) == (1, 0)


async def test_a_quiet_stream_says_something_as_often_as_it_is_told_to(host: str) -> None:
    made = offer()
    app, mount = mounted(made, keepalive=0.1)
    async with hosted(host, app, made, mount._endpoint, prefix="/api") as site, site.connect() as wire:
        answer = await site.modern(wire, call("wait", {"steps": 1}, token=1))
        assert (await answer.event()) is not None
        for _ in range(2):
            await answer.comment()
        site.offer.go.set()
        await answer.messages()


# -- protected -------------------------------------------------------------------------------------------------------

WELL_KNOWN = "/.well-known/oauth-protected-resource"


async def test_a_protected_application_under_a_prefix_says_where_its_metadata_is(host: str) -> None:
    issuer = Issuer()
    guard = Protected(JwtVerifier(issuer.url, keys={"keys": issuer.published}), authorization_servers=[issuer.url])
    made = offer(auth=guard)
    public = "http://127.0.0.1/api/mcp"
    mount = asgi_app(made.server, sse_path="/sse", public_url=public)
    app = Starlette(routes=[Mount("/api", app=mount), Mount(WELL_KNOWN, app=mount)])
    async with hosted(host, app, made, mount._endpoint, prefix="/api") as site, site.connect() as wire:
        answer = await site.modern(wire, call("who"))
        said = answer.headers["www-authenticate"]
        assert (answer.status, said) == (401, f'Bearer resource_metadata="http://127.0.0.1/api{WELL_KNOWN}/mcp"')
        await answer.body()
        # The URL that was just named, the one that RFC 9728 builds, and the same for the other endpoint.
        for path, resource in (
            (f"/api{WELL_KNOWN}/mcp", public),
            (f"{WELL_KNOWN}/api/mcp", public),
            (f"/api{WELL_KNOWN}/sse", "http://127.0.0.1/api/sse"),
            (f"{WELL_KNOWN}/api/sse", "http://127.0.0.1/api/sse"),
        ):
            found = await (await wire.ask("GET", path)).json()
            assert found == {
                "resource": resource,
                "authorization_servers": [issuer.url],
                "bearer_methods_supported": ["header"],
            }, path
        answer = await wire.ask("GET", f"{WELL_KNOWN}/other/mcp")
        assert answer.status == 404
        await answer.body()
        bearer = {"authorization": f"Bearer {issuer.token(aud=public, scope='mcp files:write')}"}
        answer = await site.modern(wire, call("write"), **bearer)
        assert (await answer.json())["result"]["content"][0]["text"] == "files:write mcp"


@pytest.mark.parametrize("stripped", [True, False])
async def test_a_prefix_that_only_the_host_knows(host: str, stripped: bool) -> None:
    """As hypercorn's and uvicorn's root_path is: the path comes with the prefix, or a proxy has taken it off."""
    issuer = Issuer()
    guard = Protected(JwtVerifier(issuer.url, keys={"keys": issuer.published}), authorization_servers=[issuer.url])
    made = offer(auth=guard)
    mount = asgi_app(made.server, public_url="http://127.0.0.1")

    async def under(scope: Any, receive: Any, send: Any) -> None:
        await mount({**scope, "root_path": "/pre"} if scope["type"] == "http" else scope, receive, send)

    prefix = "" if stripped else "/pre"
    async with hosted(host, under, made, mount._endpoint, prefix=prefix) as site, site.connect() as wire:
        answer = await site.modern(wire, call("who"))
        said = answer.headers["www-authenticate"]
        assert (answer.status, said) == (401, f'Bearer resource_metadata="http://127.0.0.1/pre{WELL_KNOWN}/mcp"')
        await answer.body()
        for path in (f"{prefix}{WELL_KNOWN}/mcp", f"{WELL_KNOWN}/pre/mcp"):
            assert (await (await wire.ask("GET", path)).json())["resource"] == "http://127.0.0.1/pre/mcp"


def test_a_protected_application_has_to_know_its_url() -> None:
    guard = Protected(JwtVerifier("https://login.example.com"), authorization_servers=["https://login.example.com"])
    for server, options in ((Server("x", auth=guard), {}), (Server("x"), {"auth": guard})):
        with pytest.raises(LocalProtocolError, match="public_url="):
            asgi_app(server, **options)
    asgi_app(Server("x"), auth=guard, public_url="https://mcp.example.com")
