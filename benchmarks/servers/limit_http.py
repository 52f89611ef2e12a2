"""What the wire work of an HTTP server costs without a framework: anyio, a parser of HTTP, and msgspec.
`limit_http.py --port N --backend B --parser h11|httptools [--uvloop]`.

Each request: its head and body are parsed, the three headers of the protocol compared with the body, the body decoded
into typed structs, and the answer written at once: JSON, or a stream of events when there is progress to report. No
deadlines, no limits, nothing that is done for a client that misbehaves.
"""

import argparse
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.abc
from limit_mcp import acknowledged, answer, decode, progress_frames, say, updated

READ_BYTES = 65536

_JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
_EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_ACCEPTED = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n"
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"

Head = dict[bytes, bytes]
Exchange = tuple[bytes, Head, bytes]

sessions: set[bytes] = set()


async def h11_requests(stream: anyio.abc.SocketStream, connection: Any) -> AsyncIterator[Exchange]:
    import h11

    while True:
        body, head, method = b"", {}, b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                try:
                    connection.receive_data(await stream.receive(READ_BYTES))
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    return
            elif isinstance(event, h11.Request):
                method, head = event.method, dict(event.headers)
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                return
        yield method, head, body


class _Gathered:
    """What httptools calls."""

    def __init__(self) -> None:
        self.head: Head = {}
        self.body = b""
        self.done: list[Exchange] = []
        self.parser: Any = None

    def on_message_begin(self) -> None:
        self.head, self.body = {}, b""

    def on_header(self, name: bytes, value: bytes) -> None:
        self.head[name.lower()] = value

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.done.append((self.parser.get_method(), self.head, self.body))


async def httptools_requests(stream: anyio.abc.SocketStream) -> AsyncIterator[Exchange]:
    import httptools

    gathered = _Gathered()
    gathered.parser = httptools.HttpRequestParser(gathered)
    while True:
        try:
            gathered.parser.feed_data(await stream.receive(READ_BYTES))
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return
        done, gathered.done = gathered.done, []
        for exchange in done:
            yield exchange


def chunk(frame: bytes) -> bytes:
    event = b"event: message\ndata: " + frame + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(event), event)


listeners: dict[anyio.abc.SocketStream, str | int | None] = {}


async def until_gone(stream: anyio.abc.SocketStream) -> None:
    with contextlib.suppress(anyio.EndOfStream):
        await stream.receive()


async def hear(stream: anyio.abc.SocketStream, id: str | int | None) -> None:
    """An open stream of changes."""
    listeners[stream] = id
    try:
        await stream.send(_EVENTS + chunk(acknowledged(id)))
        await until_gone(stream)
    finally:
        del listeners[stream]


async def hang(stream: anyio.abc.SocketStream) -> None:
    """A call that ends with its caller."""
    async with anyio.create_task_group() as tasks:

        async def watch() -> None:
            await until_gone(stream)
            tasks.cancel_scope.cancel()

        tasks.start_soon(watch)
        say()
        try:
            await anyio.sleep(60)
        finally:
            say()


async def respond(stream: anyio.abc.SocketStream, method: bytes, head: Head, body: bytes) -> None:
    if method != b"POST":
        await stream.send(_EVENTS)
        await until_gone(stream)
        return
    request = decode(body)
    params = request.params
    if b"mcp-method" in head:
        named = head.get(b"mcp-name", b"").decode()
        version = head[b"mcp-protocol-version"].decode()
        if (head[b"mcp-method"].decode(), named, version) != (request.method, params.name, params.meta.revision):
            await stream.send(_NOT_FOUND)
            return
    elif request.method == "initialize":
        session = secrets.token_hex(16).encode()
        sessions.add(session)
        found = answer(request)
        await stream.send(
            (_JSON % (len(found), found)).replace(b"\r\n", b"\r\nmcp-session-id: " + session + b"\r\n", 1)
        )
        return
    elif head.get(b"mcp-session-id") not in sessions:
        await stream.send(_NOT_FOUND)
        return
    if request.id is None:
        await stream.send(_ACCEPTED)
        return
    if request.method == "subscriptions/listen":
        await hear(stream, request.id)
        return
    if params.name.startswith("hang"):
        if params.name == "hang":
            await stream.send(_EVENTS)
        await hang(stream)
        return
    if params.name == "touch":
        say()
        for listener, id in tuple(listeners.items()):
            await listener.send(chunk(updated(id)))
    began = False
    for frame in progress_frames(request):
        await stream.send(chunk(frame) if began else _EVENTS + chunk(frame))
        began = True
    found = answer(request)
    if began:
        await stream.send(chunk(found) + b"0\r\n\r\n")
    else:
        await stream.send(_JSON % (len(found), found))


async def with_h11(stream: anyio.abc.SocketStream) -> None:
    import h11

    connection = h11.Connection(h11.SERVER)
    async with stream:
        async for method, head, body in h11_requests(stream, connection):
            connection.send(h11.Response(status_code=200, headers=[(b"content-length", b"0")]))
            connection.send(h11.EndOfMessage())
            await respond(stream, method, head, body)
            connection.start_next_cycle()


async def with_httptools(stream: anyio.abc.SocketStream) -> None:
    async with stream:
        async for method, head, body in httptools_requests(stream):
            await respond(stream, method, head, body)


async def listen(port: int, parser: str) -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port, backlog=2048)

    async def serve(stream: anyio.abc.SocketStream) -> None:
        stream.extra(anyio.abc.SocketAttribute.raw_socket).setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await (with_h11 if parser == "h11" else with_httptools)(stream)
        except (anyio.BrokenResourceError, ConnectionError):
            return

    await listener.serve(serve)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--backend", default="asyncio")
    parser.add_argument("--parser", choices=("h11", "httptools"), default="h11")
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    more = {"use_uvloop": True} if options.uvloop else {}
    anyio.run(listen, options.port, options.parser, backend=options.backend, backend_options=more)


if __name__ == "__main__":
    main()
