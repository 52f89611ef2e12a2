"""What an import loads: never a backend, and only the role that was asked for."""

import json
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from cli.program import LIMIT_SECONDS, PYTHONPATH, environment, program

from mcpcore import Client
from mcpcore.transport import client_transport

BACKENDS_AND_HTTP = {"asyncio", "trio", "h11", "hypercorn"}
SERVER_SIDE = {"mcpcore.server", "mcpcore.dispatch", "mcpcore.catalogue", "mcpcore.context", "mcpcore.serving"}
CLIENT_SIDE = {"mcpcore.client", "mcpcore.connection", "mcpcore.answering", "mcpcore.targets", "mcpcore.listening"}

MODULES_TOOL = '''
import sys
from mcpcore import Server

server = Server("modules")

@server.tool
async def modules() -> list[str]:
    return sorted(sys.modules)

@server.tool
def thread() -> str:
    """Worker threads wake the event loop in their own way."""
    return "done"
'''


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has after this statement."""
    script = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", script],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=True,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "wanted", "unwanted"),
    [
        ("import mcpcore", {"mcpcore"}, BACKENDS_AND_HTTP | SERVER_SIDE | CLIENT_SIDE | {"anyio", "msgspec"}),
        ("from mcpcore import Server", {"mcpcore.server"}, BACKENDS_AND_HTTP | CLIENT_SIDE),
        ("from mcpcore import Client", {"mcpcore.client"}, BACKENDS_AND_HTTP | SERVER_SIDE),
        ("from mcpcore import Context", {"mcpcore.context"}, BACKENDS_AND_HTTP | CLIENT_SIDE | {"mcpcore.server"}),
        ("import mcpcore_transports", {"mcpcore_transports"}, BACKENDS_AND_HTTP | {"mcpcore"}),
        (
            "import mcpcore_transports.http.server",
            {"mcpcore_transports.protected.resource"},
            {"jwt", "cryptography", "mcpcore_transports.web.client", "hypercorn"},
        ),
        ("from mcpcore_transports.protected import ApiKeys", {"hashlib"}, {"jwt", "mcpcore_transports.web.client"}),
        ("import mcpcore.cli.main", {"mcpcore.cli.main"}, {"argparse", "anyio", "msgspec", "mcpcore.errors"}),
    ],
)
def test_imports_are_lazy(statement: str, wanted: set[str], unwanted: set[str]) -> None:
    loaded = loaded_by(statement)
    assert wanted <= loaded
    assert not unwanted & loaded


def test_the_names_looked_for_exist() -> None:
    """A renamed module would make the test above pass for nothing."""
    loaded = loaded_by("from mcpcore import Client, Server, serve")
    assert loaded >= SERVER_SIDE | CLIENT_SIDE


@pytest.mark.parametrize(("backend", "other"), [("trio", "asyncio"), ("asyncio", "trio")])
def test_a_stdio_server_loads_one_backend(backend: str, other: str, tmp_path: Path) -> None:
    file = tmp_path / "modules_tool.py"
    file.write_text(MODULES_TOOL)
    transport = client_transport("stdio")(
        program("run", str(file), "--backend", backend), env={"PYTHONPATH": PYTHONPATH}
    )

    async def main() -> list[str]:
        async with Client(transport) as client:
            await client.call_tool("thread")
            result = await client.call_tool("modules")
            assert not result.is_error
            found: list[str] = json.loads(json.dumps(result.structured_content))["result"]
            return found

    loaded = set(anyio.run(main))
    assert backend in loaded
    assert not {other, "h11", "hypercorn", "mcpcore.client"} & loaded
