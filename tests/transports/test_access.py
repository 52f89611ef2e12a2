"""The access log."""

import logging

import anyio
import pytest
from transports.listening import PATIENCE_SECONDS, echo, serving

from mcpcore_transports.web import access
from mcpcore_transports.web.access import AccessEntry

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


async def test_access_log() -> None:
    entries: list[AccessEntry] = []
    first = anyio.Event()

    def write(entry: AccessEntry) -> None:
        entries.append(entry)
        first.set()

    async with serving(echo, access_log=write) as served:
        async with served.connect() as wire:
            await wire.ask("/p?token=secret")
            with anyio.fail_after(PATIENCE_SECONDS):
                await first.wait()  # while the listener runs
            await wire.ask("/%0Aq", b"x")
    one, two = entries
    assert one[:4] == ("GET", "/p", 200, len(b"GET /p?token=secret "))
    assert one.client == "127.0.0.1"
    assert 0 <= one.seconds < PATIENCE_SECONDS
    assert two.path == "/%0Aq"


async def test_failing_access_log(caplog: pytest.LogCaptureFixture) -> None:
    def write(entry: AccessEntry) -> None:
        raise RuntimeError("disk full")

    async with serving(echo, access_log=write) as served, served.connect() as wire:
        assert (await wire.ask())[0] == 200
        assert (await wire.ask())[0] == 200
    assert "disk full" in caplog.text


def test_access_log_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    written: list[AccessEntry] = []
    log = access.AccessLog(written.append)
    for number in range(access.MAX_WAITING_ENTRIES + 5):
        log.add(AccessEntry("GET", "/", number, 0, 0.0, ""))
    with caplog.at_level(logging.WARNING):
        log._flush()
    assert len(written) == access.MAX_WAITING_ENTRIES
    assert written[0].status == 5
    assert "5 access log entries were dropped" in caplog.text
