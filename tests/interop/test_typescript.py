"""The official TypeScript client against a server of this library: Streamable HTTP of both eras, and HTTP+SSE.

The packages of `typescript/package.json` are installed in the directory `typescript` of MCPCORE_NPM.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from interop.listening import PATIENCE_SECONDS, Listening, listening

from mcpcore.revisions import LATEST, LATEST_HANDSHAKE

pytestmark = pytest.mark.npm

SCRIPTS = Path(__file__).parent / "typescript"


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts beside the packages: an ES module finds them in its own directory or above it, and nowhere else."""
    place = shutil.copytree(SCRIPTS, tmp_path_factory.mktemp("npm") / "typescript")
    (place / "node_modules").symlink_to(
        Path(os.environ["MCPCORE_NPM"], "typescript", "node_modules").resolve(strict=True)
    )
    return place


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def server(request: pytest.FixtureRequest) -> Iterator[Listening]:
    with listening(request.param) as server:
        yield server


@pytest.fixture(params=["auto", "legacy", "sse"])
def run(request: pytest.FixtureRequest, scripts: Path, server: Listening) -> Callable[[str], Any]:
    """Runs one case over one kind of connection, and returns what it found."""
    mode = request.param

    def run(case: str) -> Any:
        done = subprocess.run(
            ["node", f"{case}.mjs", mode, server.sse if mode == "sse" else server.http],
            cwd=scripts,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        said = json.loads(done.stdout)
        assert said["revision"] == (LATEST if mode == "auto" else LATEST_HANDSHAKE)
        return said["result"]

    return run


def test_it_lists_and_reads(run: Callable[[str], Any]) -> None:
    found = run("listing")
    assert (found["server"]["name"], found["server"]["version"]) == ("ours", "1.2.3")
    assert found["instructions"] == "Use it gently."
    assert len(found["tools"]) == len(set(found["tools"])) == 19
    assert {"add", "ask", "hang_as"} <= set(found["tools"])
    assert sorted(found["resources"]) == ["blob://logo", "config://app"]
    assert (found["config"], found["prompt"]) == ('{"port":80}', "Hello Bo")


def test_it_sees_progress_while_the_tool_runs(run: Callable[[str], Any]) -> None:
    found = run("progress")
    assert found["seen"] == [[step, 5, f"step {step}"] for step in range(1, 6)]
    assert found["structured"] == {"result": "held"}


def test_it_answers_questions(run: Callable[[str], Any]) -> None:
    found = run("elicitation")
    assert found["asked"] == [["Which city?", "string"], ["And after Paris?", "string"]]
    assert found["text"] == "Paris, Rome"


def test_it_tells_failures_from_refusals(run: Callable[[str], Any]) -> None:
    found = run("errors")
    assert found["told"] == [True, "the disk is full"]
    failed, text = found["crashed"]
    assert failed
    assert "crash" in text
    assert "secret" not in text
    assert (found["tool"], found["prompt"]) == (-32602, -32602)


def test_it_cancels(run: Callable[[str], Any]) -> None:
    assert run("cancellation") == {"call": "aborted", "tool": True}
