"""The client's end of stdio: start a server as a child process and talk to it."""

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from typing import Any

import anyio
from anyio.abc import Process

from mcpcore.channel import Channel, Origin
from mcpcore.errors import ConnectionLost
from mcpcore.multiplex import Multiplexer
from mcpcore_transports.framing.lines import MAX_LINE_BYTES
from mcpcore_transports.stdio.diagnostics import Diagnostics, OwnStderr
from mcpcore_transports.stdio.environment import SAFE_ENVIRONMENT, child_environment
from mcpcore_transports.stdio.pipe import WRITE_DEADLINE_SECONDS, ByteStream, LinePipe
from mcpcore_transports.stdio.processes import (
    STDIN_CLOSE_SECONDS,
    TERM_SECONDS,
    ChildPipes,
    command_text,
    exit_text,
    start_process,
    take_down,
)

__all__ = ("EXIT_STATUS_SECONDS", "ProcessStream", "StdioTransport", "connect")

EXIT_STATUS_SECONDS = 1.0
"""How long the end of a child's output waits for its exit status and last words, for the error text alone."""


class StdioTransport:
    """A server to be started with `command`, a program and its arguments; no shell is involved.

    The child gets the variables that `inherit_env` names and those in `env`: by default nothing of ours that
    could be a secret. It runs in a session of its own, so Ctrl+C in our terminal does not reach it. What it says
    on stderr goes in chunks of any size to `stderr`, which must not block; by default to our own stderr, where
    it is dropped rather than waited for. Lines longer than `max_line_bytes` are skipped and reported.

    At the end the child has `stdin_close` seconds to exit by itself after its input ends, then it and what it
    started get SIGTERM, `term` seconds, and SIGKILL. A child that leaves what we write unread for
    `write_deadline` seconds is given up.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        inherit_env: Sequence[str] = SAFE_ENVIRONMENT,
        stderr: Callable[[bytes], None] | None = None,
        stdin_close: float = STDIN_CLOSE_SECONDS,
        term: float = TERM_SECONDS,
        write_deadline: float = WRITE_DEADLINE_SECONDS,
        max_line_bytes: int = MAX_LINE_BYTES,
    ) -> None:
        self._command = tuple(command)
        self._env = env
        self._cwd = cwd
        self._inherit_env = tuple(inherit_env)
        self._stderr = stderr
        self._stdin_close = stdin_close
        self._term = term
        self._write_deadline = write_deadline
        self._max_line_bytes = max_line_bytes

    def __str__(self) -> str:
        return command_text(self._command)

    def connect(self) -> AbstractAsyncContextManager[Channel]:
        """A connection to a process of its own: started on entering, gone with its whole group on leaving.

        Enter and leave it in one task, as the owner task of a connection does: there is a task group inside.
        Raises `ConnectFailed` when the command cannot be started. After a cancellation the child is taken down
        as well, within the same seconds.
        """
        return self._connect()

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[Channel]:
        with ExitStack() as closing:
            listener = self._stderr
            if listener is None:
                own = OwnStderr()
                closing.callback(own.close)
                listener = own.write
            env = child_environment(self._inherit_env, self._env)
            process, pipes = await start_process(
                self._command, env=env, cwd=self._cwd, write_deadline=self._write_deadline
            )
            assert process.stderr is not None
            diagnostics = Diagnostics(process.stderr, listener)
            failure: Exception | None = None
            try:
                stream = ProcessStream(process, pipes, str(self), diagnostics)
                pipe = LinePipe(stream, max_line_bytes=self._max_line_bytes)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(diagnostics.drain)
                    # Carried past the task group, which would wrap it: one error is what a caller can handle.
                    try:
                        async with Multiplexer(pipe, origin=Origin(transport="stdio")) as channel:
                            yield channel
                    except Exception as error:
                        failure = error
                    tasks.cancel_scope.cancel()
            finally:
                await take_down(process, pipes, diagnostics, stdin_close=self._stdin_close, term=self._term)
            if failure is not None:
                raise failure


class ProcessStream(ByteStream):
    """The `pipes` of `process`, whose `diagnostics` somebody else drains. Closing it ends the child's input only."""

    def __init__(self, process: Process, pipes: ChildPipes, name: str, diagnostics: Diagnostics) -> None:
        self._process = process
        self._pipes = pipes
        self._name = name
        self._diagnostics = diagnostics

    async def read(self) -> bytes:
        """The next bytes. A server that ends is a lost connection, whatever its exit status: the error says why."""
        try:
            chunk = await self._pipes.read()
        except ConnectionLost:
            chunk = b""
        if not chunk:
            raise await self._lost()
        return chunk

    async def write(self, data: bytes) -> None:
        try:
            await self._pipes.write(data)
        except ConnectionLost as lost:
            if lost.__cause__ is not None:
                raise await self._lost() from None
            raise ConnectionLost(f"the server {self._name!r} is given up: {lost}") from None

    def write_nowait(self, data: bytes) -> bool:
        return self._pipes.write_nowait(data)

    async def aclose(self) -> None:
        await self._pipes.end_input()

    async def _lost(self) -> ConnectionLost:
        with anyio.move_on_after(EXIT_STATUS_SECONDS):
            await self._process.wait()
            await self._diagnostics.ended.wait()
        words = self._diagnostics.text()
        said = f"; the last it wrote to stderr:\n{words}" if words else "; it wrote nothing to stderr"
        return ConnectionLost(f"the server {self._name!r} {exit_text(self._process)}{said}")


def connect(target: Sequence[str], **options: Any) -> StdioTransport:
    """The transport that starts the command `target` (`mcpcore.transport.client_transport` looks for this name)."""
    return StdioTransport(target, **options)
