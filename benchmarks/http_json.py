"""CPU of an HTTP server per `tools/call` (2026-07-28) answered as JSON, 32 keep-alive connections.

    python benchmarks/http_json.py [--slices 7] [--seconds 1] [--only ours] [--case "100 B"] [--json FILE]

A driver on another core sends requests that were built before, one at a time on each connection. What is measured is
the CPU time of the server's process. Peers: `install_peers.sh`.
"""

from measuring.http_rows import entries, http_contenders, stateless
from measuring.program import Program


def main() -> None:
    with Program("http_json", __doc__, slices=7, seconds=1.0) as program:
        for size, name in ((100, "100 B"), (100_000, "100 KB")):
            text = "x" * size
            rows = entries(
                program,
                http_contenders(program.installed, json=True),
                stateless("echo", {"text": text}),
                text,
                events=False,
            )
            program.case(f"modern JSON, {name}", "us of server CPU per call", rows)
        program.finish()


if __name__ == "__main__":
    main()
