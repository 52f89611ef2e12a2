"""The official SDK's server. `official_server.py [--port N] [--json]`: over stdio without a port."""

import argparse
import os
import time

import anyio
from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("benchmark", version="1", log_level="ERROR")

RESOURCE = "bench://value"
SAID = os.environ.get("BENCHMARK_REPORT_FD")


def say() -> None:
    if SAID is not None:
        os.write(int(SAID), f"{time.monotonic_ns()}\n".encode())


@server.tool()
async def echo(text: str) -> str:
    return text


@server.tool()
async def count(upto: int, ctx: Context) -> int:
    for number in range(1, upto + 1):
        await ctx.report_progress(number, upto)
    return upto


@server.tool()
async def hang(ctx: Context) -> str:
    await ctx.report_progress(0)
    say()
    try:
        await anyio.sleep(60)
    finally:
        say()
    return "was not cancelled"


@server.tool()
async def hang_quietly() -> str:
    say()
    try:
        await anyio.sleep(60)
    finally:
        say()
    return "was not cancelled"


@server.tool()
async def touch(ctx: Context) -> str:
    say()
    await ctx.notify_resource_updated(RESOURCE)
    return "touched"


@server.resource(RESOURCE)
async def value() -> str:
    return "1"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.port is None:
        server.run()
    else:
        server.run("streamable-http", port=options.port, json_response=options.json)
