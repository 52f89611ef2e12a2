"""A bridge between two ends that say and hear plain JSON, so that every byte which passes can be looked at."""

import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio

from mcpcore.bridge.bridge import Bridge
from mcpcore.channel import Channel
from mcpcore.errors import ConnectFailed, ConnectionLost
from mcpcore.multiplex import Multiplexer
from mcpcore.testing import MemoryPipe, memory_pipes

__all__ = ("CAPABILITIES", "INITIALIZE", "INITIALIZED", "META", "Behind", "End", "bridged", "discovery", "shaken")

PATIENCE_SECONDS = 15.0
FAR_SECONDS = 3600.0

CAPABILITIES: dict[str, Any] = {
    "tools": {"listChanged": True},
    "resources": {"listChanged": True, "subscribe": True},
    "logging": {},
}
INITIALIZE: dict[str, Any] = {
    "id": 0,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {"elicitation": {}},
        "clientInfo": {"name": "in front", "version": "1"},
    },
}
INITIALIZED: dict[str, Any] = {
    "protocolVersion": "2025-11-25",
    "capabilities": CAPABILITIES,
    "serverInfo": {"name": "behind", "version": "1"},
}
_META = "io.modelcontextprotocol/"
META: dict[str, Any] = {
    f"{_META}protocolVersion": "2026-07-28",
    f"{_META}clientCapabilities": {"elicitation": {"form": {}}},
}


def discovery(*versions: str) -> dict[str, Any]:
    return {
        "resultType": "complete",
        "supportedVersions": list(versions or ("2026-07-28",)),
        "capabilities": CAPABILITIES,
        "_meta": {f"{_META}serverInfo": {"name": "behind", "version": "1"}},
    }


class End:
    """One end of a connection: says and hears JSON, or the bytes that it is."""

    def __init__(self, pipe: MemoryPipe) -> None:
        self.pipe = pipe
        self._heard: deque[bytes] = deque()

    async def say(self, message: dict[str, Any] | bytes) -> None:
        await self.pipe.send(
            [message if isinstance(message, bytes) else json.dumps({"jsonrpc": "2.0", **message}).encode()]
        )

    async def hear_bytes(self) -> bytes:
        while not self._heard:
            self._heard.extend(frame for frame in await self.pipe.receive() if isinstance(frame, bytes))
        return self._heard.popleft()

    async def hear(self, method: str | None = None) -> Any:
        """The next message; with a method, it has to be that one."""
        message = json.loads(await self.hear_bytes())
        assert method is None or message.get("method") == method, message
        return message

    async def answer(self, request: Any, result: Any) -> None:
        await self.say({"id": request["id"], "result": result})

    async def ask(self, id: Any, method: str, params: Any) -> Any:
        """Send a request and return its answer, which has to come next."""
        await self.say({"id": id, "method": method, "params": params})
        return await self.hear()

    async def heard_nothing(self) -> bool:
        await anyio.wait_all_tasks_blocked()
        return not self._heard and not self.pipe._incoming.frames


class Behind:
    """A transport to servers that a test plays."""

    def __init__(self, limit_bytes: int = 64 * 1024) -> None:
        self._limit = limit_bytes
        self._waiting: deque[End] = deque()
        self._arrived = anyio.Event()
        self.connections = 0
        self.open = 0
        self.absent = False
        self.lost: ConnectionLost | None = None
        """What the bridge raised at the end."""

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Channel]:
        self.connections += 1
        if self.absent:
            raise ConnectFailed("nobody is there, says /etc/secret")
        far, near = memory_pipes(self._limit, write_deadline=FAR_SECONDS)
        self._waiting.append(End(far))
        self._arrived.set()
        self._arrived = anyio.Event()
        self.open += 1
        try:
            async with Multiplexer(near) as channel:
                yield channel
        finally:
            self.open -= 1

    async def server(self) -> End:
        """The server's end of the next connection."""
        while not self._waiting:
            await self._arrived.wait()
        return self._waiting.popleft()


@asynccontextmanager
async def bridged(
    behind: Behind | None = None, *, patience: float = PATIENCE_SECONDS, **options: Any
) -> AsyncIterator[tuple[End, Behind, Bridge]]:
    """The client's end, the servers' and the bridge between them."""
    behind = behind or Behind()
    bridge = Bridge(behind, **options)
    with anyio.fail_after(patience):
        far, near = memory_pipes(write_deadline=FAR_SECONDS)
        async with anyio.create_task_group() as tasks:

            async def serve() -> None:
                try:
                    async with Multiplexer(near) as channel:
                        await bridge.serve_channel(channel, grace=0)
                except ConnectionLost as lost:
                    behind.lost = lost

            tasks.start_soon(serve)
            yield End(far), behind, bridge
            await far.aclose()
    assert (behind.open, bridge.statistics().upstreams, bridge.statistics().sessions) == (0, 0, 0)


async def shaken(front: End, behind: Behind, result: Any = None) -> End:
    """Shake hands through the bridge; returns the server's end."""
    await front.say(INITIALIZE)
    server = await behind.server()
    first = await server.hear("initialize")
    assert first["params"] == INITIALIZE["params"]
    await server.answer(first, result or INITIALIZED)
    assert (await front.hear())["result"] == (result or INITIALIZED)
    await front.say({"method": "notifications/initialized"})
    await server.hear("notifications/initialized")
    return server
