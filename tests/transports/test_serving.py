"""Running a server as the whole program: the backend, the signals, the end. The transport is one made for the test."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import sniffio

from mcpcore import ConnectFailed, ConnectionLost, LocalProtocolError, Server, serve, serving
from mcpcore.channel import MemoryChannel, memory_pair
from mcpcore.jsonrpc import Response
from mcpcore.session import Session
from mcpcore.types import META_CLIENT_CAPABILITIES, META_PROTOCOL_VERSION

PATIENCE_SECONDS = 30
META = {META_PROTOCOL_VERSION: "2026-07-28", META_CLIENT_CAPABILITIES: {}}
both = pytest.mark.parametrize("backend", ["asyncio", "uvloop", "trio"])

Serve = Callable[..., Any]


def run_server(server: Server, transport: str = "stdio", *, backend: str | None = None, **options: Any) -> None:
    """As the one under test, with uvloop for a third backend."""
    if backend == "uvloop":
        transport = "http"
    if backend in ("asyncio", "uvloop"):
        options["uvloop"] = backend == "uvloop"
        backend = "asyncio"
    serving.run_server(server, transport, backend=backend, **options)


@pytest.fixture
def transport(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Serve], str]]:
    """Makes a transport of a `serve` function, and returns its name."""

    def register(function: Serve) -> str:
        package, module = ModuleType("made_for_test"), ModuleType("made_for_test.server")
        module.serve = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "made_for_test", package)
        monkeypatch.setitem(sys.modules, "made_for_test.server", module)
        monkeypatch.setattr("mcpcore.transport._OURS", {"made": "made_for_test", "http": "made_for_test"})
        return "made"

    return register


@pytest.fixture(autouse=True)
def no_choice_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MCPCORE_BACKEND", raising=False)
    monkeypatch.delenv("MCPCORE_UVLOOP", raising=False)


@pytest.mark.parametrize(
    ("argument", "stated", "environment", "expected"),
    [
        (None, None, None, "asyncio"),
        (None, None, "trio", "trio"),
        (None, "trio", None, "trio"),
        (None, "trio", "asyncio", "trio"),
        ("asyncio", "trio", "trio", "asyncio"),
        ("trio", None, "asyncio", "trio"),
    ],
)
def test_who_chooses_the_backend(
    argument: str | None,
    stated: Any,
    environment: str | None,
    expected: str,
    transport: Callable[[Serve], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if environment is not None:
        monkeypatch.setenv("MCPCORE_BACKEND", environment)
    seen: list[str] = []

    async def note(server: Server, **options: Any) -> None:
        seen.append(sniffio.current_async_library())

    run_server(Server("x", backend=stated), transport(note), backend=argument)
    assert seen == [expected]


@pytest.mark.parametrize(
    ("installed", "uvloop", "environment", "expected"),
    [
        (True, None, None, "uvloop"),
        (True, None, "no", "asyncio"),
        (True, True, "no", "uvloop"),
        (True, False, None, "asyncio"),
        (False, None, None, "asyncio"),
    ],
)
def test_uvloop_is_used_where_it_is_installed(
    installed: bool,
    uvloop: bool | None,
    environment: str | None,
    expected: str,
    transport: Callable[[Serve], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = []

    async def serve_it(server: Server, *, task_status: Any, **_: Any) -> None:
        found.append(type(anyio.lowlevel.current_token().native_token).__module__.partition(".")[0])

    if not installed:
        monkeypatch.setitem(sys.modules, "uvloop", None)
    if environment is not None:
        monkeypatch.setenv("MCPCORE_UVLOOP", environment)
    name = transport(serve_it)
    serving.run_server(Server("x"), "http", uvloop=uvloop)
    if uvloop is None:
        serving.run_server(Server("x"), name)
        assert found.pop() == "asyncio"  # for HTTP alone
    assert found == [expected]


def test_uvloop_that_is_not_installed(transport: Callable[[Serve], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(LocalProtocolError, match=r"install mcpcore\[fast\]"):
        serving.run_server(Server("x"), "http", uvloop=True)
    with pytest.raises(LocalProtocolError, match="it changes descriptors that stdio shares"):
        serving.run_server(Server("x"), "http,stdio", uvloop=True)


def test_a_backend_or_transport_that_is_none_is_refused_with_what_there_is() -> None:
    with pytest.raises(LocalProtocolError, match="asyncio or trio, not 'curio'"):
        run_server(Server("x"), backend="curio")
    with pytest.raises(LocalProtocolError, match=r"'carrier-pigeon'.*stdio"):
        run_server(Server("x"), "carrier-pigeon")


def test_the_options_reach_the_transport(transport: Callable[[Serve], str]) -> None:
    seen: list[tuple[Server, dict[str, Any]]] = []

    async def note(server: Server, *, task_status: Any, **options: Any) -> None:
        task_status.started()
        seen.append((server, options))

    server = Server("x")
    server.run(transport(note), grace=2.5, port=8000)
    assert seen == [(server, {"grace": 2.5, "port": 8000})]


@pytest.mark.anyio
async def test_serving_inside_a_program_reports_when_it_listens(transport: Callable[[Serve], str]) -> None:
    async def listen(server: Server, *, task_status: Any, **options: Any) -> None:
        task_status.started("http://127.0.0.1:1/mcp")
        await anyio.sleep_forever()

    name = transport(listen)
    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:

            async def run(*, task_status: Any) -> None:
                await serve(Server("x"), name, task_status=task_status)

            assert await tasks.start(run) == "http://127.0.0.1:1/mcp"
            tasks.cancel_scope.cancel()


@both
@pytest.mark.parametrize("error", [ConnectFailed("no input"), ConnectionLost("the host is gone"), ZeroDivisionError()])
def test_what_goes_wrong_comes_out_as_it_is(backend: str, error: Exception, transport: Callable[[Serve], str]) -> None:
    async def fail(server: Server, **options: Any) -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        run_server(Server("x"), transport(fail), backend=backend)
    assert raised.value is error


# ---------------------------------------------------------------------- signals


class Program:
    """A server that runs one call and gets signals meanwhile."""

    def __init__(self, *signals: signal.Signals, tool: Callable[["Program"], Any]) -> None:
        self.events: list[str] = []
        self.signals = signals
        self.stopping = anyio.Event()
        self._tool = tool
        self.answer: Any = None

        @asynccontextmanager
        async def lifespan(server: Server) -> Any:
            try:
                yield
            finally:
                self.events.append("down")

        self.server = Server("x", lifespan=lifespan)

        @self.server.tool(name="work")
        async def work() -> str:
            for each in self.signals:
                os.kill(os.getpid(), each)
            try:
                await self._tool(self)
            except BaseException:
                self.events.append("cancelled")
                raise
            self.events.append("finished")
            return "done"

    async def __call__(self, server: Server, *, grace: float, **options: Any) -> None:
        """The transport: one client, which makes one call and never leaves."""
        ours, theirs = memory_pair()
        with anyio.fail_after(PATIENCE_SECONDS):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._client, ours)
                await server.serve_channel(theirs, grace=grace)
                await theirs.aclose()
                tasks.cancel_scope.cancel()

    async def _client(self, channel: MemoryChannel) -> None:
        from mcpcore.channel import Envelope, Inbox
        from mcpcore.jsonrpc import Request

        inbox = Inbox()
        await channel.send(Envelope(Request(1, "tools/call", {"name": "work", "arguments": {}, "_meta": META}), inbox))
        message = (await inbox.receive()).message
        assert isinstance(message, Response)
        self.answer = message.result


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> anyio.Event:
    """Set when a session was told to stop."""
    happened = anyio.Event()
    stop = Session.stop

    def told(self: Session, grace: float) -> None:
        stop(self, grace)
        happened.set()

    monkeypatch.setattr(Session, "stop", told)
    return happened


@both
@pytest.mark.parametrize("received", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_what_runs_finish(
    backend: str, received: signal.Signals, transport: Callable[[Serve], str], stopping: anyio.Event
) -> None:
    async def until_told(program: Program) -> None:
        await stopping.wait()
        await anyio.lowlevel.checkpoint()

    program = Program(received, tool=until_told)
    name = transport(program)
    if received is signal.SIGINT:
        with pytest.raises(KeyboardInterrupt):
            run_server(program.server, name, backend=backend, grace=PATIENCE_SECONDS)
    else:
        run_server(program.server, name, backend=backend, grace=PATIENCE_SECONDS)
    assert program.events == ["finished", "down"]


@both
def test_what_does_not_finish_is_cancelled_at_the_grace(
    backend: str, transport: Callable[[Serve], str], stopping: anyio.Event
) -> None:
    async def hang(program: Program) -> None:
        await anyio.sleep_forever()

    program = Program(signal.SIGTERM, tool=hang)
    run_server(program.server, transport(program), backend=backend, grace=0)
    assert program.events == ["cancelled", "down"]
    assert program.answer is None


@both
def test_a_second_signal_does_not_wait(backend: str, transport: Callable[[Serve], str], stopping: anyio.Event) -> None:
    async def again(program: Program) -> None:
        await stopping.wait()
        os.kill(os.getpid(), signal.SIGINT)
        await anyio.sleep_forever()

    program = Program(signal.SIGTERM, tool=again)
    run_server(program.server, transport(program), backend=backend, grace=1000)
    assert program.events == ["cancelled", "down"]


@both
def test_a_transport_that_does_not_stop_is_stopped(
    backend: str, transport: Callable[[Serve], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_HARD_STOP_SECONDS", 0.01)
    events: list[str] = []

    async def deaf(server: Server, **options: Any) -> None:
        await anyio.wait_all_tasks_blocked()  # whoever waits for signals is waiting
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            with anyio.fail_after(PATIENCE_SECONDS):
                await anyio.sleep_forever()
        finally:
            events.append("stopped")

    run_server(Server("x"), transport(deaf), backend=backend, grace=0)
    assert events == ["stopped"]


@both
def test_outside_the_main_thread_there_are_no_signals_and_it_runs_all_the_same(
    backend: str, transport: Callable[[Serve], str]
) -> None:
    seen: list[str] = []

    async def note(server: Server, **options: Any) -> None:
        await anyio.lowlevel.checkpoint()
        seen.append(threading.current_thread().name)

    name = transport(note)
    thread = threading.Thread(target=run_server, args=(Server("x"), name), kwargs={"backend": backend}, name="other")
    thread.start()
    thread.join(PATIENCE_SECONDS)
    assert seen == ["other"]
