"""web/pool: which connections are kept, which are reused, and what happens to those that are not there any more.

On real sockets, so on the ordinary clock of each backend; nothing here waits for time to pass.
"""

import time
from collections import Counter

import anyio
import pytest
from transports.scripted_server import Caller, Script, ok, serving

from mcpcore.errors import ConnectFailed, ConnectionLost
from mcpcore_transports.web import request as request_module
from mcpcore_transports.web.client import HttpClient
from mcpcore_transports.web.client_limits import CROSSING_SECONDS, ClientLimits

pytestmark = pytest.mark.anyio

LIMIT = 1024


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def ask(client: HttpClient, url: str, body: bytes = b"x") -> bytes:
    async with client.request("POST", url, body=body) as response:
        return await response.read(LIMIT)


async def numbered(caller: Caller) -> None:
    """Answers with the number of the connection."""
    while await caller.request():
        await caller.send(ok(b"%d" % caller.number))


async def test_a_connection_is_kept_when_the_body_was_read() -> None:
    async with serving(numbered) as server, HttpClient(trust_env=False) as client:
        async with client.request("GET", server.url) as response:
            assert "1 in use, 0 idle" in repr(client)
            await response.read(LIMIT)
            assert "0 in use, 1 idle" in repr(client)
            assert await ask(client, server.url + "/other") == b"0"
        assert await ask(client, server.url) == b"0"


