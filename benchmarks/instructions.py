"""Instructions per request, ours and the limit's, counted by valgrind; fails when their ratio grew by more than 20 %.

    python benchmarks/instructions.py [--python PYTHON] [--only TEXT] [--tolerance 0.2] [--write]

This is the check that CI runs. No time is measured, so a busy machine does not matter. The same work is counted for two
numbers of requests, and the difference is what the requests cost: start-up drops out. What is compared with
`baseline.json` is the ratio to the limit, counted in the same run with the same interpreter, so that another processor
or Python moves both. Hashing is not seeded and inputs are fixed; repeated runs agree within a few per mille.

`--write` makes what was found the baseline. Exit code 1: a regression, or something that was not measured.
"""

import argparse
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from measuring.baseline import TOLERANCE, compare, dump, load
from measuring.contenders import HERE, Installed
from measuring.driver_http import connected, read_reply
from measuring.process import free_port
from measuring.wire import call, http_request

FEW, MANY = 20, 120
"""Requests of the two counts. The few include what is done once: imports, caches."""

WORK = ("stdio", "http", "events", "memory")
BACKENDS = ("asyncio", "trio")

PATIENCE_SECONDS = 300.0
"""How long a step may take under valgrind, which is some fifty times slower than without."""


class Counter:
    """`servers/counted.py` under valgrind."""

    def __init__(self, who: str, python: str, environment: dict[str, str], place: Path) -> None:
        self._who, self._place = who, place
        command = [
            "valgrind",
            "--tool=callgrind",
            f"--callgrind-out-file={place}/{who}.%p",
            f"--log-file={place}/{who}.log.%p",
            python,
            str(HERE / "servers" / "counted.py"),
            who,
        ]
        environment = {**environment, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if os.environ.get("BENCHMARK_STDERR") else subprocess.DEVNULL,
            bufsize=0,
        )

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = b""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not line.endswith(b"\n"):
            ready = select.select([self._process.stdout], [], [], max(deadline - time.monotonic(), 0))[0]
            byte = self._process.stdout.read(1) if ready else b""
            if not byte:
                raise RuntimeError(f"{self._who}: " + ("it ended" if ready else "no answer"))
            line += byte
        return line.decode().strip()

    def ready(self) -> None:
        assert self._read() == "ready"

    def count(self, work: str, backend: str, requests: int) -> int:
        """Instructions of a process that serves so many requests and of its start-up."""
        assert self._process.stdin is not None
        served = "http" if work == "events" else work
        port = free_port() if served == "http" else 0
        order = {"work": served, "backend": backend, "requests": requests, "port": port}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        child = int(self._read())
        if port:
            try:
                drive(port, work, requests)
            finally:
                os.kill(child, signal.SIGTERM)
        code = self._read()
        if code != "0":
            raise RuntimeError(f"{self._who}, {work} on {backend}: exit code {code}")
        lines = (self._place / f"{self._who}.{child}").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("totals:"))

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def drive(port: int, work: str, requests: int) -> None:
    """So many requests, one after the other, on one connection."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            sock = connected(port)
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    if work == "events":
        tool, message = "count", call(1, "count", {"upto": 1}, token="t")
    else:
        tool, message = "echo", call(1, "echo", {"text": "x" * 100})
    request = http_request(message, port=port, rpc="tools/call", name=tool)
    with sock:
        sock.settimeout(PATIENCE_SECONDS)
        for _ in range(requests):
            sock.sendall(request)
            reply = read_reply(sock)
            if reply.status != 200 or len(reply.messages()) != (2 if work == "events" else 1):
                raise RuntimeError(f"{work}: {reply.status} {reply.body[:200]!r}")


def counted(counter: Counter, wanted: Callable[[str], bool]) -> dict[str, float]:
    """Instructions per request of each piece of work."""
    counter.ready()
    found: dict[str, float] = {}
    for work in WORK:
        for backend in BACKENDS:
            if wanted(f"{work} {backend}"):
                few, many = (counter.count(work, backend, requests) for requests in (FEW, MANY))
                found[f"{work} {backend}"] = (many - few) / (MANY - FEW)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has ours")
    parser.add_argument("--baseline", type=Path, default=HERE / "baseline.json")
    parser.add_argument("--tolerance", type=float, default=TOLERANCE, help="by which part a ratio may grow")
    parser.add_argument("--only", default="", metavar="TEXT", help="work whose name has it, e.g. 'stdio trio'")
    parser.add_argument("--write", action="store_true", help="make what is found the baseline")
    options = parser.parse_args()
    if shutil.which("valgrind") is None:
        print("instructions.py needs valgrind: install the package of that name", file=sys.stderr)
        return 2

    def wanted(name: str) -> bool:
        return options.only in name

    installed = Installed(options.python, HERE / "peers")
    found: dict[str, dict[str, float]] = {}
    problems: list[BaseException] = []
    with tempfile.TemporaryDirectory() as place:
        ours = installed.ours("servers/counted.py", backend="asyncio")
        counters = {who: Counter(who, options.python, ours.environment, Path(place)) for who in ("ours", "limit")}

        def count(who: str) -> None:
            try:
                found[who] = counted(counters[who], wanted)
            except (OSError, RuntimeError, AssertionError) as problem:
                problems.append(problem)
            finally:
                counters[who].close()

        threads = [threading.Thread(target=count, args=(who,)) for who in counters]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for problem in problems:
        print(f"not measured: {problem or type(problem).__name__}", file=sys.stderr)
    if problems:
        return 1
    ratios = {name: found["ours"][name] / found["limit"][name] for name in found["ours"]}
    print("instructions per request")
    for name, ratio in ratios.items():
        print(f"  {name:<16} ours {found['ours'][name]:>9.0f}  limit {found['limit'][name]:>9.0f}  ratio {ratio:.3f}")
    if options.write:
        options.baseline.write_text(dump(ratios))
        return 0
    expected = {name: ratio for name, ratio in load(options.baseline.read_text()).items() if wanted(name)}
    verdicts = compare(expected, ratios, options.tolerance)
    for verdict in verdicts:
        print(verdict)
    return 1 if any(verdict.regressed for verdict in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
