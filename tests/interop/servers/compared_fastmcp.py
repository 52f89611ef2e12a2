"""FastMCP's server for test_comparison.py: `compared_fastmcp.py stdio|http`."""

import sys

import anyio
from compared import PAGE, URI, add, block, hold, lifespan_of, release, serve_apps
from fastmcp import Context, FastMCP


def server_of(name: str) -> FastMCP:
    server = FastMCP(name, lifespan=lifespan_of(name), list_page_size=PAGE)

    @server.resource(URI)
    async def watched() -> str:
        return "seen"

    @server.tool
    async def step(ctx: Context) -> str:
        await ctx.report_progress(1)
        return "stepped"

    for tool in (add, block, hold, release):
        server.tool(tool)
    return server


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        server_of("stdio").run(show_banner=False)
    else:
        apps = {
            "json": server_of("json").http_app(json_response=True),
            "http": server_of("http").http_app(),
            "sse": server_of("sse").http_app(transport="sse"),
        }
        anyio.run(serve_apps, apps)
