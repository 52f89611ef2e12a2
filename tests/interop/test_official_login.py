"""Logging in at the official SDK's authorization server, to a server that the SDK protects: each era, both backends."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from transports.protected_site import fetch

from mcpcore import Client
from mcpcore_transports.oauth import MemoryStorage, OAuth

pytestmark = pytest.mark.anyio

PATIENCE_SECONDS = 30
SERVER = Path(__file__).parent / "servers" / "official_protected.py"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with subprocess.Popen([sys.executable, str(SERVER)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/mcp"
        finally:
            process.kill()


async def agree(url: str) -> None:
    """A browser whose user agrees."""
    while "location" in (response := await fetch(url)).headers:
        url = response.headers["location"]


@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_login_and_its_refreshes(url: str, era: Any) -> None:
    """A token is good for three requests there, so calls go on because it is refreshed in between."""
    opened: list[str] = []

    async def browse(page: str) -> None:
        opened.append(page)
        await agree(page)

    storage = MemoryStorage()
    with anyio.fail_after(PATIENCE_SECONDS):
        async with Client(url, era=era, auth=OAuth(open_browser=browse, storage=storage)) as client:
            first = await client.call_tool("logins")
            for _ in range(6):
                last = await client.call_tool("logins")
        async with Client(url, era=era, auth=OAuth(open_browser=browse, storage=storage)) as client:
            again = await client.call_tool("logins")
    assert len(opened) == 1
    (clients, tokens), (same, more) = first.structured_content["result"], last.structured_content["result"]
    assert same == clients == again.structured_content["result"][0]
    assert more > tokens
