"""FastMCP's server. `fastmcp_server.py [--port N] [--json]`: over stdio without a port."""

import argparse
import os
import time

import anyio
from fastmcp import Context, FastMCP

server = FastMCP("benchmark", version="1")

SAID = os.environ.get("BENCHMARK_REPORT_FD")


def say() -> None:
    if SAID is not None:
        os.write(int(SAID), f"{time.monotonic_ns()}\n".encode())


@server.tool
async def echo(text: str) -> str:
    return text


@server.tool
async def count(upto: int, ctx: Context) -> int:
    for number in range(1, upto + 1):
        await ctx.report_progress(number, upto)
    return upto


@server.tool
async def hang(ctx: Context) -> str:
    await ctx.report_progress(0)
    say()
    try:
        await anyio.sleep(60)
    finally:
        say()
    return "was not cancelled"


@server.tool
async def hang_quietly() -> str:
    say()
    try:
        await anyio.sleep(60)
    finally:
        say()
    return "was not cancelled"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.port is None:
        server.run(show_banner=False, log_level="ERROR")
    else:
        server.run(
            "http",
            host="127.0.0.1",
            port=options.port,
            path="/mcp",
            show_banner=False,
            log_level="ERROR",
            json_response=options.json,
        )
