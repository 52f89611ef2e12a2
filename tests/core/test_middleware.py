"""Middleware as functions: the order, what may be changed, and what is passed on. Whole servers: test_dispatch.py."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from mcpcore.asking import Asker
from mcpcore.context import Context
from mcpcore.middleware import Inbound, Next, Outbound, OutboundAsker, Outgoing, Send, inward, outward

pytestmark = pytest.mark.anyio


class Request:
    """As much of a context as middleware passes on."""

    def __init__(self, params: Any) -> None:
        self.params = params


def context(params: Any = None) -> Context:
    return cast(Context, Request(params))


async def handler(context: Context, params: Any) -> Any:
    return f"result for {params}"


# ---------------------------------------------------------------------- inbound


async def test_without_middleware_the_handler_gets_the_context_and_its_parameters() -> None:
    seen: list[Any] = []

    async def handler(context: Context, params: Any) -> Any:
        seen.append((context, params))
        return "result"

    request = context("params")
    assert await inward([], request, handler) == "result"
    assert seen == [(request, "params")]


async def test_the_first_is_outermost() -> None:
    order: list[str] = []

    def named(name: str) -> Inbound:
        async def middleware(context: Context, call_next: Next) -> Any:
            order.append(f"{name} in")
            result = await call_next(context)
            order.append(f"{name} out")
            return f"{name}({result})"

        return middleware

    assert await inward([named("a"), named("b"), named("c")], context(1), handler) == "a(b(c(result for 1)))"
    assert order == ["a in", "b in", "c in", "c out", "b out", "a out"]


async def test_another_context_brings_its_own_parameters() -> None:
    async def replace(_: Context, call_next: Next) -> Any:
        return await call_next(context("replaced"))

    assert await inward([replace], context("original"), handler) == "result for replaced"


async def test_what_is_not_called_does_not_run() -> None:
    async def refuse(context: Context, call_next: Next) -> Any:
        return "refused"

    async def unreachable(context: Context, call_next: Next) -> Any:
        raise AssertionError("the middleware before this one did not go on")

    assert await inward([refuse, unreachable], context(), handler) == "refused"


async def test_the_rest_may_be_called_again() -> None:
    calls: list[int] = []

    async def again(context: Context, call_next: Next) -> Any:
        try:
            return await call_next(context)
        except LookupError:
            return await call_next(context)

    async def handler(context: Context, params: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise LookupError
        return "second"

    assert await inward([again], context(), handler) == "second"


# ---------------------------------------------------------------------- outbound


async def test_what_is_sent_goes_through_the_first_first() -> None:
    order: list[str] = []

    def named(name: str) -> Outbound:
        async def middleware(outgoing: Outgoing, send: Send) -> Any:
            order.append(name)
            return f"{name}({await send(Outgoing(outgoing.method, f'{outgoing.params}{name}', outgoing.context))})"

        return middleware

    async def send(outgoing: Outgoing) -> Any:
        return f"sent {outgoing.method} {outgoing.params}"

    outgoing = Outgoing("m", "", context())
    assert await outward([named("a"), named("b")], outgoing, send) == "a(b(sent m ab))"
    assert order == ["a", "b"]
    assert await outward([], outgoing, send) == "sent m "


class Recorded(Asker):
    """Answers every question with what was asked."""

    async def ask(self, method: str, params: Any, key: str | None = None) -> Any:
        return (method, params, key)

    async def once(self, name: str, fn: Callable[[], Awaitable[Any]]) -> Any:
        return (name, await fn())


async def test_a_question_goes_through_with_its_key_and_comes_back() -> None:
    request, seen = context(), []

    async def rewrite(outgoing: Outgoing, send: Send) -> Any:
        seen.append((outgoing.method, outgoing.params, outgoing.context))
        return await send(Outgoing(outgoing.method, "changed", outgoing.context))

    asker = OutboundAsker(Recorded(), [rewrite], request)
    assert await asker.ask("roots/list", "params", "key") == ("roots/list", "changed", "key")
    assert seen == [("roots/list", "params", request)]


async def test_what_is_done_once_is_not_sent() -> None:
    async def unreachable(outgoing: Outgoing, send: Send) -> Any:
        raise AssertionError("nothing is sent")

    async def work() -> int:
        return 7

    assert await OutboundAsker(Recorded(), [unreachable], context()).once("work", work) == ("work", 7)
