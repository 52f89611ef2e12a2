"""A small server on the official SDK, as it is before it moves: `python official.py [stdio|sse|streamable-http]`.

`ours.py` is the same server on mcpcore; `guide.md` says how to get from here to there.
"""

import sys
from dataclasses import dataclass

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError

mcp = MCPServer("library", instructions="Ask for a book before you recommend it.")

BOOKS = {"dune": 412, "emma": 474}


@dataclass
class Book:
    title: str
    pages: int


@mcp.tool()
def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


@mcp.tool()
def find(title: str) -> Book:
    """Find a book by its title."""
    if title not in BOOKS:
        raise ToolError(f"there is no book {title!r}; there are {', '.join(BOOKS)}")
    return Book(title, BOOKS[title])


@mcp.tool()
async def read(title: str, chapters: int, ctx: Context) -> str:
    """Read a book, chapter by chapter."""
    for chapter in range(1, chapters + 1):
        await ctx.report_progress(chapter, chapters, f"chapter {chapter}")
    return f"read {chapters} chapters of {title}"


@mcp.resource("library://about", mime_type="text/plain")
def about() -> str:
    """What there is."""
    return ", ".join(BOOKS)


@mcp.resource("library://books/{title}", mime_type="text/plain")
def pages(title: str) -> str:
    """How long a book is."""
    return f"{title} has {BOOKS[title]} pages"


@mcp.prompt()
def recommend(topic: str) -> str:
    """Ask for a recommendation."""
    return f"Recommend a book about {topic}."


if __name__ == "__main__":
    transport = (sys.argv[1:] or ["stdio"])[0]
    if transport == "stdio":
        mcp.run("stdio")
    elif transport == "sse":
        mcp.run("sse", port=int(sys.argv[2]))
    else:
        mcp.run("streamable-http", port=int(sys.argv[2]))
