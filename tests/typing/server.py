"""What type checkers make of a server: decorators leave functions as they are. Checked, never run."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, assert_type

from mcpcore import Context, Era, InvalidParams, Limits, Revision, Server, ToolError, serve
from mcpcore.middleware import Next, Outgoing, Send
from mcpcore.server import ServerStatistics
from mcpcore.session import SessionStatistics
from mcpcore.types import (
    CallToolResult,
    EmptyResult,
    Icon,
    PromptMessage,
    ServerCapabilities,
    TextContent,
    ToolAnnotations,
)


@asynccontextmanager
async def open_database(server: Server) -> AsyncIterator[dict[str, int]]:
    assert_type(server, Server)
    yield {}


server = Server(
    "typed",
    version="1",
    title="Typed",
    instructions="None.",
    icons=[Icon(src="https://example.com/icon.png")],
    lifespan=open_database,
    backend="trio",
    eras=[Era.MODERN, Era.LEGACY],
    log_level="warning",
    limits=Limits(max_running=10),
    state_keys=[b"0" * 32],
)


@server.tool
async def bare(path: str, ctx: Context) -> dict[str, int]:
    return {path: 1}


@server.tool()
async def called(count: int = 3) -> None: ...


@server.tool(
    name="n",
    title="t",
    description="d",
    annotations=ToolAnnotations(read_only_hint=True),
    meta={"com.example/a": 1},
    output_schema={"type": "object"},
    timeout=1.5,
    inline=True,
)
def plain(count: int) -> str:
    return "x" * count


@server.tool
async def streaming(count: int) -> AsyncIterator[str]:
    yield "line"


@server.tool(input_schema={"type": "object"})
async def raw(arguments: dict[str, Any], ctx: Context) -> CallToolResult:
    return CallToolResult(content=[TextContent(text="x")])


@server.resource("config://app", mime_type="text/plain", ttl_ms=1000, cache_scope="public")
async def config() -> str:
    return ""


@server.resource("file:///{name}", allow_traversal=True)
def file(name: str) -> bytes:
    return name.encode()


@server.prompt
def bare_prompt(who: str) -> str:
    return who


@server.prompt(title="t")
async def titled_prompt(who: str, ctx: Context) -> list[PromptMessage]:
    return [PromptMessage(role="user", content=TextContent(text=who))]


@server.completion("bare_prompt", "who")
async def names(value: str) -> list[str]:
    return [value]


@server.method("com.example/echo", capabilities={"experimental": {"echo": {}}})
async def echo(context: Context, params: Any) -> dict[str, Any]:
    return {}


@server.notification("notifications/roots/list_changed")
async def roots_changed(params: Any) -> None: ...


async def timed(context: Context, call_next: Next) -> Any:
    assert_type(context.params.meta, dict[str, Any] | None)
    return await call_next(context)


async def quiet(outgoing: Outgoing, send: Send) -> Any:
    assert_type(outgoing.method, str)
    return await send(outgoing)


async def decorators_keep_the_function(ctx: Context) -> None:
    assert_type(await bare("x", ctx), dict[str, int])
    assert_type(await called(1), None)
    assert_type(plain(2), str)
    assert_type(streaming(1), AsyncIterator[str])
    assert_type(await raw({}, ctx), CallToolResult)
    assert_type(await config(), str)
    assert_type(file("x"), bytes)
    assert_type(bare_prompt("x"), str)
    assert_type(await titled_prompt("x", ctx), list[PromptMessage])
    assert_type(await names("x"), list[str])
    await bare(1, ctx)  # type: ignore[arg-type]


async def what_a_server_does() -> None:
    assert_type(await server.notify_resource_updated("config://app"), None)
    assert_type(await server.serve("http", port=0), None)
    assert_type(await serve(server, "stdio", grace=1.0), None)
    assert_type(server.statistics(), ServerStatistics)
    assert_type(server.session_statistics(), list[SessionStatistics])
    assert_type(server.capabilities(), ServerCapabilities)
    server.remove_tool("n")
    server.stop(1.0)
    server.run("stdio")
    async with server.running():
        pass
    Server("with middleware", inbound=[timed], outbound=[quiet])


def what_goes_wrong() -> None:
    assert_type(InvalidParams("no", {"a": 1}).code, int)
    assert_type(Revision.parse("x"), Revision | None)
    assert_type(Revision.R2025_11_25.era, Era)
    raise ToolError("no")


def wrong_use_is_refused() -> None:
    """Each line must be an error: a checker that is told to ignore one that is none complains."""
    Server()  # type: ignore[call-arg]
    Server("x", backend="curio")  # type: ignore[arg-type]
    Server("x", log_level="loud")  # type: ignore[arg-type]
    server.tool(nmae="x")  # type: ignore[call-overload]
    server.resource(name="x")  # type: ignore[call-arg]
    EmptyResult(unheard=1)  # type: ignore[call-arg]
