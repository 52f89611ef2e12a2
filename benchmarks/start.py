"""How soon a stdio server is there: CPU of its imports, and time and CPU from its start to the first answer.

    python benchmarks/start.py [--slices 9] [--only ours] [--case import] [--json FILE]

A slice is one process, on a core of its own, with its files in the page cache. "imports" is a Python that imports what
the server needs and ends; the limit's is anyio, its backend and msgspec. "start to first answer" is from before the
process is made until a `tools/call` that was written at once is answered. Peers: `install_peers.sh`.
"""

import os
import subprocess
import time
from collections.abc import Callable
from functools import partial

from measuring.contenders import Contender
from measuring.driver_stdio import ask
from measuring.process import TESTED_CORE, pin, started
from measuring.program import Entry, Program
from measuring.slices import Slice
from measuring.wire import call

IMPORTS = {
    "ours": "import mcpcore.server, mcpcore.serving, mcpcore_transports.stdio.server, "
    "mcpcore_transports.stdio.descriptors, anyio._backends._{backend}",
    "official": "from mcp.server.mcpserver import MCPServer; import mcp.server.stdio, anyio._backends._asyncio",
    "fastmcp": "from fastmcp import FastMCP; import mcp.server.stdio, anyio._backends._asyncio",
    "limit": "import anyio, msgspec, anyio._backends._{backend}",
    "nothing": "pass",
}


def imports(contender: Callable[[], Contender], program: str) -> tuple[str, Slice]:
    made = contender()
    command = (made.command[0], "-c", program)

    def measure() -> float:
        """Milliseconds of CPU."""
        process = subprocess.Popen(command, env=made.environment, preexec_fn=partial(pin, TESTED_CORE))
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"exit code {process.returncode}")
        return (usage.ru_utime + usage.ru_stime) * 1000

    measure()
    return made.group, measure


def first_answer(contender: Callable[[], Contender], cpu: dict[str, list[float]], name: str) -> tuple[str, Slice]:
    made = contender()
    line = call(1, "echo", {"text": "x"})

    def measure() -> float:
        """Milliseconds. The CPU time of the process until then is kept for the next table."""
        began = time.perf_counter()
        with started(made.command, made.environment) as process:
            answer = ask(process, line)
            took = time.perf_counter() - began
            cpu.setdefault(name, []).append(process.cpu_ns() / 1e6)
        if "result" not in answer:
            raise RuntimeError(f"answers with {answer}")
        return took * 1000

    measure()
    cpu[name].clear()
    return made.group, measure


def kept(group: str, figures: list[float]) -> tuple[str, Slice]:
    """Figures that another table's slices left."""
    left = iter(figures)
    return group, lambda: next(left)


def main() -> None:
    with Program("start", __doc__, slices=9, seconds=0) as program:
        have = program.installed
        contenders: list[tuple[str, str, Callable[[], Contender]]] = [
            (
                f"ours {backend}",
                IMPORTS["ours"].format(backend=backend),
                partial(have.ours, "servers/ours_server.py", backend=backend),
            )
            for backend in ("asyncio", "trio")
        ]
        contenders += [
            ("official SDK", IMPORTS["official"], partial(have.official, "servers/official_server.py")),
            ("FastMCP", IMPORTS["fastmcp"], partial(have.fastmcp, "servers/fastmcp_server.py")),
        ]
        contenders += [
            (
                f"limit {backend}",
                IMPORTS["limit"].format(backend=backend),
                partial(have.limit, backend, "servers/limit_stdio.py", "--backend", backend, needs="trio"),
            )
            for backend in ("asyncio", "trio")
        ]
        nothing = partial(have.limit, "python alone", "servers/limit_stdio.py")
        rows: list[Entry] = [(name, partial(imports, made, text)) for name, text, made in contenders]
        rows.append(("limit python alone", partial(imports, nothing, IMPORTS["nothing"])))
        program.case("imports of a stdio server", "ms of CPU", rows)

        cpu: dict[str, list[float]] = {}
        served = [(name, made) for name, _, made in contenders]
        served.insert(4, ("TypeScript SDK", partial(have.typescript, "servers/typescript.mjs")))
        program.case(
            "start to first answer",
            "ms",
            [(name, partial(first_answer, made, cpu, name)) for name, made in served],
        )
        groups = {name: name.split()[0] if name.startswith(("ours", "limit")) else "peer" for name in cpu}
        program.case(
            "start to first answer, CPU",
            "ms of CPU",
            [(name, partial(kept, groups[name], figures)) for name, figures in cpu.items()],
        )
        program.finish()


if __name__ == "__main__":
    main()
