"""The CPU and memory of this machine: watched until you have seen enough, and a resource that says when it changes.

python examples/monitor_client.py examples/monitor.py                     both, in memory
python examples/monitor_client.py 'stdio:mcpcore run examples/monitor.py' the same with a process of its own
mcpcore run examples/monitor.py --transport http                          over HTTP; without the flag over stdio
mcpcore call examples/monitor.py watch                                    a line a second, until Ctrl+C

What is measured is what /proc says. Where there is none, CPU is the load average, and memory is unknown.
"""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import anyio
import msgspec

from mcpcore import Context, Server

SECONDS = float(os.environ.get("MONITOR_SECONDS", "1"))
PROC = Path("/proc")


@dataclass
class Load:
    cpu: float
    """Share of all processors that was busy since the reading before, in percent."""
    memory: float | None
    """Share of the memory that is in use, in percent."""
    watchers: int
    """Calls of `watch` that are running."""


class Meter:
    """Reads the machine; each reading is about the time since the one before."""

    def __init__(self) -> None:
        self._busy = self._all = 0
        self.load()

    def load(self, watchers: int = 0) -> Load:
        if not (PROC / "meminfo").exists():
            return Load(min(100.0, 100 * os.getloadavg()[0] / (os.cpu_count() or 1)), None, watchers)
        ticks = [int(word) for word in (PROC / "stat").read_text().splitlines()[0].split()[1:9]]
        busy, total = sum(ticks) - ticks[3] - ticks[4], sum(ticks)  # of which idle, and waiting for a disk
        cpu = 100 * (busy - self._busy) / max(1, total - self._all)
        self._busy, self._all = busy, total
        rows = (line.split(":") for line in (PROC / "meminfo").read_text().splitlines())
        memory = {name: int(amount.split()[0]) for name, amount in rows}
        used = 100 * (1 - memory["MemAvailable"] / memory["MemTotal"])
        return Load(round(min(100.0, max(0.0, cpu)), 1), round(used, 1), watchers)


class Monitor:
    def __init__(self) -> None:
        self.watchers = 0
        self.load = Meter().load()

    async def follow(self, server: Server) -> None:
        """Measure until cancelled, and tell whoever subscribed."""
        meter = Meter()
        while True:
            await anyio.sleep(SECONDS)
            self.load = meter.load(self.watchers)
            await server.notify_resource_updated("monitor://load")


@asynccontextmanager
async def monitoring(server: Server) -> AsyncIterator[Monitor]:
    """The server's lifespan: one task measures for all clients, and ends with the server."""
    async with anyio.create_task_group() as tasks:
        monitor = Monitor()
        tasks.start_soon(monitor.follow, server)
        yield monitor
        tasks.cancel_scope.cancel()


server = Server("monitor", version="1.0", lifespan=monitoring)


@server.tool
async def watch(ctx: Context, seconds: Annotated[float, msgspec.Meta(gt=0, le=3600)] = SECONDS) -> None:
    """Report CPU and memory as progress, one JSON object every so many seconds, until the call is cancelled."""
    monitor, meter, number = ctx.lifespan, Meter(), 0
    monitor.watchers += 1
    try:
        while True:
            await anyio.sleep(seconds)
            number += 1
            load = meter.load(monitor.watchers)
            await ctx.progress(number, message=msgspec.json.encode(load).decode())
    finally:  # reached when the caller cancels, leaves, or is cut off
        monitor.watchers -= 1
        print(f"a watcher left after {number} reports", file=sys.stderr, flush=True)


@server.resource("monitor://load", mime_type="application/json")
async def load(ctx: Context) -> Load:
    """The last reading. Subscribe to it to hear when there is another."""
    measured: Load = ctx.lifespan.load
    return measured


if __name__ == "__main__":
    server.run()
