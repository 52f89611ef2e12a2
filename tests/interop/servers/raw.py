"""A server for hosts that write raw lines: `raw.py BACKEND [GRACE]`.

The environment variable LIFESPAN names a file that "up" and "down" are written to, GATE a named pipe that `gate` waits
for.
"""

import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from mcpcore import Server


@asynccontextmanager
async def lifespan(server: Server) -> AsyncIterator[None]:
    note("up")
    try:
        yield
    finally:
        note("down")


def note(word: str) -> None:
    if path := os.environ.get("LIFESPAN"):
        with open(path, "a") as file:
            file.write(f"{word}\n")


server = Server("raw", lifespan=lifespan)


@server.tool(inline=True)
def add(a: int, b: int) -> int:
    return a + b


@server.tool
async def gate() -> str:
    """Waits until somebody has opened the named pipe for writing."""
    fd = os.open(os.environ["GATE"], os.O_RDONLY | os.O_NONBLOCK)
    try:
        await anyio.wait_readable(fd)
    finally:
        os.close(fd)
    return "through"


@server.tool
async def hang() -> str:
    print("hanging", file=sys.stderr, flush=True)
    try:
        await anyio.sleep_forever()
    finally:
        print("cancelled", file=sys.stderr, flush=True)
    raise AssertionError


@server.tool
def chatter() -> str:
    """Does everything that puts other text on descriptor 1 and takes bytes from descriptor 0."""
    print("stray print", flush=True)
    os.write(1, b"stray write\n")
    subprocess.run(["echo", "stray child"], check=True)
    eaten = subprocess.run(["cat"], check=True, capture_output=True).stdout
    return f"a child read {len(eaten)} bytes"


@server.tool(inline=True)
def big(size: int) -> str:
    return "x" * size


@server.tool(inline=True)
def say(word: str) -> str:
    print(word, file=sys.stderr, flush=True)
    return word


@server.tool(inline=True)
def die() -> None:
    print("the last words", file=sys.stderr, flush=True)
    os._exit(7)


@server.tool(inline=True)
def log(size: int) -> int:
    """Logs so many bytes, a line at a time, as the library itself logs."""
    logger = logging.getLogger("raw")
    line = "x" * 1023
    for _ in range(size // 1024):
        logger.warning(line)
    return size


if __name__ == "__main__":
    try:
        server.run("stdio", backend=sys.argv[1], grace=float(sys.argv[2]) if len(sys.argv) > 2 else 5.0)
    except KeyboardInterrupt:
        sys.exit(130)
