"""The command line under test: in this process, or as a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import mcpcore
import mcpcore_transports

__all__ = ("LIMIT_SECONDS", "PYTHONPATH", "Site", "environment", "program", "site", "start", "stdio_target")

LIMIT_SECONDS = 30
"""For one process to end: none of those here takes a second of work."""

PYTHONPATH = os.pathsep.join(
    dict.fromkeys(str(Path(package.__file__ or "").parents[1]) for package in (mcpcore, mcpcore_transports))
)


def environment(**more: str) -> dict[str, str]:
    """Ours without what would set flags, able to import what this process imports."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MCPCORE_")}
    return {**kept, "PYTHONPATH": PYTHONPATH, "PYTHONUNBUFFERED": "1", **more}


def program(*words: str) -> list[str]:
    return [sys.executable, "-P", "-m", "mcpcore", *words]


def start(*words: str, **options: Any) -> "subprocess.Popen[str]":
    """A running `mcpcore`, its three streams pipes of text lines unless `options` say otherwise."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(program(*words), text=True, **{"env": environment(), **pipes, **options})


def stdio_target(file: Path, *words: str) -> str:
    """The TARGET that serves this file in a process of its own."""
    return f"stdio:env PYTHONPATH={PYTHONPATH} {' '.join(program('run', str(file), *words))}"


class Site:
    """A running `mcpcore run` that listens for HTTP, and where."""

    def __init__(self, process: "subprocess.Popen[str]", urls: list[str], said: list[str]) -> None:
        self.process = process
        self.urls = urls
        self.said = said
        """The lines on stderr so far, without those that say where it listens."""

    @property
    def port(self) -> int:
        return urlsplit(self.urls[0]).port or 0

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal; returns the exit code. `said` is then all that it said."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        _, err = self.process.communicate(timeout=LIMIT_SECONDS)
        self.said += err.splitlines()
        return self.process.returncode


@contextmanager
def site(file: Path, *words: str, endpoints: int = 1, transport: str = "http", **more: str) -> Iterator[Site]:
    """Serve a file over HTTP on a free port, unless the words say where, and wait until all endpoints listen."""
    where = () if "--uds" in words or "--port" in words else ("--port", "0")
    with start("run", str(file), "--transport", transport, *where, *words, env=environment(**more)) as process:
        try:
            urls: list[str] = []
            said: list[str] = []
            assert process.stderr is not None
            while len(urls) < endpoints:
                line = process.stderr.readline()
                assert line, f"it ended before it listened: {said}"
                head, here, url = line.rstrip().partition("mcpcore: listening on ")
                (urls.append(url) if here and not head else said.append(line.rstrip()))
            yield Site(process, urls, said)
        finally:
            process.kill()
