"""A multiplexer on one end of a memory pipe and a peer that says and hears plain JSON on the other."""

import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mcpcore.channel import Envelope, ReplyChannel
from mcpcore.jsonrpc import Notification, Request
from mcpcore.multiplex import Multiplexer, Pipe
from mcpcore.testing import MemoryPipe, memory_pipes, virtual_time

in_virtual_time = pytest.mark.parametrize("anyio_backend", [virtual_time()], ids=["trio"])
"""For what only the passing of time shows: on asyncio these seconds would have to be waited for."""

FAR_SECONDS = 3600.0

PATIENCE_SECONDS = 15.0
"""How long one connection of a test may last: what would wait for ever fails instead."""


class RawPeer:
    """The other end of the pipe: says and hears JSON."""

    def __init__(self, pipe: MemoryPipe) -> None:
        self.pipe = pipe
        self._heard: deque[Any] = deque()

    async def say(self, *messages: dict[str, Any] | bytes) -> None:
        frames = [m if isinstance(m, bytes) else json.dumps({"jsonrpc": "2.0", **m}).encode() for m in messages]
        await self.pipe.send(frames)

    async def hear(self) -> Any:
        while not self._heard:
            for frame in await self.pipe.receive():
                assert isinstance(frame, bytes)
                assert b"\n" not in frame
                self._heard.append(json.loads(frame))
        return self._heard.popleft()

    async def hears_nothing(self) -> bool:
        await anyio.wait_all_tasks_blocked()
        return not self._heard and not self.pipe._incoming.frames


@asynccontextmanager
async def wired(
    around: Callable[[Pipe], Pipe] = lambda pipe: pipe, *, limit_bytes: int = 64 * 1024, **options: Any
) -> AsyncIterator[tuple[RawPeer, Multiplexer]]:
    far, near = memory_pipes(limit_bytes, write_deadline=FAR_SECONDS)
    with anyio.fail_after(PATIENCE_SECONDS):
        async with Multiplexer(around(near), **options) as multiplexer:
            yield RawPeer(far), multiplexer


async def received(multiplexer: Multiplexer) -> tuple[Request, ReplyChannel]:
    envelope = await multiplexer.receive()
    assert isinstance(envelope.message, Request)
    assert envelope.reply is not None
    return envelope.message, envelope.reply


async def receive_until_end(multiplexer: Multiplexer, into: list[Envelope] | None = None) -> None:
    try:
        while True:
            envelope = await multiplexer.receive()
            if into is not None:
                into.append(envelope)
    except anyio.EndOfStream:
        pass


def note(n: int = 0, text: str = "") -> Envelope:
    return Envelope(Notification("n", {"n": n, "text": text}))


def progress(token: int | str, step: int) -> dict[str, Any]:
    return {"method": "notifications/progress", "params": {"progressToken": token, "progress": step}}
