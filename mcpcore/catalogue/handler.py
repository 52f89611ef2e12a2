"""How a function of the application is run: awaited, iterated, or in a worker thread."""

import inspect
from collections.abc import Callable
from functools import partial
from types import CoroutineType
from typing import Any

import anyio

from mcpcore.context import Context
from mcpcore.errors import LocalProtocolError
from mcpcore.threads import ThreadLimiter

__all__ = ("Handler", "HandlerTimeout")


class HandlerTimeout(Exception):
    """A handler did not return within the time its author gave it. The text has the seconds."""


class Handler:
    """One function of the application.

    A plain function runs in a worker thread, so that one which blocks holds up nobody else; `inline=True` runs it
    on the event loop, which is faster for one that never blocks. `timeout` is in seconds; None for no limit.
    """

    __slots__ = ("fn", "injected", "name", "streaming", "threaded", "timeout")

    def __init__(
        self, fn: Callable[..., Any], name: str, *, injected: str | None, inline: bool, timeout: float | None
    ) -> None:
        if timeout is not None and timeout <= 0:
            raise LocalProtocolError(f"timeout of {name!r} must be more than 0 seconds, or None for no limit")
        target = fn
        while isinstance(target, partial):
            target = target.func
        if not inspect.isroutine(target) and not inspect.isclass(target):
            target = type(target).__call__
        self.fn: Callable[..., Any] = fn
        self.name: str = name
        self.injected: str | None = injected
        self.timeout: float | None = timeout
        self.streaming: bool = inspect.isasyncgenfunction(target)
        self.threaded: bool = not (inline or self.streaming or inspect.iscoroutinefunction(target))

    async def __call__(self, context: Context, threads: ThreadLimiter, arguments: dict[str, Any]) -> Any:
        """What the function returns. An async generator is returned as it is, not started.

        Raises `HandlerTimeout` after `timeout` seconds, and whatever the function raises. When this is cancelled, so
        is the function, except in a thread, which is left to end by itself.
        """
        if self.injected is not None:
            arguments[self.injected] = context
        if self.timeout is None:
            return await self._run(threads, arguments)
        with anyio.move_on_after(self.timeout):
            return await self._run(threads, arguments)
        raise HandlerTimeout(f"{self.timeout:g} seconds")

    async def _run(self, threads: ThreadLimiter, arguments: dict[str, Any]) -> Any:
        if self.threaded:
            result = await threads.run(self.fn, **arguments)
        else:
            result = self.fn(**arguments)
            if isinstance(result, CoroutineType):
                return await result
        # A plain function may well return an awaitable: a lambda around a coroutine function, or a wrapper.
        return await result if inspect.isawaitable(result) else result
