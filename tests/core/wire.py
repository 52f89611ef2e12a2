"""A peer that speaks raw JSON lines to a server, so that a test sees the exact frames of each revision.

Every result and notification that arrives is checked against the published schema of the revision in use.
"""

import json
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import sniffio
from core.schemas import definitions, message_definition, validate

from mcpcore.channel import Origin
from mcpcore.errors import ConnectionLost
from mcpcore.groups import sole_error
from mcpcore.jsonrpc import Oversize
from mcpcore.methods import MULTI_ROUND, NOTIFICATIONS, REQUESTS
from mcpcore.multiplex import Multiplexer, Pipe
from mcpcore.principal import Principal
from mcpcore.revisions import LATEST, Era, Revision
from mcpcore.server import Server
from mcpcore.types import META_CLIENT_CAPABILITIES, META_LOG_LEVEL, META_PROTOCOL_VERSION

__all__ = ("PATIENCE", "Frame", "Peer", "modern_meta", "settle", "wired")

PATIENCE = 20.0
"""Seconds until a test gives up on a frame; on trio the virtual clock makes that no time at all."""

Frame = dict[str, Any]

METHODS = {**REQUESTS, **NOTIFICATIONS}


def modern_meta(capabilities: Frame | None = None, **more: Any) -> Frame:
    """The `_meta` that every 2026-07-28 request carries."""
    return {META_PROTOCOL_VERSION: LATEST.value, META_CLIENT_CAPABILITIES: capabilities or {}, **more}


async def settle() -> None:
    """Wait until every other task waits for something. Like `anyio.wait_all_tasks_blocked`, which on asyncio sleeps
    a tenth of a second of real time between two looks."""
    if sniffio.current_async_library() == "trio":
        await anyio.wait_all_tasks_blocked()
        return
    import asyncio

    me = asyncio.current_task()
    others = [task for task in asyncio.all_tasks() if task is not me]
    while any((waiter := getattr(task, "_fut_waiter", None)) is None or waiter.done() for task in others):
        await asyncio.sleep(0)
        others = [task for task in asyncio.all_tasks() if task is not me]


class _ServerEnd(Pipe):
    """The server's end of the pipe; the peer in the test holds the other."""

    def __init__(self) -> None:
        self.incoming: deque[bytes | Oversize] = deque()
        self.eof = False
        self.broken = False
        self.closed = False
        self.reading = True
        self.arrived: deque[bytes] = deque()
        self.writes = 0
        self._changed = anyio.Event()

    def wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def changed(self) -> None:
        await self._changed.wait()

    async def receive(self) -> Sequence[bytes | Oversize]:
        while not self.incoming:
            if self.broken:
                raise ConnectionLost("the pipe broke")
            if self.eof:
                raise anyio.EndOfStream
            await self.changed()
        frames = list(self.incoming)
        self.incoming.clear()
        return frames

    async def send(self, frames: Sequence[bytes]) -> None:
        while not self.reading and not self.broken:
            await self.changed()
        if self.broken:
            raise ConnectionLost("the pipe broke")
        self.arrived.extend(frames)
        self.writes += 1
        self.wake()
        await anyio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        self.closed = True
        self.wake()
        await anyio.lowlevel.checkpoint()


