"""MCP inside a FastAPI application, next to ordinary routes and a plain stream of server-sent events.

pip install fastapi && hypercorn examples/embed_fastapi.py:app      on asyncio; `hypercorn -k trio …` on trio
curl http://127.0.0.1:8000/orders -H 'content-type: application/json' -d '{"item": "tea"}'    an ordinary route
curl -N http://127.0.0.1:8000/events                                                          each order as it comes in
mcpcore call http://127.0.0.1:8000/tools/mcp order item=coffee                                the same by MCP
mcpcore list http://127.0.0.1:8000/tools/sse                                                  for clients of 2024

You will see each order in the events, whichever way it came in. Nothing is wired up but the last line: the mounted
application needs no lifespan of its own, and with Starlette that line is `Mount("/tools", asgi_app(server, …))`.
"""

from collections.abc import AsyncIterator

import anyio
import msgspec
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from mcpcore import Server
from mcpcore_transports.http import asgi_app

orders: list[str] = []
changed = anyio.Condition()
server = Server("orders", version="1.0")
app = FastAPI()


async def take(item: str) -> int:
    """Add an order, and tell whoever waits for one: the readers of /events, and the subscribers of orders://all."""
    async with changed:
        orders.append(item)
        changed.notify_all()
    await server.notify_resource_updated("orders://all")
    return len(orders)


class Order(BaseModel):
    item: str


@app.post("/orders")
async def post_order(order: Order) -> dict[str, int]:
    return {"number": await take(order.item)}


@app.get("/events")
async def events() -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        sent = 0
        while True:
            async with changed:
                while sent == len(orders):
                    await changed.wait()
            yield f"data: {msgspec.json.encode({'number': sent + 1, 'item': orders[sent]}).decode()}\n\n"
            sent += 1

    return StreamingResponse(lines(), media_type="text/event-stream")


@server.tool(name="order")
async def order_tool(item: str) -> int:
    """Order something. Returns the number of the order."""
    return await take(item)


@server.resource("orders://all", mime_type="application/json")
async def all_orders() -> list[str]:
    """What has been ordered so far."""
    return orders


app.mount("/tools", asgi_app(server, sse_path="/sse"))
