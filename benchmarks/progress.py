"""Progress notifications per second: 10 000 in one call, heard by the peer's own client; none lost, in order.

    python benchmarks/progress.py [--slices 5] [--only ours] [--case stdio] [--json FILE]

Client and server run on a core each, so the slower of the two counts. What loses one, or delivers out of order, has no
figure. Peers: `install_peers.sh`.
"""

from collections.abc import Callable
from functools import partial

from measuring.client import command_flag, order
from measuring.contenders import Contender
from measuring.process import DRIVER_CORE
from measuring.program import Entry, Program
from measuring.slices import Slice

NOTIFICATIONS = 10_000

Pair = tuple[str, Callable[[], Contender], Callable[..., Contender]]
"""A name, its server, and its client given the flags that say where the server is."""


def ready(program: Program, client: Callable[[], Contender]) -> tuple[str, Slice]:
    made = client()
    running = program.server(made, http=False)
    order(running, "")
    order(running, "progress 200")

    def measure() -> float:
        found = order(running, f"progress {NOTIFICATIONS}")
        if found["lost"] or not found["in_order"]:
            raise RuntimeError(f"{found['lost']} lost, {'in' if found['in_order'] else 'out of'} order")
        return float(NOTIFICATIONS / found["seconds"])

    return made.group, measure


def main() -> None:
    with Program("progress", __doc__, slices=5, seconds=0) as program:
        have = program.installed

        def over_stdio(server: Callable[[], Contender], client: Callable[..., Contender]) -> Contender:
            return client(*command_flag(server()))

        def over_http(server: Callable[[], Contender], client: Callable[..., Contender]) -> Contender:
            port = program.server(server(), http=True, core=DRIVER_CORE).port
            return client("--url", f"http://127.0.0.1:{port}/mcp")

        python: list[Pair] = [
            (
                f"ours {backend}",
                partial(have.ours, "servers/ours_server.py", backend=backend),
                partial(have.ours, "clients/ours_client.py", backend=backend),
            )
            for backend in ("asyncio", "trio")
        ]
        python += [
            (
                "official SDK",
                partial(have.official, "servers/official_server.py"),
                partial(have.official, "clients/official_client.py"),
            ),
            (
                "FastMCP",
                partial(have.fastmcp, "servers/fastmcp_server.py"),
                partial(have.fastmcp, "clients/fastmcp_client.py"),
            ),
        ]
        node: Pair = (
            "TypeScript SDK",
            partial(have.typescript, "servers/typescript.mjs"),
            partial(have.typescript, "clients/typescript.mjs"),
        )

        def limits(server: str, *flags: str) -> list[Pair]:
            return [
                (
                    f"limit {backend}",
                    partial(have.limit, backend, server, "--backend", backend, *flags, needs="trio"),
                    partial(have.limit, backend, "clients/limit_client.py", "--backend", backend, needs="trio"),
                )
                for backend in ("asyncio", "trio")
            ]

        pairs_stdio: list[Pair] = [*python, node, *limits("servers/limit_stdio.py")]
        pairs_http: list[Pair] = [
            (name, partial(have.ours_over_http, backend=name.split()[1]), client) if name.startswith("ours") else pair
            for pair in python
            for name, _, client in (pair,)
        ]
        pairs_http += limits("servers/limit_http.py")
        for name, connect, pairs in (
            ("progress, stdio", over_stdio, pairs_stdio),
            ("progress, HTTP", over_http, pairs_http),
        ):
            entries: list[Entry] = [
                (who, partial(ready, program, partial(connect, server, client))) for who, server, client in pairs
            ]
            program.case(name, "notifications per second", entries, more_is_better=True)
        program.finish()


if __name__ == "__main__":
    main()
