"""How a client under test is told what to do: lines on its standard input, one JSON object on its output for each.

`call SECONDS SIZE` calls the tool `echo` with SIZE bytes of text for that long, one call after the other; `progress N`
calls `count` and checks what it hears. The CPU time of this process is in the answers: a server it started has its own.
"""

import argparse
import gc
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ("Target", "obey", "options")

Call = Callable[[str], Awaitable[str]]
"""Calls `echo`, and returns the text of the answer."""

Count = Callable[[int, Callable[[float], None]], Awaitable[object]]
"""Calls `count`, and has each number that it reports heard."""


class Target:
    """What to connect to: an URL, or a command with its environment, or nothing, which is a server in this process."""

    def __init__(self, url: str | None, command: str | None) -> None:
        self.url = url
        found: dict[str, Any] = {} if command is None else json.loads(command)
        self.argv: list[str] = found.get("argv", [])
        self.environment: dict[str, str] = found.get("env", {})


def options() -> tuple[Target, str, str]:
    """The target, the backend, and the era: "modern" or "legacy"."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url")
    parser.add_argument("--command")
    parser.add_argument("--backend", default="asyncio")
    parser.add_argument("--era", default="modern")
    given = parser.parse_args()
    return Target(given.url, given.command), given.backend, given.era


async def _calls(call: Call, seconds: float, size: int) -> dict[str, Any]:
    text = "x" * size
    assert await call(text) == text, "it does not echo"
    made = 0
    cpu, began = time.process_time_ns(), time.perf_counter()
    deadline = began + seconds
    while time.perf_counter() < deadline:
        for _ in range(10):
            await call(text)
        made += 10
    return {"calls": made, "cpu_ns": time.process_time_ns() - cpu, "seconds": time.perf_counter() - began}


async def _progress(count: Count, upto: int) -> dict[str, Any]:
    heard: list[float] = []
    cpu, began = time.process_time_ns(), time.perf_counter()
    await count(upto, heard.append)
    ended, spent = time.perf_counter(), time.process_time_ns() - cpu
    return {
        "lost": upto - len(heard),
        "in_order": heard == sorted(heard),
        "cpu_ns": spent,
        "seconds": ended - began,
    }


async def obey(call: Call, count: Count | None = None) -> None:
    """Until the end of the input."""
    gc.collect()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        order, *numbers = line.split()
        if order == "call":
            found = await _calls(call, float(numbers[0]), int(numbers[1]))
        else:
            assert count is not None
            found = await _progress(count, int(numbers[0]))
        print(json.dumps(found), flush=True)
