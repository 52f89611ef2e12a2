"""Both generations on one port, and who still speaks the old one.

    python examples/migration/watch.py [PORT [SECONDS]]

serves `ours.py` at http://127.0.0.1:PORT/mcp (8000) and /sse, and every SECONDS (10) prints how many requests each kind
of client has made since, e.g. `sse 2025-11-25 desktop: 12`. When no line begins with sse any more, serve "http" alone.
"""

import sys
from typing import Any

import anyio
from ours import server

from mcpcore import serve


async def report(seconds: float) -> None:
    before: dict[str, int] = {}
    while True:
        await anyio.sleep(seconds)
        clients = server.statistics().clients
        for client in sorted(clients):
            if new := clients[client] - before.get(client, 0):
                print(f"{client}: {new}", flush=True)
        before = clients


async def main(port: int, seconds: float) -> None:
    async with anyio.create_task_group() as tasks:

        async def listen(*, task_status: Any) -> None:
            await serve(server, "http,sse", port=port, task_status=task_status)

        await tasks.start(listen)
        tasks.start_soon(report, seconds)


if __name__ == "__main__":
    anyio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 8000, float(sys.argv[2]) if len(sys.argv) > 2 else 10)
