"""Our listener as a whole: many connections, and stopping."""

import errno
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from transports.listening import (
    PATIENCE_SECONDS,
    TEXT,
    Probe,
    Served,
    echo,
    get,
    serving,
    stream_for_ever,
    wait_for_ever,
)

from mcpcore_transports.web.exchange import WebRequest, WebResponse
from mcpcore_transports.web.limits import HttpLimits
from mcpcore_transports.web.listener import ACCEPT_BATCH

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


async def test_connections_beyond_the_limit_wait_for_room() -> None:
    release = anyio.Event()

    async def app(request: WebRequest, response: WebResponse) -> None:
        if request.path == "/hold":
            await response.start(200, TEXT)
            await release.wait()
            await response.finish()
        else:
            await response.send_whole(200, TEXT, b"")

    async with serving(app, limits=HttpLimits(max_connections=2)) as served:
        async with served.connect() as one, served.connect() as two, served.connect() as three:
            await one.send(get("/hold"))
            await one.until(b"\r\n\r\n")
            await two.send(get("/hold"))
            await two.until(b"\r\n\r\n")
            await three.send(get())
            with anyio.move_on_after(0.2):
                await three.response()
                pytest.fail("served beyond the limit")
            release.set()
            assert (await three.response())[0] == 200


async def test_idle_connections_make_room() -> None:
    async with serving(echo, limits=HttpLimits(max_connections=1)) as served:
        async with served.connect() as one:
            assert (await one.ask())[0] == 200
            async with served.connect() as two:
                assert (await two.ask())[0] == 200
            assert await one.rest() == b""


async def test_hundreds_of_streams() -> None:
    async def app(request: WebRequest, response: WebResponse) -> None:
        await response.start(200, TEXT)
        await anyio.sleep_forever()

    count = 300  # as many as fit into the usual limit of 1024 descriptors, with both ends in one process
    async with serving(app) as served:
        ends = [socket.create_connection(served.addresses[0]) for _ in range(count)]
        try:
            for end in ends:
                end.sendall(get())
                end.setblocking(False)
            for end in ends:
                with anyio.fail_after(PATIENCE_SECONDS):
                    await anyio.wait_readable(end)
                assert end.recv(1000).startswith(b"HTTP/1.1 200 OK")
        finally:
            for end in ends:
                end.close()


async def test_refused_accept_backs_off(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    calls = 0
    better = time.monotonic() + 0.35

    class Poor(socket.socket):
        def accept(self) -> Any:
            nonlocal calls
            calls += 1
            if time.monotonic() < better:
                raise OSError(errno.EMFILE, "Too many open files")
            if calls < 10:
                calls = 10
                raise OSError(errno.ECONNABORTED, "Software caused connection abort")
            return super().accept()

    poor = Poor(fileno=listening.detach())
    async with serving(echo, sockets=[poor]) as served, served.connect() as wire:
        assert (await wire.ask())[0] == 200
    assert 10 < calls < 20
    assert caplog.text.count("Too many open files") == 1


async def test_stopping_closes_idle_connections_and_lets_requests_finish() -> None:
    release = anyio.Event()

    async def work(probe: Probe, request: WebRequest, response: WebResponse) -> None:
        await release.wait()
        await response.send_whole(200, TEXT, b"done")

    probe = Probe(work)
    async with serving(probe, grace=PATIENCE_SECONDS) as served:
        async with served.connect() as idle, served.connect() as busy:
            await busy.send(get())
            await probe.wait("began")
            served.stopping.set()
            assert await idle.rest() == b""
            with pytest.raises(OSError, match=r"\S"):
                await anyio.connect_tcp(*served.addresses[0])
            release.set()
            status, headers, body = await busy.response()
            assert (status, headers["connection"], body) == (200, "close", b"done")
            assert await busy.rest() == b""
            with anyio.fail_after(PATIENCE_SECONDS):
                await served.ended.wait()


async def _refused(served: Served) -> None:
    """Wait until connections are refused: one that comes before the listener has its turn is taken."""
    with anyio.fail_after(PATIENCE_SECONDS):
        while True:
            try:
                await (await anyio.connect_tcp(*served.addresses[0])).aclose()
            except OSError:
                return


async def test_a_kept_connection_gets_its_answer_while_the_listener_stops_and_hears_that_it_was_the_last() -> None:
    release = anyio.Event()

    async def app(request: WebRequest, response: WebResponse) -> None:
        if request.path == "/slow":
            await release.wait()
        await response.send_whole(200, TEXT, b"done")

    async with serving(app, grace=PATIENCE_SECONDS) as served:
        async with served.connect() as one, served.connect() as two, served.connect() as three:
            for wire in (one, two, three):
                assert (await wire.ask())[0] == 200
            served.stopping.set()
            await _refused(served)
            await two.send(get("/slow"))
            status, headers, body = await one.ask()
            assert (status, headers["connection"], body) == (200, "close", b"done")
            assert await one.rest() == b""
            assert await three.rest() == b""  # closed when its time was over
            release.set()
            status, headers, body = await two.response()
            assert (status, headers["connection"], body) == (200, "close", b"done")
            with anyio.fail_after(PATIENCE_SECONDS / 2):
                await served.ended.wait()


async def test_connections_that_wait_to_be_accepted_are_served_before_the_listener_closes() -> None:
    count = 2 * ACCEPT_BATCH
    async with serving(echo, grace=PATIENCE_SECONDS) as served:
        ends = [socket.create_connection(served.addresses[0]) for _ in range(count)]
        try:
            served.stopping.set()  # nobody had a turn since the first of them connected
            for end in ends:
                end.sendall(get())
                end.setblocking(False)
            for end in ends:
                with anyio.fail_after(PATIENCE_SECONDS):
                    await anyio.wait_readable(end)
                assert end.recv(1000).startswith(b"HTTP/1.1 200 OK")
        finally:
            for end in ends:
                end.close()
        with anyio.fail_after(PATIENCE_SECONDS):
            await served.ended.wait()


@pytest.mark.parametrize("how", ["stop", "cancel"])
@pytest.mark.parametrize("work", [stream_for_ever, wait_for_ever])
async def test_nothing_a_client_does_holds_up_the_end(
    how: str, work: Callable[[Probe, WebRequest, WebResponse], Awaitable[None]]
) -> None:
    """With the default write deadline of 30 seconds: the grace has to be what ends it."""
    probe = Probe(work)
    with anyio.move_on_after(PATIENCE_SECONDS) as scope:
        async with serving(probe) as served:
            async with served.connect() as wire:
                await wire.send(get())
                await probe.wait("began")
                with anyio.move_on_after(0.1):
                    await probe.ended.wait()
                began = anyio.current_time()
                if how == "stop":
                    served.stopping.set()
                    await served.ended.wait()
                else:
                    served.cancel()
                    await anyio.sleep_forever()
        assert anyio.current_time() - began < 0.2 + 0.5 + 2  # the grace, what is promised beyond it, a slow machine
    assert not scope.cancelled_caught
    assert probe.cancelled


async def test_stop_without_connections() -> None:
    async with serving(echo, grace=PATIENCE_SECONDS) as served:
        served.stopping.set()
        with anyio.fail_after(PATIENCE_SECONDS / 2):
            await served.ended.wait()
