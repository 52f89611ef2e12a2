"""examples/embed_fastapi.py under hypercorn: routes, events and MCP of both generations, with one state behind them."""

import json
import urllib.request
from typing import Any

import anyio
import pytest
from anyio import to_thread
from cli.program import LIMIT_SECONDS

from mcpcore import Client

pytestmark = pytest.mark.anyio


def post_order(origin: str, item: str) -> Any:
    request = urllib.request.Request(
        f"{origin}/orders", json.dumps({"item": item}).encode(), {"content-type": "application/json"}
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=LIMIT_SECONDS) as answer:
        return json.load(answer)


def read_events(origin: str, count: int) -> list[Any]:
    """So many events from the start, and then the connection is dropped."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{origin}/events", timeout=LIMIT_SECONDS) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        found = []
        while len(found) < count:
            line = answer.readline().decode()
            if line.startswith("data: "):
                found.append(json.loads(line.removeprefix("data: ")))
        return found


async def test_routes_events_and_mcp_side_by_side(hosted: Any) -> None:
    with hosted("embed_fastapi.py") as origin, anyio.fail_after(LIMIT_SECONDS):
        events: list[Any] = []

        async def listen() -> None:
            events.extend(await to_thread.run_sync(read_events, origin, 4))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(listen)
            assert await to_thread.run_sync(post_order, origin, "tea") == {"number": 1}
            async with Client(f"{origin}/tools/mcp", era="modern") as new, Client(f"{origin}/tools/sse") as old:
                assert (str(new.revision), str(old.revision)) == ("2026-07-28", "2025-11-25")
                async with new.listen(resources=["orders://all"]) as changes:
                    for number, (client, item) in enumerate(((new, "coffee"), (old, "milk")), 2):
                        result = await client.call_tool("order", {"item": item})
                        assert result.structured_content == {"result": number}
                        assert (await anext(changes)).uri == "orders://all"
                    # An ordinary route tells the subscribers too.
                    assert await to_thread.run_sync(post_order, origin, "sugar") == {"number": 4}
                    assert (await anext(changes)).uri == "orders://all"
                read = await old.read_resource("orders://all")
                assert json.loads(read.contents[0].text) == ["tea", "coffee", "milk", "sugar"]
        items = enumerate(("tea", "coffee", "milk", "sugar"), 1)
        assert events == [{"number": number, "item": item} for number, item in items]
