"""cli/run over HTTP: endpoints, signals, stalled clients and addresses, as a process; list and call by URL."""

import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from cli.program import LIMIT_SECONDS, environment, program, site, stdio_target

SERVER = """
import sys
from contextlib import asynccontextmanager
from mcpcore import Context, Server

@asynccontextmanager
async def lifespan(server):
    try:
        yield
    finally:
        print("lifespan left", file=sys.stderr, flush=True)

server = Server("web", version="3", lifespan=lifespan)

@server.tool
async def add(a: int, b: int, ctx: Context) -> int:
    await ctx.progress(1, total=2, message="half")
    return a + b

@server.tool
async def header(name: str, ctx: Context) -> str:
    return ctx.headers.get(name, "none")

@server.tool
async def flood(ctx: Context) -> None:
    while True:
        await ctx.info("x" * 100_000)
"""
META = "io.modelcontextprotocol/"
GRACE_SECONDS = 0.5
SLACK_SECONDS = 2.0
"""For a loaded machine to notice; the process would otherwise stay for ever."""

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])
hosts = pytest.mark.parametrize("host", ["h11", "hypercorn"])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "demo_web.py"
    path.write_text(SERVER)
    return path


def stalled(port: int, tool: str) -> socket.socket:
    """A client that calls a tool, reads the first bytes of the answer and then nothing."""
    params = {
        "name": tool,
        "arguments": {},
        "_meta": {
            f"{META}protocolVersion": "2026-07-28",
            f"{META}clientCapabilities": {},
            f"{META}clientInfo": {"name": "t", "version": "0"},
            f"{META}logLevel": "debug",
        },
    }
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(LIMIT_SECONDS)
    client.connect(("127.0.0.1", port))
    head = (
        "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\n"
        f"Mcp-Method: tools/call\r\nMcp-Name: {tool}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    client.sendall(head.encode() + body)
    assert client.recv(12) == b"HTTP/1.1 200"
    return client


@hosts
@both
def test_both_generations_on_one_port(file: Path, run: Any, backend: str, host: str) -> None:
    words = ("--backend", backend, "--http-server", host, "--access-log")
    with site(file, *words, transport="http,sse", endpoints=2) as served:
        assert served.urls == [f"http://127.0.0.1:{served.port}/mcp", f"http://127.0.0.1:{served.port}/sse"]
        for url, era in ((served.urls[0], "modern"), (served.urls[0], "legacy"), (served.urls[1], "auto")):
            done = run("call", url, "add", "a=1", "b=2", "--era", era, "--backend", backend)
            assert (done.code, done.out, done.err) == (0, "3\n", "progress: 50% half\n")
        assert served.stop() == 0
    logged = [line for line in served.said if line != "lifespan left"]
    assert len(logged) == len(served.said) - 1
    entries = [json.loads(line) for line in logged]
    assert {(entry["method"], entry["path"]) for entry in entries} >= {("POST", "/mcp"), ("GET", "/sse")}
    assert "session_id" not in "".join(logged)


def test_sse_alone_serves_nothing_else(file: Path, run: Any) -> None:
    with site(file, "--sse-path", "/old", transport="sse") as served:
        assert served.urls == [f"http://127.0.0.1:{served.port}/old"]
        assert run("call", served.urls[0], "add", "a=1", "b=2").out == "3\n"
        done = run("list", f"http://127.0.0.1:{served.port}/mcp")
        assert (done.code, done.out) == (1, "")
        assert "404" in done.err
        assert done.err.count("\n") == 1


def test_headers_and_tokens_reach_the_server(file: Path, run: Any) -> None:
    with site(file) as served:
        words = ("call", served.urls[0], "header", "--header", "X-Team: blue", "--token", "abc")
        assert run(*words, "name=x-team").out == "blue\n"
        assert run(*words, "name=authorization").out == "Bearer abc\n"
        assert json.loads(run("list", served.urls[0], "--json").out)["serverInfo"]["version"] == "3"


def test_an_era_can_be_switched_off(file: Path, run: Any) -> None:
    with site(file, MCPCORE_ERA="modern") as served:
        assert run("call", served.urls[0], "add", "a=1", "b=2").out == "3\n"
        done = run("call", served.urls[0], "add", "a=1", "b=2", "--era", "legacy")
        assert (done.code, done.out) == (1, "")


def test_a_path_instead_of_a_port(file: Path, tmp_path: Path) -> None:
    place = str(tmp_path / "s")
    with site(file, "--uds", place) as served, socket.socket(socket.AF_UNIX) as client:
        client.settimeout(LIMIT_SECONDS)
        client.connect(place)
        client.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"
        assert served.stop() == 0
    assert not os.path.exists(place)


@pytest.mark.parametrize("more", [[], ["--workers", "2"], ["--http-server", "hypercorn"]])
def test_a_port_in_use_is_one_line(file: Path, more: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            program("run", str(file), "--transport", "http", "--port", port, *more),
            env=environment(),
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
    line = f"mcpcore: cannot listen on 127.0.0.1, port {port}: Address already in use"
    assert (done.returncode, done.stdout) == (1, "")
    assert line in done.stderr.splitlines()
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
@hosts
@both
def test_a_stalled_client_keeps_nothing_alive(
    file: Path, backend: str, host: str, sent: signal.Signals, code: int
) -> None:
    words = ("--backend", backend, "--http-server", host, "--grace", str(GRACE_SECONDS))
    with site(file, *words) as served:
        with stalled(served.port, "flood"):
            began = time.monotonic()
            assert served.stop(sent) == code
            took = time.monotonic() - began
    assert "lifespan left" in served.said
    assert GRACE_SECONDS <= took < GRACE_SECONDS + 1 + SLACK_SECONDS


@both
def test_a_slow_head_is_given_up(file: Path, backend: str) -> None:
    with site(file, "--backend", backend, "--read-timeout", "0.2") as served:
        with socket.create_connection(("127.0.0.1", served.port), timeout=LIMIT_SECONDS) as client:
            client.sendall(b"POST /mcp HTTP/1.1\r\nHost: lo")
            assert b" 408 " in client.recv(100)


def test_stdio_and_http_in_one_process(file: Path, run: Any) -> None:
    with site(file, transport="stdio,http") as served:
        assert run("call", served.urls[0], "add", "a=1", "b=2").out == "3\n"
        request = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}
        request["params"] = {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "t", "version": "0"},
        }
        assert served.process.stdin is not None
        served.process.stdin.write(json.dumps(request) + "\n")
        served.process.stdin.flush()
        assert served.process.stdout is not None
        assert json.loads(served.process.stdout.readline())["result"]["serverInfo"]["name"] == "web"
        assert served.ended() == 0  # communicate() closes its input
    assert served.said == ["lifespan left"]


