"""Programs that listen in processes of their own, a server of this library among them."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import mcpcore
import mcpcore_transports

__all__ = ("PATIENCE_SECONDS", "SERVERS", "Listening", "listening", "running")

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
    """`ours_over_http.py`, over Streamable HTTP and HTTP+SSE."""
    command = [sys.executable, str(SERVERS / "ours_over_http.py"), backend, *words]
    with running(command, _URL, 2, PYTHONPATH=_PYTHONPATH, **environment) as (http, sse):
        yield Listening(http[1], sse[1], int(http[2]))


@contextmanager
def running(
    command: Sequence[str], ready: re.Pattern[str], count: int = 1, **environment: str
) -> Iterator[list[re.Match[str]]]:
    """A program that says on stderr when it listens, in `count` lines that match `ready`.

    Told to stop, it has to end by itself and without an error.
    """
    process = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    said: list[str] = []
    found: list[re.Match[str]] = []
    known = threading.Event()

    def read() -> None:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            if (match := ready.search(line)) is not None:
                found.append(match)
            if len(found) == count:
                known.set()
        known.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        known.wait(PATIENCE_SECONDS)
        assert len(found) >= count, f"{command} does not listen: {''.join(said)}"
        yield found[:count]
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0, "".join(said)
    finally:
        process.kill()
        process.wait(PATIENCE_SECONDS)
        reader.join(PATIENCE_SECONDS)
        assert process.stderr is not None
        process.stderr.close()
