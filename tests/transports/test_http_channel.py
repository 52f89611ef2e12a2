"""What a client does about sessions of the handshake era: lost ones, broken streams, what a server says unasked.

Against scripted servers on real sockets, on the ordinary clock of each backend. Every wait is for an event and bounded;
pauses before reconnects are those that the scripted server asks for, or made short.
"""

import itertools
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import pytest
from transports.raw_http import offer
from transports.raw_http import serving as offering
from transports.scripted_mcp import Asked, Sessions, answering, until
from transports.scripted_server import PATIENCE_SECONDS, Caller, Served

from mcpcore import Client, ConnectFailed, ConnectionLost, PeerError
from mcpcore_transports.http import channel as channels
from mcpcore_transports.http.events import RECONNECTS
from mcpcore_transports.http.failures import HttpError, HttpRefused
from mcpcore_transports.web.client import HttpClient

pytestmark = pytest.mark.anyio

BRIEF_SECONDS = 0.05


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcpcore_transports.http.events.RECONNECT_SECONDS", 0.001)
    for variable in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)


@pytest.fixture
def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port


def text_of(result: Any) -> str:
    [block] = result.content
    return str(block.text)


@asynccontextmanager
async def connected(server: Sessions, **options: Any) -> AsyncIterator[tuple[Client, Served]]:
    async with answering(server) as served, Client(served.url, era="legacy", **options) as client:
        yield client, served


def question(id: Any = "q1", method: str = "elicitation/create", **params: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"name": {"type": "string"}}}
    return {
        "jsonrpc": "2.0",
        "id": id,
        "method": method,
        "params": {"message": "Which city?", "requestedSchema": schema, **params},
    }


def note(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": f"notifications/{method}", "params": params}


# -- sessions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("revision", ["2025-03-26", "2025-06-18", "2025-11-25"])
async def test_everything_after_the_first_request_names_the_session(revision: Any) -> None:
    server = Sessions(revision)
    async with connected(server) as (client, _):
        await client.call_tool("x")
        await until(lambda: bool(server.seen("GET")))
    first, *others = server.log
    assert first.method == "initialize"
    assert "mcp-session-id" not in first.headers
    assert "mcp-protocol-version" not in first.headers
    assert {asked.method for asked in others} >= {"notifications/initialized", "tools/call", "GET", "DELETE"}
    for asked in others:
        assert asked.headers["mcp-session-id"] == "s1"
        assert asked.headers.get("mcp-protocol-version") == (None if revision == "2025-03-26" else revision)


async def test_a_server_without_sessions() -> None:
    server = Sessions()
    server.sessions = False
    async with connected(server) as (client, _):
        assert text_of(await client.call_tool("x")) == "x"
    assert [asked.method for asked in server.log] == ["initialize", "notifications/initialized", "tools/call"]


async def test_a_lost_session_is_begun_again_once_for_all_who_find_out() -> None:
    server = Sessions()
    async with connected(server) as (client, _):
        server.forget()
        answers: list[str] = []

        async def ask(number: int) -> None:
            answers.append(text_of(await client.call_tool(str(number))))

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(ask, number)
        assert sorted(answers) == sorted(map(str, range(20)))
        assert server.began == 2
        # Those that were refused were sent again, and none of them ran twice.
        assert sorted(server.calls) == sorted(answers)
        initialize = server.seen("initialize")[1]
        assert "mcp-session-id" not in initialize.headers
        assert initialize.body["params"] == server.seen("initialize")[0].body["params"]
        assert len(server.seen("notifications/initialized")) == 2
    assert server.seen("DELETE")[0].headers["mcp-session-id"] == "s2"


async def test_calls_wait_until_a_session_is_begun() -> None:
    """No call goes out in a session that has not been told that it is initialized."""
    began, go = anyio.Event(), anyio.Event()
    ready: set[str] = set()

    async def initialized(asked: Asked) -> None:
        if ready:
            began.set()
            await go.wait()
        ready.add(asked.headers["mcp-session-id"])
        await asked.status(202)

    async def call(asked: Asked) -> None:
        assert asked.headers["mcp-session-id"] in ready
        await asked.text("done")

    server = Sessions(notifications_initialized=initialized, call=call)
    async with connected(server) as (client, served):
        server.forget()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "first")
            await began.wait()
            for _ in range(5):
                tasks.start_soon(client.call_tool, "later")
            async with HttpClient() as other:
                for _ in range(5):  # round trips, in which a call that did not wait would arrive
                    async with other.request("GET", served.url):
                        pass
            assert len(server.seen("tools/call")) == 1
            go.set()
    assert len(server.calls) == 6
    assert ready == {"s1", "s2"}


