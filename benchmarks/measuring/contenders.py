"""Who is measured: this library on both backends, the peers that are installed, and the limit.

"ours" is what the interpreter of `--python` imports with the environment's PYTHONPATH, and the checkout's own sources
when that finds nothing. Peers live below `--peers`, where `install_peers.sh` puts them; the official SDK is also taken
from `--python` when it is there.
"""

import functools
import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from measuring.process import NotInstalled

__all__ = ("HERE", "Contender", "Installed")

HERE = Path(__file__).resolve().parent.parent
"""The folder of the benchmarks."""


@dataclass(frozen=True)
class Contender:
    """How to start one program."""

    name: str
    group: str
    command: tuple[str, ...]
    environment: dict[str, str]


class Installed:
    """What there is on this machine."""

    def __init__(self, python: str, peers: Path) -> None:
        self.python = python
        self.peers = peers
        self._environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        given = os.environ.get("PYTHONPATH")
        self._own = dict(self._environment)
        if given is not None:
            self._own["PYTHONPATH"] = given
        if not _imports(python, "mcpcore", self._own.get("PYTHONPATH")):
            checkout = HERE.parent
            self._own["PYTHONPATH"] = os.pathsep.join((str(checkout), str(checkout / "transports")))

    # ------------------------------------------------------------------ interpreters

    def _peer_python(self, name: str, module: str) -> str:
        own = self.peers / name / "bin" / "python"
        if own.exists():
            return str(own)
        if module != "fastmcp" and _imports(self.python, module, None):
            return self.python
        raise NotInstalled(f"not installed: benchmarks/install_peers.sh {self.peers.name}")

    @property
    def _modules(self) -> Path:
        found = self.peers / "npm" / "node_modules"
        if not (found / "@modelcontextprotocol" / "server").is_dir():
            raise NotInstalled(f"not installed: benchmarks/install_peers.sh {self.peers.name}")
        return found

    # ------------------------------------------------------------------ programs

    def ours(self, program: str, *flags: str, backend: str, fast: bool = False) -> Contender:
        """A program that has ours: `fast` is what `mcpcore[fast]` makes of it, otherwise h11 and asyncio's own loop."""
        command = (self.python, str(HERE / program), "--backend", backend, *flags)
        return self._own_contender(command, backend, fast)

    def ours_over_http(self, *, backend: str, fast: bool = False) -> Contender:
        """Our server behind `mcpcore run`, which can be told what parses HTTP."""
        serving = ("--transport", "http", "--backend", backend)
        command = (self.python, "-m", "mcpcore", "run", str(HERE / "servers" / "ours_server.py"), *serving)
        return self._own_contender(command, backend, fast)

    def _own_contender(self, command: tuple[str, ...], backend: str, fast: bool) -> Contender:
        if fast:
            for module in ("mcpcore_transports.web.httptoolsparser", "httptools", "uvloop"):
                if not _imports(self.python, module, self._own.get("PYTHONPATH")):
                    raise NotInstalled(f"not installed: mcpcore[fast] ({module})")
        chosen = {"MCPCORE_HTTP_PARSER": "httptools" if fast else "h11", "MCPCORE_UVLOOP": "yes" if fast else "no"}
        name = f"ours fast {backend}" if fast else f"ours {backend}"
        return Contender(name, "ours", command, {**self._own, **chosen})

    def official(self, program: str, *flags: str) -> Contender:
        python = self._peer_python("official", "mcp")
        return Contender("official SDK", "peer", (python, str(HERE / program), *flags), self._environment)

    def fastmcp(self, program: str, *flags: str) -> Contender:
        python = self._peer_python("fastmcp", "fastmcp")
        return Contender("FastMCP", "peer", (python, str(HERE / program), *flags), self._environment)

    def typescript(self, program: str, *flags: str) -> Contender:
        environment = {**self._environment, "MCP_NODE_MODULES": str(self._modules)}
        return Contender("TypeScript SDK", "peer", ("node", str(HERE / program), *flags), environment)

    def limit(self, name: str, program: str, *flags: str, needs: str = "anyio") -> Contender:
        """With the interpreter of `--python`, the one that ours has, when it has what this takes."""
        python = self.python if _imports(self.python, needs, None) else self._peer_python("limit", needs)
        return Contender(f"limit {name}", "limit", (python, str(HERE / program), *flags), self._environment)

    # ------------------------------------------------------------------ versions

    def versions(self) -> tuple[str, ...]:
        """What was measured, by name and version; nothing that names this machine."""
        ours = _run(self.python, _VERSIONS.format("mcpcore anyio trio h11 httptools uvloop msgspec"), self._own)
        found = [*ours, *self._commit()]
        for name, module, packages in (
            ("official", "mcp", "mcp pydantic starlette uvicorn"),
            ("fastmcp", "fastmcp", "fastmcp"),
            ("limit", "httptools", "httptools uvloop"),
        ):
            try:
                python = self._peer_python(name, module)
            except NotInstalled:
                continue
            found += [item for item in _run(python, _VERSIONS.format(packages), self._environment) if item not in found]
        return tuple(found)

    def _commit(self) -> Iterable[str]:
        where = _run(self.python, "import mcpcore; print(mcpcore.__path__[0])", self._own)
        if not where:
            return
        told = subprocess.run(
            ("git", "-C", where[0], "describe", "--always", "--dirty"), capture_output=True, text=True, check=False
        )
        if told.returncode == 0:
            yield f"commit {told.stdout.strip()}"


_VERSIONS = """
import importlib.metadata, platform
print("Python", platform.python_version())
for name in "{}".split():
    try:
        print(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        pass
"""


def _run(python: str, program: str, environment: dict[str, str]) -> list[str]:
    told = subprocess.run((python, "-c", program), env=environment, capture_output=True, text=True, check=False)
    return told.stdout.splitlines()


_FIND = """
import importlib.util, sys
try:
    sys.exit(importlib.util.find_spec({!r}) is None)
except ImportError:
    sys.exit(1)
"""


@functools.cache
def _imports(python: str, module: str, path: str | None) -> bool:
    program = _FIND.format(module)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = path
    return subprocess.run((python, "-c", program), env=environment, check=False, cwd="/").returncode == 0
