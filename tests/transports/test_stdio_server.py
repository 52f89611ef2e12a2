"""A server as a host sees it: a real process, raw lines on its pipes, on both backends.

Waits are for lines, exits and closed pipes, each with a deadline; nothing here waits for time to pass.
"""

import fcntl
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import ByteReceiveStream, Process

import mcpcore
import mcpcore_transports
from mcpcore import Client, ConnectionLost
from mcpcore.errors import CODE_INVALID_REQUEST, CODE_PARSE_ERROR
from mcpcore.types import META_CLIENT_CAPABILITIES, META_PROTOCOL_VERSION
from mcpcore_transports.framing.lines import MAX_LINE_BYTES
from mcpcore_transports.stdio.client import StdioTransport

pytestmark = pytest.mark.anyio

PATIENCE_SECONDS = 30
BRIEF_GRACE_SECONDS = 0.2
"""The grace of a server that a test knows to have work that never ends."""

SERVER = Path(__file__).parents[1] / "interop" / "servers" / "raw.py"
PYTHONPATH = ":".join(str(Path(module.__file__ or "").parent.parent) for module in (mcpcore, mcpcore_transports))
META = {META_PROTOCOL_VERSION: "2026-07-28", META_CLIENT_CAPABILITIES: {}}
INITIALIZE = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


class Lines:
    """The lines of a stream, read only when asked for."""

    def __init__(self, stream: ByteReceiveStream) -> None:
        self._stream = stream
        self._held = bytearray()

    async def next(self) -> bytes | None:
        """The next line, None at the end."""
        seen = 0
        while (end := self._held.find(b"\n", seen)) < 0:
            seen = len(self._held)
            try:
                self._held += await self._stream.receive(1 << 20)
            except anyio.EndOfStream:
                assert not self._held, "the stream ended in the middle of a line"
                return None
        line = bytes(self._held[:end])
        del self._held[: end + 1]
        return line

    async def until(self, wanted: bytes) -> None:
        while (line := await self.next()) != wanted:
            assert line is not None, f"the stream ended before {wanted!r}"

    async def rest(self) -> list[bytes]:
        found = []
        while (line := await self.next()) is not None:
            found.append(line)
        return found


class Host:
    """The process that started the server."""

    def __init__(self, process: Process) -> None:
        self.process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin = process.stdin
        self.stdout = Lines(process.stdout)
        self.stderr = None if process.stderr is None else Lines(process.stderr)

    async def write(self, data: bytes) -> None:
        await self._stdin.send(data)

    async def ask(
        self, id: int | str, method: str, params: dict[str, Any] | None = None, *, modern: bool = True
    ) -> None:
        await self.write(request(id, method, params, modern=modern))

    async def call(self, id: int | str, tool: str, **arguments: Any) -> None:
        await self.ask(id, "tools/call", {"name": tool, "arguments": arguments})

    async def message(self) -> dict[str, Any]:
        """The next message of the server; every line it writes has to be one."""
        line = await self.stdout.next()
        assert line is not None, "the server closed its output"
        found: dict[str, Any] = json.loads(line)
        assert found["jsonrpc"] == "2.0"
        return found

    async def text(self, id: int | str) -> str:
        """The text that the tool call `id` returned; the next message has to be its answer."""
        message = await self.message()
        assert message["id"] == id
        text: str = message["result"]["content"][0]["text"]
        return text

    async def listen(self, id: str) -> None:
        """Open a subscription. The server ends it when it begins to stop, which is how a host can see that."""
        await self.ask(id, "subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        assert (await self.message())["method"] == "notifications/subscriptions/acknowledged"

    async def end(self) -> None:
        await self._stdin.aclose()

    async def exit_code(self) -> int:
        return await self.process.wait()


def request(id: int | str, method: str, params: dict[str, Any] | None = None, *, modern: bool = True) -> bytes:
    params = {**(params or {}), **({"_meta": META} if modern else {})}
    return json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).encode() + b"\n"


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": PYTHONPATH, **more}


