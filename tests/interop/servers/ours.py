"""A server of this library that offers one of everything, for the official SDK's client: `ours.py BACKEND`."""

import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

import anyio

from mcpcore import Context, Server, ToolError

server = Server("ours", version="1.2.3", instructions="Use it gently.", page_size=4)
events: dict[str, anyio.Event] = {}


@dataclass
class City:
    name: str


def event(name: str) -> anyio.Event:
    return events.setdefault(name, anyio.Event())


@server.tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool
async def count(upto: int, ctx: Context) -> dict[str, int]:
    for step in range(1, upto + 1):
        await ctx.progress(step, total=upto, message=f"step {step}")
        await ctx.info(f"did {step}")
    return {"counted": upto}


@server.tool
async def tail(lines: int) -> AsyncIterator[str]:
    for line in range(lines):
        yield f"line {line}"


@server.tool
async def refuse() -> str:
    raise ToolError("the disk is full")


@server.tool
async def crash() -> str:
    raise RuntimeError("dsn=postgres://secret")


@server.tool
async def hang() -> str:
    """Runs until it is cancelled, and says so through `await_event`."""
    event("hanging").set()
    try:
        await anyio.sleep_forever()
    finally:
        event("cancelled").set()
    raise AssertionError


@server.tool
async def forget() -> str:
    """Every event is one that has not happened yet."""
    events.clear()
    return "forgotten"


@server.tool
async def await_event(name: str) -> str:
    await event(name).wait()
    return name


@server.tool
async def ask(ctx: Context) -> str:
    city = await ctx.elicit("Which city?", City)
    if city.content is None:
        return city.action
    second = await ctx.elicit(f"And after {city.content.name}?", City)
    return f"{city.content.name}, {second.content.name if second.content else second.action}"


@server.tool
async def think(ctx: Context) -> str:
    return await ctx.sample("What is the answer?", max_tokens=10)


@server.tool
async def where(ctx: Context) -> list[str]:
    return [str(root.uri) for root in await ctx.list_roots()]


@server.tool
async def grow() -> str:
    """Changes the list of tools."""
    server.tool(name="grown")(add)
    return "grown"


@server.tool
async def shrink() -> str:
    server.remove_tool("grown")
    return "shrunk"


@server.tool
async def touch() -> str:
    await server.notify_resource_updated("config://app")
    return "touched"


@server.resource("config://app", ttl_ms=0)
def config() -> dict[str, int]:
    return {"port": 80}


@server.resource("blob://logo")
def logo() -> bytes:
    return b"\x89PNG"


@server.resource("note://{name}")
async def note(name: str) -> str:
    return f"about {name}"


@server.prompt
def greet(who: str) -> str:
    """Greet somebody."""
    return f"Hello {who}"


@server.completion("greet", "who")
def complete_who(value: str) -> list[str]:
    return [name for name in ("ann", "anton", "bob") if name.startswith(value)]


if __name__ == "__main__":
    server.run("stdio", backend=sys.argv[1])
