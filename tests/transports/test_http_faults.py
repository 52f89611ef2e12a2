"""Clients that stall, break off or never come back, and a server that is told to stop under them."""

import logging
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from transports.raw_http import (
    Answer,
    Event,
    Site,
    Wire,
    call,
    initialize,
    message,
    modern,
    offer,
    serving,
    until,
)

import mcpcore
import mcpcore_transports
from mcpcore_transports.http.server import serve
from mcpcore_transports.web.limits import HttpLimits

pytestmark = pytest.mark.anyio

ERAS = ["stateless", "handshake", "sse"]
ROOTS = [str(Path(module.__file__ or "").parent.parent) for module in (mcpcore, mcpcore_transports)]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


async def stall(site: Site, wire: Wire, era: str, body: dict[str, Any]) -> None:
    """Have `body` answered on `wire`, where nobody reads from here on. Sessions are begun on other connections."""
    if era == "stateless":
        await site.send(wire, *modern(body))
        return
    async with site.connect() as other:
        if era == "handshake":
            answer = await site.post(other, initialize())
            headers = {"Mcp-Session-Id": answer.headers["mcp-session-id"]}
            await answer.body()
            await site.post(other, message("notifications/initialized", id=None), headers)
            await site.send(wire, body, headers)
            return
        stream = await wire.ask("GET", "/sse")
        event = await stream.event()
        assert event is not None
        for one in (initialize("2025-03-26"), message("notifications/initialized", id=None), body):
            await (await _post_to(other, event.data, one)).body()


async def _post_to(wire: Wire, uri: str, body: Any) -> Answer:
    import json

    return await wire.ask("POST", uri, {"Content-Type": "application/json"}, json.dumps(body).encode())


async def _refused(site: Site) -> None:
    """Wait until connections are refused."""
    with anyio.fail_after(20):
        while True:
            try:
                await (await site.wire()).close()
            except ConnectionRefusedError:
                return
            except ConnectionResetError:
                continue  # it waited to be accepted when the listener closed


# -- stopping under clients that do not read -------------------------------------------------------------------------


@pytest.mark.parametrize("era", ERAS)
async def test_stopping_is_bounded_whatever_a_reader_does(era: str) -> None:
    async with (
        serving(sse_path="/sse", grace=0.5) as site,
        site.connect(receive_buffer=4096) as wire,
    ):
        await stall(site, wire, era, call("pour", token=1))
        await site.offer.began.wait()
        began = anyio.current_time()
        site.server.stop(0.5)
        await site.stopped.wait()
        assert anyio.current_time() - began < 1.5
        await site.offer.cancelled.wait()
        assert site.offer.pulled < 100
        assert (site.server.statistics().sessions, site.server.statistics().running) == (0, 0)
        assert (site.offer.entered, site.offer.left) == (1, 1)


@pytest.mark.parametrize("era", ERAS)
async def test_cancelling_ends_everything_at_once(era: str) -> None:
    made = offer()
    with anyio.fail_after(40):
        async with anyio.create_task_group() as tasks:

            async def run(*, task_status: Any) -> None:
                await serve(made.server, port=0, sse_path="/sse", grace=30, task_status=task_status)

            [url, _] = await tasks.start(run)
            port = int(url.split(":")[2].partition("/")[0])
            site = Site(made, None, ("127.0.0.1", port), "/mcp", "/sse")  # type: ignore[arg-type]
            async with site.connect(receive_buffer=4096) as wire:
                await stall(site, wire, era, call("pour", token=1))
                await made.began.wait()
                began = anyio.current_time()
                tasks.cancel_scope.cancel()
    assert anyio.current_time() - began < 1
    assert (made.entered, made.left, made.cancelled.count) == (1, 1, 1)


@pytest.mark.parametrize("era", ERAS)
async def test_what_runs_is_finished_and_new_connections_are_refused(era: str) -> None:
    async with serving(sse_path="/sse", grace=10) as site, site.connect() as wire:
        await stall(site, wire, era, call("wait"))
        await site.offer.began.wait()
        site.server.stop(10)
        await _refused(site)
        site.offer.go.set()
        assert b"waited" in await wire.ended()
        await site.stopped.wait()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("era", ERAS)
