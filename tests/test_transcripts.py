"""Every transcript in tests/transcripts, frame by frame: in memory under each of its revisions, and against a real
process under the newest of them. Both on both backends; the formats are described in `transcripts.replay`."""

import math
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import Process
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from transcripts import fixture_server
from transcripts.fixture_server import SERVERS
from transcripts.replay import TRANSCRIPTS, Mismatch, Player, Transcript, Wire, matches, read

from mcpcore.groups import sole_error
from mcpcore.jsonrpc import Oversize
from mcpcore.multiplex import Multiplexer, Pipe
from mcpcore.revisions import REVISIONS, Era, Revision
from mcpcore_transports.framing.lines import LineDecoder, encode_lines

pytestmark = pytest.mark.anyio

PATIENCE_SECONDS = 20.0
"""How long the server may take to send a frame, or to end."""

ROOT = Path(__file__).parents[1]

CASES = [pytest.param(one, revision, id=f"{one.name}-{revision}") for one in TRANSCRIPTS for revision in one.revisions]


class _MemoryPipe(Pipe):
    """The server's end."""

    def __init__(self, incoming: MemoryObjectReceiveStream[bytes], outgoing: MemoryObjectSendStream[bytes]) -> None:
        self._incoming = incoming
        self._outgoing = outgoing

    async def receive(self) -> Sequence[bytes | Oversize]:
        return [await self._incoming.receive()]

    async def send(self, frames: Sequence[bytes]) -> None:
        for frame in frames:
            await self._outgoing.send(frame)

    async def aclose(self) -> None:
        self._incoming.close()
        self._outgoing.close()


class _MemoryWire(Wire):
    def __init__(self, outgoing: MemoryObjectSendStream[bytes], incoming: MemoryObjectReceiveStream[bytes]) -> None:
        self._outgoing = outgoing
        self._incoming = incoming

    async def send(self, frame: bytes) -> None:
        await self._outgoing.send(frame)

    async def send_eof(self) -> None:
        self._outgoing.close()

    async def receive(self) -> bytes:
        with anyio.fail_after(PATIENCE_SECONDS):
            try:
                return await self._incoming.receive()
            except anyio.EndOfStream:
                raise EOFError from None

    async def quiet(self, era: Era) -> list[bytes]:
        await anyio.wait_all_tasks_blocked()
        frames = []
        while self._incoming.statistics().current_buffer_used:
            frames.append(self._incoming.receive_nowait())
        return frames


class _ProcessWire(Wire):
    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin = process.stdin
        self._stdout = process.stdout
        self._decoder = LineDecoder()
        self._frames: list[bytes] = []
        self._fences = 0

    async def send(self, frame: bytes) -> None:
        with anyio.fail_after(PATIENCE_SECONDS):
            await self._stdin.send(encode_lines([frame]))

    async def send_eof(self) -> None:
        await self._stdin.aclose()

    async def receive(self) -> bytes:
        with anyio.fail_after(PATIENCE_SECONDS):
            while not self._frames:
                try:
                    self._frames += [bytes(frame) for frame in self._decoder.feed(await self._stdout.receive())]  # type: ignore[arg-type]
                except anyio.EndOfStream:
                    raise EOFError from None
        return self._frames.pop(0)

    async def quiet(self, era: Era) -> list[bytes]:
        """Everything before the answer of one more request: the server answers in order what it does not wait for."""
        self._fences += 1
        fence = f"fence {self._fences}"
        if era is Era.MODERN:
            meta = (
                '{"io.modelcontextprotocol/protocolVersion":"2026-07-28",'
                '"io.modelcontextprotocol/clientCapabilities":{}}'
            )
            request = f'{{"jsonrpc":"2.0","id":"{fence}","method":"server/discover","params":{{"_meta":{meta}}}}}'
        else:
            request = f'{{"jsonrpc":"2.0","id":"{fence}","method":"ping"}}'
        await self.send(request.encode())
        frames = []
        while (frame := await self.receive()).find(fence.encode()) < 0:
            frames.append(frame)
        return frames


