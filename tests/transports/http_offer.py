"""A server that offers one of everything that the HTTP transports can tell apart, and says what its tools have seen."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio

from mcpcore import Context, Server, ToolError

__all__ = ("PATIENCE_SECONDS", "City", "Event", "Offer", "offer")

PATIENCE_SECONDS = 20
"""How long a wait of a test may take. It only bounds a test that fails."""


class Event:
    """An event that is made in the event loop that waits for it."""

    def __init__(self) -> None:
        self._event: anyio.Event | None = None
        self._count = 0

    def set(self) -> None:
        self._count += 1
        if self._event is not None:
            self._event.set()

    @property
    def count(self) -> int:
        return self._count

    async def wait(self) -> None:
        if not self._count:
            self._event = self._event or anyio.Event()
            with anyio.fail_after(PATIENCE_SECONDS):
                await self._event.wait()


@dataclass
class City:
    name: str


class Offer:
    """A server, and what its tools have seen."""

    def __init__(self, **options: Any) -> None:
        self.entered = self.left = 0
        self.hanging = Event()
        self.cancelled = Event()
        self.go = Event()
        self.began = Event()
        self.pulled = 0
        self.wrote = 0
        self.principals: list[str] = []
        self.released: list[bool] = []
        options.setdefault("lifespan", self._lifespan)
        self.server = Server("offer", version="1.0", **options)

    @asynccontextmanager
    async def _lifespan(self, server: Server) -> AsyncIterator[str]:
        self.entered += 1
        try:
            yield "open"
        finally:
            self.left += 1


def offer(**options: Any) -> Offer:
    """One of everything that a transport can tell apart."""
    made = Offer(**options)
    server = made.server

    @server.tool
    async def add(a: int, b: int) -> int:
        return a + b

    @server.tool
    async def count(upto: int, ctx: Context) -> int:
        for step in range(1, upto + 1):
            await ctx.progress(step, total=upto)
        return upto

    @server.tool
    async def hang(ctx: Context, steps: int = 0) -> str:
        """Runs until it is cancelled, after some progress."""
        for step in range(1, steps + 1):
            await ctx.progress(step)
        made.hanging.set()
        try:
            await anyio.sleep_forever()
        finally:
            made.cancelled.set()
        raise AssertionError

    @server.tool
    async def wait(ctx: Context, steps: int = 0) -> str:
        """Waits for the test, with progress before and after."""
        for step in range(1, steps + 1):
            await ctx.progress(step)
        made.began.set()
        await made.go.wait()
        for step in range(steps + 1, 2 * steps + 1):
            await ctx.progress(step)
        return "waited"

    @server.tool
    async def pour(ctx: Context, megabytes: int = 100) -> str:
        """Sends more than any buffer holds."""
        block = "x" * 1_000_000
        try:
            for step in range(1, megabytes + 1):
                await ctx.progress(step, message=block)
                made.pulled = step
                made.began.set()
        finally:
            made.cancelled.set()
        return "poured"

    @server.tool
    async def release(ctx: Context, retry_ms: int = 10) -> str:
        """Lets its connection go before it is done."""
        made.released.append(await ctx.release_connection(retry_ms))
        await made.go.wait()
        return "released"

    @server.tool
    async def ask(ctx: Context) -> str:
        city = await ctx.elicit("Which city?", City)
        return city.action if city.content is None else city.content.name

    @server.tool
    async def who(ctx: Context) -> str:
        who = "nobody" if ctx.principal is None else ctx.principal.subject
        made.principals.append(who)
        return who

    @server.tool(scopes=["files:write"])
    async def write(ctx: Context) -> str:
        """Takes a scope of its own."""
        made.wrote += 1
        return "" if ctx.principal is None else " ".join(sorted(ctx.principal.scopes))

    @server.tool
    async def refuse() -> str:
        raise ToolError("the disk is full")

    @server.tool
    async def crash() -> str:
        raise RuntimeError("dsn=postgres://secret")

    @server.tool(
        input_schema={
            "type": "object",
            "properties": {
                "region": {"type": "string", "x-mcp-header": "Region"},
                "size": {"type": "integer", "x-mcp-header": "Size"},
            },
        }
    )
    async def route(arguments: dict[str, Any]) -> str:
        return json.dumps(arguments, sort_keys=True)

    @server.resource("note://one")
    def note() -> str:
        return "a note"

    @server.prompt
    def greet(who: str) -> str:
        return f"Hello {who}"

    return made
