"""CPU of an HTTP server per `tools/call` in a session of 2025-11-25, 32 sessions on as many keep-alive connections.

    python benchmarks/http_session.py [--slices 7] [--seconds 1] [--only ours] [--case plain] [--json FILE]

"a plain call" is answered in the way that the server chooses: this library's with JSON, the official SDK with a stream
of one event. "one progress and the result" is an event stream from everybody. What is measured is the CPU time of the
server's process. Peers: `install_peers.sh`.
"""

from measuring.http_rows import entries, http_contenders, in_sessions
from measuring.program import Program


def main() -> None:
    with Program("http_session", __doc__, slices=7, seconds=1.0) as program:
        text = "x" * 100
        plain = in_sessions("echo", {"text": text})
        counting = in_sessions("count", {"upto": 1}, token="t")
        for name, requests, expected, events in (
            ("session, a plain call", plain, text, None),
            ("session, one progress and the result as events", counting, "1", True),
        ):
            rows = entries(program, http_contenders(program.installed, json=False), requests, expected, events=events)
            program.case(name, "us of server CPU per call", rows)
        program.finish()


if __name__ == "__main__":
    main()
