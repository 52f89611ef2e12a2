"""cli/main: what argparse makes of the command line, and the exit codes."""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
from cli.program import LIMIT_SECONDS, environment, program

from mcpcore.cli.main import main
from mcpcore.server import GRACE_SECONDS


def ended(*words: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    """A process of its own that ran to its end."""
    return subprocess.run(
        program(*words),
        env=environment(),
        text=True,
        capture_output=True,
        timeout=LIMIT_SECONDS,
        check=False,
        **options,
    )


def test_help_imports_neither_role_nor_backend() -> None:
    script = (
        "import sys\nfrom mcpcore.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit as end: assert end.code == 0\n"
        "heavy = {'mcpcore.server', 'mcpcore.client', 'trio', 'asyncio', 'anyio', 'msgspec', 'importlib.metadata'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "run " in done.stdout
    assert "call " in done.stdout


def test_version_and_module() -> None:
    done = ended("--version")
    try:
        expected = version("mcpcore")
    except PackageNotFoundError:
        expected = "0+uninstalled"
    assert (done.returncode, done.stdout) == (0, f"mcpcore {expected}\n")


def test_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([])
    assert end.value.code == 2
    assert "usage: mcpcore" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["run", "server.py", "--header", "a:b"],
        ["run", "server.py", "x=1"],
        ["list", "server.py", "x=1"],
        ["call", "server.py", "tool", "a=1", "--no-such-flag"],
        ["call", "server.py"],
        ["bridge"],
        ["bridge", "server.py", "x=1"],
    ],
)
def test_what_is_not_offered_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert "usage: mcpcore" in capsys.readouterr().err


def test_options_may_stand_between_arguments(run: Any, server_file: Path) -> None:
    done = run("call", "--timeout", "30", server_file, "--json", "greet", "name=Ann", "--era", "legacy", "times=2")
    assert done.code == 0, done.err
    assert '"hello Ann hello Ann"' in done.out


def test_help_tells_the_grace_that_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    assert f"({GRACE_SECONDS:g})" in capsys.readouterr().out


def test_a_reader_that_leaves_is_no_traceback(server_file: Path) -> None:
    reader = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    assert reader.wait(LIMIT_SECONDS) == 0
    assert reader.stdin is not None
    with reader.stdin:
        done = subprocess.run(
            program("list", str(server_file)),
            env=environment(),
            stdout=reader.stdin,
            stderr=subprocess.PIPE,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
    assert (done.returncode, done.stderr) == (1, "")
