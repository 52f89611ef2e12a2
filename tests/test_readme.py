"""The README: its two commands have the shape that is promised, and every Python block does what it says."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from cli.program import LIMIT_SECONDS, environment

from mcpcore.cli.main import _read

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
PYTHON = [
    (code, BLOCKS[index + 1][1] if BLOCKS[index + 1 : index + 2] and BLOCKS[index + 1][0] == "text" else "")
    for index, (language, code) in enumerate(BLOCKS)
    if language == "python"
]
COMMANDS = [
    re.split(r"  +", line, maxsplit=1)[0]
    for language, block in BLOCKS
    for line in block.splitlines()
    # The list of commands has placeholders, which stand in brackets or beside a bar.
    if not language and re.match(r"(mcpcore|python|hypercorn|benchmarks/\S+)(?!/) ?[^|\[]*(  |$)", line)
]


def file_name(code: str) -> str:
    """A block says in its first line which file it is."""
    found = re.match(r"# (\w+\.py)\n", code)
    assert found is not None, code
    return found[1]


def test_quick_start_has_two_commands() -> None:
    assert re.match(r"#+ Quick start\n", README)
    language, commands = BLOCKS[0]
    assert language == "bash"
    first, second = commands.splitlines()
    assert re.fullmatch(r"pip install \. && mcpcore call examples/\w+\.py \w+( \w+=\S+)*", first)
    assert (ROOT / re.findall(r"examples/\w+\.py", first)[0]).is_file()
    assert second == "pip install -U pip && pip install . --group test && pytest"


def test_ci_runs_the_second_command() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    extraction = re.search(r"^tests=\$\((awk .* README\.md)\)$", script, re.MULTILINE)
    assert extraction is not None
    done = subprocess.run(["bash", "-c", extraction[1]], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == BLOCKS[0][1].splitlines()[1] + "\n"
    assert 'bash -euo pipefail -c "$tests"' in script


def test_there_is_code_to_run() -> None:
    assert [file_name(code) for code, _ in PYTHON] == [
        "demo.py",
        "web.py",
        "ask.py",
        "pace.py",
        "eras.py",
        "mounted.py",
        "secure.py",
        "guarded.py",
        "signed_in.py",
        "keyed.py",
        "together.py",
        "between.py",
        "spans.py",
    ]


@pytest.mark.parametrize(("code", "prints"), PYTHON, ids=[file_name(code) for code, _ in PYTHON])
def test_blocks_print_what_follows_them(code: str, prints: str, tmp_path: Path) -> None:
    for block, _ in PYTHON:
        (tmp_path / file_name(block)).write_text(block)
    done = subprocess.run(
        [sys.executable, "-W", "error", file_name(code)],
        cwd=tmp_path,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    said = re.sub(r"^mcpcore: listening on http://127\.0\.0\.1:\d+/\w+\n", "", done.stderr, flags=re.MULTILINE)
    assert (done.returncode, done.stdout, said) == (0, prints, "")


@pytest.mark.parametrize("line", COMMANDS)
def test_command_lines_can_be_typed(line: str) -> None:
    """What they do is tested where it is made; here, that the flags are there, and the files."""
    program, *words = shlex.split(line)
    if program == "mcpcore":
        assert _read(words).command == words[0]
        return
    file = program if "/" in program else words[0].partition(":")[0]
    assert (ROOT / file).is_file()


def test_there_are_command_lines() -> None:
    assert {"mcpcore run demo.py", "python examples/embed_trio.py", "benchmarks/install_peers.sh"} <= set(COMMANDS)
