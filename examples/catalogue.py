"""A catalogue of your own on the low-level layer: names, schemas and results are yours, the protocol is ours.

mcpcore list examples/catalogue.py                      what the functions below became, two to a page
mcpcore call examples/catalogue.py text.upper text=hi   HI
mcpcore call examples/catalogue.py math.sum 'values=[1, 2, 3.5]'   6.5, after progress
mcpcore run examples/catalogue.py --transport http      over HTTP; without the flag over stdio

For authors of frameworks that bring their own way of declaring tools: `Server.method` answers a method of the protocol
by hand, with the protocol's own types. Sessions, both eras, cancellation, progress and limits stay what they are.
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from mcpcore import Context, InvalidParams, Server
from mcpcore.types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
)

PAGE = 2
SCHEMAS: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    list[float]: {"type": "array", "items": {"type": "number"}},
}
Command = Callable[..., Awaitable[Any]]
commands: dict[str, Command] = {}
server = Server("catalogue", version="1.0")


def command(name: str) -> Callable[[Command], Command]:
    """The framework's own way to declare something: a dotted name, and parameters with a type from `SCHEMAS`."""

    def register(fn: Command) -> Command:
        commands[name] = fn
        return fn

    return register


def described(name: str) -> Tool:
    parameters = inspect.signature(commands[name]).parameters
    properties = {each.name: SCHEMAS[each.annotation] for each in parameters.values() if each.annotation in SCHEMAS}
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return Tool(name=name, description=inspect.getdoc(commands[name]), input_schema=schema)


@server.method("tools/list", capabilities={"tools": {}})
async def list_tools(ctx: Context, params: PaginatedRequestParams) -> ListToolsResult:
    """The cursor is ours to choose: here it is the name that the next page begins with."""
    names = sorted(commands)
    if params.cursor is not None and params.cursor not in names:
        raise InvalidParams(f"there is no page {params.cursor!r}")
    start = names.index(params.cursor) if params.cursor else 0
    rest = names[start + PAGE :]
    page = [described(name) for name in names[start : start + PAGE]]
    return ListToolsResult(tools=page, next_cursor=rest[0] if rest else None)


def checked(fn: Command, given: Any) -> dict[str, Any]:
    """The arguments as the function wants them. They arrive as the JSON that was sent, or in memory as a dict."""
    found = msgspec.json.decode(given or b"{}") if isinstance(given, msgspec.Raw) else given or {}
    wanted = {each.name: each.annotation for each in inspect.signature(fn).parameters.values()}
    del wanted["ctx"]
    if not isinstance(found, dict) or found.keys() != wanted.keys():
        raise ValueError(f"the arguments are {', '.join(wanted)}")
    return {name: msgspec.convert(value, wanted[name]) for name, value in found.items()}


@server.method("tools/call")
async def call_tool(ctx: Context, params: CallToolRequestParams) -> CallToolResult:
    if params.name not in commands:
        raise InvalidParams(f"there is no command {params.name!r}")
    fn = commands[params.name]
    try:
        arguments = checked(fn, params.arguments)
    except ValueError as wrong:  # for the model to read, and to do better
        return CallToolResult(content=[TextContent(text=f"{params.name}: {wrong}")], is_error=True)
    found = await fn(ctx, **arguments)
    return CallToolResult(content=[TextContent(text=str(found))], structured_content={"result": found})


@command("text.upper")
async def upper(ctx: Context, text: str) -> str:
    """A text in capital letters."""
    return text.upper()


@command("text.reverse")
async def reverse(ctx: Context, text: str) -> str:
    """A text from its end to its beginning."""
    return text[::-1]


@command("math.sum")
async def add(ctx: Context, values: list[float]) -> float:
    """The sum of some numbers, with progress for each."""
    total = 0.0
    for number, value in enumerate(values, 1):
        total += value
        await ctx.progress(number, total=len(values), message=f"{total:g}")
    return total


if __name__ == "__main__":
    server.run()
