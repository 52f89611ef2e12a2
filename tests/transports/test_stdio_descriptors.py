"""stdio/descriptors, stdio/pipe, stdio/redirection and stdio/threads over pipes, sockets, files and terminals.

Real descriptors and a jumping clock do not go together, so these tests run on the ordinary clock of each backend,
wait for events only, and bound every wait.
"""

import errno
import os
import select
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import tty
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

import anyio
import anyio.lowlevel
import pytest

from mcpcore.errors import ConnectFailed, ConnectionLost, LocalProtocolError
from mcpcore.jsonrpc import OVERSIZE_KEPT_BYTES, Oversize
from mcpcore_transports.stdio import descriptors
from mcpcore_transports.stdio.descriptors import DescriptorStream, InputDescriptor, OutputDescriptor
from mcpcore_transports.stdio.pipe import READ_BYTES, ByteStream, LinePipe
from mcpcore_transports.stdio.redirection import private_stdio
from mcpcore_transports.stdio.threads import ThreadStream

pytestmark = pytest.mark.anyio

PATIENCE_SECONDS = 30
LARGE = b"x" * (2 * 1024 * 1024)
"""More than any pipe or socket buffer here holds."""


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def close_quietly(fd: int) -> None:
    try:
        os.close(fd)
    except OSError as error:
        if error.errno != errno.EBADF:  # the test closed it itself
            raise


def open_pair(kind: str, closing: ExitStack) -> tuple[int, int]:
    """A reading and a writing descriptor of `kind`, raw and blocking."""
    if kind == "pipe":
        reading, writing = os.pipe()
    elif kind == "socket":
        one, other = socket.socketpair()
        reading, writing = one.detach(), other.detach()
    else:
        reading, writing = os.openpty()
        tty.setraw(writing)
    closing.callback(close_quietly, reading)
    closing.callback(close_quietly, writing)
    return reading, writing


@contextmanager
def unread(kind: str) -> Iterator[tuple[int, int]]:
    """The two ends of a `kind` of which the reading one is read by nobody."""
    with ExitStack() as closing:
        yield open_pair(kind, closing)


KINDS = ["pipe", "socket", "terminal"]