async def test_who_finds_out_first_may_be_cancelled() -> None:
    began, go = anyio.Event(), anyio.Event()

    async def initialize(asked: Asked) -> None:
        if server.began:
            began.set()
            await go.wait()
        await server.initialize(asked)

    server = Sessions(initialize=initialize)
    async with connected(server) as (client, _):
        server.forget()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "cancelled")
            await began.wait()
            tasks.cancel_scope.cancel()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(client.call_tool, "other")
            go.set()
    assert server.began == 2
    assert server.calls == ["other"]


async def test_a_session_that_is_lost_again_and_again() -> None:
    """A server whose sessions live in processes that do not know each other."""
    server = Sessions()

    async def forget(asked: Asked) -> None:
        server.forget()
        await asked.status(202)

    async with connected(server) as (client, _):
        server.handlers["notifications_initialized"] = forget
        server.forget()
        with pytest.raises(ConnectFailed, match="does not know it"):
            await client.call_tool("x")
        assert server.began == 2
    assert server.calls == []


@pytest.mark.parametrize("how", ["404", "500", "error", "revision", "nothing", "silence", "dropped"])
async def test_a_session_that_cannot_be_begun_again_fails_each_caller_once(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channels, "RENEW_SECONDS", 0.3)
    begins = 0

    async def initialize(asked: Asked) -> None:
        nonlocal begins
        begins += 1
        if how.isdigit():
            await asked.status(int(how), b"not here")
        elif how == "error":
            await asked.error(-32603, "no room")
        elif how == "revision":
            await asked.result({"protocolVersion": "2025-06-18"})
        elif how == "nothing":
            await asked.result([])
        elif how == "dropped":
            asked.drop()
        else:
            await asked.gone()

    server = Sessions()
    async with connected(server) as (client, _):
        server.forget()
        server.handlers["initialize"] = initialize
        failures: list[str] = []

        async def ask() -> None:
            with pytest.raises(ConnectFailed, match="lost the session") as failed:
                await client.call_tool("x")
            failures.append(str(failed.value))

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(ask)
        assert len(failures) == 20
        assert begins <= 2  # a request is sent again when a kept connection breaks
        assert server.seen("GET")[1:] == []  # and nobody looks for an event stream of 2024-11-05
        del server.handlers["initialize"]
        assert text_of(await client.call_tool("y")) == "y"
    assert server.calls == ["y"]


async def test_a_method_that_is_not_there_is_no_lost_session() -> None:
    server = Sessions(tools_list=lambda asked: asked.error(-32601, "no such method", 404))
    async with connected(server) as (client, _):
        with pytest.raises(PeerError, match="no such method"):
            await client.list_tools()
    assert server.began == 1


async def test_a_lost_session_that_is_told_in_json_rpc() -> None:
    server = Sessions()
    async with connected(server) as (client, _):
        server.forget()
        server.handlers["server_discover"] = server.initialize
        lost = {"jsonrpc": "2.0", "id": None, "error": {"code": -32001, "message": "Session not found"}}
        handle = server.handle

        async def refuse(asked: Asked) -> None:
            if asked.method == "tools/call" and not server.alive:
                await asked.json(lost, 404)
            else:
                await handle(asked)

        server.handle = refuse  # type: ignore[method-assign]
        assert text_of(await client.call_tool("x")) == "x"
    assert server.began == 2


async def test_a_notification_to_a_lost_session_begins_another_one() -> None:
    async def changed(asked: Asked) -> None:
        await asked.status(202 if asked.headers["mcp-session-id"] in server.alive else 404)

    server = Sessions(notifications_roots_list_changed=changed)
    async with connected(server, roots=["file:///x"]) as (client, _):
        server.forget()
        await client.notify_roots_changed()
    assert server.began == 2
    assert len(server.seen("notifications/roots/list_changed")) == 2


@pytest.mark.parametrize("status", [400, 401, 404, 500])
async def test_a_server_that_does_not_take_the_end_of_the_handshake(status: int) -> None:
    server = Sessions(notifications_initialized=lambda asked: asked.status(status, b"no"))
    async with answering(server) as served:
        with pytest.raises(HttpError) as refused:
            async with Client(served.url, era="legacy"):
                raise AssertionError
        assert (refused.value.status, refused.value.line) == (status, "no")
    assert server.began == 1
    assert len(server.seen("DELETE")) == 1