@asynccontextmanager
async def started(backend: str, *arguments: str, stderr: int | None = -1, **env: str) -> AsyncIterator[Host]:
    with anyio.fail_after(PATIENCE_SECONDS):
        process = await anyio.open_process(
            [sys.executable, str(SERVER), backend, *arguments], env=environment(**env), stderr=stderr
        )
        async with process:
            try:
                yield Host(process)
            finally:
                if process.returncode is None and sys.exc_info()[0] is not None:
                    process.kill()


@pytest.fixture
def gate(tmp_path: Path) -> str:
    path = str(tmp_path / "gate")
    os.mkfifo(path)
    return path


def open_gate(gate: str) -> None:
    """Let the calls of `gate` through. There must be one, or this raises."""
    fd = os.open(gate, os.O_WRONLY | os.O_NONBLOCK)
    os.write(fd, b"go")
    os.close(fd)


# ---------------------------------------------------------------------- the end


async def test_work_accepted_before_the_end_of_the_input_is_answered(anyio_backend: str, gate: str) -> None:
    async with started(anyio_backend, GATE=gate) as host:
        await host.listen("seen")
        for id in range(5):
            await host.call(id, "gate")
        await host.call("after", "say", word="all five run")
        assert await host.text("after") == "all five run"
        await host.end()
        assert (await host.message())["id"] == "seen"  # the server has noticed the end, and five calls run
        open_gate(gate)
        answers = [json.loads(line) for line in await host.stdout.rest()]
        assert sorted(answer["id"] for answer in answers) == [0, 1, 2, 3, 4]
        assert {answer["result"]["content"][0]["text"] for answer in answers} == {"through"}
        assert await host.exit_code() == 0


