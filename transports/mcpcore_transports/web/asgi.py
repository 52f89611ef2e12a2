"""An application as an ASGI 3 callable, for hypercorn, uvicorn, or a mount in Starlette, FastAPI, Quart.

ASGI servers differ in what they promise, so this relies on little: a client that left is told apart from one that is
still sending by reading the body to its end first and then waiting in `receive()`; what is sent after that is never
handed over, because servers swallow it and some keep it in memory; body size and every wait have limits of our own.
"""

import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from typing import Any, TypeAlias

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from mcpcore.errors import ConnectionLost, LocalProtocolError
from mcpcore.groups import sole_error
from mcpcore_transports.web.connection import log_failure
from mcpcore_transports.web.encoder import has_no_body, refusal_text
from mcpcore_transports.web.exchange import Application, BodyTooLarge, Headers, WebRequest, WebResponse
from mcpcore_transports.web.head import join_headers
from mcpcore_transports.web.limits import GONE_SECONDS, HttpLimits

__all__ = ("AsgiApp", "AsgiRequest", "AsgiResponse", "Message", "Receive", "Scope", "Send")

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]

_WITHOUT_BODY = frozenset(("GET", "HEAD", "DELETE", "OPTIONS"))


class AsgiApp:
    """Serves `app` under any ASGI server, mounted anywhere, with or without lifespan events.

    Of `limits`, body_seconds, write_seconds and quiet_seconds count here; the rest is the server's own business.
    """

    def __init__(self, app: Application, *, limits: HttpLimits | None = None) -> None:
        self.app = app
        self.limits: HttpLimits = limits or HttpLimits()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request. Refuses websockets; lifespan events are only acknowledged."""
        if scope["type"] == "http":
            with sole_error():
                async with anyio.create_task_group() as tasks:
                    client = _Client(receive, send, self.limits, tasks)
                    request = AsgiRequest(scope, client)
                    await self._answer(request, AsgiResponse(request.method, client))
                    tasks.cancel_scope.cancel()
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] == "lifespan":
            await _acknowledge(receive, send)
        else:
            raise LocalProtocolError(f"this application serves HTTP, not {scope['type']!r}")

    async def _answer(self, request: "AsgiRequest", response: "AsgiResponse") -> None:
        client = request.connection
        if request.method in _WITHOUT_BODY:
            client.watch_once()
        try:
            await self.app(request, response)
        except BodyTooLarge:
            status, text = 413, "the request body is larger than this server takes"
        except Exception as error:
            if client.lost:
                return
            if response.started:
                raise  # the server logs it and breaks the response off
            if client.late and isinstance(error, ConnectionLost):
                status, text = 408, "the request took too long to arrive"
            else:
                log_failure("the application failed on an HTTP request", error)
                status, text = 500, "the server failed on this request; its log says why"
        else:
            if response.finished or client.lost:
                return
            if response.started:
                raise LocalProtocolError("the application returned without finishing its HTTP response")
            status, text = 500, "the server gave no answer to this request"
        if not response.started:
            try:
                await response.send_whole(status, (("content-type", "text/plain"),), refusal_text(status, text))
            except ConnectionLost:
                return


class AsgiRequest(WebRequest):
    """A request out of an ASGI scope."""

    def __init__(self, scope: Scope, connection: "_Client") -> None:
        self.connection = connection
        self.method: str = scope["method"].upper()
        self.mount: str = scope.get("root_path", "").rstrip("/")
        path = scope["path"]
        # ASGI 2.3 and Starlette leave the path whole; older servers and middleware take the prefix off it.
        if self.mount and (path == self.mount or path.startswith(self.mount + "/")):
            path = path[len(self.mount) :]
        self.path: str = path or "/"
        self.query: str = scope.get("query_string", b"").decode("latin-1")
        self.scheme: str = scope.get("scheme", "http")
        address = scope.get("client")
        self.client: str = str(address[0]) if address else ""
        self._pairs = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        self.headers: Mapping[str, str] = join_headers(self._pairs)
        self._body: bytes | None = None

    def header_values(self, name: str) -> Sequence[str]:
        return [value for key, value in self._pairs if key == name]

    async def body(self, limit: int) -> bytes:
        if self._body is None:
            declared = self.headers.get("content-length", "")
            if declared.isdigit() and int(declared) > limit:
                raise BodyTooLarge
            self._body = await self.connection.read_body(limit)
        if len(self._body) > limit:
            raise BodyTooLarge
        return self._body

    def when_gone(self, callback: Callable[[], None] | None) -> None:
        self.connection.when_gone = callback


class AsgiResponse(WebResponse):
    """A response into an ASGI `send`."""

    finished: bool = False

    def __init__(self, method: str, client: "_Client") -> None:
        self._client = client
        self._silent = method == "HEAD"

    async def send_whole(self, status: int, headers: Headers, body: bytes) -> None:
        if not has_no_body(status):
            headers = (*headers, ("content-length", str(len(body))))
        await self._begin(status, headers)
        self.finished = True
        await self._client.send_last(b"" if self._silent or has_no_body(status) else body)

    async def start(self, status: int, headers: Headers, *, first: bytes = b"", idle_bytes: bytes = b"") -> None:
        client = self._client
        client.watch_once()
        await self._begin(status, headers)
        self._silent = self._silent or has_no_body(status)
        # Servers may hold the head back until there is a first piece of the body.
        body = b"" if self._silent else first
        await client.send({"type": "http.response.body", "body": body, "more_body": True})
        if idle_bytes and not self._silent:
            client.keep_alive(idle_bytes)

    async def send(self, chunk: bytes) -> None:
        if not self.started or self.finished:
            raise LocalProtocolError("send is for between start and finish")
        if chunk and not self._silent:
            await self._client.send({"type": "http.response.body", "body": chunk, "more_body": True})
        else:
            await anyio.lowlevel.checkpoint()

    async def finish(self, last: bytes = b"") -> None:
        if not self.started:
            raise LocalProtocolError("finish is for after start")
        if not self.finished:
            self.finished = True
            await self._client.send_last(b"" if self._silent else last)

    async def _begin(self, status: int, headers: Headers) -> None:
        if self.started:
            raise LocalProtocolError("a request has one response; this one has begun")
        encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        self.started = True
        await self._client.send({"type": "http.response.start", "status": status, "headers": encoded})


class _Client:
    """What the server's `receive` and `send` are for one request, with deadlines and one owner for each direction."""

    def __init__(self, receive: Receive, send: Send, limits: HttpLimits, tasks: TaskGroup) -> None:
        self._receive = receive
        self._send = send
        self._limits = limits
        self._tasks = tasks
        self.lost: bool = False
        self.late: bool = False
        self.when_gone: Callable[[], None] | None = None
        self._watching = False
        self._last_sent = 0.0
        self._over = False
        self._busy = False
        self._sending: anyio.Event | None = None

    async def read_body(self, limit: int) -> bytes:
        """The body, then watch for the client's leaving. Raises `BodyTooLarge` and `ConnectionLost`."""
        if self._watching:
            return b""  # by a method that has none, or the response began without it
        pieces: list[bytes] = []
        size = 0
        more = True
        with anyio.move_on_after(self._limits.body_seconds) as patience:
            while more:
                message = await self._receive()
                if message["type"] != "http.request":
                    self.lost = True
                    raise ConnectionLost("the client left before its request was complete")
                piece = message.get("body", b"")
                size += len(piece)
                if size > limit:
                    raise BodyTooLarge
                pieces.append(piece)
                more = message.get("more_body", False)
        if patience.cancelled_caught:
            self.late = True
            raise ConnectionLost("the request took too long to arrive")
        self.watch_once()
        return b"".join(pieces)

    def watch_once(self) -> None:
        """Begin to wait for the client's leaving, unless that has begun."""
        if not self._watching:
            self._watching = True
            self._tasks.start_soon(self._wait_until_gone)

    def keep_alive(self, idle_bytes: bytes) -> None:
        """Send `idle_bytes` whenever the stream has been silent for quiet_seconds."""
        self._tasks.start_soon(self._send_idle, idle_bytes)

    async def _wait_until_gone(self) -> None:
        """Wait for the client to leave; tell the application, and cancel it if that does not make it end."""
        while (await self._receive())["type"] == "http.request":
            pass  # what is left of a body that nobody wanted
        await self._tell_gone()

    async def send(self, message: Message) -> None:
        """Hand one message to the server. Raises `ConnectionLost` when the client left or does not read."""
        with anyio.move_on_after(self._limits.write_seconds) as patience:
            while self._sending is not None:  # idle bytes are on their way
                await self._sending.wait()
            if self.lost:
                raise ConnectionLost("the client left")
            self._busy = True
            try:
                await self._send(message)
            except OSError as broken:
                self.lost = True
                raise ConnectionLost("the client left") from broken
            finally:
                self._busy = False
                self._last_sent = time.monotonic()
        if patience.cancelled_caught:
            self.lost = True
            raise ConnectionLost(f"the client has not read for {self._limits.write_seconds:g} s")

    async def send_last(self, body: bytes) -> None:
        """Hand over the last piece of the body."""
        self._over = True
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    async def _send_idle(self, idle_bytes: bytes) -> None:
        quiet = self._limits.quiet_seconds
        while True:
            await anyio.sleep(max(0.0, self._last_sent + quiet - time.monotonic()))
            if self._over or self.lost:
                return
            if self._busy:  # by a client that reads slowly
                self._last_sent = time.monotonic()
            if time.monotonic() < self._last_sent + quiet:
                continue
            sent = self._sending = anyio.Event()
            stalled = False
            try:
                with anyio.move_on_after(self._limits.write_seconds) as patience:
                    await self._send({"type": "http.response.body", "body": idle_bytes, "more_body": True})
                stalled = patience.cancelled_caught
            except OSError:
                stalled = True
            finally:
                self._sending = None
                self._last_sent = time.monotonic()
                sent.set()
            if stalled:
                await self._tell_gone()
                return

    async def _tell_gone(self) -> None:
        self.lost = True
        callback, self.when_gone = self.when_gone, None
        if callback is not None:
            try:
                callback()
            except Exception as error:
                log_failure("a callback for a client that left failed", error)
            await anyio.sleep(GONE_SECONDS)
        self._tasks.cancel_scope.cancel()


async def _acknowledge(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