async def test_a_server_that_never_takes_a_notification(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "TELL_SECONDS", BRIEF_SECONDS)
    server = Sessions(notifications_roots_list_changed=lambda asked: asked.gone())
    async with connected(server, roots=["file:///x"]) as (client, _):
        with pytest.raises(ConnectionLost, match="did not accept"):
            await client.notify_roots_changed()
        assert text_of(await client.call_tool("x")) == "x"


async def test_a_server_that_is_restarted_under_twenty_callers(free_port: int) -> None:
    """Each goes on until it has its answer; what may have run is told to its caller and not repeated by the client."""
    restarted = False
    ran: dict[str, int] = {}
    lost = 0

    async def call(asked: Asked) -> None:
        ran[asked.tool] = ran.get(asked.tool, 0) + 1
        if not restarted:
            await asked.gone()
        await asked.text("done")

    async def run(*, task_status: Any) -> None:
        async def handle(stream: anyio.abc.SocketStream) -> None:
            async with stream:
                caller = Caller(stream, 0)
                while whole := await caller.request():
                    await server(Asked(caller, whole))

        with anyio.CancelScope() as scope:
            async with await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=free_port) as listener:
                task_status.started(scope)
                await listener.serve(handle)

    async def ask(number: int) -> None:
        nonlocal lost
        for attempt in itertools.count():
            try:
                await client.call_tool(f"{number}-{attempt}")
                return
            except ConnectionLost:
                lost += 1
                await anyio.lowlevel.checkpoint()

    server = Sessions(call=call)
    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as servers:
            first: anyio.CancelScope = await servers.start(run)
            async with Client(f"http://127.0.0.1:{free_port}/mcp", era="legacy") as client:
                async with anyio.create_task_group() as callers:
                    for number in range(20):
                        callers.start_soon(ask, number)
                    await until(lambda: len(ran) == 20)
                    first.cancel()
                    await until(lambda: lost >= 40)  # nobody listens: each has tried again
                    restarted = True
                    server.forget()
                    await servers.start(run)
            servers.cancel_scope.cancel()
    assert server.began == 2
    assert set(ran.values()) == {1}


# -- broken streams --------------------------------------------------------------------------------------------------


async def test_a_broken_stream_is_taken_up_where_it_broke() -> None:
    async def call(asked: Asked) -> None:
        await asked.begin_events()
        await asked.event(id="a1", retry=1)
        await asked.event(note("progress", progressToken=asked.body["id"], progress=1), id="a2")
        asked.drop()

    async def get(asked: Asked) -> None:
        if "last-event-id" not in asked.headers:
            await asked.status(405)
            return
        resumed.append(asked.headers["last-event-id"])
        id = server.seen("tools/call")[0].body["id"]
        await asked.begin_events()
        if len(resumed) == 1:
            await asked.event(note("progress", progressToken=id, progress=2), id="a3")
            asked.drop()
        else:
            answer = {"content": [{"type": "text", "text": "done"}]}
            await asked.event({"jsonrpc": "2.0", "id": id, "result": answer}, id="ü1")
            await asked.event({"jsonrpc": "2.0", "id": id, "result": answer}, id="ü2")
            await asked.end()

    resumed: list[str] = []
    seen: list[float] = []

    async def show(progress: float, total: float | None, message: str | None) -> None:
        seen.append(progress)

    server = Sessions(call=call, GET=get)
    async with connected(server) as (client, _):
        assert text_of(await client.call_tool("x", on_progress=show)) == "done"
        assert client.statistics().orphans == 0
    assert resumed == ["a2", "a3"]
    assert seen == [1, 2]
    assert server.calls == ["x"]


async def test_a_stream_is_left_when_the_answer_is_here() -> None:
    left = anyio.Event()

    async def call(asked: Asked) -> None:
        await asked.begin_events()
        await asked.event(asked.said("done"))
        await asked.gone()
        left.set()

    server = Sessions(call=call)
    async with connected(server) as (client, _):
        assert text_of(await client.call_tool("x")) == "done"
        await left.wait()
        await client.ping()
    assert server.seen("notifications/cancelled") == []


