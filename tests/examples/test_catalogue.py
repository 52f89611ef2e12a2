"""examples/catalogue.py: what a framework dispatches by hand looks to a client like any other server."""

from typing import Any

import anyio
import pytest

from mcpcore import Client, PeerError
from mcpcore.types import ListToolsResult, PaginatedRequestParams

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_its_own_pages_checks_and_results(served: Any, transport: str) -> None:
    with served("catalogue.py", transport) as target, anyio.fail_after(30):
        for era in ("modern", "legacy"):
            async with Client(target, era=era) as client:
                await exercise(client)


async def exercise(client: Client) -> None:
    page: ListToolsResult = await client.request("tools/list", PaginatedRequestParams())
    assert ([tool.name for tool in page.tools], page.next_cursor) == (["math.sum", "text.reverse"], "text.upper")
    tools = {tool.name: tool for tool in await client.list_tools()}
    assert list(tools) == ["math.sum", "text.reverse", "text.upper"]
    assert tools["math.sum"].description == "The sum of some numbers, with progress for each."
    assert tools["math.sum"].input_schema == {
        "type": "object",
        "properties": {"values": {"type": "array", "items": {"type": "number"}}},
        "required": ["values"],
        "additionalProperties": False,
    }
    seen: list[Any] = []

    async def show(*progress: Any) -> None:
        seen.append(progress)

    result = await client.call_tool("math.sum", {"values": [1, 2, 3.5]}, on_progress=show)
    assert (result.content[0].text, result.structured_content) == ("6.5", {"result": 6.5})
    assert seen == [(1, 3, "1"), (2, 3, "3"), (3, 3, "6.5")]
    for arguments, text in (
        ({}, "math.sum: the arguments are values"),
        ({"values": ["x"]}, "math.sum: Expected `float`, got `str` - at `$[0]`"),
    ):
        result = await client.call_tool("math.sum", arguments)
        assert (result.is_error, result.content[0].text) == (True, text)
    with pytest.raises(PeerError, match="there is no command 'math\\.product'"):
        await client.call_tool("math.product")
    with pytest.raises(PeerError, match="there is no page 'x'"):
        await client.request("tools/list", PaginatedRequestParams(cursor="x"))
