"""`mcpcore bridge` as a program."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cli.program import LIMIT_SECONDS, PYTHONPATH, Site, environment, program, start, stdio_target

LISTENING = "mcpcore: listening on "


@contextmanager
def bridging(target: str, *words: str, endpoints: int = 1, **more: str) -> Iterator[Site]:
    with start("bridge", target, "--port", "0", *words, env=environment(**more)) as process:
        try:
            urls: list[str] = []
            assert process.stderr is not None
            while len(urls) < endpoints:
                line = process.stderr.readline()
                assert line.startswith(LISTENING), line
                urls.append(line.removeprefix(LISTENING).strip())
            yield Site(process, urls, [])
        finally:
            process.kill()


def test_a_command_over_http_and_sse(run: Any, server_file: Path) -> None:
    with bridging(stdio_target(server_file), "--transport", "http,sse", endpoints=2) as site:
        for url in site.urls:
            done = run("call", url, "greet", "name=Bo", "times=2")
            assert (done.code, done.out) == (0, "hello Bo hello Bo\n")
            assert "round 2" in done.err
        assert "1.2 (MCP 2025-11-25)" in run("list", site.urls[0], "--era", "legacy").out
        assert site.stop() == 0


def test_a_url_over_stdio_through_a_configuration(run: Any, server_file: Path, tmp_path: Path) -> None:
    with bridging(str(server_file), "--transport", "http", "--path", "/here", "--backend", "trio") as site:
        assert site.urls[0].endswith("/here")
        config = tmp_path / "mcp.json"
        command, *words = program("bridge", site.urls[0])
        entry = {"command": command, "args": words, "env": {"PYTHONPATH": PYTHONPATH}}
        config.write_text(
            json.dumps({"mcpServers": {"far": entry, "near": {"url": site.urls[0]}, "none": {"command": "no-such"}}})
        )
        assert run("call", "far", "add", "values=[1, 2]", "--config", config).out == "3\n"
        # Without a name: all of them, and the one that fails takes none down.
        done = run("list", "--config", config)
        assert done.code == 1
        assert done.out.count("greet(name*: string") == 2
        assert "mcpcore: none: cannot start 'no-such'" in done.err
        found = json.loads(run("list", "--config", config, "--json").out)["servers"]
        assert [tool["name"] for tool in found["far"]["tools"]] == [tool["name"] for tool in found["near"]["tools"]]
        assert "no-such" in found["none"]["error"]


def test_a_server_that_is_gone_ends_a_bridge_on_stdio() -> None:
    with start("bridge", "stdio:false") as process:
        initialize = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "c", "version": "1"},
            },
        }
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(initialize) + "\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        assert answer["error"]["code"] == -31502
        _, said = process.communicate(timeout=LIMIT_SECONDS)
        assert process.returncode == 1
        assert said.splitlines()[-1].startswith("mcpcore: ")
        assert "Traceback" not in said


def test_a_server_that_dies_is_started_again(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "mortal_demo.py"
    file.write_text(
        "import os\nfrom mcpcore import Server\nserver = Server('mortal')\n"
        "@server.tool\nasync def die() -> str: os._exit(3)\n"
        "@server.tool\nasync def live() -> str: return 'alive'\n"
    )
    with bridging(stdio_target(file), "--transport", "http") as site:
        for era in ("modern", "legacy"):
            done = run("call", site.urls[0], "die", "--era", era)
            assert (done.code, "-31502" in done.err) == (1, True)
            assert run("call", site.urls[0], "live", "--era", era).out == "alive\n"
        assert site.stop() == 0


def test_stopping_lets_what_runs_finish(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "slow_demo.py"
    file.write_text(
        "import anyio\nfrom mcpcore import Context, Server\nserver = Server('slow')\n"
        "@server.tool\nasync def slow(ctx: Context) -> str:\n"
        "    await ctx.progress(1)\n    await anyio.sleep(0.5)\n    return 'finished'\n"
    )
    with bridging(stdio_target(file), "--transport", "http", "--grace", "5") as site:
        with start("call", site.urls[0], "slow", stdin=None) as caller:
            assert caller.stderr is not None
            assert caller.stderr.readline()
            site.process.send_signal(signal.SIGTERM)
            out, _ = caller.communicate(timeout=LIMIT_SECONDS)
        assert (caller.returncode, out) == (0, "finished\n")
        assert site.ended() == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nonsense!"], "is no target"),
        (["stdio:"], "needs the command"),
        (["x", "--config", "no-such-file.json"], "No such file"),
        (["http://127.0.0.1:1/mcp", "--transport", "pigeon"], "no transport 'pigeon'"),
        (["http://127.0.0.1:1/mcp", "--port", "1"], "--port is for the transport http or sse"),
        (["http://127.0.0.1:1/mcp", "--era", "old"], "'old' is none of"),
    ],
)
def test_wrong_usage(run: Any, words: list[str], message: str) -> None:
    done = run("bridge", *words)
    assert done.code == 2
    assert done.err.startswith("mcpcore bridge: ")
    assert message in done.err
