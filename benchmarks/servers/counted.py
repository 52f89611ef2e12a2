"""What `instructions.py` counts: this program runs under valgrind and forks a child for each piece of work.

    counted.py ours|limit

A line of JSON on the input is one order: what to do, on which backend, how many requests. The child that does it is
named by its process id on the output; its count lies in a file that has that id in its name. Everything is imported
before the first fork, so two counts of the same work differ by the requests alone.
"""

import json
import os
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

SLOWER = 50
"""How many times slower everything is under valgrind. Clocks are slowed by as much before anybody reads them, or what
happens every few milliseconds would be counted fifty times too often, and more so on a busy machine."""

_monotonic, _perf_counter, _epoll = time.monotonic, time.perf_counter, select.epoll


class _SlowEpoll:
    """`select.epoll` whose timeouts are in slow seconds."""

    def __init__(self, *arguments: Any) -> None:
        self._real = _epoll(*arguments)
        for name in ("register", "modify", "unregister", "fileno", "close"):
            setattr(self, name, getattr(self._real, name))

    def poll(self, timeout: float | None = None, maxevents: int = -1) -> Any:
        if timeout is not None and timeout > 0:
            timeout = min(timeout * SLOWER, 86400.0)
        return self._real.poll(timeout, maxevents)


time.monotonic = lambda: _monotonic() / SLOWER
time.perf_counter = lambda: _perf_counter() / SLOWER
select.epoll = _SlowEpoll  # type: ignore[assignment, misc]

# ruff: noqa: E402
import anyio
import anyio._backends._asyncio
import anyio._backends._trio

MAX_REQUESTS = 400

_META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "counted", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


def _line(number: int) -> bytes:
    params = {"name": "echo", "arguments": {"text": "x" * 100}, "_meta": _META}
    message = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


LINES = [_line(number) for number in range(MAX_REQUESTS)]


def pipes_instead(requests: int) -> None:
    """Descriptor 0 holds that many calls and the end; what is written to 1 is gone."""
    there, here = os.pipe()
    data = b"".join(LINES[:requests])
    assert _grow(here) >= len(data), "a pipe does not hold the requests"
    os.write(here, data)
    os.close(here)
    os.dup2(there, 0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _grow(fd: int) -> int:
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, 1 << 20)


def ours() -> dict[str, Callable[..., Any]]:
    """Our server and client, by what they do."""
    from ours_server import server

    from mcpcore import Client
    from mcpcore.cli.main import main as run

    for name in (
        "mcpcore.serving",
        "mcpcore.cli.run",
        "mcpcore_transports.http.server",
        "mcpcore_transports.stdio.server",
    ):
        import_module(name)

    def stdio(backend: str, requests: int, port: int) -> None:
        pipes_instead(requests)
        server.run("stdio", backend=backend)

    def http(backend: str, requests: int, port: int) -> None:
        flags = ("--transport", "http", "--backend", backend, "--port", str(port))
        run(["run", str(Path(__file__).with_name("ours_server.py")), *flags])

    def memory(backend: str, requests: int, port: int) -> None:
        async def main() -> None:
            async with Client(server) as client:
                for _ in range(requests):
                    await client.call_tool("echo", {"text": "x" * 100})

        anyio.run(main, backend=backend)

    return {"stdio": stdio, "http": http, "memory": memory}


def limit() -> dict[str, Callable[..., Any]]:
    """The same wire work without a framework."""
    import limit_http
    import limit_stdio

    import_module("h11")

    def stdio(backend: str, requests: int, port: int) -> None:
        pipes_instead(requests)
        anyio.run(limit_stdio.tasks, backend=backend)

    def http(backend: str, requests: int, port: int) -> None:
        async def stop() -> None:
            # Not `signal.signal`: the kernel may hand the signal to another thread, and this one would sleep on.
            with anyio.open_signal_receiver(signal.SIGTERM) as signals:
                async for _ in signals:
                    os._exit(0)

        async def main() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(stop)
                await limit_http.listen(port, "h11")

        anyio.run(main, backend=backend)

    def memory(backend: str, requests: int, port: int) -> None:
        async def main() -> None:
            there_out, there_in = anyio.create_memory_object_stream[Any](0)
            here_out, here_in = anyio.create_memory_object_stream[Any](0)

            async def serve() -> None:
                async for item in there_in:
                    await here_out.send(item)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(serve)
                for number in range(requests):
                    await there_out.send((number, "x" * 100))
                    await here_in.receive()
                tasks.cancel_scope.cancel()

        anyio.run(main, backend=backend)

    return {"stdio": stdio, "http": http, "memory": memory}


def main() -> None:
    work = ours() if sys.argv[1] == "ours" else limit()
    print("ready", flush=True)
    while line := _read_line():
        order = json.loads(line)
        child = os.fork()
        if not child:
            code = 1
            try:
                work[order["work"]](order["backend"], order["requests"], order.get("port", 0))
                code = 0
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                os._exit(code)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _read_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            return b""
        line += byte
    return line


if __name__ == "__main__":
    main()
