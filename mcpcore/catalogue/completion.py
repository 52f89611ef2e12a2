"""Completion of one argument of a prompt or of a resource template."""

import inspect
from collections.abc import Callable
from typing import Any

from mcpcore.catalogue.handler import Handler
from mcpcore.context import Context
from mcpcore.errors import SchemaError
from mcpcore.threads import ThreadLimiter
from mcpcore.types import CompleteResult, Completion

__all__ = ("MAX_VALUES", "ServedCompletion")

MAX_VALUES = 100
"""Values in one answer (MCP, Completion: at most 100)."""


class ServedCompletion:
    """A function from what the user typed to what it may become.

    It takes the typed text, optionally the arguments settled so far (a dict), optionally a `Context`, and
    returns strings, a `Completion` or a `CompleteResult`.
    """

    __slots__ = ("_handler", "_settled", "_typed")

    def __init__(self, fn: Callable[..., Any], *, inline: bool = False, timeout: float | None = None) -> None:
        injected: str | None = None
        others: list[str] = []
        for parameter in inspect.signature(fn, eval_str=True).parameters.values():
            if parameter.annotation is Context:
                injected = parameter.name
            else:
                others.append(parameter.name)
        if not 1 <= len(others) <= 2:
            raise SchemaError("a completion takes the typed text and, if wanted, the arguments settled so far")
        self._typed = others[0]
        self._settled = others[1] if len(others) == 2 else None
        name = getattr(fn, "__name__", "completion")
        self._handler = Handler(fn, name, injected=injected, inline=inline, timeout=timeout)

    async def complete(
        self, context: Context, threads: ThreadLimiter, typed: str, settled: dict[str, str] | None
    ) -> CompleteResult:
        arguments: dict[str, Any] = {self._typed: typed}
        if self._settled is not None:
            arguments[self._settled] = settled or {}
        returned = await self._handler(context, threads, arguments)
        if isinstance(returned, CompleteResult):
            return returned
        if isinstance(returned, Completion):
            return CompleteResult(completion=returned)
        values: list[str] = list(returned or ())
        more = len(values) > MAX_VALUES
        return CompleteResult(
            completion=Completion(values=values[:MAX_VALUES], total=len(values), has_more=more or None)
        )
