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
    done = run("list", "ftp://example.org/mcp")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("mcpcore list: 'ftp://example.org/mcp' is no target: give a URL, 'stdio:")


def test_a_url_with_headers_and_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://example.org/mcp"
    assert target_of(url) == (url, None, {"headers": {}})
    found = target_of(url, headers=["X-Team: a:b ", "x-team:c"], token="abc=")
    assert found.options == {"headers": {"x-team": "c", "authorization": "Bearer abc="}}
    monkeypatch.setenv("MCPCORE_TOKEN", "fromenv")
    assert target_of(url).options == {"headers": {"authorization": "Bearer fromenv"}}


@pytest.mark.parametrize(
    ("text", "headers", "token", "message"),
    [
        ("http://x/", ["nothing"], None, "--header 'nothing' is no header: write NAME:VALUE"),
        ("http://x/", ["a b:c"], None, "is no header"),
        ("http://x/", ["a:b\r\nc:d"], None, "printable ASCII"),
        ("http://x/", [], "two words", "no bearer token"),
        ("stdio:python x.py", ["a:b"], None, "--header is for a server behind a URL"),
        ("demo_file.py", [], "abc", "--token is for a server behind a URL"),
    ],
)
def test_what_cannot_be_sent(text: str, headers: list[str], token: str | None, message: str) -> None:
    with pytest.raises(WrongUsage, match=message):
        target_of(text, headers=headers, token=token)


@pytest.mark.parametrize("kind", [None, "http", "sse", "streamable-http", "streamableHttp"])
def test_an_entry_with_a_url(tmp_path: Path, kind: str | None) -> None:
    config = tmp_path / "config.json"
    entry = {"url": "https://example.org/mcp", "headers": {"Authorization": "Bearer a", "X-A": "1"}}
    config.write_text(json.dumps({"mcpServers": {"web": entry | ({"type": kind} if kind else {})}}))
    found = target_of("web", str(config), headers=["x-a: 2"])
    assert found.client_target == "https://example.org/mcp"
    assert found.options == {"headers": {"authorization": "Bearer a", "x-a": "2"}}


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
        ('{"mcpServers": {"demo": {"url": "ftp://example.org"}}}', 'it needs a "url" that begins with http'),
        ('{"mcpServers": {"demo": {"type": "http", "command": "x"}}}', 'it needs a "url" that begins with http'),
        ('{"mcpServers": {"demo": {"type": "pigeon", "url": "https://x"}}}', "its type 'pigeon' is none of stdio"),
        ('{"mcpServers": {"demo": {"type": "stdio", "url": "https://x"}}}', 'needs a "command"'),
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
