"""`mcpServers` as clients write it."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mcpcore import LocalProtocolError
from mcpcore.configuration import ServerEntry, entry_of, raw_entries

ENVIRONMENT = {"HOME": "/home/anne", "TOKEN": "secret", "EMPTY": ""}


def entry(**members: Any) -> ServerEntry:
    return entry_of("demo", members, environment=ENVIRONMENT)


def test_a_command() -> None:
    found = entry(
        command="${HOME}/bin/server",
        args=["--root", "${HOME}", "${NOWHERE:-a b}", "$HOME", "${env:HOME}", "${EMPTY:-x}"],
        env={"KEY": "${TOKEN}"},
        cwd="${HOME}",
        autoApprove=["x"],
        timeout=5,
    )
    assert found.command == "/home/anne/bin/server"
    assert found.args == ["--root", "/home/anne", "a b", "$HOME", "/home/anne", "x"]
    assert (found.env, found.cwd, found.disabled) == ({"KEY": "secret"}, "/home/anne", False)


@pytest.mark.parametrize("kind", [None, "http", "sse", "streamable-http", "streamableHttp"])
def test_a_url(kind: str | None) -> None:
    members = {"url": "https://a.example/${EMPTY:-mcp}", "headers": {"Authorization": "Bearer ${TOKEN}"}}
    found = entry(**members, **({"type": kind} if kind else {}))
    assert (found.url, found.headers) == ("https://a.example/mcp", {"Authorization": "Bearer secret"})
    assert found.command is None


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, 'server \'demo\': it needs a "command" or a "url"'),
        ({"command": 1}, r"server 'demo': Expected `str \| null`, got `int` - at `\$.command`"),
        ({"command": "x", "args": ["${NOPE}"]}, r"server 'demo', args\[0\]: the environment has no NOPE"),
        ({"command": "x", "env": {"A": "${NOPE}"}}, r"server 'demo', env.A: the environment has no NOPE"),
        ({"url": "https://a", "headers": {"X-A": "${NOPE}"}}, r"server 'demo', headers.X-A: .*NOPE"),
        ({"url": "ftp://a"}, "server 'demo': it needs a \"url\""),
        ({"type": "http", "command": "x"}, "server 'demo': it needs a \"url\""),
        ({"type": "ws", "url": "wss://a"}, "server 'demo': its type 'ws' is none of"),
    ],
)
def test_what_is_wrong_is_named(members: Any, message: str) -> None:
    for given in (members, msgspec.Raw(msgspec.json.encode(members))):
        with pytest.raises(LocalProtocolError, match=message) as wrong:
            entry_of("demo", given, environment=ENVIRONMENT)
        assert "secret" not in str(wrong.value)


def test_a_file_and_an_object(tmp_path: Path) -> None:
    servers = {"one": {"command": "x"}, "two": {"url": "https://a"}}
    path = tmp_path / "mcp.json"
    path.write_text(json.dumps({"mcpServers": servers, "other": 1}))
    assert list(raw_entries(path)) == list(raw_entries(str(path))) == ["one", "two"]
    assert raw_entries({"mcpServers": servers}) == raw_entries(servers) == servers


@pytest.mark.parametrize("content", ["", "{", "{}", "[]", '{"mcpServers": []}', "\xff"])
def test_files_that_cannot_be_read(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mcp.json"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(LocalProtocolError, match=r"mcp\.json"):
        raw_entries(path)
    with pytest.raises(FileNotFoundError):
        raw_entries(tmp_path / "none.json")
    with pytest.raises(LocalProtocolError, match="by name"):
        raw_entries({"mcpServers": [1]})
