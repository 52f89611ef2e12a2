"""What a module defines in public is what its `__all__` says, no more and no less."""

import ast
import importlib
import typing

import pytest
from test_layers import MODULES, tree_of

import mcpcore

UNLISTED = frozenset(("logger",))
"""Names that every module may have for itself."""

PACKAGES = [name for name, path in MODULES.items() if path.name == "__init__.py"]
PLAIN = [name for name in MODULES if name not in PACKAGES and name != "mcpcore.__main__"]


def _declared(module: str) -> tuple[str, ...]:
    for node in tree_of(module).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            assert isinstance(node.value, ast.Tuple), (
                f"line {node.lineno}: __all__ is a tuple, so that nothing grows it"
            )
            return tuple(ast.literal_eval(node.value))
    raise AssertionError(f"{module} has no __all__")


def _order(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest: the order that ruff keeps."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def _defined(body: list[ast.stmt]) -> set[str]:
    """The public names that these statements define themselves. Branches on the platform count; imports do not."""
    names: set[str] = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign) and not _is_type_variable(node.value):
            names |= {one.id for target in node.targets for one in ast.walk(target) if isinstance(one, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.If):
            names |= _defined(node.body) | _defined(node.orelse)
        elif isinstance(node, ast.Try):
            names |= _defined(node.body) | {name for one in node.handlers for name in _defined(one.body)}
    return {name for name in names if not name.startswith("_")}


def _is_type_variable(value: ast.expr) -> bool:
    return isinstance(value, ast.Call) and ast.unparse(value.func) in ("TypeVar", "ParamSpec")


def _imported(body: list[ast.stmt]) -> set[str]:
    names = set()
    for node in body:
        if isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            names |= {
                alias.asname
                for one in node.body
                if isinstance(one, ast.ImportFrom)
                for alias in one.names
                if alias.asname
            }
    return names


@pytest.mark.parametrize("module", [*PACKAGES, *PLAIN])
def test_all_is_sorted_and_has_no_name_twice(module: str) -> None:
    declared = _declared(module)
    assert list(declared) == sorted(set(declared), key=_order)


@pytest.mark.parametrize("module", PLAIN)
def test_all_is_what_the_module_defines(module: str) -> None:
    declared = set(_declared(module))
    defined = _defined(tree_of(module).body) - UNLISTED
    assert {"defined, not declared": defined - declared, "declared, not defined": declared - defined} == {
        "defined, not declared": set(),
        "declared, not defined": set(),
    }


@pytest.mark.parametrize("module", PACKAGES)
def test_a_package_declares_what_it_defines_and_lends(module: str) -> None:
    """What a package lends it imports from its modules, at once or, for checkers only, where it is found lazily."""
    declared, body = set(_declared(module)), tree_of(module).body
    defined = _defined(body)
    assert defined - declared == set()
    assert declared - defined - _imported(body) == set()


@pytest.mark.parametrize("module", PACKAGES)
def test_what_a_package_declares_is_there(module: str) -> None:
    loaded = importlib.import_module(module)
    for name in _declared(module):
        assert getattr(loaded, name) is not None
    with pytest.raises(AttributeError):
        loaded.no_such_name  # noqa: B018


def test_the_top_has_a_home_for_each_of_its_names() -> None:
    homes = {name: f"mcpcore.{home}" for name, home in mcpcore._HOME.items()}
    assert homes.keys() == set(mcpcore.__all__)
    assert [name for name, home in homes.items() if name not in _declared(home)] == []
    assert {name for name in dir(mcpcore) if name in homes} == homes.keys()


def test_checkers_see_the_same_homes() -> None:
    """The imports for type checkers and the table for everybody else must not drift apart."""
    (block,) = [node for node in tree_of("mcpcore").body if isinstance(node, ast.If)]
    seen = {
        alias.asname: str(node.module)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    }
    assert seen == {name: f"mcpcore.{home}" for name, home in mcpcore._HOME.items()}
    assert not typing.TYPE_CHECKING