async def test_an_id_in_any_alphabet_is_sent_back() -> None:
    async def call(asked: Asked) -> None:
        await asked.begin_events()
        await asked.event(id="日本", retry=1)
        asked.drop()

    async def get(asked: Asked) -> None:
        if "last-event-id" not in asked.headers:
            await asked.status(405)
            return
        assert asked.headers["last-event-id"].encode("latin-1").decode() == "日本"
        await asked.begin_events()
        await asked.event({**asked_call().said("done")})
        await asked.end()

    server = Sessions(call=call, GET=get)

    def asked_call() -> Asked:
        return server.seen("tools/call")[0]

    async with connected(server) as (client, _):
        assert text_of(await client.call_tool("x")) == "done"


async def test_an_id_that_no_header_can_hold_fails_its_call_and_nothing_else() -> None:
    async def call(asked: Asked) -> None:
        await asked.begin_events()
        await asked.raw(b"id: a\x01b\nretry: 1\ndata:\n\n")
        asked.drop()

    server = Sessions(call=call)
    async with connected(server) as (client, _):
        with pytest.raises(ConnectionLost):
            await client.call_tool("x")
        await client.ping()


async def test_a_stream_that_cannot_be_come_back_to() -> None:
    async def call(asked: Asked) -> None:
        await asked.begin_events()
        await asked.event(note("progress", progressToken=1, progress=1))
        asked.drop()

    server = Sessions(call=call)
    async with connected(server) as (client, _):
        with pytest.raises(ConnectionLost) as lost:
            await client.call_tool("x")
        assert not isinstance(lost.value, ConnectFailed)
        await until(lambda: len(server.seen("GET")) == 1)
    assert len(server.seen("GET")) == 1
    assert server.calls == ["x"]


@pytest.mark.parametrize(
    ("status", "attempts"), [(400, 1), (404, 1), (405, 1), (200, RECONNECTS), (502, RECONNECTS), (0, RECONNECTS)]
)
async def test_coming_back_ends_when_it_leads_to_nothing(status: int, attempts: int) -> None:
    async def call(asked: Asked) -> None:
        await asked.begin_events()
        await asked.event(id="a1", retry=1)
        asked.drop()

    async def get(asked: Asked) -> None:
        if "last-event-id" not in asked.headers:
            await asked.status(405)
        elif status == 200:
            await asked.begin_events()
            await asked.event(id="again")
            await asked.end()
        elif status:
            await asked.status(status)
        else:
            await asked.begin_events()
            asked.drop()

    server = Sessions(call=call, GET=get)
    async with connected(server) as (client, _):
        with pytest.raises(ConnectionLost, match="could not be taken up") as lost:
            await client.call_tool("x")
        # It was accepted and may have run: it must not look like one that was refused.
        assert not isinstance(lost.value, ConnectFailed | HttpError)
        assert len([asked for asked in server.seen("GET") if "last-event-id" in asked.headers]) == attempts
        await client.ping()


async def test_a_server_may_want_to_be_polled_for_as_long_as_it_takes() -> None:
    async def call(asked: Asked) -> None:
        await asked.begin_events()
        await asked.event(id="a1", retry=100)
        await asked.end()

    polls = 0

    async def get(asked: Asked) -> None:
        nonlocal polls
        if "last-event-id" not in asked.headers:
            await asked.status(405)
            return
        polls += 1
        await asked.begin_events()
        if polls == RECONNECTS + 2:
            await asked.event(server.seen("tools/call")[0].said("done"))
        await asked.end()

    server = Sessions(call=call, GET=get)
    async with connected(server) as (client, _):
        assert text_of(await client.call_tool("x")) == "done"


async def test_a_broken_stream_of_our_own_server_is_taken_up() -> None:
    made = offer()
    async with offering(made) as site, Client(site.url, era="legacy") as client:
        async with anyio.create_task_group() as tasks:
            answers: list[str] = []

            async def ask() -> None:
                answers.append(text_of(await client.call_tool("release", {"retry_ms": 1})))

            tasks.start_soon(ask)
            await until(lambda: made.released == [True])
            made.go.set()
        assert answers == ["released"]


# -- what comes unasked ----------------------------------------------------------------------------------------------


class Unasked:
    """A server whose GET streams a test writes."""

    def __init__(self) -> None:
        self.streams: list[Asked] = []
        self.server = Sessions(GET=self.get)

    async def get(self, asked: Asked) -> None:
        await asked.begin_events()
        self.streams.append(asked)
        await asked.gone()

    async def stream(self, number: int = 0) -> Asked:
        await until(lambda: len(self.streams) > number, f"no GET stream {number}")
        return self.streams[number]


