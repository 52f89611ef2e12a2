"""A server made with the official SDK that offers one of everything, for this library's client."""

import warnings
from typing import Annotated, Any

import anyio
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.resolve import Elicit, ListRoots, Resolve, Sample
from mcp_types import (
    Completion,
    CreateMessageResult,
    ListRootsResult,
    SamplingMessage,
    TextContent,
)
from pydantic import BaseModel

warnings.simplefilter("ignore")  # what 2026-07-28 deprecates is offered on purpose

server = MCPServer("official", version="2.3.0", instructions="Mind the gap.", log_level="ERROR")
events: dict[str, anyio.Event] = {}


class City(BaseModel):
    name: str


def event(name: str) -> anyio.Event:
    return events.setdefault(name, anyio.Event())


@server.tool()
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool()
async def count(upto: int, ctx: Context) -> dict[str, int]:
    for step in range(1, upto + 1):
        await ctx.report_progress(step, upto, f"step {step}")
        await ctx.info(f"did {step}")
    return {"counted": upto}


@server.tool()
async def refuse() -> str:
    raise ToolError("the disk is full")


@server.tool()
async def hang() -> str:
    """Runs until it is cancelled, and says so through `await_event`."""
    event("hanging").set()
    try:
        await anyio.sleep_forever()
    finally:
        event("cancelled").set()
    raise AssertionError


@server.tool()
async def forget() -> str:
    """Every event is one that has not happened yet."""
    events.clear()
    return "forgotten"


@server.tool()
async def await_event(name: str) -> str:
    await event(name).wait()
    return name


async def first_city(ctx: Context) -> Elicit[City]:
    return Elicit("Which city?", City)


async def second_city(ctx: Context, first: Annotated[City, Resolve(first_city)]) -> Elicit[City]:
    return Elicit(f"And after {first.name}?", City)


@server.tool()
async def ask(first: Annotated[City, Resolve(first_city)], second: Annotated[City, Resolve(second_city)]) -> str:
    return f"{first.name}, {second.name}"


async def an_answer() -> Sample:
    question = SamplingMessage(role="user", content=TextContent(text="What is the answer?"))
    return Sample([question], max_tokens=10)


@server.tool()
async def think(answer: Annotated[CreateMessageResult, Resolve(an_answer)]) -> str:
    assert isinstance(answer.content, TextContent)
    return answer.content.text


async def the_roots() -> ListRoots:
    return ListRoots()


@server.tool()
async def where(roots: Annotated[ListRootsResult, Resolve(the_roots)]) -> list[str]:
    return [str(root.uri) for root in roots.roots]


@server.tool()
async def grow(ctx: Context) -> str:
    """Changes the list of tools."""
    server.add_tool(add, name="grown")
    await ctx.notify_tools_changed()
    await ctx.session.send_tool_list_changed()
    return "grown"


@server.tool()
async def shrink(ctx: Context) -> str:
    server.remove_tool("grown")
    await ctx.notify_tools_changed()
    await ctx.session.send_tool_list_changed()
    return "shrunk"


@server.tool()
async def touch(ctx: Context) -> str:
    await ctx.notify_resource_updated("config://app")
    return "touched"


@server.resource("config://app", mime_type="application/json")
def config() -> dict[str, int]:
    return {"port": 80}


@server.resource("blob://logo", mime_type="image/png")
def logo() -> bytes:
    return b"\x89PNG"


@server.resource("note://{name}")
async def note(name: str) -> str:
    return f"about {name}"


@server.prompt()
def greet(who: str) -> str:
    """Greet somebody."""
    return f"Hello {who}"


@server.completion()
async def complete(ref: Any, argument: Any, context: Any) -> Completion:
    return Completion(values=[name for name in ("ann", "anton", "bob") if name.startswith(argument.value)])


if __name__ == "__main__":
    server.run("stdio")
