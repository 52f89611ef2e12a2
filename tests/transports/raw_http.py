"""What the HTTP tests share: a listener with a server behind it, and a client that writes bytes.

The client knows nothing of this library's own HTTP code, so that a mistake in one cannot hide in the other. Every wait
has PATIENCE_SECONDS; they are generous because they only bound a test that fails.
"""

import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel
from transports.http_offer import PATIENCE_SECONDS, City, Event, Offer, offer

from mcpcore_transports.framing.origins import AccessPolicy
from mcpcore_transports.http.endpoint import Endpoint
from mcpcore_transports.http.options import HttpOptions
from mcpcore_transports.http.server import endpoint_running
from mcpcore_transports.web.limits import HttpLimits
from mcpcore_transports.web.listener import serve_http

__all__ = (
    "MODERN",
    "PATIENCE_SECONDS",
    "Answer",
    "City",
    "Event",
    "Offer",
    "Site",
    "Talk",
    "Wire",
    "call",
    "initialize",
    "message",
    "modern",
    "offer",
    "serving",
    "until",
)

MODERN = "2026-07-28"
_META = "io.modelcontextprotocol/"
_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}


async def until(condition: Callable[[], bool], what: str = "it did not happen") -> None:
    """Wait for something that nobody announces."""
    with anyio.move_on_after(PATIENCE_SECONDS):
        while not condition():
            await anyio.lowlevel.checkpoint()
    assert condition(), what


# -- the client ------------------------------------------------------------------------------------------------------


def message(method: str, params: Any = None, *, id: Any = 1) -> dict[str, Any]:
    """A request; without an id a notification."""
    made: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if id is not None:
        made["id"] = id
    if params is not None:
        made["params"] = params
    return made


def call(tool: str, arguments: Any = None, *, id: Any = 1, token: Any = None, **members: Any) -> dict[str, Any]:
    """A tools/call; with a token it wants progress."""
    params: dict[str, Any] = {"name": tool, "arguments": arguments or {}, **members}
    if token is not None:
        params["_meta"] = {"progressToken": token}
    return message("tools/call", params, id=id)


def initialize(revision: str = "2025-11-25", *, id: Any = 0, **capabilities: Any) -> dict[str, Any]:
    params = {
        "protocolVersion": revision,
        "capabilities": capabilities,
        "clientInfo": {"name": "raw", "version": "1"},
    }
    return message("initialize", params, id=id)


def modern(
    body: dict[str, Any], *, revision: str = MODERN, capabilities: Any = None
) -> tuple[dict[str, Any], dict[str, str]]:
    """A request of the stateless era: the body with its envelope, and the headers that mirror it."""
    params = dict(body.get("params") or {})
    meta = {
        f"{_META}protocolVersion": revision,
        f"{_META}clientCapabilities": capabilities or {},
        **params.get("_meta", {}),
    }
    params["_meta"] = meta
    headers = {"Mcp-Protocol-Version": revision, "Mcp-Method": body["method"]}
    named = _NAMED.get(body["method"])
    if named is not None and named in params:
        headers["Mcp-Name"] = params[named]
    return {**body, "params": params}, headers


@dataclass
class ServerEvent:
    """One server-sent event."""

    data: str
    id: str | None = None
    event: str | None = None
    retry: int | None = None

    def json(self) -> Any:
        return json.loads(self.data)