async def test_work_that_never_ends_is_cancelled_at_the_grace(anyio_backend: str, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    async with started(anyio_backend, str(BRIEF_GRACE_SECONDS), LIFESPAN=str(notes)) as host:
        assert host.stderr is not None
        await host.call(1, "hang")
        await host.stderr.until(b"hanging")
        await host.end()
        await host.stderr.until(b"cancelled")
        assert await host.exit_code() == 0
        assert await host.stdout.rest() == []
        assert notes.read_text() == "up\ndown\n"


async def test_an_idle_server_ends_with_its_input(anyio_backend: str, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    async with started(anyio_backend, LIFESPAN=str(notes)) as host:
        assert host.stderr is not None
        await host.end()
        assert await host.exit_code() == 0
        assert await host.stdout.rest() == []
        assert await host.stderr.rest() == []
        assert notes.read_text() == "up\ndown\n"


async def test_sigterm_drains(anyio_backend: str, gate: str, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    async with started(anyio_backend, GATE=gate, LIFESPAN=str(notes)) as host:
        await host.listen("seen")
        await host.call(1, "gate")
        await host.call("after", "say", word="the call runs")
        assert await host.text("after") == "the call runs"
        host.process.send_signal(signal.SIGTERM)
        assert (await host.message())["id"] == "seen"
        await host.call(2, "add", a=1, b=2)
        refused = await host.message()
        assert (refused["id"], "stopping" in refused["error"]["message"]) == (2, True)
        open_gate(gate)
        assert await host.text(1) == "through"
        assert await host.exit_code() == 0
        assert notes.read_text() == "up\ndown\n"


async def test_sigterm_twice_does_not_wait(anyio_backend: str, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    async with started(anyio_backend, str(PATIENCE_SECONDS * 10), LIFESPAN=str(notes)) as host:
        assert host.stderr is not None
        await host.listen("seen")
        await host.call(1, "hang")
        await host.stderr.until(b"hanging")
        host.process.send_signal(signal.SIGTERM)
        assert (await host.message())["id"] == "seen"
        host.process.send_signal(signal.SIGTERM)
        await host.stderr.until(b"cancelled")
        assert await host.exit_code() == 0
        assert notes.read_text() == "up\ndown\n"


TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.mark.parametrize(
    "start", [[str(SERVER)], ["-m", "mcpcore", "run", str(SERVER), "--backend"]], ids=["run", "cli"]
)
async def test_one_interrupt_on_a_terminal_ends_it_without_a_traceback(
    start: list[str], anyio_backend: str, tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    master, slave = os.openpty()
    try:
        with anyio.fail_after(PATIENCE_SECONDS):
            process = await anyio.open_process(
                [sys.executable, "-c", TERMINAL, *start, anyio_backend],
                env=environment(LIFESPAN=str(notes)),
                stdin=slave,
                stdout=slave,
            )
            os.close(slave)
            async with process:
                try:
                    assert process.stderr is not None
                    stderr = Lines(process.stderr)
                    os.write(master, request(1, "tools/call", {"name": "say", "arguments": {"word": "here"}}))
                    await stderr.until(b"here")
                    os.write(master, b"\x03")
                    assert await stderr.rest() == []
                    assert await process.wait() == 130
                finally:
                    if process.returncode is None:
                        process.kill()
    finally:
        os.close(master)
    assert notes.read_text() == "up\ndown\n"


HOST = """
import subprocess, sys
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
server.stdin.write(sys.stdin.buffer.readline())
server.stdin.flush()
server.stdout.read()
"""


async def test_a_killed_host_takes_the_server_along(anyio_backend: str) -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        process = await anyio.open_process(
            [sys.executable, "-c", HOST, sys.executable, str(SERVER), anyio_backend, str(BRIEF_GRACE_SECONDS)],
            env=environment(),
        )
        async with process:
            assert process.stdin is not None
            assert process.stderr is not None
            stderr = Lines(process.stderr)  # the server holds it too, so its end is the end of both
            await process.stdin.send(request(1, "tools/call", {"name": "hang", "arguments": {}}))
            await stderr.until(b"hanging")
            process.kill()
            assert await stderr.next() == b"cancelled"
            assert not any(b"Traceback" in line for line in await stderr.rest())


async def test_a_server_that_dies_in_a_call_says_how_and_why(anyio_backend: str) -> None:
    heard: list[bytes] = []
    transport = StdioTransport([sys.executable, str(SERVER), anyio_backend], env=environment(), stderr=heard.append)
    with anyio.fail_after(PATIENCE_SECONDS):
        async with Client(transport) as client:
            for _ in range(2):  # the second call finds the connection gone
                with pytest.raises(ConnectionLost, match=r"(?s)exit status 7.*the last words"):
                    await client.call_tool("die")
    assert b"".join(heard) == b"the last words\n"


# ---------------------------------------------------------------------- the wire


async def test_nothing_else_in_the_process_reaches_the_wire(anyio_backend: str) -> None:
    async with started(anyio_backend) as host:
        assert host.stderr is not None
        await host.call(1, "chatter")
        assert await host.text(1) == "a child read 0 bytes"
        await host.call(2, "add", a=1, b=2)
        assert await host.text(2) == "3"
        await host.end()
        assert await host.stdout.rest() == []
        assert {b"stray print", b"stray write", b"stray child"} <= set(await host.stderr.rest())
        assert await host.exit_code() == 0


async def test_a_line_over_the_limit_is_refused_and_the_session_lives_on(anyio_backend: str) -> None:
    async with started(anyio_backend) as host:
        await host.ask("before", "initialize", INITIALIZE, modern=False)
        assert (await host.message())["id"] == "before"
        await host.write(b"x" * (64 * 1024 * 1024) + b"\n")
        refused = await host.message()
        assert refused.get("id") is None
        assert refused["error"]["code"] == CODE_INVALID_REQUEST
        assert str(MAX_LINE_BYTES) in refused["error"]["message"]
        await host.call(1, "add", a=1, b=2)
        assert await host.text(1) == "3"


async def test_a_line_that_is_no_utf8_is_refused_and_the_session_lives_on(anyio_backend: str) -> None:
    async with started(anyio_backend) as host:
        await host.write(b'{"jsonrpc": "2.0", "id": 1, "method": "\xff\xfe"}\n\x80\n')
        first, second = await host.message(), await host.message()
        assert {first["error"]["code"], second["error"]["code"]} <= {CODE_PARSE_ERROR, CODE_INVALID_REQUEST}
        await host.call(1, "add", a=1, b=2)
        assert await host.text(1) == "3"


async def test_calls_run_while_a_huge_result_waits_for_a_slow_host(anyio_backend: str) -> None:
    size = 50 * 1024 * 1024
    async with started(anyio_backend) as host:
        assert host.stderr is not None
        await host.call("big", "big", size=size)
        for id in range(10):
            await host.call(id, "say", word=f"call {id}")
            assert await host.stderr.next() == f"call {id}".encode()  # it ran, though nobody reads the output
        answers = {message["id"]: message["result"] for message in [await host.message() for _ in range(11)]}
        assert len(answers.pop("big")["content"][0]["text"]) == size
        assert {id: found["structuredContent"]["result"] for id, found in answers.items()} == {
            id: f"call {id}" for id in range(10)
        }


async def test_a_host_that_never_reads_stderr_does_not_stop_the_server(anyio_backend: str) -> None:
    async with started(anyio_backend) as host:
        await host.call(1, "log", size=1024 * 1024)
        assert await host.text(1) == str(1024 * 1024)
        await host.call(2, "add", a=1, b=2)
        assert await host.text(2) == "3"


THREADS_THAT_PRINT = """
import sys, threading
from mcpcore_transports.stdio import stderr
stderr.STALL_SECONDS = 0.1
raised = []
threading.excepthook = raised.append
with stderr.patient_stderr():
    threads = [threading.Thread(target=sys.stderr.write, args=("x" * 200_000,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print(raised)
"""


async def test_threads_may_print_at_the_same_time() -> None:
    """Nobody reads, so all of them wait for room at once."""
    with anyio.fail_after(PATIENCE_SECONDS):
        async with await anyio.open_process([sys.executable, "-c", THREADS_THAT_PRINT], env=environment()) as process:
            assert process.stdout is not None
            assert b"".join([piece async for piece in process.stdout]) == b"[]\n"


async def test_files_instead_of_pipes(anyio_backend: str, tmp_path: Path) -> None:
    asked, answered = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    asked.write_bytes(
        request(0, "initialize", INITIALIZE, modern=False)
        + b'{"jsonrpc": "2.0", "method": "notifications/initialized"}\n'
        + b"".join(
            request(id, "tools/call", {"name": "add", "arguments": {"a": id, "b": 1}}, modern=False)
            for id in range(1, 6)
        )
    )
    with asked.open("rb") as source, answered.open("wb") as sink, anyio.fail_after(PATIENCE_SECONDS):
        process = await anyio.open_process(
            [sys.executable, str(SERVER), anyio_backend], env=environment(), stdin=source, stdout=sink
        )
        async with process:
            assert await process.wait() == 0
    answers = {message["id"]: message["result"] for message in map(json.loads, answered.read_bytes().splitlines())}
    assert answers[0]["protocolVersion"] == "2025-06-18"
    assert [answers[id]["structuredContent"] for id in range(1, 6)] == [{"result": id + 1} for id in range(1, 6)]


@pytest.fixture
def handed_out() -> Iterator[tuple[int, int]]:
    """A pipe that this process goes on using after it gave it to a server as its output."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    os.close(writing)


async def test_the_hosts_descriptors_keep_their_flags(anyio_backend: str, handed_out: tuple[int, int]) -> None:
    reading, writing = handed_out
    with anyio.fail_after(PATIENCE_SECONDS):
        process = await anyio.open_process(
            [sys.executable, str(SERVER), anyio_backend], env=environment(), stdout=writing
        )
        async with process:
            assert process.stdin is not None
            await process.stdin.send(request(1, "tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}}))
            await anyio.wait_readable(reading)
            assert not fcntl.fcntl(writing, fcntl.F_GETFL) & os.O_NONBLOCK
            await process.stdin.aclose()
            assert await process.wait() == 0
