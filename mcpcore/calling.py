"""Middleware around what a client asks: functions that see each request before it is sent, and its result."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from mcpcore.chain import chained
from mcpcore.revisions import Revision
from mcpcore.types.base import RequestId

__all__ = ("Ask", "Asked", "Asking", "ask_through")


class Asked(msgspec.Struct, frozen=True):
    """One request of a client. A call that the server answers with questions is asked once more for each round."""

    method: str
    params: Any
    """The parameter struct; middleware passes on another one to change what is sent, e.g. its `meta`."""

    id: RequestId
    revision: Revision


Ask = Callable[[Asked], Awaitable[Any]]
"""The rest of the chain, the connection last. Returns the typed result; raises what `Client.request` raises."""

Asking = Callable[[Asked, Ask], Awaitable[Any]]
"""Middleware around every request that a client's methods make, and not around those that open its connection."""


async def ask_through(middleware: Sequence[Asking], asked: Asked, ask: Ask) -> Any:
    """What `ask` returns, through the middleware, the first of it outermost."""
    return await chained(middleware, ask)(asked)