@pytest.fixture(params=["own", "shared"])
def sharing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Whether a non-blocking description of our own can be had, or the given one is written in small pieces."""
    if request.param == "shared":
        monkeypatch.setattr(descriptors, "_reopen", lambda fd, file: None)
        monkeypatch.setattr(stat, "S_ISSOCK", lambda mode: False)
    return str(request.param)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_large_write_arrives_whole_and_leaves_the_flags_alone(
    kind: str, sharing: str, closing: ExitStack
) -> None:
    reading, writing = open_pair(kind, closing)
    source, output = InputDescriptor(reading), OutputDescriptor(writing)
    # A terminal that cannot be opened again is written byte by byte.
    data = LARGE[: 8 * 1024] if (kind, sharing) == ("terminal", "shared") else LARGE
    received = bytearray()

    async def write() -> None:
        await output.write(data)

    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            while len(received) < len(data):
                received += await source.read()
                assert os.get_blocking(writing)
    assert received == data
    output.close()
    source.close()
    assert os.get_blocking(writing)
    assert os.get_blocking(reading)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_write_that_nobody_reads_is_cancelled_at_once(kind: str, sharing: str) -> None:
    with unread(kind) as (_, writing):
        output = OutputDescriptor(writing)
        full = anyio.Event()

        async def write() -> None:
            wait = output._wait_for_room

            async def noticed() -> None:
                full.set()
                await wait()

            output._wait_for_room = noticed  # type: ignore[method-assign]
            await output.write(LARGE)

        with anyio.fail_after(PATIENCE_SECONDS):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(write)
                await full.wait()
                tasks.cancel_scope.cancel()
        output.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_write_without_progress_gives_the_peer_up(kind: str, sharing: str) -> None:
    with unread(kind) as (_, writing):
        output = OutputDescriptor(writing, write_deadline=0.05)
        with anyio.fail_after(PATIENCE_SECONDS):
            with pytest.raises(ConnectionLost, match=r"the peer has not read for 0\.05 s"):
                await output.write(LARGE)
        output.close()


async def test_the_write_deadline_is_for_progress_not_for_the_whole(closing: ExitStack) -> None:
    reading, writing = open_pair("pipe", closing)
    output = OutputDescriptor(writing, write_deadline=PATIENCE_SECONDS / 2)
    size = 5 * 1024 * 1024
    seen = 0

    def read_slowly() -> None:
        nonlocal seen
        while seen < size:
            seen += len(os.read(reading, 1024))

    reader = threading.Thread(target=read_slowly, daemon=True)
    reader.start()
    with anyio.fail_after(PATIENCE_SECONDS):
        await output.write(b"x" * size)
    reader.join(PATIENCE_SECONDS)
    assert seen == size
    output.close()


@pytest.mark.parametrize("kind", ["pipe", "socket"])
async def test_a_peer_that_is_gone_is_a_lost_connection(kind: str, sharing: str, closing: ExitStack) -> None:
    reading, writing = open_pair(kind, closing)
    output = OutputDescriptor(writing)
    os.close(reading)
    with anyio.fail_after(PATIENCE_SECONDS):
        with pytest.raises(ConnectionLost, match="no longer reads"):
            await output.write(LARGE)
    output.close()


def write_for_ever(output: OutputDescriptor) -> None:
    while True:
        output.write_some(memoryview(LARGE))


async def test_a_peer_that_goes_while_a_write_waits_ends_the_wait(closing: ExitStack) -> None:
    reading, writing = open_pair("pipe", closing)
    output = OutputDescriptor(writing)
    filled = OutputDescriptor(writing)
    with pytest.raises(BlockingIOError):
        write_for_ever(filled)
    filled.close()
    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:

            async def leave() -> None:
                os.close(reading)

            tasks.start_soon(leave)
            with pytest.raises(ConnectionLost, match="no longer reads"):
                await output.write(b"more")
    output.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_read_is_cancelled_at_once_and_loses_nothing(kind: str, closing: ExitStack) -> None:
    reading, writing = open_pair(kind, closing)
    source = InputDescriptor(reading)
    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(source.read)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        os.write(writing, b"later")
        assert await source.read() == b"later"


async def test_what_nobody_asks_for_stays_with_the_peer(closing: ExitStack) -> None:
    """A read ahead, where there is one, is a single read: a peer that sends more has to wait."""
    reading, writing = open_pair("pipe", closing)
    os.set_blocking(writing, False)
    source = InputDescriptor(reading)
    sent = received = 0

    def fill() -> int:
        total = 0
        with suppress(BlockingIOError):
            while True:
                total += os.write(writing, b"x" * 4096)
        return total

    with anyio.fail_after(PATIENCE_SECONDS):
        capacity = sent = fill()
        received += len(await source.read())
        for _ in range(5):
            await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
            sent += fill()
        assert sent <= capacity + received + READ_BYTES
        while received < sent:
            received += len(await source.read())
        assert received == sent
        os.write(writing, b"end")
        assert await source.read() == b"end"
    source.close()


@pytest.mark.parametrize("room", [True, False])
async def test_a_small_write_is_whole_and_at_once_or_not_at_all(room: bool, closing: ExitStack) -> None:
    reading, writing = open_pair("pipe", closing)
    output = OutputDescriptor(writing)
    assert output.write_nowait(b"one")
    assert os.read(reading, 10) == b"one"
    assert not output.write_nowait(b"x" * (select.PIPE_BUF + 1))
    if not room:
        os.set_blocking(writing, False)
        with suppress(BlockingIOError):
            while True:
                os.write(writing, b"x" * select.PIPE_BUF)
        os.set_blocking(writing, True)
        assert not output.write_nowait(b"two")
        assert os.get_blocking(writing)
    os.close(reading)
    assert not output.write_nowait(b"three")  # what is wrong, a write that may wait finds out
    with pytest.raises(ConnectionLost, match="no longer reads"):
        await output.write(b"three")
    output.close()


async def test_only_a_pipe_promises_a_whole_write(closing: ExitStack) -> None:
    one, other = socket.socketpair()
    closing.callback(one.close)
    closing.callback(other.close)
    output = OutputDescriptor(one.fileno())
    assert not output.write_nowait(b"x")
    output.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_the_end_of_the_input_is_an_empty_read(kind: str, closing: ExitStack) -> None:
    reading, writing = open_pair(kind, closing)
    os.write(writing, b"last")
    source = InputDescriptor(reading)
    with anyio.fail_after(PATIENCE_SECONDS):
        assert await source.read() == b"last"
        os.close(writing)
        assert await source.read() == b""
        assert await source.read() == b""


async def test_a_connection_that_is_reset_is_lost(closing: ExitStack) -> None:
    one, other = socket.socketpair()
    closing.callback(one.close)
    source = InputDescriptor(one.fileno())
    one.sendall(b"never read")
    other.close()  # with unread data: a reset
    with anyio.fail_after(PATIENCE_SECONDS):
        with pytest.raises(ConnectionLost, match="broke off"):
            await source.read()


async def test_regular_files_and_the_null_device_are_always_ready(closing: ExitStack) -> None:
    with tempfile.TemporaryFile() as file:
        output = OutputDescriptor(file.fileno())
        await output.write(LARGE)
        await output.write(b"end")
        output.close()
        file.seek(0)
        source = InputDescriptor(file.fileno())
        received = b""
        while chunk := await source.read():
            received += chunk
        assert received == LARGE + b"end"
    null = os.open(os.devnull, os.O_RDWR)
    closing.callback(os.close, null)
    assert await InputDescriptor(null).read() == b""
    output = OutputDescriptor(null)
    await output.write(LARGE)
    output.close()


async def test_a_file_read_lets_other_tasks_run(closing: ExitStack) -> None:
    with tempfile.TemporaryFile() as file:
        source = InputDescriptor(file.fileno())
        with anyio.CancelScope() as scope:
            scope.cancel()
            await source.read()
        assert scope.cancelled_caught


@pytest.fixture(params=[DescriptorStream, ThreadStream])
def stream_class(request: pytest.FixtureRequest) -> type[ByteStream]:
    kind: type[ByteStream] = request.param
    return kind


async def test_a_line_pipe_carries_frames_both_ways(stream_class: type, closing: ExitStack) -> None:
    their_input, our_output = open_pair("pipe", closing)
    our_input, their_output = open_pair("pipe", closing)
    ours = LinePipe(stream_class(our_input, our_output), max_line_bytes=10)
    theirs = LinePipe(stream_class(their_input, their_output))
    with anyio.fail_after(PATIENCE_SECONDS):
        await ours.send([b"{}", b"[1]"])
        assert list(await theirs.receive()) == [b"{}", b"[1]"]
        await theirs.send([b"12345678901", b"ok"])
        assert list(await ours.receive()) == [Oversize(11, 10, b"12345678901", b"12345678901"), b"ok"]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(theirs.send, [LARGE])
            assert list(await ours.receive()) == [
                Oversize(len(LARGE), 10, LARGE[:OVERSIZE_KEPT_BYTES], LARGE[-OVERSIZE_KEPT_BYTES:])
            ]
        os.write(their_output, b"cut")
        await theirs.aclose()
        os.close(their_output)
        assert await ours.receive() == [b"cut"]
        for _ in range(2):
            with pytest.raises(anyio.EndOfStream):
                await ours.receive()
        await ours.aclose()
        await ours.aclose()
        with pytest.raises(anyio.ClosedResourceError):
            await ours.send([b"{}"])
        with pytest.raises(anyio.ClosedResourceError):
            await theirs.receive()


async def test_after_half_a_line_no_other_line_is_sent(stream_class: type) -> None:
    with unread("pipe") as (_, writing), unread("pipe") as (reading, _):
        pipe = LinePipe(stream_class(reading, writing, write_deadline=0.05))
        with anyio.fail_after(PATIENCE_SECONDS):
            with pytest.raises(ConnectionLost, match="has not read"):
                await pipe.send([LARGE])
            with pytest.raises(ConnectionLost, match="middle of a line"):
                await pipe.send([b"{}"])
            await pipe.aclose()


async def test_closing_ends_a_read_in_another_task(closing: ExitStack) -> None:
    reading, writing = open_pair("pipe", closing)
    stream = DescriptorStream(reading, writing)
    ended = []

    async def read() -> None:
        with pytest.raises(anyio.ClosedResourceError):
            await stream.read()
        ended.append(True)

    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            await stream.aclose()
    assert ended


async def test_a_cancelled_read_in_a_thread_is_the_next_ones(closing: ExitStack) -> None:
    reading, writing = open_pair("pipe", closing)
    stream = ThreadStream(reading, writing)
    with anyio.fail_after(PATIENCE_SECONDS):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stream.read)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        await stream.write(b"kept")
        assert await stream.read() == b"kept"
        await stream.aclose()
        os.close(reading)  # the thread has its own duplicates
        os.close(writing)


async def test_a_thread_reports_a_peer_that_is_gone(closing: ExitStack) -> None:
    reading, writing = open_pair("pipe", closing)
    null = os.open(os.devnull, os.O_WRONLY)
    closing.callback(os.close, null)
    stream = ThreadStream(null, writing)  # not open for reading
    os.close(reading)
    with anyio.fail_after(PATIENCE_SECONDS):
        with pytest.raises(ConnectionLost, match="no longer reads"):
            await stream.write(b"x")
        with pytest.raises(ConnectionLost, match="broke off"):
            await stream.read()
        await stream.aclose()


@contextmanager
def standard_descriptors(*replacements: int) -> Iterator[None]:
    """Put `replacements` in the place of the descriptors 0, 1, ... of this process for a while."""
    sys.stdout.flush()
    saved = [os.dup(fd) for fd in range(len(replacements))]
    try:
        for fd, replacement in enumerate(replacements):
            os.dup2(replacement, fd)
        yield
    finally:
        for fd, original in enumerate(saved):
            os.dup2(original, fd)
            os.close(original)


def drained(fd: int) -> bytes:
    """What is in a pipe at this moment."""
    text = b""
    while select.select([fd], [], [], 0)[0]:
        chunk = os.read(fd, 65536)
        if not chunk:
            break
        text += chunk
    return text


def test_nothing_but_the_protocol_reaches_the_wire(closing: ExitStack) -> None:
    stdin, host_out = open_pair("pipe", closing)
    host_in, stdout = open_pair("pipe", closing)
    host_err, stderr = open_pair("pipe", closing)
    os.write(host_out, b"for the protocol\n")
    text_out = closing.enter_context(os.fdopen(1, "w", closefd=False))
    with standard_descriptors(stdin, stdout, stderr), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", text_out)
        print("before")
        with private_stdio() as (input_fd, output_fd):
            assert min(input_fd, output_fd) > 2
            assert not os.get_inheritable(input_fd)
            assert not os.get_inheritable(output_fd)
            print("from print")
            os.write(1, b"from os.write\n")
            subprocess.run(["/bin/sh", "-c", "cat; echo from a child"], check=True, timeout=PATIENCE_SECONDS)
            assert os.read(0, 100) == b""
            os.write(output_fd, b"{}\n")
            assert os.read(input_fd, 100) == b"for the protocol\n"
        print("after", flush=True)
    assert drained(host_in) == b"before\n{}\nafter\n"
    said = drained(host_err)
    for line in (b"from print\n", b"from os.write\n", b"from a child\n"):
        assert line in said


def test_standard_descriptors_come_back_after_an_error(closing: ExitStack) -> None:
    stdin, _ = open_pair("pipe", closing)
    _, stdout = open_pair("pipe", closing)
    before = set(os.listdir("/dev/fd"))
    with standard_descriptors(stdin, stdout):
        with pytest.raises(ZeroDivisionError):
            with private_stdio():
                raise ZeroDivisionError
        assert os.path.sameopenfile(0, stdin)
        assert os.path.sameopenfile(1, stdout)
    assert set(os.listdir("/dev/fd")) == before


def test_standard_descriptors_are_served_once_at_a_time(closing: ExitStack) -> None:
    stdin, stdout = open_pair("pipe", closing)
    with standard_descriptors(stdin, stdout):
        with private_stdio():
            with pytest.raises(LocalProtocolError, match="already serves on its standard input"):
                with private_stdio():
                    pass
        with private_stdio():
            pass


@pytest.mark.parametrize(("missing", "name"), [(0, "input"), (1, "output")])
def test_without_standard_descriptors_there_is_nothing_to_serve_on(missing: int, name: str, closing: ExitStack) -> None:
    stdin, stdout = open_pair("pipe", closing)
    before = set(os.listdir("/dev/fd"))
    with standard_descriptors(stdin, stdout):
        os.close(missing)
        with pytest.raises(ConnectFailed, match=f"standard {name} is closed"):
            with private_stdio():
                pass
    assert set(os.listdir("/dev/fd")) == before


def test_without_stderr_stray_output_goes_nowhere(closing: ExitStack) -> None:
    stdin, _ = open_pair("pipe", closing)
    host_in, stdout = open_pair("pipe", closing)
    _, stderr = open_pair("pipe", closing)
    with standard_descriptors(stdin, stdout, stderr):
        os.close(2)
        with private_stdio():
            os.write(1, b"lost")
    assert drained(host_in) == b""
