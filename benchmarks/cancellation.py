"""How soon a handler is told that its caller is gone: `notifications/cancelled` over stdio, a disconnect over HTTP.

    python benchmarks/cancellation.py [--slices 7] [--only ours] [--case HTTP] [--json FILE]

From just before the line is written, or the connection closed, until the handler's `finally` runs, on one clock that
both processes read. A slice is the median of ten. A handler that runs on for a second has no figure. Peers:
`install_peers.sh`.
"""

import contextlib
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import count

from measuring.contenders import Contender
from measuring.driver_http import connected
from measuring.http_rows import http_contenders
from measuring.process import Tested, said_ns
from measuring.program import Entry, Program
from measuring.slices import Slice
from measuring.stdio_rows import stdio_contenders
from measuring.wire import CANCELLED, body, call, http_request

EACH = 10
BEGIN_SECONDS = 60.0
CANCEL_SECONDS = 1.0

_numbers = count(1)


def over_stdio(server: Tested) -> float:
    """Milliseconds."""
    id = f"hang-{next(_numbers)}"
    line = body(CANCELLED, {"requestId": id})
    fd = server.stdin.fileno()
    os.write(fd, call(id, "hang_quietly", {}) + b"\n")
    said_ns(server, BEGIN_SECONDS)
    began = time.monotonic_ns()
    os.write(fd, line + b"\n")
    return (_ended(server) - began) / 1e6


def over_http(tool: str, server: Tested) -> float:
    """Milliseconds."""
    assert server.port is not None
    message = call(next(_numbers), tool, {}, token="t" if tool == "hang" else None)
    sock = connected(server.port)
    sock.sendall(http_request(message, port=server.port, rpc="tools/call", name=tool))
    said_ns(server, BEGIN_SECONDS)
    if tool == "hang":
        sock.recv(65536)  # the stream has begun
    began = time.monotonic_ns()
    sock.close()
    return (_ended(server) - began) / 1e6


def _ended(server: Tested) -> int:
    try:
        return said_ns(server, CANCEL_SECONDS)
    except RuntimeError:
        raise RuntimeError(f"not cancelled within {CANCEL_SECONDS:g} s") from None


def ready(
    program: Program, contender: Callable[[], Contender], once: Callable[[Tested], float], *, http: bool
) -> tuple[str, Slice]:
    made = contender()
    server = program.server(made, http=http)

    def drained() -> float:
        if not http:  # nobody reads what a cancelled call is answered, if anything
            os.set_blocking(server.stdout.fileno(), False)
            with contextlib.suppress(BlockingIOError):
                while os.read(server.stdout.fileno(), 1 << 20):
                    pass
        return once(server)

    drained()
    return made.group, lambda: statistics.median(drained() for _ in range(EACH))


def main() -> None:
    with Program("cancellation", __doc__, slices=7, seconds=0) as program:
        have = program.installed
        stdio = list(stdio_contenders(have))
        rows: list[Entry] = [(name, partial(ready, program, made, over_stdio, http=False)) for name, made in stdio]
        program.case("cancelled over stdio", "ms", rows)
        for name, tool, json in (
            ("disconnected, an event stream", "hang", False),
            ("disconnected, an answer as JSON", "hang_quietly", True),
        ):
            http = [pair for pair in http_contenders(have, json=json) if "httptools" not in pair[0]]
            once = partial(over_http, tool)
            program.case(name, "ms", [(who, partial(ready, program, made, once, http=True)) for who, made in http])
        program.finish()


if __name__ == "__main__":
    main()
