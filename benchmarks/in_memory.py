"""CPU of a `tools/call` in memory, client and server in one process: 100 B of text echoed, one call at a time.

    python benchmarks/in_memory.py [--slices 7] [--seconds 0.6] [--only ours] [--case modern] [--json FILE]

The limit is two bare memory channels and a task: no protocol, no schema, no JSON. What is measured is the CPU time of
the process, which client and server share. Peers: `install_peers.sh`.
"""

from collections.abc import Callable
from functools import partial

from measuring.client import calling
from measuring.contenders import Contender
from measuring.program import Entry, Program


def main() -> None:
    with Program("in_memory", __doc__, slices=7, seconds=0.6) as program:
        installed = program.installed
        for era in ("modern", "legacy"):
            flags = ("--era", era)
            contenders: list[tuple[str, Callable[[], Contender]]] = [
                ("ours asyncio", partial(installed.ours, "clients/ours_client.py", *flags, backend="asyncio")),
                ("ours trio", partial(installed.ours, "clients/ours_client.py", *flags, backend="trio")),
                ("official SDK", partial(installed.official, "clients/official_client.py", *flags)),
            ]
            if era == "legacy":
                contenders.append(("FastMCP", partial(installed.fastmcp, "clients/fastmcp_client.py", *flags)))
            for backend in ("asyncio", "trio"):
                name = f"channels {backend}"
                limit = partial(
                    installed.limit, name, "clients/limit_client.py", "--backend", backend, *flags, needs="trio"
                )
                contenders.append((f"limit {name}", limit))
            entries: list[Entry] = [(name, partial(calling, program, made)) for name, made in contenders]
            program.case(f"{era}, in memory", "us of CPU per call", entries)
        program.finish()


if __name__ == "__main__":
    main()