@asynccontextmanager
async def in_memory(name: str) -> AsyncIterator[Wire]:
    to_server, at_server = anyio.create_memory_object_stream[bytes](math.inf)
    from_server, at_client = anyio.create_memory_object_stream[bytes](math.inf)

    async def serve() -> None:
        async with Multiplexer(_MemoryPipe(at_server, from_server)) as channel:
            await SERVERS[name]().serve_channel(channel, grace=fixture_server.GRACE_SECONDS)

    with to_server, at_server, from_server, at_client, sole_error():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(serve)
            yield _MemoryWire(to_server, at_client)
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def in_process(name: str, backend: str) -> AsyncIterator[Wire]:
    """The same server as a child process, which must end by itself when its input does."""
    command = [sys.executable, fixture_server.__file__, name, backend]
    path = os.pathsep.join(map(str, (ROOT, ROOT / "transports")))
    async with await anyio.open_process(command, stderr=None, env={**os.environ, "PYTHONPATH": path}) as process:
        wire = _ProcessWire(process)
        try:
            yield wire
            await wire.send_eof()
            with anyio.fail_after(PATIENCE_SECONDS):
                assert await process.wait() == 0
        finally:
            if process.returncode is None:
                process.kill()


@pytest.mark.parametrize(("transcript", "revision"), CASES)
async def test_in_memory(transcript: Transcript, revision: Revision) -> None:
    async with in_memory(transcript.server) as wire:
        await Player(transcript, revision, wire).play()


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda one: one.name)
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_over_stdio(transcript: Transcript, anyio_backend: str) -> None:
    """Without the jumping clock of the other tests: a real process takes real time to answer."""
    async with in_process(transcript.server, anyio_backend) as wire:
        await Player(transcript, transcript.revisions[-1], wire).play()


# ------------------------------------------------------------------ the replay itself must be able to fail

GOOD = {"a": 1, "b": [True, "x"], "c": {"d": None}}


@pytest.mark.parametrize(
    ("expected", "fits"),
    [
        (GOOD, True),
        ({**GOOD, "e": 1}, False),
        ({"a": 1, "b": [True, "x"]}, False),
        ({**GOOD, "a": "1"}, False),
        ({**GOOD, "a": True}, False),
        ({**GOOD, "b": [1, "x"]}, False),
        ({**GOOD, "b": [True]}, False),
        ({**GOOD, "b": "<any>"}, True),
        ({**GOOD, "a": "<number>"}, True),
        ({**GOOD, "a": "<string>"}, False),
        ({**GOOD, "b": ["<any>", "<has x>"]}, True),
        ({**GOOD, "b": ["<any>", "<has y>"]}, False),
        ({**GOOD, "a": "$known"}, True),
        ({**GOOD, "a": "$other"}, False),
        ({"a": 1, "b": "<any>", "$key=": {"d": None}}, True),
        ({"a": 1, "b": "<any>", "$key=": {"d": 0}}, False),
        ({"$name": 1, "b": "<any>", "c": "<any>"}, True),
    ],
)
def test_matching(expected: Any, fits: bool) -> None:
    assert (matches(expected, GOOD, {"$known": 1, "$other": 2, "$name": "a"}) is not None) is fits


def test_matching_keeps_what_it_caught() -> None:
    expected = {"$one=": {"q": 1}, "$two=": {"q": 2, "s": "$text="}}
    caught = matches(expected, {"x": {"q": 2, "s": "t"}, "y": {"q": 1}}, {})
    assert caught == {"$one": "y", "$two": "x", "$text": "t"}


PING = '-> {"jsonrpc": "2.0", "id": 1, "method": "ping"}'
PONG = '<- {"jsonrpc": "2.0", "id": 1, "result": {}}'


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ([PING], "nothing more should come"),
        ([PING, "<- nothing", PONG], "nothing more should come"),
        ([PING, '<- {"jsonrpc": "2.0", "id": 1, "result": {"a": 1}}'], "expected"),
        ([PING, "-> end", PONG, PONG], "EOFError"),
        ([PING, f"[..2025-06-18] {PONG}"], "nothing more should come"),
    ],
)
async def test_a_wrong_transcript_fails(lines: list[str], complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.txt"
    path.write_text("\n".join(["A wrong one.", "revisions: 2025-11-25", "server: tools", "", *lines]))
    with pytest.raises(Mismatch, match=complaint):
        async with in_memory("tools") as wire:
            await Player(read(path), Revision.R2025_11_25, wire).play()


@pytest.mark.parametrize("line", ["<- {", "-> ping", "prose after the first line"])
def test_a_transcript_with_a_typing_error_is_refused(line: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong.txt"
    path.write_text(f"revisions: 2025-11-25\nserver: tools\n\n{PING}\n{line}\n")
    with pytest.raises(ValueError, match=r"wrong.txt|JSON|Expecting"):
        read(path)


def test_every_fixture_and_every_revision_is_replayed() -> None:
    assert {one.server for one in TRANSCRIPTS} == SERVERS.keys()
    assert {revision for one in TRANSCRIPTS for revision in one.revisions} == set(REVISIONS)
