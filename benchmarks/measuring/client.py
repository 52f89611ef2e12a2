"""A client under test: a process that is told what to do; see `clients/control.py`."""

import json
import os
import selectors
import shutil
from collections.abc import Callable
from typing import Any

from measuring.contenders import Contender
from measuring.process import DRIVER_CORE, START_SECONDS, Tested
from measuring.program import Program
from measuring.slices import Slice

__all__ = ("calling", "command_flag", "order")


def command_flag(server: Contender) -> tuple[str, str]:
    """The flag that has a client start this server, on the driver's core."""
    argv = list(server.command)
    if shutil.which("taskset") and (os.cpu_count() or 1) > DRIVER_CORE:
        argv = ["taskset", "-c", str(DRIVER_CORE), *argv]
    return "--command", json.dumps({"argv": argv, "env": server.environment})


def order(client: Tested, text: str) -> dict[str, Any]:
    """Give an order and wait for what came of it; an empty one waits until the client is ready. Raises RuntimeError
    when the client ends, or is silent for `START_SECONDS`."""
    if text:
        client.stdin.write(text.encode() + b"\n")
    poll = selectors.DefaultSelector()
    poll.register(client.stdout, selectors.EVENT_READ)
    try:
        got = b""
        while not got.endswith(b"\n"):
            if not poll.select(START_SECONDS):
                raise RuntimeError("the client is silent")
            data = client.stdout.read(65536)
            if not data:
                raise RuntimeError("the client ended")
            got += data
    finally:
        poll.close()
    found: dict[str, Any] = json.loads(got)
    return found


def calling(program: Program, contender: Callable[[], Contender]) -> tuple[str, Slice]:
    """The group of a client under test, and a slice that measures microseconds of its CPU per call of 100 B."""
    made = contender()
    client = program.server(made, http=False)
    order(client, "")
    order(client, "call 0.3 100")

    def measure() -> float:
        found = order(client, f"call {program.seconds} 100")
        return float(found["cpu_ns"] / found["calls"] / 1000)

    return made.group, measure
