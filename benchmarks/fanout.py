"""One update of a resource to 1 000 listeners (2026-07-28, `subscriptions/listen` over HTTP).

    python benchmarks/fanout.py [--slices 5] [--only ours] [--json FILE]

A slice opens the 1 000 streams, has a tool announce five updates, waits each time until every listener has heard it,
and takes the mean. Given are the CPU time of the server's process, and the time from the call until the last listener
has heard. Peers: `install_peers.sh`.
"""

import select
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from measuring.contenders import Contender
from measuring.driver_http import connected, read_reply
from measuring.http_rows import checked, http_contenders
from measuring.process import Tested, many_descriptors
from measuring.program import Entry, Program
from measuring.slices import Slice
from measuring.wire import call, http_request, listen

LISTENERS = 1000
UPDATES = 5
RESOURCE = "bench://value"
HEARD = b"notifications/resources/updated"
PATIENCE_SECONDS = 30.0


def opened(port: int, number: int) -> socket.socket:
    """A stream that was acknowledged."""
    sock = connected(port)
    sock.sendall(http_request(listen(f"listen-{number}", RESOURCE), port=port, rpc="subscriptions/listen"))
    data = b""
    while b"acknowledged" not in data:
        more = sock.recv(65536)
        data += more
        if not more or not data.startswith(b"HTTP/1.1 200"):
            sock.close()
            raise RuntimeError(f"does not listen: {data[:60]!r}")
    return sock


def fan_out(server: Tested) -> tuple[float, float]:
    """Milliseconds of CPU, and milliseconds, for each update."""
    assert server.port is not None
    port = server.port
    touch = http_request(call(1, "touch", {}), port=port, rpc="tools/call", name="touch")
    cpu = wall = 0.0
    with ExitStack() as held:
        socks = {sock.fileno(): sock for sock in (held.enter_context(opened(port, n)) for n in range(LISTENERS))}
        asking = held.enter_context(connected(port))
        poll = held.enter_context(select.epoll())
        for fd in socks:
            poll.register(fd, select.EPOLLIN)
        for _ in range(UPDATES):
            waiting = dict.fromkeys(socks, b"")
            began_cpu, began = server.cpu_ns(), time.perf_counter()
            asking.sendall(touch)
            while waiting:
                events = poll.poll(PATIENCE_SECONDS)
                if not events:
                    raise RuntimeError(f"{len(waiting)} listeners heard nothing")
                for fd, _ in events:
                    data = socks[fd].recv(65536)
                    if not data:
                        raise RuntimeError("a listener was cut off")
                    if fd in waiting:
                        waiting[fd] += data
                        if HEARD in waiting[fd]:
                            del waiting[fd]
            wall += time.perf_counter() - began
            checked(read_reply(asking), "touched")
            cpu += (server.cpu_ns() - began_cpu) / 1e9
    return cpu / UPDATES * 1000, wall / UPDATES * 1000


def ready(
    program: Program, contender: Callable[[], Contender], name: str, walls: dict[str, list[float]]
) -> tuple[str, Slice]:
    made = contender()
    server = program.server(made, http=True)
    fan_out(server)
    walls[name] = []

    def measure() -> float:
        cpu, wall = fan_out(server)
        walls[name].append(wall)
        return cpu

    return made.group, measure


def kept(group: str, figures: list[float]) -> tuple[str, Slice]:
    """Figures that another table's slices left."""
    left = iter(figures)
    return group, lambda: next(left)


def main() -> None:
    many_descriptors()
    with Program("fanout", __doc__, slices=5, seconds=0) as program:
        contenders = [pair for pair in http_contenders(program.installed, json=False) if "httptools" not in pair[0]]
        walls: dict[str, list[float]] = {}
        rows: list[Entry] = [(name, partial(ready, program, made, name, walls)) for name, made in contenders]
        program.case("one update to 1 000 listeners", "ms of server CPU", rows)
        later: list[Entry] = [
            (name, partial(kept, name.split()[0], figures)) for name, figures in walls.items() if figures
        ]
        program.case("until the last of 1 000 has heard", "ms", later)
        program.finish()


if __name__ == "__main__":
    main()
