"""Memory: an idle server, and what 1 000 sessions, sessions with a GET stream, and listen streams add.

    python benchmarks/space.py [--slices 3] [--only ours] [--case session] [--json FILE]

A slice is one process. "idle" is its resident memory after the first answer; the other figures are how much it grew
between 10 and 1 010 of them, by each. Streams stay open; a session's POST connections are closed. Peers:
`install_peers.sh`.
"""

import socket
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from measuring.contenders import Contender
from measuring.driver_http import connected, exchange
from measuring.driver_stdio import ask
from measuring.http_rows import checked, http_contenders, open_session
from measuring.process import free_port, many_descriptors, resident_bytes, started
from measuring.program import Entry, Program
from measuring.slices import Slice
from measuring.stdio_rows import stdio_contenders
from measuring.wire import call, http_request, listen

MANY = 1000
FIRST = 10
"""Opened before anything is measured, so that what is made once is not counted."""

RESOURCE = "bench://value"


def stream(port: int, request: bytes) -> socket.socket:
    """An open event stream, of which the head has arrived. Raises RuntimeError for any other answer."""
    sock = connected(port)
    sock.sendall(request)
    head = sock.recv(65536)
    if not head.startswith(b"HTTP/1.1 200") or b"event-stream" not in head.lower():
        sock.close()
        raise RuntimeError(f"opens no stream: {head[:60]!r}")
    return sock


def session(port: int, held: ExitStack) -> None:
    open_session(port)


def session_with_stream(port: int, held: ExitStack) -> None:
    request = http_request(b"", port=port, method="GET", session=open_session(port))
    held.enter_context(stream(port, request))


def listener(port: int, held: ExitStack) -> None:
    request = http_request(listen("listen", RESOURCE), port=port, rpc="subscriptions/listen")
    held.enter_context(stream(port, request))


def ready(contender: Callable[[], Contender], add: Callable[[int, ExitStack], None]) -> tuple[str, Slice]:
    made = contender()

    def measure() -> float:
        """KB for each."""
        port = free_port()
        with started(made.command, made.environment, port=port) as server, ExitStack() as held:
            server.wait_listening()
            for _ in range(FIRST):
                add(port, held)
            before = resident_bytes(server.pid)
            for _ in range(MANY):
                add(port, held)
            return (resident_bytes(server.pid) - before) / MANY / 1024

    return made.group, measure


def idle(contender: Callable[[], Contender], *, http: bool) -> tuple[str, Slice]:
    made = contender()

    def measure() -> float:
        """MB."""
        port = free_port() if http else None
        with started(made.command, made.environment, port=port) as server:
            message = call(1, "echo", {"text": "x"})
            if port is None:
                ask(server, message)
            else:
                server.wait_listening()
                checked(exchange(port, http_request(message, port=port, rpc="tools/call", name="echo")), "x")
            return resident_bytes(server.pid) / (1 << 20)

    return made.group, measure


def main() -> None:
    many_descriptors()
    with Program("space", __doc__, slices=3, seconds=0) as program:
        have = program.installed
        stdio = list(stdio_contenders(have))
        http = [pair for pair in http_contenders(have, json=False) if "httptools" not in pair[0]]
        program.case(
            "idle stdio server", "MB resident", [(name, partial(idle, made, http=False)) for name, made in stdio]
        )
        program.case("idle HTTP server", "MB resident", [(name, partial(idle, made, http=True)) for name, made in http])
        for name, add in (
            ("an idle session", session),
            ("a session with an open GET stream", session_with_stream),
            ("an open listen stream", listener),
        ):
            rows: list[Entry] = [(who, partial(ready, made, add)) for who, made in http]
            program.case(name, "KB each", rows)
        program.finish()


if __name__ == "__main__":
    main()
