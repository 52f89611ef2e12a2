"""cli/target: where a server is."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from cli.program import PYTHONPATH, program

from mcpcore.cli.target import target_of
from mcpcore.cli.usage import WrongUsage


def test_a_command_is_quoted_as_in_a_shell() -> None:
    assert target_of("stdio:python 'my server.py' --name \"a b\"").client_target == [
        "python",
        "my server.py",
        "--name",
        "a b",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("https://example.org/mcp", "not in this release"),
        ("http://127.0.0.1:8000/mcp", "not in this release"),
        ("stdio:", "needs the command"),
        ("stdio:python 'open", "no closing quotation"),
        ("not a target", "is no target"),
        ("demo_nowhere", "there is no module"),
        ("demo_nowhere.py", "there is no file"),
    ],
)
def test_wrong_targets(text: str, message: str) -> None:
    with pytest.raises(WrongUsage, match=message):
        target_of(text)


def test_a_wrong_target_ends_with_2(run: Any) -> None:
    done = run("list", "https://example.org/mcp")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("mcpcore list: https://example.org/mcp: servers behind a URL are not in this release")


def test_a_server_says_its_backend(tmp_path: Path) -> None:
    file = tmp_path / "demo_trio.py"
    file.write_text("from mcpcore import Server\nserver = Server('t', backend='trio')\n")
    assert target_of(str(file)).backend == "trio"


def test_an_entry_of_a_configuration(run: Any, server_file: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    file = elsewhere / "demo_env.py"
    file.write_text(
        "import os\nfrom mcpcore import Server\nserver = Server('env')\n"
        "@server.tool\ndef show() -> str: return os.environ['GREETING'] + ' ' + os.path.basename(os.getcwd())\n"
    )
    command, *arguments = program("run", "demo_env.py")
    config = tmp_path / "config.json"
    entry = {
        "command": command,
        "args": arguments,
        "env": {"PYTHONPATH": PYTHONPATH, "GREETING": "hi"},
        "cwd": str(elsewhere),
        "disabled": False,
    }
    config.write_text(json.dumps({"mcpServers": {"env": entry, "web": {"url": "https://example.org"}}}))
    done = run("call", "env", "show", "--config", config)
    assert (done.code, done.out) == (0, "hi elsewhere\n")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        ("{", "truncated"),
        ("{}", "mcpServers"),
        ('{"mcpServers": {"a": {}}}', "has no server 'demo'; it has a"),
        ('{"mcpServers": {"demo": {}}}', 'needs a "command"'),
        ('{"mcpServers": {"demo": {"command": 1}}}', "server 'demo': .*command"),
        ('{"mcpServers": {"demo": {"url": "https://example.org"}}}', "not in this release"),
    ],
)
def test_wrong_configurations(tmp_path: Path, content: str | None, message: str) -> None:
    config = tmp_path / "config.json"
    if content is not None:
        config.write_text(content)
    with pytest.raises(WrongUsage, match=message):
        target_of("demo", str(config))


def test_what_cannot_be_started_is_one_line(run: Any) -> None:
    done = run("list", "stdio:no-such-program --x")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("mcpcore: ")
    assert "no-such-program" in done.err
    assert done.err.count("\n") == 1
    assert "Traceback" in run("list", "stdio:no-such-program", "--debug").err


def test_a_server_that_dies_is_one_line_beside_its_own_words(run: Any) -> None:
    code = "import sys; sys.exit('cannot open the database')"
    done = run("list", f'stdio:{sys.executable} -c "{code}"')
    assert done.code == 1
    ours = [line for line in done.err.splitlines() if line.startswith("mcpcore: ")]
    assert len(ours) == 1
    assert ours[0].endswith("cannot open the database")
    assert "Traceback" not in done.err
