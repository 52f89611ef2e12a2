"""stdio/client, stdio/processes, stdio/diagnostics and stdio/server with real child processes.

Real processes and a jumping clock do not go together, so these tests run on the ordinary clock of each backend,
wait for events only, and bound every wait. That a process is gone shows in a named pipe that it and its children
hold open: it ends when the last of them does.
"""

import ctypes
import json
import os
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import msgspec
import pytest

from mcpcore.channel import Channel, Envelope, Inbox
from mcpcore.client import Client
from mcpcore.errors import ConnectFailed, ConnectionLost, RemoteProtocolError
from mcpcore.jsonrpc import Request, Response
from mcpcore_transports.stdio import diagnostics as diagnostics_module
from mcpcore_transports.stdio import processes
from mcpcore_transports.stdio.client import StdioTransport
from mcpcore_transports.stdio.descriptors import InputDescriptor
from mcpcore_transports.stdio.diagnostics import STDERR_TAIL_BYTES, STDERR_TEXT_CHARACTERS, Diagnostics, OwnStderr
from mcpcore_transports.stdio.environment import SAFE_ENVIRONMENT, child_environment

pytestmark = pytest.mark.anyio

PATIENCE_SECONDS = 30
BRIEF_SECONDS = 0.2
"""For steps of the take-down that a test knows to be in vain."""

CHILD = """
import json, os, signal, subprocess, sys, time
def requests():
    for line in sys.stdin:
        yield json.loads(line)
def answer(request, result):
    print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}), flush=True)
"""

STUBBORN = """
def ignore():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
ignore()
held = os.open(os.environ["HELD"], os.O_WRONLY)
if os.fork() == 0:
    while True:
        time.sleep(1000)
for request in requests():
    if request["method"] == "ping":
        answer(request, os.getpid())
while True:
    time.sleep(1000)
"""


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


def child(code: str, **options: Any) -> StdioTransport:
    return StdioTransport([sys.executable, "-c", CHILD + textwrap.dedent(code)], **options)


@asynccontextmanager
async def listening(channel: Channel) -> AsyncIterator[list[Exception]]:
    """Receive from `channel` meanwhile, as a session does; its end is appended to the list."""
    ends: list[Exception] = []

    async def listen() -> None:
        try:
            while True:
                await channel.receive()
        except (ConnectionLost, anyio.EndOfStream) as end:
            ends.append(end)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        yield ends
        tasks.cancel_scope.cancel()


async def ask(channel: Channel, method: str = "ping") -> Any:
    inbox = Inbox()
    await channel.send(Envelope(Request("ask", method, {}), inbox))
    async with listening(channel):
        message = (await inbox.receive()).message
    assert isinstance(message, Response)
    return msgspec.json.decode(message.result)


def assert_reaped(pid: int) -> None:
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[str, int]]:
    """The path of a named pipe for children to hold, and its reading end."""
    path = str(tmp_path / "held")
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield path, reading
    os.close(reading)


async def test_requests_are_answered_and_the_child_is_reaped() -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        async with child("for request in requests(): answer(request, os.getpid())").connect() as channel:
            pid = await ask(channel)
            assert await ask(channel) == pid
            assert os.getsid(pid) == pid
    assert_reaped(pid)


async def test_megabytes_of_stderr_without_a_line_end_block_nobody() -> None:
    size = 10 * 1024 * 1024
    heard = 0

    def listener(chunk: bytes) -> None:
        nonlocal heard
        heard += len(chunk)

    code = f"""
        for request in requests():
            sys.stderr.write("x" * {size})
            sys.stderr.flush()
            answer(request, "done")
    """
    with anyio.fail_after(PATIENCE_SECONDS):
        async with child(code, stderr=listener).connect() as channel:
            assert await ask(channel) == "done"
    assert heard == size


async def test_a_stubborn_child_and_its_child_are_killed(held: tuple[str, int]) -> None:
    path, reading = held
    transport = child(STUBBORN, env={"HELD": path}, stdin_close=BRIEF_SECONDS, term=BRIEF_SECONDS)
    with anyio.fail_after(PATIENCE_SECONDS):
        async with transport.connect() as channel:
            pid = await ask(channel)
        assert await InputDescriptor(reading).read() == b""
    assert_reaped(pid)


