"""examples/tcp_transport.py: it is a transport, and short."""

import importlib.util
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio
import pytest
from cli.program import LIMIT_SECONDS, environment

from mcpcore import Client, ConnectFailed
from mcpcore.channel import Channel
from mcpcore.testing import check_channel

EXAMPLE = Path(__file__).parents[2] / "examples" / "tcp_transport.py"
SMALL_BYTES = 256 * 1024
"""Asked of the system for each buffer where a reader is to hold up a writer soon."""


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tcp_transport_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@asynccontextmanager
async def connected(example: ModuleType, **options: Any) -> AsyncIterator[tuple[Channel, Channel]]:
    """Both ends of one connection, without a session on either; with small buffers where there are options."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ends = [socket.create_connection(listening.getsockname()), listening.accept()[0]]
    for end in ends if options else ():
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BYTES)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BYTES)
    async with example.channel_over(ends[0], **options) as client, example.channel_over(ends[1], **options) as server:
        yield client, server


@pytest.mark.anyio
async def test_it_keeps_the_contract_of_a_channel(example: ModuleType) -> None:
    await check_channel(partial(connected, example), partial(connected, example, outbox_bytes=SMALL_BYTES))


@pytest.mark.anyio
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_both_eras(example: ModuleType, era: Any) -> None:
    seen: list[float] = []

    async def show(progress: float, total: float | None, message: str | None) -> None:
        seen.append(progress)

    with anyio.fail_after(LIMIT_SECONDS):
        async with anyio.create_task_group() as tasks:
            port = await tasks.start(example.serve_tcp, example.server, 0)
            for _ in range(2):  # the second connection finds the first one gone, and the server there
                async with Client(example.TcpTransport("127.0.0.1", port), era=era) as client:
                    result = await client.call_tool("count", {"to": 3}, on_progress=show)
                    assert result.structured_content == {"result": "counted over tcp"}
            assert seen == [1, 2, 3] * 2
            tasks.cancel_scope.cancel()
        with pytest.raises(ConnectFailed, match=f"nobody listens at 127.0.0.1:{port}"):
            async with Client(example.TcpTransport("127.0.0.1", port)):
                pass


def test_one_program_or_two(ran: Callable[..., Any], anyio_backend: str) -> None:
    expected = "1 of 3\n2 of 3\n3 of 3\n{'result': 'counted over tcp'}\n"
    assert ran("tcp_transport.py").stdout == expected
    with subprocess.Popen(
        [sys.executable, str(EXAMPLE), "serve", "0"],
        env=environment(MCPCORE_BACKEND=anyio_backend),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stderr is not None
            port = process.stderr.readline().removeprefix("listening on port ").strip()
            assert ran("tcp_transport.py", "call", port).stdout == expected
        finally:
            process.kill()


def test_it_is_small() -> None:
    """The transport itself, between its imports and the server that is served over it."""
    transport = re.split(r"^(?=WRITE_SECONDS|server = )", EXAMPLE.read_text(), flags=re.MULTILINE)[1]
    assert len(transport.splitlines()) < 100
