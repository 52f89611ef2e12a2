"""The contract of a channel, held against every transport of one pipe, and against channels that break it."""

import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from mcpcore.channel import Channel, memory_pair
from mcpcore.multiplex import Multiplexer
from mcpcore.testing import check_channel, memory_pipes
from mcpcore_transports.stdio.descriptors import DescriptorStream
from mcpcore_transports.stdio.pipe import LinePipe

pytestmark = pytest.mark.anyio

Maker = Callable[[], AbstractAsyncContextManager[tuple[Channel, Channel]]]

CLOGGED_OUTBOX_BYTES = 64 * 1024


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """Ordinary clocks: real descriptors and a jumping clock do not go together."""
    return request.param


@asynccontextmanager
async def in_memory() -> AsyncIterator[tuple[Channel, Channel]]:
    client, server = memory_pair()
    yield client, server
    await client.aclose()
    await server.aclose()


@asynccontextmanager
async def over_memory_pipes() -> AsyncIterator[tuple[Channel, Channel]]:
    ours, theirs = memory_pipes()
    async with Multiplexer(ours) as client, Multiplexer(theirs) as server:
        yield client, server


@asynccontextmanager
async def over_small_memory_pipes() -> AsyncIterator[tuple[Channel, Channel]]:
    ours, theirs = memory_pipes(1)
    async with (
        Multiplexer(ours, outbox_bytes=CLOGGED_OUTBOX_BYTES) as client,
        Multiplexer(theirs, outbox_bytes=CLOGGED_OUTBOX_BYTES) as server,
    ):
        yield client, server


class OwnedDescriptors(DescriptorStream):
    """Closes its descriptors, as the process that owns them does when it ends."""

    def __init__(self, input_fd: int, output_fd: int) -> None:
        super().__init__(input_fd, output_fd)
        self._owned = {input_fd, output_fd}

    async def aclose(self) -> None:
        await super().aclose()
        while self._owned:
            os.close(self._owned.pop())


@asynccontextmanager
async def over_lines(
    client_fds: tuple[int, int], server_fds: tuple[int, int]
) -> AsyncIterator[tuple[Channel, Channel]]:
    async with (
        Multiplexer(LinePipe(OwnedDescriptors(*client_fds)), outbox_bytes=CLOGGED_OUTBOX_BYTES) as client,
        Multiplexer(LinePipe(OwnedDescriptors(*server_fds)), outbox_bytes=CLOGGED_OUTBOX_BYTES) as server,
    ):
        yield client, server


def over_os_pipes() -> AbstractAsyncContextManager[tuple[Channel, Channel]]:
    server_in, client_out = os.pipe()
    client_in, server_out = os.pipe()
    return over_lines((client_in, client_out), (server_in, server_out))


def over_socketpair() -> AbstractAsyncContextManager[tuple[Channel, Channel]]:
    ours, theirs = socket.socketpair()
    client, server = ours.detach(), theirs.detach()
    return over_lines((client, client), (server, server))


@pytest.mark.parametrize(
    ("make_pair", "clogged_make_pair"),
    [
        pytest.param(in_memory, in_memory, id="memory"),
        pytest.param(over_memory_pipes, over_small_memory_pipes, id="memory-pipes"),
        pytest.param(over_os_pipes, over_os_pipes, id="os-pipes"),
        pytest.param(over_socketpair, over_socketpair, id="socketpair"),
    ],
)
async def test_every_transport_keeps_the_contract(make_pair: Maker, clogged_make_pair: Maker) -> None:
    await check_channel(make_pair, clogged_make_pair)
