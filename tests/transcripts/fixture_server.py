"""The servers that the transcripts are replayed against. Deterministic: no clock, no thread, no random text.

`python fixture_server.py NAME BACKEND` serves one of them over stdio.
"""

import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Annotated, Any

import anyio
import msgspec

from mcpcore import Context, InvalidParams, Server, ToolError
from mcpcore.types import (
    Annotations,
    AudioContent,
    EmbeddedResource,
    ImageContent,
    PromptMessage,
    ResourceLink,
    Root,
    TextContent,
    TextResourceContents,
    ToolAnnotations,
)

__all__ = ("SERVERS",)

GRACE_SECONDS = 0.1
"""A transcript that ends with a held tool must not cost the replay the seconds a person would give it."""


@dataclass
class Weather:
    city: str
    degrees: int


@dataclass
class Person:
    name: str
    age: int = 0


@dataclass
class City:
    city: str


def tools() -> Server:
    """Tools without side effects."""
    server = Server("tools", version="1.2.3", title="Tools", instructions="Ask for the weather.")

    @server.tool(title="Weather report", annotations=ToolAnnotations(read_only_hint=True))
    async def weather(city: Annotated[str, msgspec.Meta(description="Where")]) -> Weather:
        """Tell the weather."""
        return Weather(city, 21)

    @server.tool
    async def tags(text: str, limit: int = 2) -> list[str]:
        """Split a text."""
        return text.split()[:limit]

    @server.tool(input_schema={"type": "object", "properties": {"any": True}}, meta={"com.example/kind": "raw"})
    async def raw(arguments: dict[str, Any]):  # type: ignore[no-untyped-def]
        """Return the arguments."""
        return TextContent(text=msgspec.json.encode(arguments, order="sorted").decode())

    return server


def outcomes() -> Server:
    """Tools that end in each of the ways a tool can end."""
    server = Server("outcomes", version="1")

    @server.tool
    async def fail() -> str:
        raise ToolError("the well is dry")

    @server.tool
    async def crash() -> str:
        raise RuntimeError("password=hunter2")

    @server.tool
    async def refuse() -> str:
        raise InvalidParams("not today", {"until": "tomorrow"})

    @server.tool
    async def nothing() -> None:
        pass

    @server.tool
    async def number() -> int:
        return 7

    @server.tool
    async def blocks() -> list[Any]:
        return [
            TextContent(text="a", annotations=Annotations(audience=["user"], last_modified="2026-01-01T00:00:00Z")),
            ImageContent(data=b"png", mime_type="image/png"),
            AudioContent(data=b"wav", mime_type="audio/wav"),
            ResourceLink(uri="file:///a", name="a"),
            EmbeddedResource(resource=TextResourceContents(uri="file:///b", text="b")),
        ]

    @server.tool
    async def tail(count: int) -> AsyncIterator[str]:
        for number in range(count):
            yield f"line {number}"

    return server


