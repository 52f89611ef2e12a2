"""What the servers of test_comparison.py share: tools that need no library, and what they say on stderr."""

import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio

__all__ = ("PAGE", "URI", "add", "block", "hold", "lifespan_of", "release", "say", "serve_apps")

PAGE = 2
"""Entries of a page, for those who can say so; there are at least three tools."""

URI = "demo://watched"

_released = anyio.Event()
_unblocked = threading.Event()
_saying = threading.Lock()


def say(words: str) -> None:
    with _saying:
        print(f"compared: {words}", file=sys.stderr, flush=True)


def lifespan_of(name: str) -> Callable[[Any], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(_server: Any) -> AsyncIterator[None]:
        say(f"{name} begins")
        try:
            yield
        finally:
            say(f"{name} ends")

    return lifespan


async def add(a: int, b: int = 0) -> int:
    return a + b


async def hold() -> str:
    """Runs until `release` is called."""
    say("holds")
    try:
        await _released.wait()
    except BaseException:
        say("cancelled")
        raise
    say("held")
    return "held"


def block() -> str:
    """Runs until the process gets SIGUSR1."""
    say("blocks")
    _unblocked.wait()
    say("unblocked")
    return "unblocked"


async def release() -> str:
    global _released
    say("released")
    _released.set()
    _released = anyio.Event()
    return "released"


async def serve_apps(apps: dict[str, Any]) -> None:
    """Each below uvicorn at a port of its own, which is said."""
    import uvicorn

    async with anyio.create_task_group() as tasks:
        for name, app in apps.items():
            listener = socket.create_server(("127.0.0.1", 0), backlog=512)
            config = uvicorn.Config(app, log_level="error", lifespan="on")
            tasks.start_soon(uvicorn.Server(config).serve, [listener])
            say(f"{name} listens at {listener.getsockname()[1]}")


signal.signal(signal.SIGUSR1, lambda *_: _unblocked.set())
