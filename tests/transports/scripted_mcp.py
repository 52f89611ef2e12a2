"""An HTTP server whose answers a test writes, one request at a time, and a session server made of it.

It knows nothing of this library's own HTTP code, so that a mistake in one cannot hide in the other.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
from transports.scripted_server import PATIENCE_SECONDS, Caller, Served, serving

__all__ = ("MODERN", "Asked", "Handler", "Sessions", "answering", "discovered", "until")

MODERN = "2026-07-28"


async def until(condition: Callable[[], bool], what: str = "it did not happen") -> None:
    """Wait for something that nobody announces."""
    with anyio.move_on_after(PATIENCE_SECONDS):
        while not condition():
            await anyio.lowlevel.checkpoint()
    assert condition(), what


class Asked:
    """One HTTP request as a server got it, and its ways to answer."""

    def __init__(self, caller: Caller, whole: bytes) -> None:
        head, _, body = whole.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.caller = caller
        self.verb, self.path, _ = first.split(" ")
        self.names = [line.partition(":")[0].lower() for line in lines]
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        self.body: Any = json.loads(body) if body else None
        self.over = False
        """Whether the connection has to be closed after this."""

    @property
    def method(self) -> str:
        """The JSON-RPC method, or the HTTP method of a request without a body."""
        return str(self.body.get("method", "answer")) if isinstance(self.body, dict) else self.verb

    @property
    def tool(self) -> str:
        return str(self.body["params"]["name"])

    async def status(self, status: int, body: bytes = b"", kind: str = "text/plain", **headers: str) -> None:
        extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
        await self.caller.send(head.encode() + body)

    async def json(self, message: Any, status: int = 200, **headers: str) -> None:
        await self.status(status, json.dumps(message).encode(), "application/json", **headers)

    async def result(self, result: Any, **headers: str) -> None:
        await self.json(self.answer(result), **headers)

    async def text(self, text: str) -> None:
        """The result of a tool."""
        await self.result({"content": [{"type": "text", "text": text}], "resultType": "complete"})

    async def error(self, code: int, message: str = "no", status: int = 200, **members: Any) -> None:
        whole = {"jsonrpc": "2.0", "id": self.body["id"], "error": {"code": code, "message": message}, **members}
        await self.json(whole, status)

    def answer(self, result: Any) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": self.body["id"], "result": result}

    def said(self, text: str) -> dict[str, Any]:
        return self.answer({"content": [{"type": "text", "text": text}], "resultType": "complete"})

    async def begin_events(self, **headers: str) -> None:
        extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        await self.caller.send(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n"
            + extra.encode()
            + b"\r\n"
        )

    async def event(self, message: Any = None, *, id: str | None = None, retry: int | None = None) -> None:
        lines = "" if id is None else f"id: {id}\n"
        lines += "" if retry is None else f"retry: {retry}\n"
        lines += "data: " + ("" if message is None else json.dumps(message)) + "\n"
        await self.raw(lines.encode() + b"\n")

    async def raw(self, data: bytes) -> None:
        await self.caller.send(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self) -> None:
        await self.caller.send(b"0\r\n\r\n")

    def drop(self) -> None:
        """Close the connection, whatever has been sent of the answer."""
        self.over = True

    async def gone(self) -> None:
        """Wait until the client has closed the connection."""
        await self.caller.closed()
        self.over = True


Handler = Callable[[Asked], Awaitable[None]]


@asynccontextmanager
async def answering(handle: Handler) -> AsyncIterator[Served]:
    """A server that has `handle` answer each request."""

    async def script(caller: Caller) -> None:
        while whole := await caller.request():
            asked = Asked(caller, whole)
            await handle(asked)
            if asked.over:
                return

    async with serving(script) as served:
        yield served


def discovered(**capabilities: Any) -> dict[str, Any]:
    """What a server of 2026-07-28 says of itself."""
    return {
        "supportedVersions": [MODERN],
        "capabilities": {"tools": {}, **capabilities},
        "resultType": "complete",
        "ttlMs": 0,
        "cacheScope": "private",
    }


class Sessions:
    """A server of the handshake era, up to what it does with a tools/call; everything may be replaced."""

    def __init__(self, revision: str = "2025-11-25", **handlers: Handler) -> None:
        self.revision = revision
        self.handlers = handlers
        """By JSON-RPC method, or by HTTP method; `call` answers tools/call."""
        self.log: list[Asked] = []
        self.began = 0
        self.alive: set[str] = set()
        self.calls: list[str] = []
        """The tools that ran."""
        self.sessions = True
        self.open = 0
        """Requests that are being answered."""

    def seen(self, method: str) -> list[Asked]:
        return [asked for asked in self.log if asked.method == method]

    async def __call__(self, asked: Asked) -> None:
        self.log.append(asked)
        self.open += 1
        try:
            await self.handle(asked)
        finally:
            self.open -= 1

    async def handle(self, asked: Asked) -> None:
        handler = self.handlers.get(asked.method.replace("/", "_"))
        if asked.method == "server/discover" and handler is None:
            await asked.status(400, b"Bad Request: no session")
        elif asked.method == "initialize":
            await (handler or self.initialize)(asked)
        elif self.sessions and asked.headers.get("mcp-session-id") not in self.alive and "id" in (asked.body or {}):
            await asked.status(404, b"Session not found")
        elif handler is not None:
            await handler(asked)
        elif asked.method == "tools/call":
            self.calls.append(asked.tool)
            await self.handlers.get("call", lambda asked: asked.text(asked.tool))(asked)
        elif asked.method in ("ping", "logging/setLevel"):
            await asked.result({})
        elif asked.method == "tools/list":
            await asked.result({"tools": []})
        elif asked.method == "GET":
            await asked.status(405)
        elif asked.verb == "DELETE":
            self.alive.discard(asked.headers["mcp-session-id"])
            await asked.status(200)
        else:
            await asked.status(202)

    def welcome(self) -> tuple[dict[str, Any], dict[str, str]]:
        """The result and the headers for an `initialize`."""
        self.began += 1
        result = {
            "protocolVersion": self.revision,
            "capabilities": {"tools": {}, "logging": {}},
            "serverInfo": {"name": "scripted", "version": "1"},
        }
        if not self.sessions:
            return result, {}
        self.alive.add(f"s{self.began}")
        return result, {"mcp_session_id": f"s{self.began}"}

    async def initialize(self, asked: Asked) -> None:
        result, headers = self.welcome()
        await asked.result(result, **headers)

    def forget(self) -> None:
        """As after a restart."""
        self.alive.clear()
