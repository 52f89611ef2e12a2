"""A server of this library that listens in a process of its own."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import mcpcore
import mcpcore_transports

__all__ = ("PATIENCE_SECONDS", "SERVERS", "Listening", "listening")

PATIENCE_SECONDS = 30
"""For anything that takes a moment on an idle machine."""

SERVERS = Path(__file__).parent / "servers"

_PYTHONPATH = os.pathsep.join(
    dict.fromkeys(str(Path(package.__file__ or "").parents[1]) for package in (mcpcore, mcpcore_transports))
)
_URL = re.compile(r"mcpcore: listening on (http://127\.0\.0\.1:(\d+)/\S+)")


class Listening(NamedTuple):
    """Where it answers."""

    http: str
    sse: str
    port: int


@contextmanager
def listening(backend: str, *words: str, **environment: str) -> Iterator[Listening]:
    """`ours_over_http.py`, over Streamable HTTP and HTTP+SSE. Told to stop, it has to end by itself."""
    process = subprocess.Popen(
        [sys.executable, str(SERVERS / "ours_over_http.py"), backend, *words],
        env={**os.environ, "PYTHONPATH": _PYTHONPATH, **environment},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines: list[str] = []
    ready = threading.Event()

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            lines.append(line)
            if sum(map(bool, map(_URL.match, lines))) == 2:
                ready.set()
        ready.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        in_time = ready.wait(PATIENCE_SECONDS)
        found = [url for url in map(_URL.match, lines) if url is not None]
        assert in_time and len(found) == 2, f"the server does not listen: {''.join(lines)}"
        yield Listening(found[0][1], found[1][1], int(found[0][2]))
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0, "".join(lines)
    finally:
        process.kill()
        process.wait(PATIENCE_SECONDS)
        reader.join(PATIENCE_SECONDS)
        assert process.stderr is not None
        process.stderr.close()
