"""Listening sockets: addresses, ports, and the files of Unix sockets."""

import socket
from pathlib import Path

import pytest
from transports.listening import echo, serving

from mcpcore_transports.web.listener import serve_http

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


async def test_reports_its_address() -> None:
    async with serving(echo, host="127.0.0.1", port=0) as served:
        ((host, port),) = served.addresses
        assert host == "127.0.0.1"
        assert port > 0
        with pytest.raises(OSError, match=r"\S"):
            await serve_http(echo, port=port)


async def test_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "s"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    async with serving(echo, uds=str(path)) as served, served.connect() as wire:
        assert served.addresses == [str(path)]
        assert (await wire.ask())[0] == 200
        with pytest.raises(OSError, match=r"\S"):
            await serve_http(echo, uds=str(path))
    assert not path.exists()