def talk() -> Server:
    """Tools that talk while they run."""
    server = Server("talk", version="1", log_level="warning")
    held = {"running": 0, "cancelled": 0}
    performed: list[str] = []

    @server.tool
    async def count(to: int, ctx: Context) -> str:
        for number in range(1, to + 1):
            await ctx.progress(number, total=to, message=f"{number} of {to}")
        await ctx.progress(1)
        return "counted"

    @server.tool
    async def narrate(ctx: Context) -> str:
        await ctx.debug("looked")
        await ctx.info({"step": 1}, logger="story")
        await ctx.warning("it rains")
        await ctx.emergency("flood")
        return "told"

    @server.tool
    async def hold(ctx: Context) -> str:
        held["running"] += 1
        try:
            await ctx.progress(1, message="holding")
            await anyio.Event().wait()
        except anyio.get_cancelled_exc_class():
            held["cancelled"] += 1
            raise
        finally:
            held["running"] -= 1
        return "let go"

    @server.tool(name="held")
    async def how_many_are_held() -> str:
        return f"{held['running']} running, {held['cancelled']} cancelled"

    @server.tool
    async def name(ctx: Context) -> str:
        answer = await ctx.elicit("Who are you?", Person)
        return answer.action if answer.content is None else f"{answer.content.name}, {answer.content.age}"

    @server.tool
    async def journey(ctx: Context) -> str:
        start = await ctx.elicit("From where?", City)
        end = await ctx.elicit("To where?", City)
        return f"{start.content and start.content.city} to {end.content and end.content.city}"

    @server.tool
    async def both(ctx: Context) -> str:
        found: dict[str, str] = {}

        async def ask(key: str, question: str) -> None:
            answer = await ctx.elicit(question, City)
            found[key] = answer.content.city if answer.content else answer.action

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, "start", "From where?")
            tasks.start_soon(ask, "end", "To where?")
        return f"{found['start']} to {found['end']}"

    @server.tool
    async def careful(ctx: Context) -> str:
        async def perform() -> int:
            performed.append("performed")
            return len(performed)

        times = await ctx.once("perform", perform)
        answer = await ctx.elicit("Go on?", City)
        return f"{answer.action}, performed {times} of {len(performed)}"

    @server.tool
    async def summarise(ctx: Context) -> str:
        return await ctx.sample("Summarise the sea.", max_tokens=10, system_prompt="Be brief.")

    @server.tool
    async def where(ctx: Context) -> str:
        roots: list[Root] = await ctx.list_roots()
        return ", ".join(root.uri for root in roots)

    @server.tool
    async def sign(ctx: Context) -> str:
        return (await ctx.elicit_url("Please sign.", "https://example.com/sign")).action

    return server


def library() -> Server:
    """Resources, prompts, completions and lists that change; two entries to a page."""
    server = Server("library", version="1", page_size=2)

    @server.resource("config://app", name="app", title="Settings", mime_type="application/json", ttl_ms=5000)
    async def app() -> dict[str, int]:
        """The settings."""
        return {"a": 1}

    @server.resource("config://logo", name="logo", mime_type="image/png", size=3, cache_scope="public")
    async def logo() -> bytes:
        return b"png"

    @server.resource("config://gone", name="gone")
    async def gone() -> None:
        return None

    @server.resource("book://{title}/page/{number}", name="page", mime_type="text/plain")
    async def page(title: str, number: int) -> str:
        """One page of a book."""
        return f"{title}, page {number}"

    @server.prompt(title="Greeting")
    async def greet(who: Annotated[str, msgspec.Meta(description="Whom")], tone: str = "warm") -> str:
        """Greet somebody."""
        return f"Greet {who}, {tone}."

    @server.prompt
    async def review(code: str) -> list[PromptMessage]:
        return [
            PromptMessage(role="user", content=TextContent(text=f"Review {code}")),
            PromptMessage(role="assistant", content=TextContent(text="Gladly.")),
        ]

    @server.prompt
    async def interview(ctx: Context) -> str:
        answer = await ctx.elicit("Who is it?", City)
        return f"Interview {answer.content and answer.content.city}."

    @server.completion("greet", "who")
    async def people(value: str) -> list[str]:
        return [name for name in ("ann", "anton", "bob") if name.startswith(value)]

    @server.completion("book://{title}/page/{number}", "title")
    async def titles(value: str) -> list[str]:
        return [f"book {number:03}" for number in range(150)]

    @server.tool
    async def add(name: str) -> str:
        async def added() -> str:
            return name

        server.tool(name=name)(added)
        return "added"

    @server.tool
    async def remove(name: str) -> str:
        server.remove_tool(name)
        return "removed"

    @server.tool
    async def touch(uri: str) -> str:
        await server.notify_resource_updated(uri)
        return "touched"

    @server.tool
    async def publish(title: str) -> str:
        async def read() -> str:
            return title

        server.resource(f"config://{title}", name=title)(read)
        server.prompt(name=title)(read)
        return "published"

    return server


SERVERS: dict[str, Callable[[], Server]] = {
    "library": library,
    "outcomes": outcomes,
    "talk": talk,
    "tools": tools,
}


if __name__ == "__main__":
    SERVERS[sys.argv[1]]().run("stdio", backend=sys.argv[2], grace=GRACE_SECONDS)
