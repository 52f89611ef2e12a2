"""The server of `official.py` on mcpcore: `mcpcore run ours.py`, over whichever transport a flag names.

mcpcore run examples/migration/ours.py                                    stdio
mcpcore run examples/migration/ours.py --transport http,sse --metrics     new and old clients on one port
mcpcore run examples/migration/ours.py --transport http                   when the last old one has moved
"""

from dataclasses import dataclass

from mcpcore import Context, Server, ToolError

server = Server("library", instructions="Ask for a book before you recommend it.")

BOOKS = {"dune": 412, "emma": 474}


@dataclass
class Book:
    title: str
    pages: int


@server.tool
def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


@server.tool
def find(title: str) -> Book:
    """Find a book by its title."""
    if title not in BOOKS:
        raise ToolError(f"there is no book {title!r}; there are {', '.join(BOOKS)}")
    return Book(title, BOOKS[title])


@server.tool
async def read(title: str, chapters: int, ctx: Context) -> str:
    """Read a book, chapter by chapter."""
    for chapter in range(1, chapters + 1):
        await ctx.progress(chapter, chapters, f"chapter {chapter}")
    return f"read {chapters} chapters of {title}"


@server.resource("library://about", mime_type="text/plain")
def about() -> str:
    """What there is."""
    return ", ".join(BOOKS)


@server.resource("library://books/{title}", mime_type="text/plain")
def pages(title: str) -> str:
    """How long a book is."""
    return f"{title} has {BOOKS[title]} pages"


@server.prompt
def recommend(topic: str) -> str:
    """Ask for a recommendation."""
    return f"Recommend a book about {topic}."


if __name__ == "__main__":
    server.run("stdio")
