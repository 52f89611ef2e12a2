"""Waiting for a socket: what arrives while somebody waits, and while nobody does."""

import socket
from collections.abc import Iterator

import anyio
import anyio.lowlevel
import pytest

from mcpcore_transports.web import readiness
from mcpcore_transports.web.readiness import readiness_of

pytestmark = pytest.mark.anyio

PATIENCE_SECONDS = 20


@pytest.fixture(params=["asyncio", "trio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return ("asyncio", {"use_uvloop": True}) if request.param == "uvloop" else request.param


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        yield ours, theirs


async def test_each_arrival_ends_a_wait(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    ready = readiness_of(ours)
    arrived: list[bytes] = []

    async def read() -> None:
        while len(arrived) < 3:
            await ready.wait()
            try:
                arrived.append(ours.recv(10))
            except BlockingIOError:
                continue

    with anyio.fail_after(PATIENCE_SECONDS):
        for word in (b"one", b"two", b""):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(read)
                await anyio.wait_all_tasks_blocked()
                theirs.send(word) if word else theirs.close()
                while word not in arrived:
                    await anyio.lowlevel.checkpoint()
                tasks.cancel_scope.cancel()
    assert arrived == [b"one", b"two", b""]
    ready.close()


async def test_a_cancelled_wait_loses_nothing(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    ready = readiness_of(ours)
    with anyio.move_on_after(0):
        await ready.wait()
    theirs.send(b"x")
    with anyio.fail_after(PATIENCE_SECONDS):
        await ready.wait()
    assert ours.recv(10) == b"x"
    ready.close()


async def test_what_nobody_waits_for_is_reported_once(
    pair: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket that stays readable while a request runs must not keep the event loop busy."""
    reports = 0
    arrived = readiness._Registered._arrived

    def count(self: readiness._Registered) -> None:
        nonlocal reports
        reports += 1
        arrived(self)

    monkeypatch.setattr(readiness._Registered, "_arrived", count)
    ours, theirs = pair
    ready = readiness_of(ours)
    theirs.send(b"x")
    with anyio.fail_after(PATIENCE_SECONDS):
        await ready.wait()
        ours.recv(10)
        theirs.send(b"y")
        for _ in range(100):
            await anyio.lowlevel.checkpoint()
        assert reports <= 3
        await ready.wait()
    assert ours.recv(10) == b"y"
    ready.close()


async def test_after_close_the_descriptor_is_free() -> None:
    """The next connection gets the same number."""
    with anyio.fail_after(PATIENCE_SECONDS):
        for _ in range(3):
            ours, theirs = socket.socketpair()
            ours.setblocking(False)
            with ours, theirs:
                ready = readiness_of(ours)
                theirs.send(b"x")
                await ready.wait()
                ready.close()
