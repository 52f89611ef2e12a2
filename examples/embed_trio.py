"""MCP inside a Trio program that has a nursery of its own, and ends when the program does.

python examples/embed_trio.py

You will see a brewery that works by itself and serves MCP over HTTP beside that, and what a client hears of it, which
happens to live in the same program. When the nursery is cancelled the server goes with it: it has no signal handler and
no task outside of that nursery.
"""

from functools import partial

import trio

from mcpcore import Client, Context, Server, serve

server = Server("brewery", version="1.0")


class Brewery:
    """What the program is about: it brews whether or not anybody asks."""

    def __init__(self) -> None:
        self.kettles = 0

    async def brew(self) -> None:
        while True:
            await trio.sleep(0.1)
            self.kettles += 1


brewery = Brewery()


@server.tool
async def wait_for(kettles: int, ctx: Context) -> str:
    """Wait until so many kettles are full. Trio's own functions work in here."""
    with trio.move_on_after(60):
        while brewery.kettles < kettles:
            await trio.sleep(0.05)
            await ctx.progress(brewery.kettles, total=kettles)
    return f"{brewery.kettles} kettles"


async def visit(url: str) -> None:
    async def show(progress: float, total: float | None, message: str | None) -> None:
        print(f"the client hears: {progress:g} of {total:g}")

    async with Client(url) as client:
        result = await client.call_tool("wait_for", {"kettles": 3}, on_progress=show)
        print("the client is told:", result.structured_content)


async def main() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(brewery.brew)
        [url] = await nursery.start(partial(serve, server, "http", port=0))  # is back when it listens
        await visit(url)
        nursery.cancel_scope.cancel()
    print("the nursery is empty")


if __name__ == "__main__":
    trio.run(main)
