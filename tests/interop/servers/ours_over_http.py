"""The same server over Streamable HTTP and HTTP+SSE on one free port: `ours_over_http.py BACKEND [QUIET_SECONDS]`.

QUIET_SECONDS is after how long a silent event stream sends a keep-alive comment.
"""

import os
import sys

import anyio
from ours import City, event, server

from mcpcore import Context
from mcpcore_transports.web.limits import QUIET_SECONDS, HttpLimits


@server.tool
async def process() -> int:
    """The process that answers."""
    return os.getpid()


@server.tool
async def hold(name: str, steps: int, ctx: Context) -> str:
    """Reports each step, and takes the next one when `release` is called for it in the same process."""
    for step in range(1, steps + 1):
        await ctx.progress(step, total=steps, message=f"step {step}")
        await event(f"released {name} {step}").wait()
    return "held"


@server.tool
async def release(name: str, step: int) -> str:
    event(f"released {name} {step}").set()
    return "released"


@server.tool
async def hang_as(name: str) -> str:
    """Like `hang`, with events of its own for each caller: "hanging NAME" and "cancelled NAME"."""
    event(f"hanging {name}").set()
    try:
        await anyio.sleep_forever()
    finally:
        event(f"cancelled {name}").set()
    raise AssertionError


@server.tool
async def travel(ctx: Context) -> list[int]:
    """The processes that asked the question and that got the answer."""

    async def here() -> int:
        return os.getpid()

    asked = await ctx.once("asked", here)
    await ctx.elicit("Which city?", City)
    return [asked, os.getpid()]


if __name__ == "__main__":
    backend, quiet = (*sys.argv[1:], QUIET_SECONDS)[:2]
    server.run("http,sse", port=0, backend=backend, limits=HttpLimits(quiet_seconds=float(quiet)))