class Peer:
    """The client's side, by hand. `seen` has every frame that was read so far."""

    def __init__(self, pipe: _ServerEnd) -> None:
        self.pipe = pipe
        self.channel: Multiplexer | None = None
        self.revision = LATEST
        self.capabilities: Frame = {}
        self.log_level: str | None = None
        self.seen: list[Frame] = []
        self.raw: list[bytes] = []
        self.ended = anyio.Event()
        self.failure: BaseException | None = None
        self._methods: dict[int | str, str] = {}
        self._last_id = 0

    # ------------------------------------------------------------------ sending

    def write(self, frame: Any) -> None:
        """Put one frame on the pipe: bytes as they are, `Oversize` as it is, anything else as JSON."""
        self.pipe.incoming.append(
            frame if isinstance(frame, bytes | Oversize) else json.dumps(frame, ensure_ascii=False).encode()
        )
        self.pipe.wake()

    def request(self, method: str, params: Frame | None = None, *, id: int | str | None = None, **meta: Any) -> Any:
        """Send a request under the revision in use and return its id."""
        if id is None:
            id = self._last_id = self._last_id + 1
            while id in self._methods:
                id = self._last_id = self._last_id + 1
        params = dict(params or {})
        if self.revision.era is Era.MODERN:
            if self.log_level is not None:
                meta = {META_LOG_LEVEL: self.log_level, **meta}
            meta = modern_meta(self.capabilities, **meta)
        if meta:
            params["_meta"] = {**params.get("_meta", {}), **meta}
        self._methods[id] = method
        self.write({"jsonrpc": "2.0", "id": id, "method": method, **({"params": params} if params else {})})
        return id

    def notify(self, method: str, params: Frame | None = None) -> None:
        self.write({"jsonrpc": "2.0", "method": method, **({"params": params} if params is not None else {})})

    def respond(self, id: int | str, result: Frame) -> None:
        self.write({"jsonrpc": "2.0", "id": id, "result": result})

    def eof(self) -> None:
        self.pipe.eof = True
        self.pipe.wake()

    def cut(self) -> None:
        """Break the pipe."""
        self.pipe.broken = True
        self.pipe.wake()

    def stop_reading(self) -> None:
        self.pipe.reading = False

    def read_again(self) -> None:
        self.pipe.reading = True
        self.pipe.wake()

    # ------------------------------------------------------------------ receiving

    async def receive(self) -> Frame:
        """The next frame, checked. Fails when none comes within `PATIENCE`."""
        with anyio.fail_after(PATIENCE):
            while not self.pipe.arrived:
                await self.pipe.changed()
        raw = self.pipe.arrived.popleft()
        self.raw.append(raw)
        frame: Frame = json.loads(raw)
        self.seen.append(frame)
        self._check(frame)
        return frame

    async def response(self, id: int | str) -> Frame:
        """Read up to the response with this id."""
        while True:
            frame = await self.receive()
            if "method" not in frame and frame.get("id") == id and type(frame.get("id")) is type(id):
                return frame

    async def until(self, method: str) -> Frame:
        """Read up to a message with this method."""
        while True:
            frame = await self.receive()
            if frame.get("method") == method:
                return frame

    async def drain(self) -> list[Frame]:
        """Everything that arrives until the server has nothing more to do."""
        frames = []
        while True:
            await settle()
            if not self.pipe.arrived:
                return frames
            while self.pipe.arrived:
                frames.append(await self.receive())

    async def ask(self, method: str, params: Frame | None = None, **options: Any) -> Frame:
        """Send a request and return its response frame."""
        return await self.response(self.request(method, params, **options))

    async def result(self, method: str, params: Frame | None = None, **options: Any) -> Frame:
        frame = await self.ask(method, params, **options)
        assert "result" in frame, frame
        found: Frame = frame["result"]
        return found

    async def error(self, method: str, params: Frame | None = None, **options: Any) -> Frame:
        frame = await self.ask(method, params, **options)
        assert "error" in frame, frame
        found: Frame = frame["error"]
        return found

    async def call(self, name: str, arguments: Frame | None = None, **options: Any) -> Frame:
        """The result of a tool."""
        return await self.result("tools/call", {"name": name, "arguments": arguments or {}}, **options)

    async def initialize(self, revision: Revision) -> Frame:
        """The first half of a handshake."""
        self.revision = revision
        return await self.result("initialize", self.introduction(revision))

    def introduction(self, version: str) -> Frame:
        """The parameters of `initialize`."""
        client = {"name": "peer", "version": "1"}
        return {"protocolVersion": str(version), "capabilities": self.capabilities, "clientInfo": client}

    async def hello(
        self, revision: Revision, capabilities: Frame | None = None, *, log_level: str | None = None
    ) -> Frame | None:
        """Use this revision from here on, after its handshake if it has one. Returns the result of `initialize`."""
        self.capabilities = capabilities or {}
        self.revision = revision
        self.log_level = log_level
        if revision.era is Era.MODERN:
            return None
        result = await self.initialize(revision)
        self.notify("notifications/initialized")
        if log_level is not None:
            assert await self.result("logging/setLevel", {"level": log_level}) == {}
        return result

    async def end(self) -> None:
        """Wait until the server has ended the session."""
        with anyio.fail_after(PATIENCE):
            await self.ended.wait()

    def _check(self, frame: Frame) -> None:
        assert frame["jsonrpc"] == "2.0"
        if "method" in frame:
            if frame["method"] not in METHODS:
                return  # an extension's
            definition = message_definition(self.revision, frame["method"])
            assert definition is not None, f"{self.revision} has no {frame['method']}"
            known = definitions(self.revision)[definition]["properties"]
            validate(
                {k: v for k, v in frame.items() if k in known or k in ("method", "params")}, self.revision, definition
            )
            assert "id" not in frame or self.revision.era is Era.LEGACY, "a modern server sends no requests"
            return
        assert ("result" in frame) != ("error" in frame)
        if "error" in frame:
            assert isinstance(frame["error"]["code"], int)
            assert isinstance(frame["error"]["message"], str)
            return
        method = self._methods.get(frame["id"], "")
        spec = REQUESTS.get(method)
        if spec is None or not isinstance(frame["result"], dict):
            return
        name = spec.result.__name__ if spec.result is not None else ""
        if method in MULTI_ROUND and frame["result"].get("resultType") == "input_required":
            name = "InputRequiredResult"
        if name in definitions(self.revision):
            validate(frame["result"], self.revision, name)


@asynccontextmanager
async def wired(
    server: Server, *, principal: Principal | str | None = None, grace: float = 5.0, **options: Any
) -> AsyncIterator[Peer]:
    """A server behind a multiplexed pipe, and the peer at its other end. Leaving cancels the server."""
    pipe = _ServerEnd()
    peer = Peer(pipe)

    async def serve() -> None:
        try:
            who = Principal(subject=principal) if isinstance(principal, str) else principal
            async with Multiplexer(pipe, origin=Origin(transport="test", principal=who), **options) as channel:
                peer.channel = channel
                await server.serve_channel(channel, grace=grace)
        except ConnectionLost as lost:
            peer.failure = lost
        finally:
            peer.ended.set()

    with sole_error():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            yield peer
            tasks.cancel_scope.cancel()
