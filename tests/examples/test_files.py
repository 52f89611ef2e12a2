"""examples/files.py: what its header promises. Its threads are real, so the clock is as well."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest

from mcpcore import Client, PeerError

pytestmark = pytest.mark.anyio

EXAMPLE = Path(__file__).parents[2] / "examples" / "files.py"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    backend: str = request.param
    return backend


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The example, working in a small tree of files."""
    (tmp_path / "sub").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "a.txt").write_text("one two\nthree\n")
    (tmp_path / "sub" / "b.txt").write_text("four")
    (tmp_path / "sub" / "image.bin").write_bytes(b"\0\1 2")
    (tmp_path / ".hidden" / "c.txt").write_text("five")
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location("files_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "files_example", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_count_words(example: ModuleType, era: str) -> None:
    seen: list[tuple[float, float | None, str | None]] = []

    async def show(*progress: Any) -> None:
        seen.append(progress)

    with anyio.fail_after(30):
        async with Client(example.server, era=era) as client:
            result = await client.call_tool("count_words", {"path": "."}, on_progress=show)
            assert result.structured_content == {"files": 2, "words": 4, "lines": 2, "bytes": 18}
            assert seen == [(1, 3, "a.txt"), (2, 3, "sub/b.txt"), (3, 3, "sub/image.bin")]
            result = await client.call_tool("count_words", {"path": "a.txt"})
            assert result.structured_content == {"files": 1, "words": 3, "lines": 2, "bytes": 14}


@pytest.mark.parametrize("path", ["..", "/etc/hostname", "sub/../../x", "missing.txt"])
async def test_nothing_outside_is_read(example: ModuleType, path: str) -> None:
    with anyio.fail_after(30):
        async with Client(example.server) as client:
            result = await client.call_tool("count_words", {"path": path})
            assert result.is_error
            assert result.content[0].text == f"there is no {path!r} below {example.BASE.name}"
            with pytest.raises(PeerError):
                await client.read_resource(f"file:///{path}")


async def test_find_streams(example: ModuleType) -> None:
    seen: list[str | None] = []

    async def show(progress: float, total: float | None, message: str | None) -> None:
        seen.append(message)

    with anyio.fail_after(30):
        async with Client(example.server) as client:
            result = await client.call_tool("find", {"pattern": "*.txt"}, on_progress=show)
    assert result.structured_content == {"result": ["a.txt", "sub/b.txt"]}
    assert seen == ["a.txt", "sub/b.txt"]


@pytest.mark.parametrize("era", ["modern", "legacy"])
@pytest.mark.parametrize(
    ("answer", "text", "renamed"),
    [
        ({"confirm": True}, "a.txt is z.txt from here on", True),
        ({"confirm": False}, "a.txt keeps its name", False),
        (None, "a.txt keeps its name", False),
    ],
)
async def test_rename_asks(example: ModuleType, era: str, answer: Any, text: str, renamed: bool) -> None:
    questions: list[str] = []

    async def choose(question: Any) -> Any:
        questions.append(question.message)
        return answer

    with anyio.fail_after(30):
        async with Client(example.server, era=era, on_elicit=choose) as client:
            result = await client.call_tool("rename", {"path": "a.txt", "name": "z.txt"})
    assert (result.content[0].text, questions) == (text, ["Rename a.txt to z.txt?"])
    assert [path.name for path in example.BASE.glob("?.txt")] == (["z.txt"] if renamed else ["a.txt"])


@pytest.mark.parametrize("name", ["../z.txt", "sub"])
async def test_rename_stays_in_its_directory(example: ModuleType, name: str) -> None:
    async def yes(question: Any) -> Any:
        return {"confirm": True}

    with anyio.fail_after(30):
        async with Client(example.server, on_elicit=yes) as client:
            result = await client.call_tool("rename", {"path": "a.txt", "name": name})
    assert result.is_error
    assert [path.name for path in example.BASE.glob("?.txt")] == ["a.txt"]


async def test_resource_and_prompt(example: ModuleType) -> None:
    with anyio.fail_after(30):
        async with Client(example.server) as client:
            read = await client.read_resource("file:///sub/b.txt")
            assert read.contents[0].text == "four"
            prompt = await client.get_prompt("summarise", {"path": "a.txt"})
            assert "file:///a.txt" in prompt.messages[0].content.text


def test_it_is_small() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 100
