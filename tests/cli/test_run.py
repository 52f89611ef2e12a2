"""cli/run: serving as the whole program, as a host sees it: lines, signals and exit codes."""

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cli.program import LIMIT_SECONDS, environment, program, start

SERVER = '''
import sys
from mcpcore import Context, Server

print("a print while it is imported")
server = Server("blocking")

@server.tool
def read(path: str) -> str:
    """A sync tool that blocks its thread until somebody writes to the named pipe."""
    print("reading", file=sys.stderr, flush=True)
    with open(path) as file:
        return file.read()

@server.tool
async def backend(ctx: Context) -> str:
    return "trio" if "trio" in sys.modules else "asyncio"
'''

MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "0"},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "demo_blocking.py"
    path.write_text(SERVER)
    os.mkfifo(tmp_path / "pipe")
    return path


@contextmanager
def serving(*words: object, env: dict[str, str] | None = None) -> Iterator["subprocess.Popen[str]"]:
    with start("run", *map(str, words), env=environment(**(env or {}))) as process:
        try:
            yield process
        finally:
            process.kill()


def ask(process: "subprocess.Popen[str]", id: int, method: str, meta: Any = MODERN, **params: Any) -> None:
    assert process.stdin is not None
    message = {"jsonrpc": "2.0", "id": id, "method": method, "params": {**params, "_meta": meta}}
    process.stdin.write(json.dumps(message) + "\n")
    process.stdin.flush()


def answer(process: "subprocess.Popen[str]") -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def begin_reading(process: "subprocess.Popen[str]", file: Path) -> None:
    """Have the blocking tool run, and come back once it does."""
    ask(process, 1, "tools/call", name="read", arguments={"path": str(file.with_name("pipe"))})
    assert process.stderr is not None
    for line in process.stderr:
        if line == "reading\n":
            return
    raise AssertionError("the tool did not start")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_end_of_input_ends_it(file: Path, backend: str) -> None:
    with serving(file, "--backend", backend) as process:
        ask(process, 1, "tools/call", name="backend", arguments={})
        assert answer(process)["result"]["structuredContent"] == {"result": backend}
        out, err = process.communicate(timeout=LIMIT_SECONDS)
    assert (process.returncode, out, err) == (0, "", "a print while it is imported\n")


def test_the_environment_sets_flags_and_flags_win(file: Path) -> None:
    for words, expected in (((), "trio"), (("--backend", "asyncio"), "asyncio")):
        with serving(file, *words, env={"MCPCORE_BACKEND": "trio", "MCPCORE_GRACE": "1"}) as process:
            ask(process, 1, "tools/call", name="backend", arguments={})
            assert answer(process)["result"]["structuredContent"] == {"result": expected}
            process.communicate(timeout=LIMIT_SECONDS)
        assert process.returncode == 0


@pytest.mark.parametrize("flag", [["--era", "legacy"], []])
def test_era_legacy_refuses_the_modern_one(file: Path, flag: list[str]) -> None:
    with serving(file, *flag, env={} if flag else {"MCPCORE_ERA": "legacy"}) as process:
        ask(process, 1, "server/discover")
        assert "error" in answer(process)
        process.communicate(timeout=LIMIT_SECONDS)
    with serving(file, "--era", "all") as process:
        ask(process, 1, "server/discover")
        assert "2026-07-28" in answer(process)["result"]["supportedVersions"]
        process.communicate(timeout=LIMIT_SECONDS)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_term_finishes_accepted_work(file: Path, backend: str) -> None:
    with serving(file, "--grace", "30", "--backend", backend) as process:
        begin_reading(process, file)
        process.send_signal(signal.SIGTERM)
        while True:  # until it refuses what is new, which shows that it is stopping
            ask(process, 2, "tools/call", name="backend", arguments={})
            if "error" in answer(process):
                break
        file.with_name("pipe").write_text("at last")
        answered = answer(process)
        assert (answered["id"], answered["result"]["content"][0]["text"]) == (1, "at last")
        process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 0


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_stuck_thread_keeps_nothing_alive(file: Path, sent: signal.Signals, code: int, backend: str) -> None:
    with serving(file, "--grace", "0.1", "--backend", backend) as process:
        begin_reading(process, file)
        process.send_signal(sent)
        _, err = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == code
    assert "Traceback" not in err


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_host_that_is_gone_is_one_line(file: Path, backend: str) -> None:
    with serving(file, "--backend", backend) as process:
        assert process.stdout is not None
        process.stdout.close()
        ask(process, 1, "tools/call", name="backend", arguments={})
        assert process.wait(LIMIT_SECONDS) == 1
        assert process.stderr is not None
        _, line = process.stderr.read().splitlines()
    assert line == "mcpcore: the peer no longer reads what we send: Broken pipe"


@pytest.mark.parametrize(("closed", "name"), [("<&-", "input"), (">&-", "output")])
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_closed_descriptor_is_one_line(file: Path, closed: str, name: str, backend: str) -> None:
    """Its number may by then belong to the event loop itself."""
    command = shlex.join(program("run", str(file), "--backend", backend))
    done = subprocess.run(
        ["sh", "-c", f"exec {command} {closed}"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[1:] == [f"mcpcore: standard {name} is closed: start the server with a pipe on it"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--transport", "carrier-pigeon"], "there is no transport 'carrier-pigeon'; this installation has http, sse"),
        (["--transport", "http,pigeon"], "there is no transport 'pigeon'"),
        (["--transport", "http", "--host", "0.0.0.0"], "--allow-host NAME"),
        (["--transport", "http", "--host", "0.0.0.0", "--workers", "2"], "--allow-host NAME"),
        (["--transport", "http,sse", "--path", "/sse"], "cannot share the path /sse"),
        (["--transport", "http", "--port", "0", "--public-url", "nowhere"], "'nowhere' is no URL of a server"),
        (
            ["--transport", "http", "--http-server", "hypercorn", "--hypercorn-config", "none.toml"],
            "--hypercorn-config none.toml: ",
        ),
        (["--backend", "curio"], "--backend: 'curio' is none of asyncio, trio"),
        (["--grace", "-1"], "--grace: '-1' is no number of seconds"),
        (["--era", "2025-06-18"], "--era: '2025-06-18' is none of all, legacy, modern"),
    ],
)
def test_wrong_flags(run: Any, file: Path, words: list[str], message: str) -> None:
    done = run("run", file, *words)
    assert (done.code, done.out) == (2, "")
    assert message in done.err


def test_wrong_sources(run: Any, tmp_path: Path) -> None:
    assert run("run", tmp_path / "missing.py").code == 2
    assert run("run", "not-a-module").code == 2
    two = tmp_path / "demo_two.py"
    two.write_text("from mcpcore import Server\na, b = Server('a'), Server('b')\n")
    done = run("run", two)
    assert done.code == 2
    assert f"{two}:a, {two}:b" in done.err


def test_a_file_that_fails_to_import_ends_with_1(run: Any, tmp_path: Path) -> None:
    broken = tmp_path / "demo_broken.py"
    broken.write_text("1 / 0\n")
    done = run("run", broken)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("Traceback")
    assert done.err.endswith("ZeroDivisionError: division by zero\n")
