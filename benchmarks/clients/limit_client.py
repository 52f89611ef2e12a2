"""A client that does the wire work alone: anyio, msgspec, and h11 over HTTP. In memory, two bare channels and a task.
See `control.py`."""

import os
from collections.abc import Callable
from typing import Any

import anyio
import anyio.abc
import msgspec
from control import Target, obey, options

_META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "limit", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


class Content(msgspec.Struct):
    type: str
    text: str


class Result(msgspec.Struct):
    content: list[Content]
    structured: Any = msgspec.field(default=None, name="structuredContent")


class Progress(msgspec.Struct):
    progress: float


class Message(msgspec.Struct):
    id: int | None = None
    result: Result | None = None
    method: str | None = None
    params: Progress | None = None


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Message).decode


def request(id: int, name: str, arguments: dict[str, Any], token: int | None = None) -> bytes:
    meta = _META if token is None else {**_META, "progressToken": token}
    params = {"name": name, "arguments": arguments, "_meta": meta}
    return encode({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})


async def in_memory() -> None:
    here_out, there_in = anyio.create_memory_object_stream[Any](0)
    there_out, here_in = anyio.create_memory_object_stream[Any](0)

    async def serve() -> None:
        async for number, text in there_in:
            await there_out.send((number, text))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        number = 0

        async def call(text: str) -> str:
            nonlocal number
            number += 1
            await here_out.send((number, text))
            _, found = await here_in.receive()
            return str(found)

        await obey(call)
        tasks.cancel_scope.cancel()


async def over_stdio(target: Target) -> None:
    here_in, there_out = os.pipe()
    there_in, here_out = os.pipe()
    process = await anyio.open_process(
        target.argv, stdin=there_in, stdout=there_out, stderr=None, env={**os.environ, **target.environment}
    )
    os.close(there_in)
    os.close(there_out)
    os.set_blocking(here_in, False)
    number = 0
    rest = b""

    async def ask(message: bytes, heard: Callable[[float], None] | None = None) -> str:
        nonlocal rest
        os.write(here_out, message + b"\n")
        while True:
            try:
                data = os.read(here_in, 65536)
            except BlockingIOError:
                await anyio.wait_readable(here_in)
                continue
            assert data, "the server ended"
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                found = decode(line)
                if found.result is not None:
                    return found.result.content[0].text
                if heard is not None and found.params is not None:
                    heard(found.params.progress)

    async def call(text: str) -> str:
        nonlocal number
        number += 1
        return await ask(request(number, "echo", {"text": text}))

    async def count(upto: int, heard: Callable[[float], None]) -> object:
        nonlocal number
        number += 1
        return await ask(request(number, "count", {"upto": upto}, token=number), heard)

    await obey(call, count)
    os.close(here_out)
    await process.wait()


async def over_http(url: str) -> None:
    import h11

    host, _, _ = url.removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    stream = await anyio.connect_tcp(name, int(port))
    connection = h11.Connection(h11.CLIENT)
    number = 0

    def head(tool: str, length: int) -> Any:
        return h11.Request(
            method="POST",
            target="/mcp",
            headers=[
                ("host", host),
                ("content-type", "application/json"),
                ("accept", "application/json, text/event-stream"),
                ("mcp-protocol-version", "2026-07-28"),
                ("mcp-method", "tools/call"),
                ("mcp-name", tool),
                ("content-length", str(length)),
            ],
        )

    async def exchange(tool: str, message: bytes, heard: Callable[[float], None] | None = None) -> str:
        sent = (head(tool, len(message)), h11.Data(data=message), h11.EndOfMessage())
        await stream.send(b"".join(connection.send(event) or b"" for event in sent))
        body = b""
        text = ""
        events = False
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await stream.receive())
            elif isinstance(event, h11.Response):
                events = b"text/event-stream" in dict(event.headers)[b"content-type"]
            elif isinstance(event, h11.Data):
                body += event.data
                if not events:
                    continue
                *parts, body = body.split(b"\n\n")
                for part in parts:
                    found = decode(part[part.index(b"data: ") + 6 :])
                    if found.result is not None:
                        text = found.result.content[0].text
                    elif heard is not None and found.params is not None:
                        heard(found.params.progress)
            elif isinstance(event, h11.EndOfMessage):
                break
        connection.start_next_cycle()
        if events:
            return text
        answer = decode(body).result
        assert answer is not None
        return answer.content[0].text

    async def call(text: str) -> str:
        nonlocal number
        number += 1
        return await exchange("echo", request(number, "echo", {"text": text}))

    async def count(upto: int, heard: Callable[[float], None]) -> object:
        nonlocal number
        number += 1
        return await exchange("count", request(number, "count", {"upto": upto}, token=number), heard)

    await obey(call, count)
    await stream.aclose()


async def main() -> None:
    target, _, _ = options()
    if target.url is not None:
        await over_http(target.url)
    elif target.argv:
        await over_stdio(target)
    else:
        await in_memory()


if __name__ == "__main__":
    anyio.run(main, backend=options()[1])
