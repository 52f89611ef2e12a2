"""cli/list: what a server offers, as text and as JSON."""

import json
from pathlib import Path
from typing import Any

import pytest
from cli.program import stdio_target

TEXT = """\
demo 1.2 (MCP 2026-07-28)
Ask politely.

Tools (* marks required arguments)
  greet(name*: string, times: integer = 1) -> string
        Say hello.

        More than once if you like.
  add(values*: array[integer], mode: "max" | "sum" = "sum") -> integer
  refuse() -> string
  boom() -> string
  shout() -> string
  where() -> string
  page() -> string

Resources
  config://app  config  text/plain
        How it is set up.

Resource templates
  notes:///{name}  note

Prompts
  review(text*, style)
        Review a text.
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_text(run: Any, server_file: Path, backend: str) -> None:
    done = run("list", server_file, "--backend", backend)
    assert (done.code, done.out, done.err) == (0, TEXT, "")


@pytest.mark.parametrize("era", ["auto", "legacy"])
def test_json_has_the_names_of_the_wire(run: Any, server_file: Path, era: str) -> None:
    done = run("list", server_file, "--json", "--era", era)
    assert done.code == 0
    found = json.loads(done.out)
    assert found["serverInfo"] == {"name": "demo", "version": "1.2"}
    assert found["protocolVersion"] == {"auto": "2026-07-28", "legacy": "2025-11-25"}[era]
    assert found["instructions"] == "Ask politely."
    assert "tools" in found["capabilities"]
    assert [tool["name"] for tool in found["tools"]][:2] == ["greet", "add"]
    assert found["tools"][0]["inputSchema"]["required"] == ["name"]
    assert found["resources"][0]["mimeType"] == "text/plain"
    assert found["resourceTemplates"][0]["uriTemplate"] == "notes:///{name}"
    assert found["prompts"][0]["arguments"][0] == {"name": "text", "required": True}


def test_over_stdio(run: Any, server_file: Path) -> None:
    done = run("list", stdio_target(server_file, "--era", "legacy"))
    assert done.code == 0, done.err
    assert done.out == TEXT.replace("2026-07-28", "2025-11-25")


def test_a_server_with_nothing(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "demo_nothing.py"
    file.write_text("from mcpcore import Server\nserver = Server('none', version='0')\n")
    done = run("list", file)
    assert (done.code, done.out) == (0, "none 0 (MCP 2026-07-28)\nIt offers no tools, resources or prompts.\n")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--era", "2020-01-01"], "--era: '2020-01-01' is none of auto, modern, legacy, 2024-11-05"),
        (["--timeout", "soon"], "--timeout: 'soon' is no number of seconds"),
        (["--timeout", "-1"], "is no number of seconds"),
        (["--timeout", "inf"], "is no number of seconds"),
        (["--backend", "twisted"], "--backend: 'twisted' is none of asyncio, trio"),
    ],
)
def test_wrong_flags(run: Any, server_file: Path, flags: list[str], message: str) -> None:
    done = run("list", server_file, *flags)
    assert (done.code, done.out) == (2, "")
    assert message in done.err


def test_the_backend_comes_from_the_environment(run: Any, server_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MCPCORE_BACKEND", "curio")
    done = run("list", server_file)
    assert (done.code, done.err) == (2, "mcpcore list: MCPCORE_BACKEND: 'curio' is none of asyncio, trio\n")
    assert run("list", server_file, "--backend", "trio").code == 0
