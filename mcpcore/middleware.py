"""Middleware: functions around what a handler receives and around what it sends."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from mcpcore.asking import Asker
from mcpcore.chain import chained
from mcpcore.context import Context

__all__ = ("Inbound", "MethodHandler", "Next", "Outbound", "OutboundAsker", "Outgoing", "Send", "inward", "outward")

MethodHandler = Callable[[Context, Any], Awaitable[Any]]
"""Answers one method: context and typed parameters in, result struct or dict out."""

Next = Callable[[Context], Awaitable[Any]]
"""The rest of the chain, the handler last."""

Inbound = Callable[[Context, Next], Awaitable[Any]]
"""Middleware around every request but `initialize` and `ping`: it may look at `context.params`, change the result, or
raise `RequestError`."""


class Outgoing(msgspec.Struct, frozen=True):
    """What a handler is about to send: a notification, or a question to the client."""

    method: str
    params: Any
    context: Context


Send = Callable[[Outgoing], Awaitable[Any]]

Outbound = Callable[[Outgoing, Send], Awaitable[Any]]
"""Middleware around everything a handler sends before its result."""


async def inward(middleware: list[Inbound], context: Context, handler: MethodHandler) -> Any:
    """The handler's result, through the middleware, the first of it outermost."""

    async def innermost(context: Context) -> Any:
        return await handler(context, context.params)

    return await chained(middleware, innermost)(context)


async def outward(middleware: list[Outbound], outgoing: Outgoing, send: Send) -> Any:
    """What `send` returns, through the middleware, the first of it outermost."""
    return await chained(middleware, send)(outgoing)


class OutboundAsker(Asker):
    """Asks through outbound middleware."""

    def __init__(self, asker: Asker, middleware: list[Outbound], context: Context) -> None:
        self._asker = asker
        self._middleware = middleware
        self._context = context

    async def ask(self, method: str, params: Any, key: str | None = None) -> Any:
        outgoing = Outgoing(method, params, self._context)
        return await outward(self._middleware, outgoing, lambda out: self._asker.ask(out.method, out.params, key))

    async def once(self, name: str, fn: Callable[[], Awaitable[Any]]) -> Any:
        return await self._asker.once(name, fn)