@pytest.mark.parametrize(
    ("answer", "connections"),
    [
        (b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n", 1),
        (ok(b"not wanted"), 1),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", 1),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n", 2),
        (ok(b"", b"connection: close\r\n"), 2),
        (b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n", 2),
        (ok(b"") + b"HTTP/1.1 200 OK\r\n", 2),
    ],
    ids=["empty", "unread", "chunked", "unfinished", "close", "http/1.0", "too much"],
)
async def test_a_response_that_is_left_unread_keeps_its_connection_if_it_is_all_there(
    answer: bytes, connections: int
) -> None:
    async def script(caller: Caller) -> None:
        while await caller.request():
            await caller.send(answer)

    async with serving(script) as server, HttpClient(trust_env=False) as client:
        for _ in range(2):
            async with client.request("GET", server.url):
                pass
        assert server.connections == connections


async def test_the_end_of_a_body_that_has_arrived_meanwhile_keeps_the_connection() -> None:
    """As when a stream of events ends with the one that was waited for."""
    seen = anyio.Event()
    ended = anyio.Event()

    async def script(caller: Caller) -> None:
        while await caller.request():
            await caller.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nevent\r\n")
            await seen.wait()
            await caller.send(b"0\r\n\r\n")
            ended.set()

    async with serving(script) as server, HttpClient(trust_env=False) as client:
        async with client.request("GET", server.url) as response:
            assert await response.receive() == b"event"
            seen.set()
            await ended.wait()
        assert "0 in use, 1 idle" in repr(client)


async def _hold(client: HttpClient, url: str, count: int) -> None:
    """Have `count` connections idle; the last one to be opened is the last one to be given back."""
    if count:
        async with client.request("GET", url) as response:
            await _hold(client, url, count - 1)
            await response.read(LIMIT)


async def test_the_connection_used_last_is_used_first_and_no_more_are_kept_than_allowed() -> None:
    closed: list[int] = []
    three = anyio.Event()

    async def script(caller: Caller) -> None:
        await numbered(caller)
        closed.append(caller.number)
        if len(closed) == 3:
            three.set()

    limits = ClientLimits(idle_per_origin=2)
    async with serving(script) as server, HttpClient(trust_env=False, limits=limits) as client:
        await _hold(client, server.url, 5)  # given back as 4, 3, 2, 1, 0
        assert "0 in use, 2 idle" in repr(client)
        await three.wait()
        assert sorted(closed) == [2, 3, 4]
        assert [await ask(client, server.url) for _ in range(3)] == [b"0", b"0", b"0"]


async def test_connections_that_were_idle_for_too_long_are_closed() -> None:
    closed = anyio.Event()

    async def script(caller: Caller) -> None:
        await numbered(caller)
        closed.set()

    limits = ClientLimits(idle_seconds=0)
    async with serving(script) as server, serving(numbered) as other:
        async with HttpClient(trust_env=False, limits=limits) as client:
            assert await ask(client, server.url) == b"0"
            assert await ask(client, other.url) == b"0"  # opening another connection closes what has expired
            await closed.wait()
            assert await ask(client, other.url) == b"1"


async def test_origins_do_not_share_connections() -> None:
    async with serving(numbered) as server, serving(numbered) as other, HttpClient(trust_env=False) as client:
        for served in (server, other, server, other):
            assert await ask(client, served.url) == b"0"
        assert await ask(client, server.url.replace("127.0.0.1", "LOCALHOST")) == b"1"
        assert await ask(client, server.url.replace("127.0.0.1", "localhost")) == b"1"


@pytest.mark.parametrize("last_words", [b"", b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\n\r\n"])
async def test_a_connection_closed_while_idle_is_not_used(last_words: bytes) -> None:
    close = anyio.Event()
    asked: list[int] = []

    async def script(caller: Caller) -> None:
        while await caller.request():
            asked.append(caller.number)
            await caller.send(ok(b"%d" % caller.number))
            if caller.number == 0:
                await close.wait()
                if last_words:
                    await caller.send(last_words)
                await caller.stream.aclose()
                gone.set()
                return

    gone = anyio.Event()
    async with serving(script) as server, HttpClient(trust_env=False) as client:
        assert await ask(client, server.url) == b"0"
        close.set()
        await gone.wait()
        assert await ask(client, server.url) == b"1"
        assert asked == [0, 1]


def dying(after: int, *, words: bytes = b"") -> Script:
    """Connection 0 answers `after` requests and closes upon the next one, after `words`; later ones answer."""

    async def script(caller: Caller) -> None:
        if caller.number:
            await numbered(caller)
            return
        for _ in range(after):
            await caller.request()
            await caller.send(ok(b"0"))
        await caller.request()
        if words:
            await caller.send(words)

    return script


async def test_a_reused_connection_that_dies_at_once_is_replaced() -> None:
    async with serving(dying(1)) as server, HttpClient(trust_env=False) as client:
        assert await ask(client, server.url) == b"0"
        assert await ask(client, server.url) == b"1"
        assert "0 in use, 1 idle" in repr(client)


async def test_it_is_replaced_by_one_that_nobody_has_used() -> None:
    """Two idle connections die at once, as when the server restarts: the second must not be tried."""
    requests: Counter[int] = Counter()

    async def script(caller: Caller) -> None:
        while await caller.request():
            requests[caller.number] += 1
            if caller.number < 2 and requests[caller.number] == 2:
                return
            await caller.send(ok(b"%d" % caller.number))

    async with serving(script) as server, HttpClient(trust_env=False) as client:
        await _hold(client, server.url, 2)
        assert await ask(client, server.url) == b"2"
        assert requests == {0: 2, 1: 1, 2: 1}


@pytest.mark.parametrize(
    ("script", "first"),
    [(dying(0), b""), (dying(1, words=b"HTTP/1.1 "), b"0")],
    ids=["a fresh connection", "an answer had begun"],
)
async def test_a_request_is_not_sent_again_when_the_server_may_have_seen_it(script: Script, first: bytes) -> None:
    async with serving(script) as server, HttpClient(trust_env=False) as client:
        if first:
            assert await ask(client, server.url) == first
        with pytest.raises(ConnectionLost):
            await ask(client, server.url)
        assert server.connections == 1
        assert "0 in use, 0 idle" in repr(client)


async def test_a_request_is_not_sent_again_when_the_connection_is_lost_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's clock is moved while the server has the request."""
    moved = 0.0

    async def script(caller: Caller) -> None:
        nonlocal moved
        await caller.request()
        await caller.send(ok(b"0"))
        await caller.request()
        moved = CROSSING_SECONDS

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return time.monotonic() + moved

    monkeypatch.setattr(request_module, "time", Clock)
    async with serving(script) as server, HttpClient(trust_env=False) as client:
        assert await ask(client, server.url) == b"0"
        with pytest.raises(ConnectionLost, match="before it answered"):
            await ask(client, server.url)
        assert server.connections == 1


async def test_a_request_is_sent_again_only_once() -> None:
    async def script(caller: Caller) -> None:
        if caller.number == 0:
            await caller.request()
            await caller.send(ok(b"0"))
        await caller.request()

    async with serving(script) as server, HttpClient(trust_env=False) as client:
        assert await ask(client, server.url) == b"0"
        with pytest.raises(ConnectionLost):
            await ask(client, server.url)
        assert server.connections == 2


async def test_a_request_that_could_not_be_sent_whole_is_sent_again() -> None:
    async def script(caller: Caller) -> None:
        if caller.number == 0:
            await caller.request()
            await caller.send(ok(b"0"))
            await caller.stream.receive(1000)
        else:
            await numbered(caller)

    async with serving(script) as server, HttpClient(trust_env=False) as client:
        assert await ask(client, server.url) == b"0"
        assert await ask(client, server.url, b"x" * 20_000_000) == b"1"


async def test_that_there_is_no_other_connection_does_not_mean_that_nothing_was_done() -> None:
    async def script(caller: Caller) -> None:
        await caller.request()
        await caller.send(ok(b"0"))
        await caller.request()
        await server.listener.aclose()
        await caller.stream.aclose()

    async with serving(script) as server, HttpClient(trust_env=False) as client:
        assert await ask(client, server.url) == b"0"
        with pytest.raises(ConnectionLost, match="and there is no other: cannot connect") as lost:
            await ask(client, server.url)
        assert not isinstance(lost.value, ConnectFailed)


async def test_a_server_that_closes_idle_connections_at_any_moment() -> None:
    """Every other connection is closed right after its second answer, while the next request may be on its way."""
    handled = 0

    async def script(caller: Caller) -> None:
        nonlocal handled
        answers = 0
        while await caller.request():
            handled += 1
            answers += 1
            await caller.send(ok(b"yes"))
            if answers == 1 + caller.number % 3:
                return

    async def work(client: HttpClient, url: str) -> None:
        for _ in range(40):
            assert await ask(client, url) == b"yes"

    async with serving(script) as server, HttpClient(trust_env=False) as client:
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(work, client, server.url)
    assert handled == 200


async def test_after_closing_nothing_is_kept() -> None:
    closed = anyio.Event()

    async def script(caller: Caller) -> None:
        await numbered(caller)
        closed.set()

    async with serving(script) as server:
        client = HttpClient(trust_env=False)
        assert await ask(client, server.url) == b"0"
        async with anyio.create_task_group() as group:
            group.start_soon(client.aclose)
        await closed.wait()
        with pytest.raises(anyio.ClosedResourceError):
            await ask(client, server.url)
