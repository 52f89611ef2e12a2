"""Connections of our listener: what follows what, refusals, failures, and deadlines for clients that take too long."""

import anyio
import pytest
from transports.listening import MUCH, PATIENCE_SECONDS, TEXT, Probe, echo, get, post, serving, stream_for_ever

from mcpcore.errors import ConnectionLost, LocalProtocolError
from mcpcore_transports.web.exchange import WebRequest, WebResponse
from mcpcore_transports.web.limits import HttpLimits

pytestmark = pytest.mark.anyio


def test_limits_are_numbers_above_0_and_flags_replace_them_one_by_one() -> None:
    limits = HttpLimits(linger_seconds=0.5).with_settings(read_timeout=3, keepalive=2, max_connections=7)
    assert (limits.head_seconds, limits.body_seconds, limits.quiet_seconds) == (3, 3, 2)
    assert (limits.max_connections, limits.linger_seconds) == (7, 0.5)
    assert limits.with_settings() == limits
    for wrong in ({"keepalive": 0}, {"stream_timeout": -1}, {"idle_timeout": float("inf")}):
        with pytest.raises(LocalProtocolError, match="has to be a number above 0"):
            HttpLimits().with_settings(**wrong)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


both_parsers = pytest.mark.parametrize("parser", ["h11", "httptools"])


@both_parsers
async def test_many_requests_on_one_connection(parser: str) -> None:
    async with serving(echo, parser=parser) as served, served.connect() as wire:
        for number in range(20):
            assert (await wire.ask(f"/{number}", b"b"))[2] == f"POST /{number}? b".encode()


@both_parsers
async def test_pipelined_requests_are_answered_in_order(parser: str) -> None:
    async with serving(echo, parser=parser) as served, served.connect() as wire:
        await wire.send(get("/1") + post("/2", b"two") + get("/3"))
        assert [(await wire.response())[2] for _ in range(3)] == [b"GET /1? ", b"POST /2? two", b"GET /3? "]


@both_parsers
@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nx: " + b"y" * 70_000 + b"\r\n\r\n", 431),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ],
)
async def test_broken_head(sent: bytes, status: int, parser: str) -> None:
    async with serving(echo, parser=parser) as served, served.connect() as wire:
        await wire.send(sent)
        found, headers, body = await wire.response()
        assert (found, headers["connection"]) == (status, "close")
        assert body.startswith(str(status).encode())
        assert await wire.rest() == b""


async def test_unread_body_ends_the_connection_when_it_has_not_arrived() -> None:
    async def app(request: WebRequest, response: WebResponse) -> None:
        await response.send_whole(404, TEXT, b"none")

    async with serving(app) as served, served.connect() as wire:
        status, headers, _ = await wire.ask("/", b"it is all there")
        assert (status, headers.get("connection")) == (404, None)
        await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        status, headers, _ = await wire.response()
        assert (status, headers.get("connection")) == (404, "close")
        assert await wire.rest() == b""


async def test_failing_application(caplog: pytest.LogCaptureFixture) -> None:
    async def app(request: WebRequest, response: WebResponse) -> None:
        if request.path == "/late":
            await response.start(200, TEXT)
        raise RuntimeError("secret")

    async with serving(app) as served:
        async with served.connect() as wire:
            status, headers, body = await wire.ask()
            assert (status, headers["connection"]) == (500, "close")
            assert b"secret" not in body
        assert caplog.text.count("RuntimeError: secret") == 1
        async with served.connect() as wire:
            await wire.send(get("/late"))
            assert b"0\r\n\r\n" not in await wire.rest()
        assert caplog.text.count("RuntimeError: secret") == 2


async def test_application_without_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    async def app(request: WebRequest, response: WebResponse) -> None:
        if request.path == "/half":
            await response.start(200, TEXT)

    async with serving(app) as served:
        async with served.connect() as wire:
            assert (await wire.ask())[0] == 500
        async with served.connect() as wire:
            await wire.send(get("/half"))
            assert (await wire.rest()).endswith(b"\r\n\r\n")
    assert caplog.text.count("without finishing") == 2


async def test_connection_lost_elsewhere_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def app(request: WebRequest, response: WebResponse) -> None:
        raise ConnectionLost("the database left")

    async with serving(app) as served, served.connect() as wire:
        assert (await wire.ask())[0] == 500
    assert "the database left" in caplog.text


