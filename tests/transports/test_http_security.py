"""What every path refuses: foreign hosts and pages, strangers, bodies without end, and binds that nobody meant."""

import json
import logging
from typing import Any

import anyio
import pytest
from transports.raw_http import Site, call, initialize, message, modern, offer, serving

from mcpcore.errors import LocalProtocolError
from mcpcore_transports.http.server import serve
from mcpcore_transports.web.access import AccessEntry
from mcpcore_transports.web.exchange import WebRequest
from mcpcore_transports.web.limits import HttpLimits

pytestmark = pytest.mark.anyio

PATHS = [("POST", "/mcp"), ("GET", "/mcp"), ("DELETE", "/mcp"), ("GET", "/sse"), ("POST", "/sse/messages?session_id=x")]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


async def by_token(request: WebRequest) -> str | None:
    return "alice" if request.headers.get("authorization") == "Bearer s3cret-token" else None


async def ask(site: Site, method: str, path: str, headers: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    async with site.connect() as wire:
        body = b"{}" if method == "POST" else None
        answer = await wire.ask(method, path, {"Content-Type": "application/json", **headers}, body)
        return answer.status, answer.headers, await answer.body()


# -- host and origin -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_foreign_hosts_and_pages_are_refused_on_every_path(method: str, path: str) -> None:
    async with serving(sse_path="/sse") as site:
        for host in (
            "evil.example",
            "evil.example:80",
            "127.0.0.1.evil.example",
            "localhost@evil.example",
            "169.254.1.1",
        ):
            status, headers, body = await ask(site, method, path, {"Host": host})
            assert status == 421, host
            assert "access-control-allow-origin" not in headers
            assert b"allow-host" in body or b"no host name" in body
        for origin in ("https://evil.example", "null", "http://localhost.evil.example", "file://"):
            status, headers, body = await ask(site, method, path, {"Origin": origin})
            assert status == 403, origin
            assert "access-control-allow-origin" not in headers
            status, headers, _ = await ask(site, "OPTIONS", path, {"Origin": origin})
            assert (status, "access-control-allow-origin" in headers) == (403, False)


async def test_names_of_this_machine_are_served_with_and_without_a_port() -> None:
    async with serving() as site:
        port = site.address[1]
        for host in ("127.0.0.1", f"127.0.0.1:{port}", "localhost", f"localhost:{port}", "[::1]", "LOCALHOST"):
            async with site.connect() as wire:
                wire.host = host
                assert (await site.modern(wire, call("add", {"a": 1, "b": 2}))).status == 200, host
                assert (await site.post(wire, initialize())).status == 200


@pytest.mark.parametrize("setting", ["public_url", "allow_hosts"])
async def test_a_proxy_in_front_is_one_setting(setting: str) -> None:
    policy: dict[str, Any] = {"public_url": {"public_url": "https://mcp.example.com/x"}}.get(
        setting, {"allow_hosts": ["mcp.example.com"], "allow_origins": ["https://mcp.example.com"]}
    )
    async with serving(policy=policy) as site, site.connect() as wire:
        wire.host = "mcp.example.com"
        answer = await site.modern(wire, call("add", {"a": 1, "b": 2}), origin="https://mcp.example.com")
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == "https://mcp.example.com"


# -- pages of other origins ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_a_preflight_is_answered_before_anybody_is_asked_who_they_are(method: str, path: str) -> None:
    async with serving(sse_path="/sse", auth=by_token, policy={"allow_origins": ["https://app.example"]}) as site:
        wanted = {
            "Origin": "https://app.example",
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": "content-type, mcp-param-region, x-evil",
        }
        status, headers, body = await ask(site, "OPTIONS", path, wanted)
        assert (status, body) == (204, b"")
        assert headers["access-control-allow-origin"] == "https://app.example"
        assert method in headers["access-control-allow-methods"]
        allowed = headers["access-control-allow-headers"].lower().split(", ")
        assert {"authorization", "mcp-session-id", "mcp-name", "last-event-id", "mcp-param-region"} <= set(allowed)
        assert "x-evil" not in allowed
        assert "Origin" in headers["vary"]


async def test_a_page_may_read_every_kind_of_answer() -> None:
    origin = {"Origin": "https://app.example"}
    async with serving(policy={"allow_origins": ["https://app.example"]}, max_body_bytes=1000) as site:
        good, mirrored = modern(call("add", {"a": 1, "b": 2}))
        events, streamed = modern(call("count", {"upto": 1}, token=1))
        for status, body, headers in (
            (200, good, mirrored),
            (200, events, streamed),
            (200, initialize(), {}),
            (400, b"{", {}),
            (404, message("tools/list"), {"Mcp-Session-Id": "x"}),
            (406, good, {**mirrored, "Accept": "text/html"}),
            (413, b"x" * 2000, {}),
            (415, good, {**mirrored, "Content-Type": "text/plain"}),
        ):
            async with site.connect() as wire:
                answer = await site.post(wire, body, {**origin, **headers})
                assert answer.status == status
                assert answer.headers["access-control-allow-origin"] == "https://app.example"
                exposed = answer.headers["access-control-expose-headers"]
                assert "Mcp-Session-Id" in exposed
                assert "WWW-Authenticate" in exposed
                assert "access-control-allow-credentials" not in answer.headers


# -- who is asking ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_strangers_are_told_how_to_say_who_they_are(method: str, path: str) -> None:
    async with serving(sse_path="/sse", auth=by_token) as site:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic x"}, {"Mcp-Session-Id": "x"}):
            status, answered, body = await ask(site, method, path, headers)
            assert (status, answered["www-authenticate"]) == (401, 'Bearer realm="mcp"')
            assert b"wrong" not in body
        # What says that this process is alive is for everybody.
        status, _, _ = await ask(site, "GET", "/readyz", {})
        assert status == 200


async def test_a_verifier_that_fails_lets_nobody_in(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(request: WebRequest) -> str | None:
        raise RuntimeError("the key server is down")

    caplog.set_level(logging.CRITICAL, "mcpcore")
    async with serving(auth=broken) as site, site.connect() as wire:
        answer = await site.modern(wire, call("add", {"a": 1, "b": 2}))
        assert answer.status == 500
        assert b"key server" not in await answer.body()


async def test_no_secret_reaches_a_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    entries: list[AccessEntry] = []
    secret = {"Authorization": "Bearer s3cret-token"}
    async with serving(auth=by_token, sse_path="/sse", access_log=entries.append) as site:
        async with site.talk(headers=secret) as talk:
            await talk.tool("crash")
            await talk.tool("add", {"a": 1, "b": "s3cret-argument"})
            id = talk.id
            await talk.delete()
            await (await talk.post(call("add"))).body()
        async with site.connect() as wire:
            await (await wire.ask("POST", "/sse/messages?session_id=s3cret-session", secret, b"{}")).body()
            await (await wire.ask("GET", "/mcp?token=s3cret-query", secret)).body()
            await wire.close(reset=True)
        async with site.connect() as wire:
            await wire.ask("GET", "/mcp", {"Authorization": "Bearer s3cret-wrong"})
    said = caplog.text + repr(entries)
    assert "s3cret" not in said
    assert id not in said
    assert {entry.path for entry in entries} == {"/mcp", "/sse/messages"}
    # The exception of the tool is in the log, once, and went to nobody.
    assert caplog.text.count("RuntimeError: dsn=postgres://secret") == 1


# -- how much --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/mcp", "/sse/messages?session_id=x"])
async def test_bodies_have_a_limit_declared_or_not(path: str) -> None:
    async with serving(sse_path="/sse", max_body_bytes=100_000) as site:
        kind = {"Content-Type": "application/json"}
        async with site.connect() as wire:
            await wire.request("POST", path, {**kind, "Content-Length": "1000000000"})
            answer = await wire.answer()  # before any of it was sent
            assert answer.status == 413
            assert b"100000 bytes" in await answer.body()
        async with site.connect() as wire:
            await wire.request("POST", path, {**kind, "Transfer-Encoding": "chunked"})
            sent = 0
            with anyio.fail_after(20):
                try:
                    while sent < 1_000_000_000:
                        await wire.send(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
                        sent += 0x10000
                except OSError:
                    pass  # the server takes no more of it
            assert sent < 50_000_000
        async with site.connect() as wire:
            await wire.request("POST", path, {**kind, "Transfer-Encoding": "chunked"})
            await wire.send(b"20000\r\n" + b"x" * 0x20000 + b"\r\n")
            assert (await wire.answer()).status == 413
        exactly = json.dumps({"jsonrpc": "2.0", "method": "notifications/x", "pad": "x"}).encode()
        exactly += b" " * (100_000 - len(exactly))
        async with site.connect() as wire:
            answer = await site.post(wire, exactly, {"Mcp-Protocol-Version": "2026-07-28"})
            assert answer.status == 202


async def test_slow_bodies_and_heads_are_given_up(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "mcpcore")
    async with serving(limits=HttpLimits(body_seconds=0.2, head_seconds=0.2)) as site:
        async with site.connect() as wire:
            await wire.request("POST", "/mcp", {"Content-Type": "application/json", "Content-Length": "100"}, b"{")
            assert (await wire.answer()).status == 408
        async with site.connect() as wire:
            await wire.send(b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
            assert (await wire.answer()).status == 408
        async with site.connect() as wire:
            assert (await site.modern(wire, call("add", {"a": 1, "b": 2}))).status == 200


async def test_smuggled_requests_are_refused() -> None:
    async with serving() as site:
        for fields in ("Content-Length: 5\r\nTransfer-Encoding: chunked", "Content-Length: 5\r\nContent-Length: 6"):
            async with site.connect() as wire:
                await wire.send(f"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}\r\n\r\n0\r\n\r\n".encode())
                assert (await wire.answer()).status == 400


# -- binding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1", "mcp.example.com"])
async def test_a_bind_that_others_can_reach_needs_to_be_meant(host: str) -> None:
    made = offer()
    with pytest.raises(LocalProtocolError, match="--allow-host"):
        await serve(made.server, host=host, port=0)
    assert made.entered == 0


@pytest.mark.parametrize("meant", [{"allow_hosts": ["mcp.example.com"]}, {"auth": by_token}])
async def test_a_bind_that_was_meant_is_done(meant: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    made = offer()
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:

            async def run(*, task_status: Any) -> None:
                await serve(
                    made.server, host="0.0.0.0", port=0, sse_path="/sse", grace=0.2, task_status=task_status, **meant
                )

            urls = await tasks.start(run)
            assert [url.rpartition("/")[2] for url in urls] == ["mcp", "sse"]
            assert [f"mcpcore: listening on {url}" for url in urls] == capsys.readouterr().err.splitlines()
            made.server.stop(0.2)
    assert (made.entered, made.left) == (1, 1)
