"""One clause of a contract and the check that holds an implementation to it."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

import msgspec

from mcpcore.channel import Channel

__all__ = ("PATIENCE_SECONDS", "Check", "Clause", "MakePair", "clause", "expect")

PATIENCE_SECONDS = 20.0
"""How long one check may take. Each takes milliseconds on a wire that works; a loaded machine may need seconds."""

MakePair: TypeAlias = Callable[[], AbstractAsyncContextManager[tuple[Channel, Channel]]]
"""Makes a connection: the client's end and the server's end. Leaving the context takes both down."""

Check: TypeAlias = Callable[[Channel, Channel], Awaitable[None]]


class Clause(msgspec.Struct, frozen=True, kw_only=True):
    """What is promised, where that is written, and how it is checked."""

    name: str
    promise: str
    written: str
    check: Check
    breaks: bool = False
    """The check ends the connection, so that the failure of a write may come out of the context as well."""

    def broken(self, what: str) -> AssertionError:
        return AssertionError(f"{self.name}: {what}\n  promised: {self.promise}\n  written in: {self.written}")


def clause(promise: str, written: str, *, breaks: bool = False) -> Callable[[Check], Clause]:
    """Make a clause of a check, which says by `expect` what it found instead of what was promised."""

    def make(check: Check) -> Clause:
        name = getattr(check, "__name__", "check").replace("_", " ")
        return Clause(name=name, promise=promise, written=written, check=check, breaks=breaks)

    return make


def expect(met: bool, found: str) -> None:
    """Raise `AssertionError(found)` unless `met`. A function, so that `python -O` checks as much."""
    if not met:
        raise AssertionError(found)