async def test_slow_head() -> None:
    async with serving(echo, limits=HttpLimits(head_seconds=0.2)) as served, served.connect() as wire:
        await wire.send(b"GET / HT")
        status, headers, _ = await wire.response()
        assert (status, headers["connection"]) == (408, "close")


async def test_dripping_head() -> None:
    """Bytes that keep coming do not move the deadline."""
    async with serving(echo, limits=HttpLimits(head_seconds=0.3)) as served, served.connect() as wire:
        with anyio.fail_after(PATIENCE_SECONDS):
            async with anyio.create_task_group() as tasks:

                async def drip() -> None:
                    await wire.send(b"GET / HTTP/1.1\r\nx: ")
                    while True:
                        await wire.send(b"y")
                        with anyio.move_on_after(0.05):
                            await anyio.sleep_forever()

                tasks.start_soon(drip)
                assert (await wire.response())[0] == 408
                tasks.cancel_scope.cancel()


async def test_silent_connection_is_closed() -> None:
    async with serving(echo, limits=HttpLimits(head_seconds=0.1)) as served, served.connect() as wire:
        assert await wire.rest() == b""


async def test_idle_connection_is_closed() -> None:
    async with serving(echo, limits=HttpLimits(idle_seconds=0.1)) as served, served.connect() as wire:
        assert (await wire.ask())[0] == 200
        assert await wire.rest() == b""


async def test_slow_application_is_not_hurried() -> None:
    async def app(request: WebRequest, response: WebResponse) -> None:
        await request.body(10)
        with anyio.move_on_after(0.5):
            await anyio.sleep_forever()
        await response.send_whole(200, TEXT, b"done")

    limits = HttpLimits(head_seconds=0.1, body_seconds=0.1, idle_seconds=0.1, write_seconds=0.1, quiet_seconds=0.1)
    async with serving(app, limits=limits) as served, served.connect() as wire:
        assert (await wire.ask("/", b"x"))[2] == b"done"


async def test_stalled_reader_is_given_up() -> None:
    probe = Probe(stream_for_ever)
    async with serving(probe, limits=HttpLimits(write_seconds=0.2)) as served, served.connect() as wire:
        await wire.send(get())
        await probe.wait("ended")
        assert isinstance(probe.outcome, ConnectionLost)


async def test_stalled_reader_that_is_only_sent_idle_bytes_is_given_up() -> None:
    async def work(probe: Probe, request: WebRequest, response: WebResponse) -> None:
        request.when_gone(probe.gone.set)
        await response.start(200, TEXT, idle_bytes=MUCH * 10)
        await anyio.sleep_forever()

    probe = Probe(work)
    limits = HttpLimits(write_seconds=0.2, quiet_seconds=0.1)
    async with serving(probe, limits=limits) as served, served.connect() as wire:
        await wire.send(get())
        await probe.wait("ended")
    assert probe.gone.is_set()
    assert probe.cancelled


async def test_idle_bytes() -> None:
    async def app(request: WebRequest, response: WebResponse) -> None:
        await response.start(200, TEXT, idle_bytes=b": idle\n")
        await anyio.sleep_forever()

    async with serving(app, limits=HttpLimits(quiet_seconds=0.1)) as served, served.connect() as wire:
        await wire.send(get())
        await wire.until(b"\r\n\r\n")
        for _ in range(3):
            assert await wire.exactly(12) == b"7\r\n: idle\n\r\n"


async def test_idle_bytes_never_come_between_the_parts_of_a_chunk() -> None:
    """The reader stalls long enough for many idle times; what it then reads is whole chunks."""

    async def work(probe: Probe, request: WebRequest, response: WebResponse) -> None:
        await response.start(200, TEXT, idle_bytes=b"i")
        for _ in range(4):
            await response.send(MUCH * 3)
        await response.finish()

    probe = Probe(work)
    async with serving(probe, limits=HttpLimits(quiet_seconds=0.05)) as served, served.connect() as wire:
        await wire.send(get())
        with anyio.move_on_after(0.5):
            await probe.ended.wait()
        assert not probe.ended.is_set()
        await wire.until(b"\r\n\r\n")
        sizes = []
        while size := int((await wire.until(b"\r\n"))[:-2], 16):
            sizes.append(size)
            assert (await wire.exactly(size + 2)).endswith(b"\r\n")
        assert [size for size in sizes if size > 1] == [3 * len(MUCH)] * 4