async def test_what_comes_unasked_is_heard() -> None:
    made = Unasked()
    heard: list[Any] = []

    async def log(params: Any) -> None:
        heard.append(params.data)

    async with connected(made.server, on_log=log) as (_, _served):
        stream = await made.stream()
        await stream.event(note("message", level="info", data="hello"), id="g1")
        await until(lambda: heard == ["hello"])


async def test_progress_may_come_on_the_other_stream() -> None:
    """As from a server that answers with plain JSON, and has no other place for it."""
    made = Unasked()
    seen: list[float] = []

    async def show(progress: float, total: float | None, message: str | None) -> None:
        seen.append(progress)

    async def call(asked: Asked) -> None:
        stream = await made.stream()
        await stream.event(note("progress", progressToken=asked.body["params"]["_meta"]["progressToken"], progress=1))
        await until(lambda: seen == [1])
        await asked.text("done")

    made.server.handlers["call"] = call
    async with connected(made.server) as (client, _):
        assert text_of(await client.call_tool("x", on_progress=show)) == "done"
    assert seen == [1]


@pytest.mark.parametrize("on", ["POST", "GET"])
async def test_a_question_is_answered_by_post(on: str) -> None:
    made = Unasked()
    answered = anyio.Event()

    async def call(asked: Asked) -> None:
        if on == "POST":
            await asked.begin_events()
        await (asked if on == "POST" else await made.stream()).event(question())
        await answered.wait()
        if on == "POST":
            await asked.event(asked.said("done"))
            await asked.end()
        else:
            await asked.text("done")

    async def answer(asked: Asked) -> None:
        await asked.status(202)
        answered.set()

    async def city(params: Any) -> dict[str, str]:
        return {"name": "Paris"}

    made.server.handlers.update(call=call, answer=answer)
    async with connected(made.server, on_elicit=city) as (client, _):
        assert text_of(await client.call_tool("x")) == "done"
    [posted] = made.server.seen("answer")
    assert posted.body == {"jsonrpc": "2.0", "id": "q1", "result": {"action": "accept", "content": {"name": "Paris"}}}
    assert posted.headers["mcp-session-id"] == "s1"


@pytest.mark.parametrize("on", ["POST", "GET"])
async def test_a_server_may_take_its_question_back(on: str) -> None:
    made = Unasked()
    asking, stopped = anyio.Event(), anyio.Event()

    async def call(asked: Asked) -> None:
        if on == "POST":
            await asked.begin_events()
        stream = asked if on == "POST" else await made.stream()
        await stream.event(question())
        await asking.wait()
        await stream.event(note("cancelled", requestId="other"))
        await stream.event(note("cancelled", requestId=[]))
        await stream.event(note("cancelled", requestId="q1"))
        await stopped.wait()
        if on == "POST":
            await asked.event(asked.said("done"))
            await asked.end()
        else:
            await asked.text("done")

    async def city(params: Any) -> None:
        asking.set()
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    made.server.handlers["call"] = call
    async with connected(made.server, on_elicit=city) as (client, _):
        assert text_of(await client.call_tool("x")) == "done"
    assert made.server.seen("answer") == []


@pytest.mark.parametrize("how", ["500", "404", "dropped", "silence"])
async def test_a_server_that_does_not_take_an_answer(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "TELL_SECONDS", BRIEF_SECONDS)
    refused = anyio.Event()

    async def call(asked: Asked) -> None:
        await asked.begin_events()
        await asked.event(question(method="nobody/knows"))
        await refused.wait()
        await asked.event(asked.said("done"))
        await asked.end()

    async def answer(asked: Asked) -> None:
        refused.set()
        if how.isdigit():
            await asked.status(int(how))
        elif how == "dropped":
            asked.drop()
        else:
            await asked.gone()

    server = Sessions(call=call, answer=answer)
    async with connected(server) as (client, _):
        assert text_of(await client.call_tool("x")) == "done"
        await client.ping()


async def test_a_server_without_such_a_stream_is_asked_once() -> None:
    server = Sessions()
    async with connected(server) as (client, _):
        await until(lambda: len(server.seen("GET")) == 1)
        for _ in range(5):
            await client.ping()
    assert len(server.seen("GET")) == 1


