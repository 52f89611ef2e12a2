"""Who serves over stdio."""

from collections.abc import Callable, Iterable
from functools import partial

from measuring.contenders import Contender, Installed

__all__ = ("stdio_contenders",)


def stdio_contenders(installed: Installed) -> Iterable[tuple[str, Callable[[], Contender]]]:
    """Everybody who serves over stdio, and what an empty loop takes."""
    for backend in ("asyncio", "trio"):
        yield f"ours {backend}", partial(installed.ours, "servers/ours_server.py", backend=backend)
    yield "official SDK", partial(installed.official, "servers/official_server.py")
    yield "FastMCP", partial(installed.fastmcp, "servers/fastmcp_server.py")
    yield "TypeScript SDK", partial(installed.typescript, "servers/typescript.mjs")
    for backend in ("asyncio", "trio"):
        command = ("servers/limit_stdio.py", "--backend", backend)
        yield f"limit {backend}", partial(installed.limit, backend, *command, needs="trio")