def test_sigterm_drains_within_the_grace(backend: str, era: str) -> None:
    """A whole program: one client stalls, one call is finished, and the exit code says that all went well."""
    program = (
        "import sys, threading\n"
        "sys.path[:0] = eval(sys.argv[1])\n"
        "from transports.raw_http import offer\n"
        "made = offer()\n"
        "made.server.run('http', port=0, sse_path='/sse', grace=1, backend=sys.argv[2])\n"
    )
    roots = [*ROOTS, str(Path(__file__).parent.parent)]
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program, repr(roots), backend], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        assert line.startswith("mcpcore: listening on http://127.0.0.1:"), line
        port = int(line.split(":")[3].partition("/")[0])
        process.stderr.readline()

        async def main() -> float:
            site = Site(offer(), None, ("127.0.0.1", port), "/mcp", "/sse")  # type: ignore[arg-type]
            async with site.connect(receive_buffer=4096) as wire:
                await stall(site, wire, era, call("pour", token=1))
                if era != "sse":
                    await wire.until(b"\r\n\r\n")
                else:
                    await wire.until(b"progressToken")
                process.send_signal(signal.SIGTERM)
                began = anyio.current_time()
                await anyio.to_thread.run_sync(process.wait, 30)
                return anyio.current_time() - began

        assert anyio.run(main) < 3
        rest = process.stderr.read()
        assert process.returncode == 0, rest
        assert "Traceback" not in rest
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


# -- a reader that stalls holds up nobody else -----------------------------------------------------------------------


async def test_a_stalled_reader_holds_up_no_other_request_of_its_session() -> None:
    """Of a POST's stream, of a stream that is taken up again, and of the one that belongs to no request."""
    async with (
        serving() as site,
        site.talk() as talk,
        site.connect(receive_buffer=4096) as one,
        site.connect(receive_buffer=4096) as two,
        site.connect(receive_buffer=4096) as three,
    ):
        await talk.send(call("pour", id="a", token="a"), wire=one)
        await site.offer.began.wait()
        await talk.send(call("pour", id="b", token="b"), wire=two)
        head = await two.answer()
        event = await head.event()
        assert event is not None
        again = await talk.get(three, last_event_id=event.id)
        assert again.status == 200
        # The stream of b is now read by nobody: its reader of before was replaced, and this one has stopped.
        uris = [f"note://{number}-{'x' * 500}" for number in range(900)]
        for uri in uris:
            await (await talk.post(message("resources/subscribe", {"uri": uri}))).body()
        async with site.connect(receive_buffer=4096) as four:
            await talk.get(four)
            times = []
            for turn in range(200):
                if turn % 10 == 0:
                    for uri in uris:
                        await site.server.notify_resource_updated(uri)
                began = anyio.current_time()
                assert await talk.tool("add", {"a": turn, "b": 1}, id="a") == str(turn + 1)
                times.append(anyio.current_time() - began)
        times.sort()
        # A few milliseconds each; a stalled write would be the 30 s of its deadline.
        assert times[-3] < 0.5
        assert site.offer.pulled < 100
        assert (await talk.delete()).status == 204
        await until(lambda: site.server.statistics().running == 0)


async def test_a_reader_that_has_stalled_for_too_long_is_let_go() -> None:
    """In the handshake era that is no cancellation: the tool goes on for whoever comes back."""
    async with (
        serving(limits=HttpLimits(write_seconds=0.3)) as site,
        site.talk() as talk,
        site.connect(receive_buffer=4096) as stalled,
    ):
        await talk.send(call("pour", {"megabytes": 30}, token=1), wire=stalled)
        await site.offer.began.wait()
        await until(lambda: site.server.statistics().running == 0)
        assert site.offer.pulled == 30
        [session] = site.server.session_statistics()
        assert (session.cancelled, session.answered) == (0, 2)


async def test_a_stalled_reader_is_cancelled_in_the_stateless_era() -> None:
    async with (
        serving(limits=HttpLimits(write_seconds=0.3)) as site,
        site.connect(receive_buffer=4096) as stalled,
    ):
        await site.send(stalled, *modern(call("pour", token=1)))
        await site.offer.cancelled.wait()
        assert site.offer.pulled < 100
        await until(lambda: site.server.statistics().running == 0)


