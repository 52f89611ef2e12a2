"""Roots: the directories a client works in. Deprecated by 2026-07-28, where they only travel embedded."""

from mcpcore.types.base import Meta, Model, Result

__all__ = ("ListRootsResult", "Root")


class Root(Model, frozen=True, kw_only=True):
    uri: str
    """A `file://` URI."""

    name: str | None = None
    meta: Meta | None = None


class ListRootsResult(Result, frozen=True, kw_only=True):
    roots: list[Root]
