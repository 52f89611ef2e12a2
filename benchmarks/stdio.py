"""CPU of a stdio server per `tools/call` (2026-07-28): 1 and 64 calls in flight, 100 B and 100 KB of text echoed.

    python benchmarks/stdio.py [--slices 7] [--seconds 0.6] [--only ours] [--case 100] [--json FILE]

A driver on another core writes lines that were built before and counts the lines of the answer; as many calls are
written as were answered. What is measured is the CPU time of the server's process. Peers: `install_peers.sh`.
"""

from collections.abc import Callable
from functools import partial

from measuring.contenders import Contender
from measuring.driver_stdio import LineDriver, ask
from measuring.program import Entry, Program
from measuring.slices import Slice
from measuring.wire import call

CASES = ((1, 100), (64, 100), (1, 100_000), (64, 100_000))
"""Calls in flight, bytes of text."""


def ready(program: Program, contender: Callable[[], Contender], in_flight: int, size: int) -> tuple[str, Slice]:
    made = contender()
    server = program.server(made, http=False)
    text = "x" * size
    answer = ask(server, call("check", "echo", {"text": text}))
    result = answer.get("result", {})
    if result.get("isError") or result.get("content", [{}])[0].get("text") != text:
        raise RuntimeError(f"it does not echo: {str(answer)[:200]}")
    lines = [call(number, "echo", {"text": text}) + b"\n" for number in range(max(2 * in_flight, 16))]
    driver = LineDriver(server, lines, in_flight)
    driver.run(min(program.seconds, 0.3))  # warm

    def measure() -> float:
        answered, cpu_ns, _ = driver.run(program.seconds)
        return cpu_ns / answered / 1000

    return made.group, measure


def main() -> None:
    with Program("stdio", __doc__, slices=7, seconds=0.6) as program:
        installed = program.installed
        contenders: list[tuple[str, Callable[[], Contender]]] = [
            ("ours asyncio", partial(installed.ours, "servers/ours_server.py", backend="asyncio")),
            ("ours trio", partial(installed.ours, "servers/ours_server.py", backend="trio")),
            ("ours fast asyncio", partial(installed.ours, "servers/ours_server.py", backend="asyncio", fast=True)),
            ("official SDK", partial(installed.official, "servers/official_server.py")),
            ("FastMCP", partial(installed.fastmcp, "servers/fastmcp_server.py")),
            ("TypeScript SDK", partial(installed.typescript, "servers/typescript.mjs")),
        ]
        for how in ("task", "inline"):
            for backend in ("asyncio", "trio"):
                flags = ("--backend", backend, "--how", how)
                limit = partial(installed.limit, f"{how} {backend}", "servers/limit_stdio.py", *flags, needs="trio")
                contenders.append((f"limit {how} {backend}", limit))
        for in_flight, size in CASES:
            entries: list[Entry] = [
                (name, partial(ready, program, contender, in_flight, size)) for name, contender in contenders
            ]
            size_name = f"{size} B" if size < 1000 else f"{size // 1000} KB"
            program.case(f"stdio, {in_flight} in flight, {size_name}", "us of server CPU per call", entries)
        program.finish()


if __name__ == "__main__":
    main()
