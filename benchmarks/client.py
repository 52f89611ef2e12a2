"""CPU of a client per `tools/call`, every client against the same server, the limit's: 100 B of text echoed.

    python benchmarks/client.py [--slices 7] [--seconds 0.6] [--only ours] [--case HTTP] [--json FILE]

One call at a time. What is measured is the CPU time of the client's process; the server runs on another core.
Peers: `install_peers.sh`.
"""

from collections.abc import Callable
from functools import partial

from measuring.client import calling, command_flag
from measuring.contenders import Contender
from measuring.process import DRIVER_CORE
from measuring.program import Entry, Program


def main() -> None:
    with Program("client", __doc__, slices=7, seconds=0.6) as program:
        installed = program.installed
        served = installed.limit("h11 trio", "servers/limit_http.py", "--backend", "trio", needs="trio")
        port = program.server(served, http=True, core=DRIVER_CORE).port
        piped = installed.limit(
            "inline trio", "servers/limit_stdio.py", "--backend", "trio", "--how", "inline", needs="trio"
        )
        for name, flags in (
            ("client, HTTP", ("--url", f"http://127.0.0.1:{port}/mcp")),
            ("client, stdio", command_flag(piped)),
        ):
            contenders: list[tuple[str, Callable[[], Contender]]] = [
                ("ours asyncio", partial(installed.ours, "clients/ours_client.py", *flags, backend="asyncio")),
                ("ours trio", partial(installed.ours, "clients/ours_client.py", *flags, backend="trio")),
                ("official SDK", partial(installed.official, "clients/official_client.py", *flags)),
                ("FastMCP", partial(installed.fastmcp, "clients/fastmcp_client.py", *flags)),
            ]
            for backend in ("asyncio", "trio"):
                limit = partial(
                    installed.limit, backend, "clients/limit_client.py", "--backend", backend, *flags, needs="trio"
                )
                contenders.append((f"limit {backend}", limit))
            entries: list[Entry] = [(who, partial(calling, program, made)) for who, made in contenders]
            program.case(name, "us of client CPU per call", entries)
        program.finish()


if __name__ == "__main__":
    main()