# -- breaking off ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("era", ERAS)
async def test_breaking_off_in_the_middle_of_a_call_is_no_error_of_the_server(
    era: str, reset: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "mcpcore")
    async with serving(sse_path="/sse") as site, site.connect() as healthy:
        for tool, token in (("hang", None), ("hang", 1), ("pour", 1)):
            for _ in range(5):
                site.offer.hanging, site.offer.began = Event(), Event()
                wire = await site.wire()
                await stall(site, wire, era, call(tool, {"steps": 1} if tool == "hang" else {}, token=token))
                await (site.offer.hanging if tool == "hang" else site.offer.began).wait()
                await wire.close(reset=reset)
                answer = await site.modern(healthy, call("add", {"a": 1, "b": 2}))
                assert (await answer.json())["result"]["structuredContent"] == {"result": 3}
        if era != "handshake":
            await until(lambda: site.server.statistics().running == 0)
            await until(lambda: site.server.statistics().sessions == 0)
    assert caplog.text == ""


async def test_thousands_of_refused_and_abandoned_requests_leave_nothing() -> None:
    """Bare GETs, refusals of every kind, sessions that were dropped or deleted, streams that broke."""
    entered = offer()
    async with serving(entered, sse_path="/sse", idle_seconds=2, max_sessions=2000) as site:
        good, mirrored = modern(call("add", {"a": 1, "b": 2}))
        unfinished = {"Content-Type": "application/json", "Content-Length": "500"}

        async def one(number: int) -> None:
            for turn in range(100):
                kind = (number * 100 + turn) % 12
                async with site.connect() as wire:
                    if kind == 0:
                        assert (await wire.ask("GET", "/mcp")).status == 405
                    elif kind == 1:
                        assert (await site.post(wire, good, {**mirrored, "Accept": "text/html"})).status == 406
                    elif kind == 2:
                        assert (await site.post(wire, good, {**mirrored, "Content-Type": "a/b"})).status == 415
                    elif kind == 3:
                        assert (await wire.ask("POST", "/mcp", {"Host": "evil.example"}, b"")).status == 421
                    elif kind == 4:
                        assert (await site.post(wire, b"{", mirrored)).status == 400
                    elif kind == 5:
                        assert (await site.post(wire, initialize())).status == 200
                        await wire.close(reset=True)
                    elif kind == 6:
                        async with site.talk() as talk:
                            assert (await talk.delete()).status == 204
                    elif kind == 7:
                        await wire.request("POST", "/mcp", unfinished, b"{")
                        await wire.close(reset=bool(turn % 2))
                    elif kind == 8:
                        await wire.request("GET", "/sse")
                        await wire.close(reset=bool(turn % 2))
                    elif kind == 9:
                        await site.send(wire, *modern(call("hang", token=turn)))
                        await wire.close(reset=bool(turn % 2))
                    elif kind == 10:
                        await site.send(wire, initialize())
                        await wire.close(reset=True)
                    else:
                        await site.send(wire, *modern(message("subscriptions/listen", {"notifications": {}})))
                        await wire.close(reset=bool(turn % 2))

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(one, number)
        await until(lambda: len(site.endpoint.sessions) == 0, "sessions are left")
        await until(lambda: len(site.endpoint.streams) == 0, "event streams are left")
        await until(lambda: site.server.statistics().sessions == 0)
        await until(lambda: site.server.statistics().running == 0)
        await until(lambda: site.server.statistics().listeners == 0)
        assert site.endpoint.sessions._store._sessions == {}  # type: ignore[attr-defined]
        assert entered.entered == 1


async def test_a_session_that_fails_ends_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as site, site.talk() as talk:
        [session] = site.endpoint.sessions._sessions.values()

        async def broken() -> None:
            raise RuntimeError("a bug")

        async with site.talk() as other:
            session.receive = broken  # type: ignore[method-assign, assignment]
            # What was being waited for still comes; the next message meets the bug.
            await (await talk.post(call("add", {"a": 1, "b": 2}))).body()
            await until(lambda: len(site.endpoint.sessions) == 1)
            assert (await talk.post(call("add", {"a": 1, "b": 2}))).status == 404
            assert await other.tool("add", {"a": 1, "b": 2}) == "3"
    assert caplog.text.count("RuntimeError: a bug") == 1