@pytest.mark.parametrize("primes", [False, True])
@pytest.mark.parametrize("drops", [False, True])
async def test_a_server_that_ends_the_stream_at_once_is_left_alone(
    primes: bool, drops: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "mcpcore.http")

    async def get(asked: Asked) -> None:
        await asked.begin_events()
        if primes:
            await asked.event(id="0", retry=1)
        if drops:
            asked.drop()
        else:
            await asked.end()

    server = Sessions(GET=get)
    async with connected(server) as (client, _):
        await until(lambda: "gave up" in caplog.text)
        assert text_of(await client.call_tool("x")) == "x"
    assert len(server.seen("GET")) == RECONNECTS


async def test_a_stream_that_brings_something_is_opened_for_ever() -> None:
    heard: list[Any] = []

    async def log(params: Any) -> None:
        heard.append(params.data)

    async def get(asked: Asked) -> None:
        number = len(server.seen("GET"))
        await asked.begin_events()
        if number <= 3 * RECONNECTS:
            await asked.event(note("message", level="info", data=number), id=str(number))
            await asked.end()
        else:
            await asked.gone()

    server = Sessions(GET=get)
    async with connected(server, on_log=log):
        await until(lambda: len(heard) == 3 * RECONNECTS)
        await until(lambda: len(server.seen("GET")) > 3 * RECONNECTS)
    assert heard == [*range(1, 3 * RECONNECTS + 1)]
    assert [asked.headers.get("last-event-id") for asked in server.seen("GET")][:3] == [None, "1", "2"]


async def test_a_stream_that_lasts_is_opened_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channels, "LIVED_SECONDS", 0)

    async def get(asked: Asked) -> None:
        await asked.begin_events()
        await asked.end()

    server = Sessions(GET=get)
    async with connected(server):
        await until(lambda: len(server.seen("GET")) > 3 * RECONNECTS)


async def test_an_end_of_that_stream_ends_no_call() -> None:
    made = Unasked()
    running = anyio.Event()

    async def call(asked: Asked) -> None:
        running.set()
        await made.stream(1)
        await asked.text("done")

    made.server.handlers["call"] = call
    async with connected(made.server) as (client, _):
        async with anyio.create_task_group() as tasks:
            answers: list[str] = []

            async def ask() -> None:
                answers.append(text_of(await client.call_tool("x")))

            tasks.start_soon(ask)
            await running.wait()
            stream = await made.stream()
            await stream.caller.stream.aclose()
    assert answers == ["done"]


async def test_a_lost_session_shows_on_that_stream_too() -> None:
    """A client that only listens begins another session, and listens on."""
    made = Unasked()
    heard: list[Any] = []

    async def log(params: Any) -> None:
        heard.append(params.data)

    async def get(asked: Asked) -> None:
        if asked.headers["mcp-session-id"] in made.server.alive:
            await made.get(asked)
        else:
            await asked.status(404)

    made.server.handlers["GET"] = get
    async with connected(made.server, on_log=log):
        stream = await made.stream()
        made.server.forget()
        await stream.caller.stream.aclose()
        second = await made.stream(1)
        assert second.headers["mcp-session-id"] == "s2"
        assert "last-event-id" not in second.headers
        await second.event(note("message", level="info", data="again"))
        await until(lambda: heard == ["again"])
    assert made.server.began == 2


async def test_that_stream_follows_a_session_that_a_call_began() -> None:
    made = Unasked()
    async with connected(made.server) as (client, _):
        first = await made.stream()
        made.server.forget()
        assert text_of(await client.call_tool("x")) == "x"
        assert (await made.stream(1)).headers["mcp-session-id"] == "s2"
        await until(lambda: first.over, "the stream of the lost session was left open")


async def test_a_404_for_the_first_such_stream_is_no_lost_session() -> None:
    server = Sessions(GET=lambda asked: asked.status(404))
    async with connected(server) as (client, _):
        await until(lambda: len(server.seen("GET")) == 1)
        await client.ping()
    assert server.began == 1


async def test_a_refused_question_stream_does_not_hide_typed_errors() -> None:
    server = Sessions(call=lambda asked: asked.status(413, b"too large"))
    async with connected(server) as (client, _):
        with pytest.raises(HttpRefused) as refused:
            await client.call_tool("x")
    assert (refused.value.status, refused.value.line) == (413, "too large")
