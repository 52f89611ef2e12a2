"""CPU of an HTTP server per `tools/call` (2026-07-28) answered as events: one progress notification, then the result.

    python benchmarks/http_events.py [--slices 7] [--seconds 1] [--only ours] [--json FILE]

32 keep-alive connections, one call at a time on each. What is measured is the CPU time of the server's process.
Peers: `install_peers.sh`.
"""

from measuring.http_rows import entries, http_contenders, stateless
from measuring.program import Program


def main() -> None:
    with Program("http_events", __doc__, slices=7, seconds=1.0) as program:
        rows = entries(
            program,
            http_contenders(program.installed, json=False),
            stateless("count", {"upto": 1}, token="t"),
            "1",
            events=True,
        )
        program.case("modern, one progress and the result as events", "us of server CPU per call", rows)
        program.finish()


if __name__ == "__main__":
    main()
