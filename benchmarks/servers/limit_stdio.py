"""What the wire work of a stdio server costs without a framework: anyio and msgspec, and nothing that a framework is
for. `limit_stdio.py --backend B --how task|inline`.

Each request is decoded into typed structs, its arguments too, and answered with text, structured content and `_meta`.
"task" runs each call in a task of its own, which is what concurrent handlers take, and has one writer that sends what
is there; "inline" awaits each call where it was read, so a slow one would hold up the others.
"""

import argparse
import os
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from limit_mcp import answer, decode, progress_frames, say

READ_BYTES = 65536


async def write_all(data: bytes) -> None:
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(1, view) :]
        except BlockingIOError:
            await anyio.wait_writable(1)


hanging: dict[str | int | None, anyio.CancelScope] = {}


async def hang(id: str | int | None) -> None:
    with anyio.CancelScope() as scope:
        hanging[id] = scope
        say()
        try:
            await anyio.sleep(60)
        finally:
            say()
            del hanging[id]


async def handle(line: bytes, write: Callable[[bytes], Awaitable[None]]) -> None:
    request = decode(line)
    if request.id is None:
        if request.method == "notifications/cancelled":
            hanging[request.params.cancelled].cancel()
        return
    if request.params.name == "hang_quietly":
        await hang(request.id)
        return
    if request.method == "tools/call":
        for frame in progress_frames(request):
            await write(frame + b"\n")
    await write(answer(request) + b"\n")


async def lines_of(handle_lines: Callable[[list[bytes]], Awaitable[None]]) -> None:
    os.set_blocking(0, False)
    os.set_blocking(1, False)
    rest = b""
    while True:
        try:
            data = os.read(0, READ_BYTES)
        except BlockingIOError:
            await anyio.wait_readable(0)
            continue
        if not data:
            return
        *lines, rest = (rest + data if rest else data).split(b"\n")
        await handle_lines(lines)


async def inline() -> None:
    async def handle_lines(lines: list[bytes]) -> None:
        out: list[bytes] = []

        async def put(frame: bytes) -> None:
            out.append(frame)

        for line in lines:
            await handle(line, put)
        await write_all(b"".join(out))

    await lines_of(handle_lines)


class Writer:
    """Sends what has gathered since it last wrote; who writes too far ahead waits."""

    def __init__(self) -> None:
        self.waiting: list[bytes] = []
        self.something = anyio.Event()
        self.room = anyio.Event()

    async def put(self, frame: bytes) -> None:
        self.waiting.append(frame)
        self.something.set()
        if len(self.waiting) > 1024:
            await self.room.wait()

    async def run(self) -> None:
        while True:
            await self.something.wait()
            self.something = anyio.Event()
            out, self.waiting = b"".join(self.waiting), []
            await write_all(out)
            self.room.set()
            self.room = anyio.Event()


async def tasks() -> None:
    writer = Writer()
    async with anyio.create_task_group() as group:
        group.start_soon(writer.run)

        async def handle_lines(lines: list[bytes]) -> None:
            for line in lines:
                group.start_soon(handle, line, writer.put)

        await lines_of(handle_lines)
        group.cancel_scope.cancel()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--backend", default="asyncio")
    parser.add_argument("--how", choices=("task", "inline"), default="task")
    options: Any = parser.parse_args()
    anyio.run(tasks if options.how == "task" else inline, backend=options.backend)


if __name__ == "__main__":
    main()
