"""This library's server for test_comparison.py: `compared_ours.py stdio|http BACKEND`."""

import sys
from functools import partial
from typing import Any

import anyio
from compared import PAGE, URI, add, block, hold, lifespan_of, release, say

from mcpcore import Context, Server


def server_of(name: str, **options: Any) -> Server:
    server = Server(name, lifespan=lifespan_of(name), page_size=PAGE, **options)

    @server.resource(URI)
    async def watched() -> str:
        return "seen"

    @server.tool
    async def publish() -> str:
        await server.notify_resource_updated(URI)
        return "published"

    @server.tool
    async def step(ctx: Context) -> str:
        await ctx.progress(1)
        return "stepped"

    for tool in (add, block, hold, release):
        server.tool(tool)
    return server


async def serve_all() -> None:
    async with anyio.create_task_group() as tasks:

        async def listen(name: str, transport: str, eras: dict[str, Any], *, task_status: Any, **options: Any) -> None:
            serve = server_of(name, **eras).serve
            await serve(transport, port=0, task_status=task_status, **options)  # type: ignore[arg-type]

        for name, transport, eras, options in (
            ("json", "http", {}, {"json_response": True, "metrics": True}),
            ("both", "http,sse", {}, {}),
            ("modern", "http", {"eras": ["modern"]}, {}),
        ):
            found = await tasks.start(partial(listen, name, transport, eras, **options))
            url = found if isinstance(found, str) else found[0]
            port = url.split(":")[2].split("/")[0]
            for alias in {"both": ("http", "sse")}.get(name, (name,)):
                say(f"{alias} listens at {port}")


if __name__ == "__main__":
    how, backend = sys.argv[1:]
    if how == "stdio":
        server_of("stdio").run("stdio", backend=backend)
    else:
        anyio.run(serve_all, backend=backend)
