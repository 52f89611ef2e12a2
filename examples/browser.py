"""A page that calls a tool and shows its progress live, served by the process that serves the tool.

hypercorn examples/browser.py:app          then open http://127.0.0.1:8000/ in a browser
hypercorn -k trio examples/browser.py:app  the same on trio

You will see a bar that grows with each loaf, "Stop" ending the tool on the server, and the same bar fed by the old
HTTP+SSE endpoint through the browser's own EventSource. The page is `browser.html`: no library, no build.

Pages of this machine may call; others only when MCPCORE_ALLOW_ORIGIN names their origin (several with commas). Put
such a page anywhere and open it with `?server=http://127.0.0.1:8000`.
"""

import os
from pathlib import Path
from typing import Annotated, Any

import anyio
import msgspec

from mcpcore import Context, Server
from mcpcore_transports.http import asgi_app

PAGE = Path(__file__).with_suffix(".html").read_bytes()
HEADERS = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", b"%d" % len(PAGE))]
ORIGINS = [origin for origin in os.environ.get("MCPCORE_ALLOW_ORIGIN", "").split(",") if origin]
SECONDS = 0.2  # for one loaf

server = Server("bakery", version="1.0")
mcp = asgi_app(server, path="/mcp", sse_path="/sse", allow_origins=ORIGINS)
ovens = 0


@server.tool
async def bake(loaves: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)], ctx: Context) -> str:
    """Bake some loaves of bread, reporting each."""
    global ovens
    ovens += 1
    try:
        for number in range(1, loaves + 1):
            await anyio.sleep(SECONDS)
            await ctx.progress(number, total=loaves, message=f"loaf {number}")
        return f"{loaves} loaves are baked"
    finally:
        ovens -= 1


@server.tool
async def ovens_in_use() -> int:
    """How many calls of `bake` are running."""
    return ovens


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The page at /, and all the rest to MCP. In FastAPI or Starlette this is a route and a mount."""
    if scope["type"] == "http" and scope["path"] == "/":
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        await send({"type": "http.response.body", "body": PAGE})
    else:
        await mcp(scope, receive, send)
