"""Fixtures of the command line's tests."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mcpcore.cli.main import main

SERVER = '''
import os
from dataclasses import dataclass
from typing import Literal
from mcpcore import Context, Server, ToolError

server = Server("demo", version="1.2", instructions="Ask politely.")

@dataclass
class City:
    name: str
    size: int = 3
    sunny: bool | None = None

@server.tool
async def greet(name: str, times: int = 1, ctx: Context = None) -> str:
    """Say hello.

    More than once if you like."""
    for n in range(times):
        await ctx.progress(n + 1, total=times, message=f"round {n + 1}")
    await ctx.info("greeted")
    return " ".join([f"hello {name}"] * times)

@server.tool
async def add(values: list[int], mode: Literal["sum", "max"] = "sum") -> int:
    return max(values) if mode == "max" else sum(values)

@server.tool
async def refuse() -> str:
    raise ToolError("not today")

@server.tool
async def boom() -> str:
    raise RuntimeError("a secret")

@server.tool
async def shout() -> str:
    print("a stray print")
    return "done"

@server.tool
async def where(ctx: Context) -> str:
    answer = await ctx.elicit("Which city?", City)
    return f"{answer.action} {answer.content}"

@server.tool
async def page(ctx: Context) -> str:
    answer = await ctx.elicit_url("Sign in first", "https://example.org/sign-in")
    return answer.action

@server.resource("config://app", mime_type="text/plain")
def config() -> str:
    """How it is set up."""
    return "x = 1"

@server.resource("notes:///{name}")
def note(name: str) -> str:
    return name

@server.prompt
def review(text: str, style: str = "short") -> str:
    """Review a text."""
    return text
'''


@pytest.fixture(autouse=True)
def _no_flags_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MCPCORE_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_logins_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(autouse=True)
def _imports_undone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Servers are imported by the tests in this process; the next test must not see them."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if not name.partition(".")[0].startswith(("mcpcore", "anyio", "trio", "asyncio")) and "demo" in name:
            del sys.modules[name]


@pytest.fixture
def server_file(tmp_path: Path) -> Path:
    """A file with one server."""
    file = tmp_path / "demo_server.py"
    file.write_text(SERVER)
    return file


class Ended:
    """How a command ended and what it said."""

    def __init__(self, code: int, captured: "pytest.CaptureResult[str]") -> None:
        self.code = code
        self.out = captured.out
        self.err = captured.err


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Runs one command in this process."""

    def run(*words: object) -> Ended:
        capfd.readouterr()
        code = main([str(word) for word in words])
        return Ended(code, capfd.readouterr())

    return run