def test_the_command_of_a_configuration_and_its_url(file: Path, run: Any, tmp_path: Path) -> None:
    with site(file) as served:
        config = tmp_path / "config.json"
        entry = {"type": "http", "url": served.urls[0], "headers": {"X-Team": "red"}}
        config.write_text(json.dumps({"mcpServers": {"web": entry}}))
        assert run("call", "web", "header", "name=x-team", "--config", config).out == "red\n"
        assert run("call", stdio_target(file), "add", "a=1", "b=2").out == "3\n"


def test_readiness(file: Path) -> None:
    with site(file) as served:
        url = f"http://127.0.0.1:{served.port}"
        for path, text in (("/healthz", b"ok\n"), ("/readyz", b"ready\n")):
            with urllib.request.urlopen(url + path, timeout=LIMIT_SECONDS) as answer:
                assert answer.read() == text


@hosts
def test_keys_in_a_file_open_a_public_bind(file: Path, tmp_path: Path, host: str) -> None:
    keys = tmp_path / "keys"
    keys.write_text("alice a-key-that-nobody-guesses\n")
    said = {"MCPCORE_API_KEY_FILE": str(keys)}
    with site(file, "--host", "0.0.0.0", "--http-server", host, **said) as running:
        url = f"http://127.0.0.1:{running.port}/mcp"
        refused = subprocess.run(program("list", url), env=environment(), capture_output=True, text=True, timeout=30)
        assert (refused.returncode, "pass one as auth= (--token)" in refused.stderr) == (1, True), refused.stderr
        words = ("call", url, "add", "a=1", "b=2", "--token", "a-key-that-nobody-guesses")
        done = subprocess.run(program(*words), env=environment(), capture_output=True, text=True, timeout=30)
        assert (done.returncode, done.stdout.strip()) == (0, "3"), done.stderr
        assert running.stop() == 0
        assert "a-key" not in "".join(running.said)


