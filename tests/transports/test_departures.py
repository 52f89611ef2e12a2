"""Clients that leave while their request runs."""

import anyio
import pytest
from transports.listening import TEXT, Probe, echo, get, post, serving, wait_for_ever

from mcpcore.errors import ConnectionLost
from mcpcore_transports.web import departures, listener
from mcpcore_transports.web.exchange import WebRequest, WebResponse

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


@pytest.mark.parametrize("how", ["close", "reset", "half"])
async def test_client_that_leaves_cancels(how: str, caplog: pytest.LogCaptureFixture) -> None:
    probe = Probe(wait_for_ever)
    async with serving(probe) as served:
        async with served.connect() as wire:
            await wire.send(get())
            await probe.wait("began")
            if how == "half":
                await wire.stream.send_eof()
                await probe.wait("ended")
            elif how == "reset":
                wire.reset()
        await probe.wait("ended")
        assert probe.cancelled
        async with served.connect() as wire:
            await wire.send(get())  # the listener is alive
    assert caplog.text == ""


async def test_client_that_leaves_cancels_where_the_kernel_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "open_departures", departures._AskedDepartures)
    probe = Probe(wait_for_ever)
    async with serving(probe) as served:
        async with served.connect() as wire:
            await wire.send(post("/", b"x") + b"GET /pipelined HTTP/1.1\r\n"[:0])
            await probe.wait("began")
        await probe.wait("ended")
    assert probe.cancelled


async def test_application_is_told_that_its_client_left() -> None:
    async def work(probe: Probe, request: WebRequest, response: WebResponse) -> None:
        request.when_gone(probe.gone.set)
        await response.start(200, TEXT)
        await probe.gone.wait()
        with pytest.raises(ConnectionLost):
            await response.send(b"to nobody")

    probe = Probe(work)
    async with serving(probe) as served:
        async with served.connect() as wire:
            await wire.send(get())
            await wire.until(b"\r\n\r\n")
        await probe.wait("ended")
    assert probe.gone.is_set()
    assert probe.outcome is None


async def test_application_that_goes_on_is_cancelled() -> None:
    async def work(probe: Probe, request: WebRequest, response: WebResponse) -> None:
        request.when_gone(probe.gone.set)
        await anyio.sleep_forever()

    probe = Probe(work)
    async with serving(probe) as served:
        async with served.connect() as wire:
            await wire.send(get())
            await probe.wait("began")
        await probe.wait("ended")
    assert probe.gone.is_set()
    assert probe.cancelled


async def test_failing_callback_does_no_harm(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("callback")

    async def work(probe: Probe, request: WebRequest, response: WebResponse) -> None:
        request.when_gone(fail)
        await anyio.sleep_forever()

    probe = Probe(work)
    async with serving(probe) as served:
        async with served.connect() as wire:
            await wire.send(get())
            await probe.wait("began")
        await probe.wait("ended")
        async with served.connect():
            pass
    assert caplog.text.count("RuntimeError: callback") == 1


async def test_removed_callback_is_not_called() -> None:
    async def work(probe: Probe, request: WebRequest, response: WebResponse) -> None:
        request.when_gone(probe.gone.set)
        request.when_gone(None)
        await anyio.sleep_forever()

    probe = Probe(work)
    async with serving(probe) as served:
        async with served.connect() as wire:
            await wire.send(get())
            await probe.wait("began")
        await probe.wait("ended")
    assert not probe.gone.is_set()


async def test_half_closed_client_gets_a_prompt_answer() -> None:
    async with serving(echo) as served, served.connect() as wire:
        await wire.send(get("/1") + get("/2"))
        await wire.stream.send_eof()
        rest = await wire.rest()
        assert rest.count(b"HTTP/1.1 200 OK") == 2


async def test_pipelining_client_that_leaves_is_noticed() -> None:
    probe = Probe(wait_for_ever)
    async with serving(probe) as served:
        async with served.connect() as wire:
            await wire.send(get() + get("/unread") * 100)
            await probe.wait("began")
            await wire.send(get("/unread") * 100)
        await probe.wait("ended")
    assert probe.cancelled


async def test_many_resets_leave_the_listener_alone(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(echo) as served:
        for at in range(30):
            async with served.connect() as wire:
                await wire.send(get()[: at + 1])
                wire.reset()
        async with served.connect() as wire:
            assert (await wire.ask())[0] == 200
    assert caplog.text == ""
