"""An official client of SDK 1.x against a server that serves HTTP+SSE and Streamable HTTP on one port.

MCPCORE_SDK1 is a Python interpreter with that SDK.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from interop.listening import PATIENCE_SECONDS, Listening, listening

from mcpcore.revisions import LATEST_HANDSHAKE

pytestmark = pytest.mark.sdk1

CLIENT = Path(__file__).parent / "sdk1_client.py"


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def server(request: pytest.FixtureRequest) -> Iterator[Listening]:
    with listening(request.param) as server:
        yield server


@pytest.mark.parametrize("kind", ["sse", "http"])
def test_it_finds_what_it_looks_for(kind: str, server: Listening) -> None:
    done = subprocess.run(
        [os.environ["MCPCORE_SDK1"], str(CLIENT), kind, server.sse if kind == "sse" else server.http],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS * 2,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    tools = found.pop("tools")
    assert len(tools) == len(set(tools)) == 19
    assert found == {
        "revision": LATEST_HANDSHAKE,
        "server": "ours",
        "progress": [[step, 3, f"step {step}"] for step in (1, 2, 3)],
        "held": {"result": "held"},
        "counted": {"counted": 2},
        "logged": [["info", "did 1"], ["info", "did 2"]],
        "asked": ["Paris, Rome", "Which city?", "And after Paris?"],
        "sampled": "42",
        "told": [True, "the disk is full"],
        "refused": -32602,
        "unknown": -32002,
        "read": '{"port":80}',
    }
