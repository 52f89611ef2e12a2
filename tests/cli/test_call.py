"""cli/call: results on stdout, everything else on stderr, questions on a terminal, Ctrl+C."""

import json
import os
import pty
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli.program import LIMIT_SECONDS, environment, program, start, stdio_target

WAITING = """
import sys
import anyio
from mcpcore import Context, Server

server = Server("waiting")

@server.tool
async def wait(log: str, ctx: Context) -> str:
    await ctx.progress(1, message="begun")
    try:
        await anyio.sleep_forever()
    except BaseException as error:
        with open(log, "w") as file:
            file.write("cancelled")
        raise
    return "never"
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("era", ["auto", "legacy"])
@pytest.mark.parametrize("wire", ["memory", "stdio"])
def test_progress_logs_and_result(run: Any, server_file: Path, backend: str, era: str, wire: str) -> None:
    target = server_file if wire == "memory" else stdio_target(server_file, "--backend", backend)
    done = run("call", target, "greet", "name=Ann", "times=2", "--backend", backend, "--era", era)
    assert (done.code, done.out) == (0, "hello Ann hello Ann\n")
    shown = done.err.splitlines()
    assert [line for line in shown if line.startswith("progress")] == [
        "progress: 50% round 1",
        "progress: 100% round 2",
    ]
    assert "info: greeted" in shown


def test_arguments_follow_the_schema(run: Any, server_file: Path) -> None:
    assert run("call", server_file, "add", "values=[1, 2, 4]", "mode=max").out == "4\n"
    assert run("call", server_file, "add", "--args", '{"values": [1, 2, 4]}').out == "7\n"
    assert run("call", server_file, "greet", "name=12").out == "hello 12\n"
    done = run("call", server_file, "add", "values=many")
    assert (done.code, done.out) == (2, "")
    assert "argument values: 'many' is not JSON, and the tool wants array[integer]" in done.err


def test_json_is_the_result_of_the_wire(run: Any, server_file: Path) -> None:
    done = run("call", server_file, "add", "values=[1]", "--json", "--era", "legacy")
    assert json.loads(done.out) == {"content": [{"type": "text", "text": "1"}], "structuredContent": {"result": 1}}
    done = run("call", server_file, "refuse", "--json", "--era", "legacy")
    assert done.code == 1
    assert json.loads(done.out) == {"content": [{"type": "text", "text": "not today"}], "isError": True}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["refuse"], "not today\n"),
        (["greet"], "invalid arguments for tool 'greet': missing argument `name`\n"),
    ],
)
def test_a_tool_that_fails(run: Any, server_file: Path, words: list[str], message: str) -> None:
    done = run("call", server_file, *words)
    assert (done.code, done.out, done.err) == (1, "", message)


def test_a_broken_tool_tells_its_author_and_not_its_client(run: Any, server_file: Path) -> None:
    done = run("call", stdio_target(server_file), "boom")
    assert (done.code, done.out) == (1, "")
    assert "RuntimeError: a secret" in done.err  # the log of the server, whose stderr is ours
    ours = [line for line in done.err.splitlines() if line.startswith("tool 'boom' failed; the server's log")]
    assert len(ours) == 1


def test_an_unknown_tool_names_those_there_are(run: Any, server_file: Path) -> None:
    done = run("call", server_file, "nope")
    assert (done.code, done.out) == (1, "")
    first, second = done.err.splitlines()
    assert first.startswith("mcpcore: the peer answered with error -32602")
    assert "'nope'" in first
    assert second == "mcpcore: the server's tools: greet, add, refuse, boom, shout, where, page"


def test_stray_prints_stay_off_stdout(run: Any, server_file: Path) -> None:
    done = run("call", server_file, "shout")
    assert (done.code, done.out, done.err) == (0, "done\n", "a stray print\n")
    done = run("call", stdio_target(server_file), "shout")
    assert (done.code, done.out) == (0, "done\n")
    assert "a stray print" in done.err


def test_a_deadline_is_one_line(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "demo_waiting.py"
    file.write_text(WAITING)
    log = tmp_path / "log"
    done = run("call", file, "wait", f"log={log}", "--timeout", "0.2")
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[-1].startswith("mcpcore: tools/call was not answered within 0.2 s")
    assert log.read_text() == "cancelled"


def test_without_a_terminal_questions_are_declined(run: Any, server_file: Path) -> None:
    for tool, question in (("where", "Which city?"), ("page", "Sign in first")):
        done = run("call", server_file, tool)
        assert done.code == 0
        assert done.out.startswith("decline")
        assert done.err == f"declined, because there is no terminal to ask on: {question}\n"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("wire", ["memory", "stdio"])
def test_interrupt_cancels_at_the_server(tmp_path: Path, backend: str, wire: str) -> None:
    file = tmp_path / "demo_waiting.py"
    file.write_text(WAITING)
    log = tmp_path / "log"
    target = str(file) if wire == "memory" else stdio_target(file)
    with start("call", target, "wait", f"log={log}", "--backend", backend) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if line == "progress: 1 begun\n":
                    break
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=LIMIT_SECONDS)
        finally:
            process.kill()
    assert (process.returncode, out, err) == (130, "", "")
    assert log.read_text() == "cancelled"


@pytest.fixture
def answered(server_file: Path) -> Callable[..., tuple[int, str, str]]:
    """Calls a tool on a terminal: waits for each prompt that is named, and types what goes with it."""

    def answered(tool: str, *steps: tuple[str, str], era: str = "auto") -> tuple[int, str, str]:
        ours, theirs = pty.openpty()
        shown = ""
        try:
            process = subprocess.Popen(
                program("call", str(server_file), tool, "--era", era),
                stdin=theirs,
                stderr=theirs,
                stdout=subprocess.PIPE,
                env=environment(),
                start_new_session=True,
            )
            os.close(theirs)
            for prompt, typed in steps:
                before = len(shown)
                while prompt not in shown[before:]:
                    shown += os.read(ours, 4096).decode()
                os.write(ours, typed.encode())
            out, _ = process.communicate(timeout=LIMIT_SECONDS)
        finally:
            os.close(ours)
        return process.returncode, out.decode(), shown

    return answered


@pytest.mark.parametrize("era", ["auto", "legacy"])
def test_a_form_on_a_terminal(answered: Any, era: str) -> None:
    code, out, shown = answered(
        "where",
        ("name (enter to decline): ", "Paris\n"),
        ("size (integer; enter for 3): ", "big\n"),
        ("size (integer; enter for 3): ", "\n"),
        ("sunny (y/n; enter to skip): ", "y\n"),
        era=era,
    )
    assert (code, out) == (0, "accept City(name='Paris', size=3, sunny=True)\n")
    assert "Which city?" in shown
    assert "field `size` must be a number" in shown


def test_enter_declines_and_end_of_input_closes(answered: Any) -> None:
    assert answered("where", ("enter to decline", "\n"))[:2] == (0, "decline None\n")
    assert answered("where", ("enter to decline", "\x04"))[:2] == (0, "cancel None\n")


def test_a_page_on_a_terminal(answered: Any) -> None:
    code, out, shown = answered("page", ("(y/n) ", "y\n"))
    assert (code, out) == (0, "accept\n")
    assert "https://example.org/sign-in" in shown
    assert answered("page", ("(y/n) ", "\n"))[:2] == (0, "decline\n")


def test_a_bar_ends_before_the_result(server_file: Path) -> None:
    """On a terminal both are on one screen, and what the tool returns cannot command it."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        program("call", str(server_file), "greet", "name=A\x1b[2J"),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env=environment(COLUMNS="80"),
    )
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 4096):
            shown += data
    except OSError:
        pass  # how Linux says that the last process has closed a terminal
    finally:
        os.close(ours)
        assert process.wait(LIMIT_SECONDS) == 0
    assert "hello A�[2J" in shown.decode().split("\r\n")
    assert "100% round 1\r\n" in shown.decode()