def read(url: str, **headers: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=LIMIT_SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


@hosts
@both
def test_metrics_on_a_port_of_their_own(file: Path, run: Any, backend: str, host: str) -> None:
    words = ("--backend", backend, "--http-server", host, "--metrics-port", "0", "--public-url", "https://a.example")
    with site(file, *words) as served:
        [url] = [line.removeprefix("mcpcore: metrics on ") for line in served.said]
        assert url.startswith("http://127.0.0.1:")
        assert run("call", served.urls[0], "add", "a=1", "b=2").out == "3\n"
        status, text = read(url)
        assert status == 200
        assert 'mcpcore_requests_total{era="modern",method="tools/call",transport="http"} 1.0' in text
        assert "process_open_fds" in text
        assert read(url, Host="a.example")[0] == 421
        assert read(url, Origin="https://a.example")[0] == 403
        assert read(url.removesuffix("metrics"))[0] == 404
        assert read(f"http://127.0.0.1:{served.port}/metrics")[0] == 404
        assert served.stop() == 0


def test_each_worker_answers_for_itself(file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with site(file, "--workers", "2", MCPCORE_METRICS_PORT=str(port)) as served:
        pids = set()
        for number in (port, port + 1):
            until = time.monotonic() + LIMIT_SECONDS
            while True:  # the second worker starts when the first one listens
                try:
                    status, text = read(f"http://127.0.0.1:{number}/metrics")
                    break
                except urllib.error.URLError:
                    assert time.monotonic() < until
                    time.sleep(0.02)
            assert status == 200
            pids.add(re.search(r"^process_start_time_seconds (.*)$", text, re.MULTILINE)[1])  # type: ignore[index]
        assert len(pids) == 2
        assert served.stop() == 0


def test_metrics_beside_the_server_for_this_machine(file: Path) -> None:
    with site(file, "--metrics") as served:
        url = f"http://127.0.0.1:{served.port}/metrics"
        assert "mcpcore_sent_bytes_total" in read(url)[1]
        assert read(url, Host="a.example")[0] == 421


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--metrics", "--public-url", "https://a.example"], "--metrics-port NUMBER"),
        (["--metrics", "--host", "0.0.0.0", "--allow-host", "a.example"], "--metrics-port NUMBER"),
        (["--metrics", "--workers", "2"], "--metrics would show any one of the --workers"),
    ],
)
def test_metrics_are_not_shown_to_everybody(file: Path, run: Any, words: list[str], said: str) -> None:
    done = run("run", file, "--transport", "http", "--port", "0", *words)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


@pytest.mark.parametrize("flag", [["--metrics"], ["--metrics-port", "0"]])
def test_a_bridge_says_that_it_has_no_metrics(file: Path, run: Any, flag: list[str]) -> None:
    done = run("bridge", stdio_target(file), "--transport", "http", "--port", "0", *flag)
    assert (done.code, done.out) == (2, "")
    assert "ask the server behind it" in done.err
