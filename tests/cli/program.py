"""The command line under test: in this process, or as a process of its own."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mcpcore
import mcpcore_transports

__all__ = ("LIMIT_SECONDS", "PYTHONPATH", "environment", "program", "start", "stdio_target")

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