class Wire:
    """One connection to the server, and the bytes that it brought. It reads only what a test waits for."""

    def __init__(self, connected: socket.socket, host: str) -> None:
        self.socket = connected
        self.host = host
        self.held = b""

    async def send(self, data: bytes) -> None:
        """Raises `OSError` when the server has closed the connection."""
        rest = memoryview(data)
        with anyio.fail_after(PATIENCE_SECONDS):
            while rest:
                await anyio.wait_writable(self.socket)
                try:
                    rest = rest[self.socket.send(rest) :]
                except BlockingIOError:
                    continue

    async def receive(self) -> bytes:
        """What is there; empty when the server has closed the connection. Raises `OSError` when it was reset."""
        while True:
            await anyio.wait_readable(self.socket)
            try:
                return self.socket.recv(65536)
            except BlockingIOError:
                continue

    async def request(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> None:
        """Send a request without waiting for anything."""
        fields = {"Host": self.host, **(headers or {})}
        if body is not None:
            fields.setdefault("Content-Length", str(len(body)))
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items() if value is not None)
        await self.send(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + (body or b""))

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> "Answer":
        """Send a request and wait for the head of its answer."""
        await self.request(method, path, headers, body)
        return await self.answer()

    async def answer(self) -> "Answer":
        head = (await self.until(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head[:-4].split("\r\n")
        pairs = [line.split(": ", 1) for line in lines]
        return Answer(self, int(first.split(" ")[1]), {name.lower(): value for name, value in pairs})

    async def until(self, end: bytes) -> bytes:
        with anyio.fail_after(PATIENCE_SECONDS):
            while end not in self.held:
                await self._more()
        found, _, self.held = self.held.partition(end)
        return found + end

    async def exactly(self, count: int) -> bytes:
        with anyio.fail_after(PATIENCE_SECONDS):
            while len(self.held) < count:
                await self._more()
        found, self.held = self.held[:count], self.held[count:]
        return found

    async def _more(self) -> None:
        data = await self.receive()
        if not data:
            raise EOFError(f"the server has closed the connection; before that it sent {self.held!r:.200}")
        self.held += data

    async def ended(self) -> bytes:
        """What comes before the server closes the connection."""
        with anyio.fail_after(PATIENCE_SECONDS):
            try:
                while data := await self.receive():
                    self.held += data
            except OSError:
                pass  # a reset is an end as well
        return self.held

    async def close(self, *, reset: bool = False) -> None:
        """Close the connection, or break it off. Closing twice does nothing."""
        if reset and self.socket.fileno() >= 0:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()
        await anyio.lowlevel.checkpoint()


class Answer:
    """A response whose head has arrived."""

    def __init__(self, wire: Wire, status: int, headers: dict[str, str]) -> None:
        self.wire = wire
        self.status = status
        self.headers = headers
        self.over = False
        self._text = b""

    @property
    def kind(self) -> str:
        """Its media type."""
        return self.headers.get("content-type", "").partition(";")[0]

    async def chunk(self) -> bytes:
        """The next piece of a chunked body; empty at its end."""
        if self.over:
            return b""
        size = int((await self.wire.until(b"\r\n")).strip(), 16)
        data = await self.wire.exactly(size)
        assert await self.wire.exactly(2) == b"\r\n"
        self.over = size == 0
        return data

    async def body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return await self.wire.exactly(int(self.headers.get("content-length", 0)))
        found = b""
        while piece := await self.chunk():
            found += piece
        return found

    async def json(self) -> Any:
        assert self.kind == "application/json", (self.status, self.headers)
        return json.loads(await self.body())

    async def _block(self) -> str | None:
        assert self.kind == "text/event-stream", (self.status, self.headers, self.wire.held)
        while b"\n\n" not in self._text:
            piece = await self.chunk()
            if not piece:
                assert not self._text.strip(), "the stream ended inside an event"
                return None
            self._text += piece
        block, _, self._text = self._text.partition(b"\n\n")
        return block.decode()

    async def comment(self) -> None:
        """The next thing on the stream is a comment."""
        assert await self._block() in (":", ": ")

    async def event(self) -> ServerEvent | None:
        """The next event, after any comments; None at the end of the stream."""
        while (block := await self._block()) is not None:
            found = ServerEvent("")
            known = 0
            for line in block.split("\n"):
                name, _, value = line.partition(":")
                value = value.removeprefix(" ")
                if name == "retry":
                    found.retry, known = int(value), known + 1
                elif name:
                    setattr(found, name, value)
                    known += 1
            if known:
                return found
        return None

    async def events(self) -> list[ServerEvent]:
        """Every event until the stream ends."""
        found = []
        while (event := await self.event()) is not None:
            found.append(event)
        return found

    async def messages(self) -> list[Any]:
        """Every JSON-RPC message until the stream ends."""
        return [event.json() for event in await self.events() if event.data]

    async def messages_or_json(self) -> list[Any]:
        return await self.messages() if self.kind == "text/event-stream" else [await self.json()]


class Site:
    """A running listener with its server."""

    def __init__(self, offered: Offer, endpoint: Endpoint, address: Any, path: str, sse_path: str | None) -> None:
        self.offer = offered
        self.server = offered.server
        self.endpoint = endpoint
        self.address = address
        self.path = path
        self.sse_path = sse_path
        self.stopped = Event()
        self.host = f"127.0.0.1:{address[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.host}{self.path}"

    async def wire(self, *, receive_buffer: int | None = None) -> Wire:
        """A connection that the test closes; with a small receive buffer, one whose server soon notices a stall."""
        connected = socket.socket()
        try:
            if receive_buffer is not None:
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            connected.setblocking(False)
            if connected.connect_ex(tuple(self.address)):
                await anyio.wait_writable(connected)
                if error := connected.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    raise OSError(error, os.strerror(error))
        except BaseException:
            connected.close()
            raise
        return Wire(connected, self.host)

    @asynccontextmanager
    async def connect(self, *, receive_buffer: int | None = None) -> AsyncIterator[Wire]:
        """A connection for as long as the block lasts."""
        wire = await self.wire(receive_buffer=receive_buffer)
        try:
            yield wire
        finally:
            wire.socket.close()

    async def post(self, wire: Wire, body: Any, headers: Mapping[str, Any] | None = None) -> Answer:
        await self.send(wire, body, headers)
        return await wire.answer()

    async def send(self, wire: Wire, body: Any, headers: Mapping[str, Any] | None = None) -> None:
        """Post JSON without waiting for the answer."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            **(headers or {}),
        }
        await wire.request("POST", self.path, fields, data)

    async def modern(self, wire: Wire, body: dict[str, Any], *, capabilities: Any = None, **headers: Any) -> Answer:
        """Post a request of 2026-07-28."""
        whole, mirrored = modern(body, capabilities=capabilities)
        return await self.post(wire, whole, {**mirrored, **_spelled(headers)})

    @asynccontextmanager
    async def talk(
        self, revision: str = "2025-11-25", *, headers: Mapping[str, str] | None = None, **capabilities: Any
    ) -> AsyncIterator["Talk"]:
        """A session of the handshake era."""
        async with self.connect() as wire:
            answer = await self.post(wire, initialize(revision, **capabilities), headers)
            assert answer.status == 200, await answer.body()
            result = await answer.json()
            talk = Talk(self, wire, answer.headers["mcp-session-id"], revision, result["result"], dict(headers or {}))
            answer = await talk.post(message("notifications/initialized", id=None))
            assert (answer.status, await answer.body()) == (202, b"")
            yield talk


class Talk:
    """One session of the handshake era, on a connection of its own; others may be brought along."""

    def __init__(self, site: Site, wire: Wire, id: str, revision: str, result: Any, headers: dict[str, str]) -> None:
        self.site = site
        self.wire = wire
        self.id = id
        self.result = result
        self.headers = {**headers, "Mcp-Session-Id": id}
        if revision >= "2025-06-18":
            self.headers["Mcp-Protocol-Version"] = revision

    async def post(self, body: Any, *, wire: Wire | None = None, **headers: Any) -> Answer:
        return await self.site.post(wire or self.wire, body, {**self.headers, **_spelled(headers)})

    async def send(self, body: Any, *, wire: Wire | None = None, **headers: Any) -> None:
        await self.site.send(wire or self.wire, body, {**self.headers, **_spelled(headers)})

    async def get(self, wire: Wire, *, last_event_id: str | None = None, **headers: Any) -> Answer:
        fields = {"Accept": "text/event-stream", **self.headers, **_spelled(headers)}
        if last_event_id is not None:
            fields["Last-Event-ID"] = last_event_id
        return await wire.ask("GET", self.site.path, fields)

    async def delete(self, wire: Wire | None = None, **headers: Any) -> Answer:
        return await (wire or self.wire).ask("DELETE", self.site.path, {**self.headers, **_spelled(headers)})

    async def tool(self, name: str, arguments: Any = None, *, id: Any = 1, **headers: Any) -> Any:
        """The text that a tool answers."""
        answer = await self.post(call(name, arguments, id=id), **headers)
        assert answer.status == 200, await answer.body()
        found = (await answer.messages_or_json())[-1]
        assert found["id"] == id
        return found["result"]["content"][0]["text"]


def _spelled(headers: Mapping[str, Any]) -> dict[str, Any]:
    """`mcp_name=` for the header Mcp-Name."""
    return {"-".join(part.capitalize() for part in name.split("_")): value for name, value in headers.items()}


@asynccontextmanager
async def serving(
    offered: Offer | None = None,
    *,
    limits: HttpLimits | None = None,
    grace: float = 0.5,
    policy: Mapping[str, Any] | None = None,
    access_log: Any = None,
    around: Callable[[Endpoint], Any] | None = None,
    **options: Any,
) -> AsyncIterator[Site]:
    """A server behind our listener on a free port of this machine. At the end it is stopped and has to have ended."""
    offered = offered or offer()
    access = AccessPolicy.for_bind("127.0.0.1", authenticated="auth" in options, **(policy or {}))
    http = HttpOptions(policy=access, **options)
    endpoint = Endpoint(offered.server, http)
    stopping = anyio.Event()
    app: Callable[[Any, Any], Awaitable[None]] = endpoint if around is None else around(endpoint)
    with anyio.fail_after(PATIENCE_SECONDS * 2):
        async with anyio.create_task_group() as tasks:
            sites: list[Site] = []

            async def run(*, task_status: Any) -> None:
                async with endpoint_running(offered.server, endpoint, stopping.set):
                    await serve_http(
                        app,
                        port=0,
                        limits=limits,
                        stopping=stopping,
                        grace=grace,
                        access_log=access_log,
                        task_status=task_status,
                    )
                for site in sites:
                    site.stopped.set()

            [address] = await tasks.start(run)
            endpoint.admission.listens_at([address])
            site = Site(offered, endpoint, address, http.path, http.sse_path)
            sites.append(site)
            try:
                yield site
            finally:
                offered.server.stop(grace)