async def test_a_cancelled_caller_leaves_nobody_behind(held: tuple[str, int]) -> None:
    path, reading = held
    transport = child(STUBBORN, env={"HELD": path}, stdin_close=BRIEF_SECONDS, term=BRIEF_SECONDS)
    pids = []
    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:

            async def call() -> None:
                async with transport.connect() as channel:
                    pids.append(await ask(channel))
                    tasks.start_soon(cancel)
                    await ask(channel, "never/answered")

            async def cancel() -> None:
                await anyio.wait_all_tasks_blocked()
                tasks.cancel_scope.cancel()

            tasks.start_soon(call)
        assert await InputDescriptor(reading).read() == b""
    assert_reaped(pids[0])


async def test_what_a_child_leaves_in_its_group_goes_with_it(held: tuple[str, int]) -> None:
    path, reading = held
    code = """
        held = os.open(os.environ["HELD"], os.O_WRONLY)
        if os.fork() == 0:
            os.closerange(0, 3)
            time.sleep(1000)
        for request in requests():
            answer(request, os.getpid())
    """
    with anyio.fail_after(PATIENCE_SECONDS):
        async with child(code, env={"HELD": path}).connect() as channel:
            pid = await ask(channel)
        assert await InputDescriptor(reading).read() == b""
    assert_reaped(pid)


@pytest.fixture
def inheriting_orphans() -> Iterator[None]:
    """As process 1 of a container does, and on Linux anybody who asks for it."""
    prctl, set_child_subreaper = ctypes.CDLL(None).prctl, 36
    assert prctl(set_child_subreaper, 1) == 0
    yield
    assert prctl(set_child_subreaper, 0) == 0


@pytest.mark.usefixtures("inheriting_orphans")
async def test_what_a_child_leaves_to_us_is_reaped() -> None:
    code = """
        grandchild = os.fork()
        if grandchild == 0:
            os.closerange(0, 3)
            time.sleep(1000)
        for request in requests():
            answer(request, grandchild)
    """
    with anyio.fail_after(PATIENCE_SECONDS):
        async with child(code, term=PATIENCE_SECONDS).connect() as channel:
            grandchild = await ask(channel)
    assert_reaped(grandchild)


async def test_a_child_may_finish_what_it_says_after_its_input_ends(tmp_path: Path) -> None:
    heard = bytearray()
    code = """
        for request in requests():
            answer(request, 1)
        print("x" * 1000000, flush=True)
        print("y" * 1000000, file=sys.stderr, flush=True)
        open("finished", "w").write("by itself")
    """
    transport = child(code, cwd=tmp_path, stderr=heard.extend, stdin_close=PATIENCE_SECONDS)
    with anyio.fail_after(PATIENCE_SECONDS):
        async with transport.connect() as channel:
            await ask(channel)
    assert (tmp_path / "finished").read_text() == "by itself"
    assert heard == b"y" * 1000000 + b"\n"


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", r"was killed by signal 9 \(SIGKILL\)"),
        ("sys.exit(3)", "ended with exit status 3"),
        ("sys.exit(0)", "ended with exit status 0"),
    ],
)
async def test_a_child_that_ends_is_a_lost_connection_with_its_last_words(ending: str, words: str) -> None:
    heard = bytearray()
    code = f"""
        for request in requests():
            os.write(2, b"no such table: users \\xff\\n")
            {ending}
    """
    with anyio.fail_after(PATIENCE_SECONDS):
        async with child(code, stderr=heard.extend).connect() as channel:
            async with listening(channel) as ends:
                await channel.send(Envelope(Request(1, "ping", {}), Inbox()))
                while not ends:
                    await anyio.wait_all_tasks_blocked()
                    await anyio.lowlevel.checkpoint()
    (end,) = ends
    assert isinstance(end, ConnectionLost)
    with pytest.raises(ConnectionLost, match=rf"(?s)python.* {words}; .*stderr:\nno such table: users \ufffd$"):
        raise end
    assert heard == b"no such table: users \xff\n"


async def write_much(channel: Channel) -> None:
    for id in range(1_000_000):
        await channel.send(Envelope(Request(id, "ping", {"text": "x" * 100_000}), Inbox()))


async def test_writing_to_a_child_that_is_gone_is_a_lost_connection() -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        with pytest.raises(ConnectionLost, match=r"ended with exit status 4; it wrote nothing to stderr"):
            async with child("os.close(0); sys.exit(4)").connect() as channel:
                await write_much(channel)


async def test_a_child_that_does_not_read_is_given_up() -> None:
    transport = child("time.sleep(1000)", write_deadline=0.1, stdin_close=0, term=PATIENCE_SECONDS)
    with anyio.fail_after(PATIENCE_SECONDS):
        with pytest.raises(ConnectionLost, match=r"has not read for 0\.1 s"):
            async with transport.connect() as channel:
                await write_much(channel)


