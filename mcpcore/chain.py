"""Functions around functions: how middleware is put together, at both ends."""

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Any, TypeVar

__all__ = ("chained",)

T = TypeVar("T")


def chained(
    middleware: Iterable[Callable[[T, Callable[[T], Awaitable[Any]]], Awaitable[Any]]],
    last: Callable[[T], Awaitable[Any]],
) -> Callable[[T], Awaitable[Any]]:
    """`last` inside the middleware, the first of it outermost. Each is called with a value and with the rest."""
    chain = last
    for one in reversed(tuple(middleware)):
        chain = partial(_call, one, chain)
    return chain


async def _call(
    one: Callable[[T, Callable[[T], Awaitable[Any]]], Awaitable[Any]], rest: Callable[[T], Awaitable[Any]], value: T
) -> Any:
    return await one(value, rest)
