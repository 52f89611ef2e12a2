"""The server of this library that the benchmarks drive, over stdio: `ours_server.py [--backend B]`; `mcpcore run`
serves it over HTTP. The other servers of this folder offer the same tools."""

import argparse
import os
import time

import anyio

from mcpcore import Context, Server

server = Server("benchmark", version="1")

RESOURCE = "bench://value"
SAID = os.environ.get("BENCHMARK_REPORT_FD")


def say() -> None:
    """When this happened, to whoever measures."""
    if SAID is not None:
        os.write(int(SAID), f"{time.monotonic_ns()}\n".encode())


@server.tool
async def echo(text: str) -> str:
    return text


@server.tool
async def count(upto: int, ctx: Context) -> int:
    for number in range(1, upto + 1):
        await ctx.progress(number, upto)
    return upto


@server.tool
async def hang(ctx: Context) -> str:
    """Says when it began and when it was cancelled. One notification makes an event stream of an HTTP answer."""
    await ctx.progress(0)
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


@server.tool
async def touch() -> str:
    say()
    await server.notify_resource_updated(RESOURCE)
    return "touched"


@server.resource(RESOURCE)
async def value() -> str:
    return "1"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--backend", default="asyncio")
    server.run("stdio", backend=parser.parse_args().backend)