async def test_blocking_tools_hold_up_neither_health_nor_other_tools() -> None:
    """A hundred sync tools that block, in the four threads there are: the loop stays free, and each is answered."""
    offered = offer(max_threads=4)
    released = threading.Event()

    @offered.server.tool
    def block() -> str:
        assert released.wait(60)
        return "released"

    statuses: list[int] = []

    async with serving(offered) as site:

        async def blocked() -> None:
            async with site.connect() as wire:
                answer = await site.modern(wire, call("block"))
                statuses.append(answer.status)
                await answer.body()

        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(blocked)
            try:
                with anyio.fail_after(20):
                    while offered.server.statistics().threads.waiting < 96:
                        async with site.connect() as wire:
                            assert (await wire.ask("GET", "/healthz")).status == 200
                    async with site.connect() as wire:
                        answer = await site.modern(wire, call("add", {"a": 1, "b": 2}))
                        assert (await answer.json())["result"]["structuredContent"] == {"result": 3}
                    assert statuses == []
            finally:
                released.set()
        assert statuses == [200] * 100


async def test_one_of_two_stops_under_load_and_no_call_is_lost_or_run_twice() -> None:
    """A rolling restart behind a balancer that goes to the other process when one does not take a connection."""
    ran = answered = 0
    two_hundred = Event()
    both = [offer(), offer()]
    for offered in both:

        @offered.server.tool
        async def work() -> str:
            nonlocal ran
            ran += 1
            await anyio.lowlevel.checkpoint()
            return "done"

    async def once(site: Site) -> bool:
        """Whether this process took the call."""
        nonlocal answered
        try:
            async with site.connect() as wire:
                answer = await site.modern(wire, call("work"))
                assert (await answer.json())["result"]["structuredContent"] == {"result": "done"}
        except OSError:
            return False  # refused, or closed in the queue of connections that nobody had accepted
        answered += 1
        if answered == 200:
            two_hundred.set()
        return True

    async with serving(both[0]) as stays, anyio.create_task_group() as tasks:

        async def caller(first: Site) -> None:
            for turn in range(30):
                taken = await once(first if turn % 2 else stays) or await once(stays)
                assert taken

        async with serving(both[1], grace=5) as goes:
            for _ in range(20):
                tasks.start_soon(caller, goes)
            await two_hundred.wait()
    assert answered == ran == 20 * 30


async def test_kept_connections_are_told_that_the_server_drains_and_their_calls_are_answered() -> None:
    async with serving(grace=5) as site, site.connect() as balancer, site.connect() as proxy:
        assert (await (await balancer.ask("GET", "/readyz")).body()) == b"ready\n"
        await (await site.modern(proxy, call("add", {"a": 1, "b": 2}))).body()
        site.server.stop(5)
        await _refused(site)
        told = await balancer.ask("GET", "/readyz")
        assert (told.status, told.headers["connection"]) == (503, "close")
        answer = await site.modern(proxy, call("add", {"a": 1, "b": 2}))
        assert answer.headers["connection"] == "close"
        assert (await answer.json())["result"]["structuredContent"] == {"result": 3}
        with anyio.fail_after(3):
            await site.stopped.wait()


@pytest.mark.parametrize("era", ["modern", "legacy"])
@pytest.mark.parametrize("parser", ["h11", "httptools"])
async def test_whichever_parser_reads_the_requests(parser: str, era: str) -> None:
    reports = []

    async def report(progress: float, total: float | None, message: str | None) -> None:
        reports.append(progress)

    server = mcpcore.Server("x")

    @server.tool
    async def climb(to: int, ctx: mcpcore.Context) -> str:
        for step in range(to):
            await ctx.progress(step + 1)
        return "there"

    async with anyio.create_task_group() as tasks:

        async def run(*, task_status: Any) -> None:
            await serve(server, port=0, http_parser=parser, task_status=task_status)

        url = (await tasks.start(run))[0]
        async with mcpcore.Client(url, era=era) as client:
            result = await client.call_tool("climb", {"to": 300}, on_progress=report, timeout=20)
            assert result.structured_content == {"result": "there"}
        tasks.cancel_scope.cancel()
    assert reports == list(range(1, 301))


async def test_a_parser_that_there_is_not_is_refused_before_anything_listens() -> None:
    with pytest.raises(mcpcore.LocalProtocolError, match="http_parser is auto, h11 or httptools"):
        await serve(mcpcore.Server("x"), port=0, http_parser="nodejs")
