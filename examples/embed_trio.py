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
        self.changed = trio.Condition()

    async def brew(self) -> None:
        while True:
            await trio.sleep(0.1)
            async with self.changed:
                self.kettles += 1
                self.changed.notify_all()


brewery = Brewery()


@server.tool
async def watch(kettles: int, ctx: Context) -> str:
    """Watch so many kettles being filled. Trio's own primitives work in here."""
    first = brewery.kettles
    for number in range(1, kettles + 1):
        async with brewery.changed:
            while brewery.kettles < first + number:
                await brewery.changed.wait()
        await ctx.progress(number, total=kettles)
    return f"{kettles} kettles more"


async def visit(url: str) -> None:
    async def show(progress: float, total: float | None, message: str | None) -> None:
        print(f"the client hears: {progress:g} of {total:g}")

    async with Client(url) as client:
        result = await client.call_tool("watch", {"kettles": 3}, on_progress=show)
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
