"""A server in a Python file or module: loading it and finding the one that is meant."""

import importlib
import importlib.util
import os
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType, TracebackType
from typing import NamedTuple

from mcpcore.cli.usage import WrongUsage
from mcpcore.server import Server

__all__ = ("BrokenSource", "Source", "load_server", "print_to_stderr", "source_of")

_FILE = re.compile(r"(?P<place>.+\.py)(?::(?P<name>\w+))?", re.DOTALL)
_MODULE = re.compile(r"(?P<place>[^\W\d]\w*(?:\.[^\W\d]\w*)*)(?::(?P<name>\w+))?")


class Source(NamedTuple):
    """`FILE.py[:name]` or `pkg.mod[:name]`, taken apart."""

    place: str
    name: str | None
    is_file: bool


class BrokenSource(Exception):
    """The author's code raised while it was imported; `traceback_text` starts where that code does."""

    def __init__(self, error: BaseException, frames: TracebackType | None) -> None:
        super().__init__(str(error))
        self.traceback_text: str = "".join(traceback.format_exception(type(error), error, frames))


def source_of(text: str) -> Source | None:
    """What the text names, or None when it cannot be a file or module."""
    for form, is_file in ((_FILE, True), (_MODULE, False)):
        if found := form.fullmatch(text):
            return Source(found["place"], found["name"], is_file)
    return None


def load_server(source: Source) -> Server:
    """Import the file or module and return its server.

    The file's directory (for a module: the working directory) goes first on `sys.path`, as Python does it, and
    `__name__` is not "__main__". What it prints goes to stderr, because stdout carries the protocol or the result.
    Raises `WrongUsage` when there is no such file, module or server, or more than one server and no name, and
    `BrokenSource` when it fails to import.
    """
    with print_to_stderr():
        module = _load_file(Path(source.place)) if source.is_file else _load_module(source.place)
    servers = {name: value for name, value in vars(module).items() if isinstance(value, Server)}
    if source.name is not None:
        if source.name in servers:
            return servers[source.name]
        there = ", ".join(servers) or "no Server at all"
        raise WrongUsage(f"{source.place} has no Server named {source.name!r}; it has {there}")
    distinct = {id(server): name for name, server in reversed(servers.items())}
    if not servers:
        raise WrongUsage(f"{source.place} has no Server: bind one to a name, e.g. server = Server('demo')")
    if len(distinct) > 1:
        choices = ", ".join(f"{source.place}:{name}" for name in servers if name in distinct.values())
        raise WrongUsage(f"{source.place} has {len(distinct)} servers; say which one is meant: {choices}")
    return next(iter(servers.values()))


@contextmanager
def print_to_stderr() -> Iterator[None]:
    """Whatever is printed in here goes to stderr."""
    with redirect_stdout(sys.stderr):
        yield


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise WrongUsage(f"there is no file {str(path)!r}")
    path = path.resolve()
    sys.path.insert(0, str(path.parent))
    # The name it would have when imported, which pickling needs, unless that would hide another module.
    name = path.stem
    if name in sys.modules or name in sys.stdlib_module_names or not name.isidentifier():
        name = f"_mcpcore_{name}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise BrokenSource(error, _frames_below_import(error)) from None
    return module


def _load_module(name: str) -> ModuleType:
    sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        if missing.name is not None and (missing.name == name or name.startswith(f"{missing.name}.")):
            raise WrongUsage(f"there is no module {name!r} (and no file: a file's name ends in .py)") from None
        raise BrokenSource(missing, _frames_below_import(missing)) from None
    except Exception as error:
        raise BrokenSource(error, _frames_below_import(error)) from None


def _frames_below_import(error: BaseException) -> TracebackType | None:
    """The traceback without this file and the import machinery: the rest is the author's."""
    frames = error.__traceback__
    while frames is not None:
        file = frames.tb_frame.f_code.co_filename
        if file != __file__ and file != importlib.__file__ and not file.startswith("<frozen importlib"):
            break
        frames = frames.tb_next
    return frames
