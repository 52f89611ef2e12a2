"""What the tests of our listener share: a listener on a free port, and a client that writes and reads raw bytes.

Real sockets, so that the clock is real as well. Deadlines are short through `HttpLimits`. Every wait of a test has
PATIENCE_SECONDS: a slow machine is no failure.
"""

import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import SocketAttribute, SocketStream

from mcpcore_transports.web.exchange import Application, WebRequest, WebResponse
from mcpcore_transports.web.listener import serve_http

__all__ = (
    "MUCH",
    "PATIENCE_SECONDS",
    "TEXT",
    "Probe",
    "Served",
    "Wire",
    "echo",
    "get",
    "post",
    "serving",
    "stream_for_ever",
    "wait_for_ever",
)

PATIENCE_SECONDS = 20
TEXT = (("content-type", "text/plain"),)
MUCH = b"x" * 1_000_000


class Served:
    """A running listener."""

    def __init__(
        self, addresses: list[Any], stopping: anyio.Event, ended: anyio.Event, cancel: Callable[[], None]
    ) -> None:
        self.addresses = addresses
        self.stopping = stopping
        self.ended = ended
        self.cancel = cancel

    @asynccontextmanager
    async def connect(self) -> AsyncIterator["Wire"]:
        address = self.addresses[0]
        if isinstance(address, str):
            stream: SocketStream = await anyio.connect_unix(address)
        else:
            stream = await anyio.connect_tcp(*address)
        async with stream:
            yield Wire(stream)


class Wire:
    """The client's end of a connection."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.held = b""

    async def send(self, data: bytes) -> None:
        await self.stream.send(data)

    async def until(self, end: bytes) -> bytes:
        """What comes up to and with `end`."""
        with anyio.fail_after(PATIENCE_SECONDS):
            while end not in self.held:
                self.held += await self.stream.receive()
        found, _, self.held = self.held.partition(end)
        return found + end

    async def exactly(self, count: int) -> bytes:
        with anyio.fail_after(PATIENCE_SECONDS):
            while len(self.held) < count:
                self.held += await self.stream.receive()
        found, self.held = self.held[:count], self.held[count:]
        return found

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        with anyio.fail_after(PATIENCE_SECONDS):
            try:
                while True:
                    self.held += await self.stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return self.held

    async def response(self, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        """One response with a content-length."""
        head = (await self.until(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head[:-4].split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = 0 if method == "HEAD" else int(headers.get("content-length", 0))
        return int(first.split(" ")[1]), headers, await self.exactly(length)

    async def ask(self, path: str = "/", body: bytes | None = None) -> tuple[int, dict[str, str], bytes]:
        await self.send(get(path) if body is None else post(path, body))
        return await self.response()

    def reset(self) -> None:
        """Break the connection off, instead of closing it in an orderly way."""
        raw = self.stream.extra(SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def get(path: str = "/", headers: bytes = b"") -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: test\r\n%b\r\n" % (path.encode(), headers)


def post(path: str, body: bytes, headers: bytes = b"") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n%b\r\n%b" % (
        path.encode(),
        len(body),
        headers,
        body,
    )


@asynccontextmanager
async def serving(app: Application, **options: Any) -> AsyncIterator[Served]:
    """A listener on a free port; at the end it is stopped and has to have ended."""
    options.setdefault("stopping", anyio.Event())
    options.setdefault("grace", 0.2)
    if "uds" not in options and "sockets" not in options:
        options.setdefault("port", 0)
    ended = anyio.Event()
    with anyio.fail_after(PATIENCE_SECONDS * 2):
        async with anyio.create_task_group() as tasks:

            async def run(*, task_status: Any) -> None:
                await serve_http(app, task_status=task_status, **options)
                ended.set()

            served = Served(await tasks.start(run), options["stopping"], ended, tasks.cancel_scope.cancel)
            yield served
            served.stopping.set()


async def echo(request: WebRequest, response: WebResponse) -> None:
    """Says what it was asked."""
    body = await request.body(1_000_000)
    text = f"{request.method} {request.mount}{request.path}?{request.query} ".encode()
    await response.send_whole(200, TEXT, text + body)


class Probe:
    """An application that streams or waits, and tells what becomes of it."""

    def __init__(self, work: Callable[["Probe", WebRequest, WebResponse], Awaitable[None]]) -> None:
        self.work = work
        self.began = anyio.Event()
        self.gone = anyio.Event()
        self.ended = anyio.Event()
        self.outcome: BaseException | None = None

    async def __call__(self, request: WebRequest, response: WebResponse) -> None:
        self.began.set()
        try:
            await self.work(self, request, response)
        except BaseException as error:
            self.outcome = error
            raise
        finally:
            self.ended.set()

    async def wait(self, what: str) -> None:
        with anyio.fail_after(PATIENCE_SECONDS):
            await getattr(self, what).wait()

    @property
    def cancelled(self) -> bool:
        return isinstance(self.outcome, anyio.get_cancelled_exc_class())


async def wait_for_ever(probe: Probe, request: WebRequest, response: WebResponse) -> None:
    await anyio.sleep_forever()


async def stream_for_ever(probe: Probe, request: WebRequest, response: WebResponse) -> None:
    await response.start(200, TEXT)
    while True:
        await response.send(MUCH)
