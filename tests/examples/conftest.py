"""How the examples are run: as the programs that their headers say they are, over the transports they name."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from cli.program import LIMIT_SECONDS, environment, program, site

from mcpcore.transport import client_transport

EXAMPLES = Path(__file__).parents[2] / "examples"

PROGRAM_SECONDS = 120
"""For a program of the examples to end: one of them starts five servers, one after the other."""


@pytest.fixture(params=["asyncio", "trio"], scope="module")
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """Of the test and of the programs that it starts; with ordinary clocks, because these are processes."""
    backend: str = request.param
    return backend


Served = Callable[..., AbstractContextManager[Any]]


@pytest.fixture(scope="module")
def served(anyio_backend: str) -> Served:
    """`served("weather.py", "stdio" or "http", VARIABLE="…")`: what a client is pointed at while the example runs."""

    @contextmanager
    def serve(name: str, transport: str, **variables: str) -> Iterator[Any]:
        file, words = EXAMPLES / name, ("--backend", anyio_backend)
        if transport == "stdio":
            yield client_transport("stdio")(program("run", str(file), *words), env=environment(**variables))
            return
        with site(file, *words, transport=transport, **variables) as running:
            yield running.urls[0]
            assert running.stop() == 0, running.said

    return serve


Ran = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def ran(anyio_backend: str) -> Ran:
    """`ran("weather_client.py", "word", …)`: what a program of the examples said, and how it ended."""

    def run(name: str, *words: str, code: int = 0, **variables: str) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [sys.executable, str(EXAMPLES / name), *words],
            env=environment(MCPCORE_BACKEND=anyio_backend, **variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PROGRAM_SECONDS,
            check=False,
        )
        assert done.returncode == code, done.stderr
        return done

    return run


Hosted = Callable[..., AbstractContextManager[str]]


@pytest.fixture(scope="module")
def hosted(anyio_backend: str) -> Hosted:
    """`hosted("embed_fastapi.py", VARIABLE="…")`: the origin at which hypercorn serves the example's `app`."""

    @contextmanager
    def host(name: str, **variables: str) -> Iterator[str]:
        command = [
            sys.executable,
            "-m",
            "hypercorn",
            "-k",
            anyio_backend,
            "-b",
            "127.0.0.1:0",
            "--graceful-timeout",
            "1",
        ]
        with subprocess.Popen(
            [*command, f"{EXAMPLES / name}:app"],
            env=environment(**variables),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert process.stderr is not None
                said = ""
                while (found := re.search(r"Running on (http://127\.0\.0\.1:\d+)", said)) is None:
                    line = process.stderr.readline()
                    assert line, f"it ended before it listened: {said}"
                    said += line
                yield found[1]
                process.terminate()
                _, said = process.communicate(timeout=LIMIT_SECONDS)
                assert (process.returncode, "Traceback" in said) == (0, False), said
            finally:
                process.kill()

    return host
