"""http/workers: processes that share a port, seen from outside: who answers, who is replaced, and how all end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli.program import LIMIT_SECONDS, Site, environment, site, start

from mcpcore.errors import ConnectFailed, LocalProtocolError
from mcpcore.serving import run_workers
from mcpcore_transports.http import workers
from mcpcore_transports.http.workers import supervise

SERVER = """
import os, sys, time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from mcpcore import Context, Server

@asynccontextmanager
async def lifespan(server):
    try:
        yield
    finally:
        sys.stderr.write("lifespan left\\n")  # in one piece: others write there too

server = Server("crew", lifespan=lifespan)

@dataclass
class Name:
    name: str

@server.tool
async def pid() -> int:
    return os.getpid()

@server.tool
async def asked(ctx: Context) -> list[int]:
    async def own() -> int:
        return os.getpid()

    begun = await ctx.once("begun", own)
    await ctx.elicit("Who?", Name)
    return [begun, os.getpid()]

@server.tool
async def block() -> None:
    sys.stderr.write("blocking\\n")
    time.sleep(1000)
"""
PREFIX = "io.modelcontextprotocol/"
META = {
    f"{PREFIX}protocolVersion": "2026-07-28",
    f"{PREFIX}clientCapabilities": {"elicitation": {}},
    f"{PREFIX}clientInfo": {"name": "t", "version": "0"},
}
TRIES = 200
"""Connections until another worker answers: the kernel picks one of two each time."""

both = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "demo_crew.py"
    path.write_text(SERVER)
    return path


def call(served: Site, tool: str, **more: Any) -> Any:
    """One call on a connection of its own."""
    params = {"name": tool, "arguments": {}, "_meta": META, **more}
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2026-07-28",
        "Mcp-Method": "tools/call",
        "Mcp-Name": tool,
        "Connection": "close",
    }
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
    request = urllib.request.Request(served.urls[0], body, headers)
    with urllib.request.urlopen(request, timeout=LIMIT_SECONDS) as answer:
        return json.loads(answer.read())["result"]


def pid_of(served: Site) -> int:
    pid: int = call(served, "pid")["structuredContent"]["result"]
    return pid


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        os.sched_yield()


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] == "Z"


def crew_of(served: Site, count: int = 2) -> set[int]:
    """The workers, each of which has answered."""
    pids: set[int] = set()

    def all_have() -> bool:
        pids.add(pid_of(served))
        return len(pids) == count

    until(all_have, f"only {pids} have answered")
    assert served.process.pid not in pids
    return pids


@both
@pytest.mark.parametrize("host", ["h11", "hypercorn"])
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_all_share_the_port_and_end_together(
    file: Path, backend: str, host: str, sent: signal.Signals, code: int
) -> None:
    with site(file, "--workers", "2", "--backend", backend, "--http-server", host) as served:
        pids = crew_of(served)
        assert served.stop(sent) == code
    assert served.said == ["lifespan left", "lifespan left"]
    assert all(gone(pid) for pid in pids)


@both
def test_one_that_dies_is_replaced(file: Path, backend: str) -> None:
    with site(file, "--workers", "2", "--backend", backend) as served:
        first, second = crew_of(served)
        os.kill(first, signal.SIGKILL)
        third = (crew_of(served, 2) - {second}).pop()
        assert third not in (first, second)
        assert served.stop() == 0
    assert f"mcpcore: worker {first} ended by SIGKILL; another one starts in 0.2 s" in served.said


@both
def test_what_one_asked_another_hears_the_answer_to(file: Path, backend: str) -> None:
    """The state that a client carries is sealed with a key that all of them have."""
    with site(file, "--workers", "2", "--backend", backend) as served:
        for _ in range(TRIES):
            result = call(served, "asked")
            while "structuredContent" not in result:
                questions = result.get("inputRequests", ())
                answers = {key: {"action": "accept", "content": {"name": "Ann"}} for key in questions}
                assert "requestState" in result, result
                result = call(served, "asked", inputResponses=answers, requestState=result["requestState"])
            begun, ended = result["structuredContent"]["result"]
            if begun != ended:
                break
        assert begun != ended
        assert {begun, ended} == crew_of(served)


@both
def test_one_that_is_stuck_is_killed_at_the_grace(file: Path, backend: str) -> None:
    with site(file, "--workers", "2", "--backend", backend, "--grace", "0.2") as served:
        pids = crew_of(served)
        with socket.create_connection(("127.0.0.1", served.port), timeout=LIMIT_SECONDS) as client:
            params = {"name": "block", "arguments": {}, "_meta": META}
            body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()
            head = (
                "POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nMcp-Method: tools/call\r\n"
                "Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\n"
                f"Mcp-Name: block\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            client.sendall(head.encode() + body)
            assert served.process.stderr is not None
            assert served.process.stderr.readline() == "blocking\n"
            began = time.monotonic()
            assert served.stop() == 0
            assert time.monotonic() - began < LIMIT_SECONDS / 3
    assert all(gone(pid) for pid in pids)


def test_none_outlives_a_parent_that_was_killed(file: Path) -> None:
    with site(file, "--workers", "2") as served:
        pids = crew_of(served)
        served.process.kill()
        served.ended()
        until(lambda: all(gone(pid) for pid in pids), "workers were left behind")


def test_a_server_that_cannot_start_is_said_once(file: Path, tmp_path: Path) -> None:
    broken = tmp_path / "demo_broken.py"
    broken.write_text("1 / 0\n")
    for source, code, words in ((broken, 1, "ZeroDivisionError"), (tmp_path / "none.py", 2, "there is no file")):
        with start("run", str(source), "--transport", "http", "--port", "0", "--workers", "3") as process:
            _, err = process.communicate(timeout=LIMIT_SECONDS)
        assert (process.returncode, err.count(words)) == (code, 1)


def test_a_unix_socket_is_shared_and_removed(file: Path, tmp_path: Path) -> None:
    place = str(tmp_path / "s")
    with site(file, "--uds", place, "--workers", "2") as served:
        for _ in range(4):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(LIMIT_SECONDS)
                client.connect(place)
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                assert client.recv(12) == b"HTTP/1.1 200"
        assert served.stop() == 0
    assert not os.path.exists(place)


def test_a_program_of_its_own(file: Path) -> None:
    """`server.run` has the same words as the command line."""
    file.write_text(SERVER + '\nif __name__ == "__main__":\n    server.run("http", port=0, workers=2)\n')
    command = [sys.executable, str(file)]
    with subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            url = process.stderr.readline().rpartition("on ")[2].strip()
            crew_of(Site(process, [url], []))
            process.send_signal(signal.SIGTERM)
            assert process.wait(LIMIT_SECONDS) == 0
        finally:
            process.kill()


def test_what_cannot_be() -> None:
    with pytest.raises(LocalProtocolError, match="a number of processes, not 0"):
        run_workers(0, lambda *_: 0, "http")
    with pytest.raises(LocalProtocolError, match="share an HTTP port, and stdio has none"):
        run_workers(2, lambda *_: 0, "http,stdio")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConnectFailed, match=f"cannot listen on 127.0.0.1, port {port}: Address already in use"):
            supervise(2, lambda *_: 0, port=port, grace=0)


def test_where_nothing_can_be_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(workers.os, "fork")
    with pytest.raises(LocalProtocolError, match="start several programs behind a proxy"):
        supervise(2, lambda *_: 0, grace=0)
