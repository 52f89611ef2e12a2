"""What a peer that somebody else named can do with a request: be silent, answer too much, be elsewhere or inside."""

import anyio
import pytest
from transports.scripted_server import Caller, Script, ok, serving

from mcpcore_transports.framing.addresses import Reach, Zone
from mcpcore_transports.web.fetching import FETCH_BYTES, FetchFailed, Fetching

pytestmark = pytest.mark.anyio

BRIEF_SECONDS = 0.1


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


def answering(data: bytes) -> Script:
    async def script(caller: Caller) -> None:
        while await caller.request():
            await caller.send(data)

    return script


async def silent(caller: Caller) -> None:
    await caller.request()
    await caller.closed()


async def stalling(caller: Caller) -> None:
    await caller.request()
    await caller.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{")
    await caller.closed()


async def hanging_up(caller: Caller) -> None:
    await caller.request()
    await caller.stream.aclose()


def every(status: int) -> bool:
    return True


def good(status: int) -> bool:
    return status == 200


async def test_an_answer() -> None:
    said = ok(b"{}", b"Content-Type: Application/JSON; charset=utf-8\r\nDPoP-Nonce: n\r\n")
    async with serving(answering(said)) as served, Fetching(Reach(this_machine=True), seconds=5) as fetching:
        for _ in range(2):
            answer = await fetching.ask("GET", served.url, wanted=good)
            assert (answer.status, answer.kind, answer.body) == (200, "application/json", b"{}")
            assert answer.headers["dpop-nonce"] == "n"
        assert served.connections == 1
        await fetching.aclose()
        await fetching.ask("POST", served.url, body=b"x", wanted=good)
        assert served.connections == 2


async def test_what_is_not_wanted_is_not_read() -> None:
    large = b"HTTP/1.1 404 Not Found\r\ncontent-length: 99999999\r\n\r\n" + b" " * 10
    async with serving(answering(large)) as served, Fetching(Reach(this_machine=True), seconds=5) as fetching:
        answer = await fetching.ask("GET", served.url, wanted=good)
        assert (answer.status, answer.body) == (404, b"")
        with pytest.raises(FetchFailed, match="more than"):
            await fetching.ask("GET", served.url, wanted=every)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (silent, r"within 0\.1 seconds"),
        (stalling, r"within 0\.1 seconds"),
        (hanging_up, "cannot be reached"),
        (answering(ok(b" " * (FETCH_BYTES + 1))), "more than"),
        (answering(b"hello\r\n\r\n"), "cannot be used"),
    ],
)
async def test_no_answer(script: Script, why: str) -> None:
    seconds = BRIEF_SECONDS if script in (silent, stalling) else 5
    async with serving(script) as served, Fetching(Reach(this_machine=True), seconds=seconds) as fetching:
        with pytest.raises(FetchFailed, match=why) as failed:
            await fetching.ask("GET", served.url, wanted=every)
        assert not failed.value.inward


@pytest.mark.parametrize("reach", [Reach(), Reach(Zone.PRIVATE), Reach(hosts=["other.example"])])
async def test_nothing_is_sent_further_inside(reach: Reach) -> None:
    async with serving(answering(ok())) as served, Fetching(reach, seconds=5) as fetching:
        with pytest.raises(FetchFailed) as failed:
            await fetching.ask("GET", served.url, wanted=every)
        assert (failed.value.inward, served.connections) == (True, 0)


@pytest.mark.parametrize("cancelled", [False, True])
async def test_closing_ends_who_waits_and_so_does_cancellation(cancelled: bool) -> None:
    asked = anyio.Event()
    left = anyio.Event()

    async def waiting(caller: Caller) -> None:
        await caller.request()
        asked.set()
        await caller.closed()
        left.set()

    outcome: list[str] = []

    async def ask(fetching: Fetching, url: str) -> None:
        try:
            await fetching.ask("GET", url, wanted=every)
        except FetchFailed as failed:
            outcome.append(str(failed))

    async with serving(waiting) as served, Fetching(Reach(this_machine=True), seconds=60) as fetching:
        async with anyio.create_task_group() as group:
            group.start_soon(ask, fetching, served.url)
            with anyio.fail_after(20):
                await asked.wait()
                if cancelled:
                    group.cancel_scope.cancel()
                else:
                    await fetching.aclose()
        with anyio.fail_after(20):
            await left.wait()
        assert ["closed" in each for each in outcome] == ([] if cancelled else [True])