async def test_an_error_of_the_caller_comes_out_as_it_is() -> None:
    with anyio.fail_after(PATIENCE_SECONDS):
        with pytest.raises(ZeroDivisionError):
            async with child("for request in requests(): pass").connect():
                raise ZeroDivisionError


@pytest.mark.parametrize(
    ("command", "options", "words"),
    [
        (["no-such-program-here", "x"], {}, r"'no-such-program-here x'.*check the spelling.*PATH \(/"),
        ([sys.executable], {"cwd": "/no/such/directory"}, "working directory '/no/such/directory' does not exist"),
        (["/dev/null"], {}, "may not be executed"),
        (["a\0b"], {}, "cannot start"),
        ([], {}, "the command of the server is empty"),
    ],
)
async def test_a_command_that_cannot_start_says_why(command: list[str], options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConnectFailed, match=words):
        async with StdioTransport(command, **options).connect():
            pytest.fail("there is nothing to be connected to")


async def test_no_descriptor_is_left_open() -> None:
    async def connect() -> None:
        async with child("for request in requests(): answer(request, 1)").connect() as channel:
            await ask(channel)
        with pytest.raises(ConnectFailed):
            async with StdioTransport(["no-such-program-here"]).connect():
                pass

    with anyio.fail_after(PATIENCE_SECONDS):
        await connect()  # what the backend opens once and keeps
        before = os.listdir("/dev/fd")
        await connect()
    assert os.listdir("/dev/fd") == before


async def test_the_environment_of_a_child_is_what_was_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "secret")
    monkeypatch.setenv("LC_TIME", "C")
    code = "for request in requests(): answer(request, dict(os.environ))"
    with anyio.fail_after(PATIENCE_SECONDS):
        async with child(code, env={"LANG": "xx", "MORE": "1"}).connect() as channel:
            seen = await ask(channel)
    assert "API_TOKEN" not in seen
    assert (seen["LC_TIME"], seen["LANG"], seen["MORE"], seen["PATH"]) == ("C", "xx", "1", os.environ["PATH"])


def test_the_environment_is_an_allow_list() -> None:
    ours = {"PATH": "/bin", "PATHOLOGY": "x", "LC_ALL": "C", "AWS_SECRET_ACCESS_KEY": "x", "HOME": "/root"}
    assert child_environment(ours=ours) == {"PATH": "/bin", "LC_ALL": "C", "HOME": "/root"}
    assert child_environment((), {"A": "1"}, ours=ours) == {"A": "1"}
    assert child_environment(("*",), {"HOME": "/"}, ours=ours) == {**ours, "HOME": "/"}
    assert list(SAFE_ENVIRONMENT) == sorted(SAFE_ENVIRONMENT)


async def test_a_listener_that_raises_does_not_end_the_connection(caplog: pytest.LogCaptureFixture) -> None:
    calls = []

    def listener(chunk: bytes) -> None:
        calls.append(chunk)
        raise ZeroDivisionError

    code = """
        for request in requests():
            os.write(2, b"x" * 1000000)
            answer(request, 1)
    """
    with anyio.fail_after(PATIENCE_SECONDS):
        async with child(code, stderr=listener).connect() as channel:
            assert await ask(channel) == 1
    assert len(calls) == 1
    assert [record.name for record in caplog.records if record.levelname == "ERROR"] == ["mcpcore.stdio"]


