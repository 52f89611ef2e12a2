"""examples/process_files.py, and examples/progress_client.py in front of it, over every kind of TARGET."""

import hashlib
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from cli.program import LIMIT_SECONDS, PYTHONPATH, environment, program

from mcpcore import Client
from mcpcore.types import LoggingMessageNotificationParams
from mcpcore.types.logs import LOGGING_LEVELS

EXAMPLES = Path(__file__).parents[2] / "examples"
SERVER = str(EXAMPLES / "process_files.py")
SIZES = {"a.txt": 3, "b.txt": 200_000}


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small directory, which the programs are started in."""
    (tmp_path / "here").mkdir()
    for name, size in SIZES.items():
        (tmp_path / "here" / name).write_bytes(b"x" * size)
    (tmp_path / "secret.txt").write_text("outside")
    (tmp_path / "here" / "link.txt").symlink_to("../secret.txt")
    monkeypatch.chdir(tmp_path / "here")


@pytest.mark.anyio
@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_one_progress_and_one_line_of_each_level_for_each_file(served: Any, transport: str) -> None:
    logged: list[tuple[str, str]] = []
    seen: list[tuple[float, float | None, str | None]] = []

    async def log(message: LoggingMessageNotificationParams) -> None:
        logged.append((message.level, message.data["file"]))

    async def show(*progress: Any) -> None:
        seen.append(progress)

    with served("process_files.py", transport) as target, anyio.fail_after(LIMIT_SECONDS):
        async with Client(target, on_log=log, log_level="debug") as client:
            result = await client.call_tool("process", {"patterns": ["*.txt"]}, on_progress=show)
            assert result.structured_content["result"] == [
                {"name": name, "bytes": size, "sha256": hashlib.sha256(b"x" * size).hexdigest()}
                for name, size in SIZES.items()
            ]
            refused = await client.call_tool("process", {"patterns": ["../*.txt"]})
            assert "leaves here" in refused.content[0].text
        assert seen == [(1, 2, "a.txt"), (2, 2, "b.txt")]
        expected = [(level, name) for name in SIZES for level in LOGGING_LEVELS]
        assert logged == expected
        async with Client(target, era="legacy", on_log=log, log_level="debug") as client:
            await client.call_tool("process", {"patterns": ["*.txt"]}, on_progress=show)
        assert seen[2:] == seen[:2]
        assert logged == expected * 2


@pytest.fixture(params=["memory", "stdio", "http"])
def target(request: pytest.FixtureRequest, served: Any, anyio_backend: str) -> Any:
    if request.param == "memory":
        yield SERVER
    elif request.param == "stdio":
        yield f"stdio:env PYTHONPATH={PYTHONPATH} {' '.join(program('run', SERVER, '--backend', anyio_backend))}"
    else:
        with served("process_files.py", "http") as url:
            yield url


def test_the_client_prints_what_arrives(ran: Callable[..., Any], target: str) -> None:
    done = ran("progress_client.py", target, "*.txt", "--level", "alert")
    lines = done.stdout.splitlines()
    for file, size in SIZES.items():
        for level in ("alert", "emergency"):
            assert f"{level:>9}  {{'file': '{file}', 'bytes': {size}}}" in lines
    assert [line for line in lines if "progress" in line] == [
        " progress  1 of 2: a.txt",
        " progress  2 of 2: b.txt",
    ]
    assert lines[-2:] == ["           3  a.txt", "     200,000  b.txt"]
    assert len(lines) == 2 * 2 + 2 + 2


def test_the_client_draws_a_bar_on_a_terminal(anyio_backend: str) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, str(EXAMPLES / "progress_client.py"), SERVER, "*.txt", "--level", "alert"]
    with subprocess.Popen(
        command, env=environment(MCPCORE_BACKEND=anyio_backend), stdin=subprocess.DEVNULL, stdout=theirs
    ) as process:
        os.close(theirs)
        said = b""
        try:
            while chunk := os.read(ours, 4096):
                said += chunk
        except OSError:  # how Linux says that nobody writes to a terminal any more
            pass
        finally:
            os.close(ours)
        assert process.wait(LIMIT_SECONDS) == 0
    bars = re.findall(r"\[(#*)\.*\] +(\d+)%", said.decode())
    assert ("#" * 20, "50") in bars
    assert bars[-1] == ("#" * 40, "100")


def test_the_client_says_what_went_wrong(ran: Callable[..., Any]) -> None:
    done = ran("progress_client.py", SERVER, "*.png", code=1)
    assert done.stdout == "no file in here fits *.png\n"
