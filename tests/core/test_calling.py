"""calling: middleware around what a client asks."""

from typing import Any

import msgspec
import pytest

from mcpcore import Client, Context, PeerError, Server
from mcpcore.calling import Ask, Asked, Asking, ask_through
from mcpcore.revisions import Revision

pytestmark = pytest.mark.anyio


async def test_the_first_is_outermost_and_may_change_what_is_asked_and_answered() -> None:
    order: list[str] = []

    def named(name: str) -> Asking:
        async def middleware(asked: Asked, ask: Ask) -> Any:
            order.append(f"{name} in")
            result = await ask(msgspec.structs.replace(asked, params=f"{asked.params} {name}"))
            order.append(f"{name} out")
            return f"{name}({result})"

        return middleware

    async def ask(asked: Asked) -> str:
        return f"answer to {asked.params}"

    asked = Asked("tools/list", "params", 1, Revision.R2026_07_28)
    assert await ask_through([named("a"), named("b")], asked, ask) == "a(b(answer to params a b))"
    assert order == ["a in", "b in", "b out", "a out"]
    assert await ask_through([], asked, ask) == "answer to params"


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_client_sends_what_comes_out_of_it(era: Any) -> None:
    server = Server("meta")
    seen: list[tuple[str, Any]] = []

    @server.tool
    async def meta(ctx: Context) -> dict[str, Any]:
        return dict(ctx.meta)

    async def mark(asked: Asked, ask: Ask) -> Any:
        changed = msgspec.structs.replace(asked.params, meta={**(asked.params.meta or {}), "com.example/mark": 1})
        try:
            result = await ask(msgspec.structs.replace(asked, params=changed))
        except PeerError as error:
            seen.append((asked.method, error.code))
            raise
        seen.append((asked.method, type(result).__name__))
        return result

    async with Client(server, era=era, outbound=[mark]) as client:
        result = await client.call_tool("meta", meta={"com.example/own": 2})
        assert result.structured_content == {"com.example/mark": 1, "com.example/own": 2}
        with pytest.raises(PeerError):
            await client.call_tool("none")
    assert seen == [("tools/call", "CallToolResult"), ("tools/call", -32602)]