class Chunks:
    """A stream of bytes that ends after `chunks`."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = list(chunks)

    async def receive(self, max_bytes: int) -> bytes:
        if not self._chunks:
            raise anyio.EndOfStream
        return self._chunks.pop(0)


async def test_the_quoted_end_of_stderr_is_whole_lines_and_bounded() -> None:
    lines = b"".join(b"line %d\n" % number for number in range(20_000))
    diagnostics = Diagnostics(Chunks(lines, b"the end\n"), lambda chunk: None)  # type: ignore[arg-type]
    assert diagnostics.text() == ""
    await diagnostics.drain()
    assert diagnostics.ended.is_set()
    text = diagnostics.text()
    assert text.endswith("line 19999\nthe end")
    assert text.startswith("line 19")
    assert STDERR_TEXT_CHARACTERS - 20 < len(text) <= STDERR_TEXT_CHARACTERS
    assert len(diagnostics._tail) == STDERR_TAIL_BYTES


@contextmanager
def stderr_as(fd: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[OwnStderr]:
    monkeypatch.setattr(diagnostics_module, "_STDERR", fd)
    own = OwnStderr()
    yield own
    own.close()


async def test_our_own_stderr_is_never_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with stderr_as(writing, monkeypatch) as own:
        own.write(b"seen\n")
        assert os.read(reading, 100) == b"seen\n"
        own.write(b"x" * 10_000_000)
        assert 0 < own.dropped < 10_000_000
        assert os.get_blocking(writing)
        before = own.dropped
        os.close(reading)
        own.write(b"nobody")
        assert own.dropped == before + len(b"nobody")
    os.close(writing)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (None, "still running"),
        (0, "exit status 0"),
        (1, "exit status 1"),
        (-15, "signal 15 (SIGTERM)"),
        (-99, "signal 99 (unknown)"),
    ],
)
def test_exit_statuses_in_words(status: int | None, words: str) -> None:
    assert words in processes.exit_text(SimpleNamespace(returncode=status))  # type: ignore[arg-type]


def test_a_group_whose_number_went_to_a_stranger_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    signalled = []
    monkeypatch.setattr(os, "killpg", lambda group, number: signalled.append(group))
    stranger = SimpleNamespace(pid=os.getpid(), returncode=0)
    assert not processes._signal_group(stranger, "SIGTERM")  # type: ignore[arg-type]
    assert signalled == []
    running = SimpleNamespace(pid=os.getpid(), returncode=None)
    assert processes._signal_group(running, "SIGTERM")  # type: ignore[arg-type]
    assert signalled == [os.getpid()]


SERVER = """
import anyio, os, subprocess, sys
from mcpcore.channel import Envelope
from mcpcore.jsonrpc import Response
from mcpcore_transports.stdio.server import serve

class Polluter:
    async def serve_channel(self, channel, *, grace):
        try:
            while True:
                envelope = await channel.receive()
                print("stray print")
                os.write(1, b"stray write\\n")
                subprocess.run(["echo", "stray child"], check=True)
                result = "x" * 5_000_000 if envelope.message.method == "large" else sys.stdin.read()
                await envelope.reply.send(Envelope(Response(envelope.message.id, result)))
        except anyio.EndOfStream:
            os.write(2, b"grace %g\\n" % grace)

anyio.run(lambda: serve(Polluter(), grace=7), backend=sys.argv[1])
print("the wire again")
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_a_server_on_stdio_end_to_end(backend: str) -> None:
    heard = bytearray()
    env = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    transport = StdioTransport(
        [sys.executable, "-c", SERVER, backend], env=env, stderr=heard.extend, stdin_close=PATIENCE_SECONDS
    )
    with anyio.fail_after(PATIENCE_SECONDS):
        async with transport.connect() as channel:
            assert await ask(channel) == ""
            assert await ask(channel, "large") == "x" * 5_000_000
    for words in (b"stray print\n", b"stray write\n", b"stray child\n"):
        assert heard.count(words) == 2
    assert b"grace 7\n" in heard
    assert b"Traceback" not in heard
    assert b"the wire again" not in heard


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
async def test_only_the_protocol_is_on_stdout(backend: str) -> None:
    requests = b"".join(b'{"jsonrpc":"2.0","id":%d,"method":"ping"}\n' % id for id in range(3))
    env = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with anyio.fail_after(PATIENCE_SECONDS):
        done = await anyio.run_process(
            [sys.executable, "-c", SERVER, backend], input=requests, env=child_environment(env=env)
        )
    *answers, last = done.stdout.splitlines()
    assert [json.loads(answer)["id"] for answer in answers] == [0, 1, 2]
    assert last == b"the wire again"


async def test_an_answer_over_the_line_limit_fails_its_call_at_once() -> None:
    transport = child(
        """
        for request in requests():
            if request["method"] == "tools/call":
                answer(request, {"content": [{"type": "text", "text": "x" * 5000}]})
            elif request["method"] == "initialize":
                answer(request, {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                    "serverInfo": {"name": "large", "version": "1"}})
            elif "id" in request:
                answer(request, {"tools": []})
        """,
        max_line_bytes=2000,
    )
    with anyio.fail_after(PATIENCE_SECONDS):
        async with Client(transport, era="legacy") as client:
            with pytest.raises(RemoteProtocolError, match="is over the limit of 2000"):
                await client.call_tool("large", timeout=3600)
            assert await client.list_tools() == []
