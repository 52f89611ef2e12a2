"""The official SDK's server for test_comparison.py: `compared_official.py stdio|http`."""

import sys

import anyio
from compared import URI, add, block, hold, lifespan_of, release, serve_apps
from mcp.server import MCPServer
from mcp.server.mcpserver import Context


def server_of(name: str) -> MCPServer:
    server = MCPServer(name, lifespan=lifespan_of(name))

    @server.resource(URI)
    async def watched() -> str:
        return "seen"

    @server.tool()
    async def publish(ctx: Context) -> str:
        await ctx.notify_resource_updated(URI)
        return "published"

    @server.tool()
    async def step(ctx: Context) -> str:
        await ctx.report_progress(1)
        return "stepped"

    for tool in (add, block, hold, release):
        server.tool()(tool)
    return server


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server_of("stdio").run()
    else:
        apps = {
            "json": server_of("json").streamable_http_app(json_response=True),
            "http": server_of("http").streamable_http_app(),
            "sse": server_of("sse").sse_app(),
        }
        anyio.run(serve_apps, apps)
