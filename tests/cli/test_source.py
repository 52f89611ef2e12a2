"""cli/source: finding the one server of a file or module."""

import sys
from pathlib import Path
from typing import Any

import pytest

from mcpcore.cli.source import BrokenSource, Source, load_server, source_of
from mcpcore.cli.usage import WrongUsage

ONE = "from mcpcore import Server\nserver = Server('{name}')\n"


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("a.py", Source("a.py", None, True)),
        ("dir/a.py:app", Source("dir/a.py", "app", True)),
        ("C:\\dir\\a.py:app", Source("C:\\dir\\a.py", "app", True)),
        ("pkg.mod:app", Source("pkg.mod", "app", False)),
        ("pkg", Source("pkg", None, False)),
        ("a.txt:", None),
        ("dir/a", None),
        ("", None),
    ],
)
def test_taking_it_apart(text: str, source: Source | None) -> None:
    assert source_of(text) == source


def load(path: Path | str) -> Any:
    source = source_of(str(path))
    assert source is not None
    return load_server(source)


def test_its_directory_is_importable_and_it_is_not_main(tmp_path: Path) -> None:
    (tmp_path / "demo_neighbour.py").write_text("NAME = 'from next door'\n")
    file = tmp_path / "demo_file.py"
    file.write_text(
        "import demo_neighbour\nfrom mcpcore import Server\nserver = Server(demo_neighbour.NAME)\n"
        "alias = server\nif __name__ == '__main__': raise SystemExit('run as a script')\n"
    )
    assert load(file).info.name == "from next door"
    assert sys.path[0] == str(tmp_path)


@pytest.mark.parametrize("stem", ["json", "my-server"])
def test_a_file_may_have_any_name(tmp_path: Path, stem: str) -> None:
    import json

    file = tmp_path / f"{stem}.py"
    file.write_text(
        "from dataclasses import dataclass\nfrom mcpcore import Server\nserver = Server('odd')\n"
        "@dataclass\nclass Point:\n    x: int\n"
        "@server.tool\ndef tool(point: 'Point') -> int: return point.x\n"
    )
    assert load(file).info.name == "odd"
    assert sys.modules["json"] is json


def test_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "demo_package").mkdir()
    (tmp_path / "demo_package" / "inner.py").write_text(ONE.format(name="inner"))
    monkeypatch.chdir(tmp_path)
    assert load("demo_package.inner").info.name == "inner"
    assert load("demo_package.inner:server").info.name == "inner"
    with pytest.raises(WrongUsage, match=r"no module 'demo_package\.other'"):
        load("demo_package.other")


def test_several_need_a_name(tmp_path: Path) -> None:
    file = tmp_path / "demo_two.py"
    file.write_text("from mcpcore import Server\nfirst, second = Server('a'), Server('b')\nother = 1\n")
    with pytest.raises(WrongUsage, match=r"has 2 servers.*demo_two\.py:first, .*demo_two\.py:second"):
        load(file)
    assert load(f"{file}:second").info.name == "b"
    for name in ("third", "other"):
        with pytest.raises(WrongUsage, match=f"no Server named '{name}'; it has first, second"):
            load(f"{file}:{name}")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(WrongUsage, match="there is no file"):
        load(tmp_path / "missing.py")
    empty = tmp_path / "demo_empty.py"
    empty.write_text("")
    with pytest.raises(WrongUsage, match="has no Server: bind one"):
        load(empty)
    with pytest.raises(WrongUsage, match="there is no module 'demo_missing'"):
        load("demo_missing")


def test_a_broken_file_shows_its_own_traceback_only(tmp_path: Path) -> None:
    file = tmp_path / "demo_broken.py"
    file.write_text("def fail():\n    raise ValueError('oh')\nfail()\n")
    with pytest.raises(BrokenSource) as broken:
        load(file)
    text = broken.value.traceback_text
    assert text.splitlines()[1].strip() == f'File "{file}", line 3, in <module>'
    assert text.endswith("ValueError: oh\n")
    file.write_text("def (:\n")
    with pytest.raises(BrokenSource) as broken:
        load(file)
    assert "SyntaxError" in broken.value.traceback_text
    assert "cli/source" not in broken.value.traceback_text


def test_a_missing_import_of_the_author_is_the_authors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "demo_needy.py").write_text("import demo_not_there\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BrokenSource, match="demo_not_there"):
        load("demo_needy")


def test_prints_go_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "demo_chatty.py"
    file.write_text("print('loading')\n" + ONE.format(name="chatty"))
    load(file)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "loading\n")
