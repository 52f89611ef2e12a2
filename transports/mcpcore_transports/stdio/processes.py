"""Starting a child process and seeing to its end, and to that of what it started."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import anyio
from anyio.abc import Process

from mcpcore.errors import ConnectFailed, ConnectionLost
from mcpcore_transports.stdio.diagnostics import Diagnostics
from mcpcore_transports.stdio.pipe import READ_BYTES, WRITE_DEADLINE_SECONDS, ByteStream

if sys.platform != "win32":
    from mcpcore_transports.stdio.descriptors import InputDescriptor, OutputDescriptor

__all__ = (
    "COMMAND_TEXT_CHARACTERS",
    "LAST_WORDS_SECONDS",
    "POLL_SECONDS",
    "REAP_SECONDS",
    "STDIN_CLOSE_SECONDS",
    "TERM_SECONDS",
    "WRITE_BYTES",
    "ChildPipes",
    "command_text",
    "exit_text",
    "start_process",
    "take_down",
)

STDIN_CLOSE_SECONDS = 2.0
"""How long a child may take to exit by itself after the end of its input."""

TERM_SECONDS = 2.0
"""How long a child and its children may take to exit after SIGTERM."""

REAP_SECONDS = 2.0
"""How long we wait for the kernel after SIGKILL; only a process stuck inside the kernel takes any time."""

LAST_WORDS_SECONDS = 0.25
"""How long we wait for the end of stderr after that: it is there already, unless somebody escaped with it."""

WRITE_BYTES = 64 * 1024
"""Bytes written at once where the event loop's streams are used; the write deadline is for each."""

POLL_SECONDS = 0.02
"""How often we look whether the group of a child that has exited is empty."""

COMMAND_TEXT_CHARACTERS = 200


class ChildPipes(ByteStream):
    """The pipes to the stdin and from the stdout of a child. A write has a deadline, at which it is given up."""

    @abstractmethod
    async def end_input(self) -> None:
        """Close the child's stdin; its stdout can still be read."""


async def start_process(
    command: Sequence[str],
    *,
    env: Mapping[str, str],
    cwd: str | os.PathLike[str] | None,
    write_deadline: float = WRITE_DEADLINE_SECONDS,
) -> tuple[Process, ChildPipes]:
    """Start `command` in a process group of its own, with pipes on its three standard descriptors.

    Raises `ConnectFailed` when that cannot be done.
    """
    if not command:
        raise ConnectFailed("the command of the server is empty; give the program and its arguments as a list")
    try:
        return await _start(command, env, cwd, write_deadline)
    except (OSError, ValueError) as refused:
        raise ConnectFailed(_refusal(refused, command, env, cwd)) from refused


async def take_down(
    process: Process,
    pipes: ChildPipes,
    diagnostics: Diagnostics,
    *,
    stdin_close: float = STDIN_CLOSE_SECONDS,
    term: float = TERM_SECONDS,
) -> None:
    """End `process` and its group: close its stdin, wait; SIGTERM, wait; SIGKILL; reap. Never raises for the child.

    Meanwhile its output is read, since a child that still has something to say could not exit otherwise: stderr
    by `diagnostics`, which nobody else may be draining, and stdout into nothing. Takes at most
    `stdin_close + term + REAP_SECONDS` seconds and a little, also when the caller is cancelled. What a child has
    moved into another session is beyond reach and lives on.
    """
    with anyio.move_on_after(stdin_close + term + 2 * REAP_SECONDS, shield=True):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_discard, pipes)
            tasks.start_soon(diagnostics.drain)
            await pipes.end_input()
            with anyio.move_on_after(stdin_close):
                await process.wait()
            if _signal_group(process, "SIGTERM"):
                with anyio.move_on_after(term):
                    await _wait_group(process)
                _signal_group(process, "SIGKILL")
            with anyio.move_on_after(REAP_SECONDS):
                await process.wait()
            with anyio.move_on_after(LAST_WORDS_SECONDS):
                await diagnostics.ended.wait()
            _reap_inherited(process)
            tasks.cancel_scope.cancel()
        await pipes.aclose()
        if process.returncode is not None:
            await process.aclose()


def exit_text(process: Process) -> str:
    """How `process` ended, in words."""
    status = process.returncode
    if status is None:
        return "closed its standard output but is still running"
    if status >= 0:
        return f"ended with exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = "unknown"
    return f"was killed by signal {-status} ({name})"


def command_text(command: Sequence[str]) -> str:
    """`command` as one would type it, shortened."""
    text = shlex.join(command)
    return text if len(text) <= COMMAND_TEXT_CHARACTERS else text[:COMMAND_TEXT_CHARACTERS] + "…"


async def _discard(pipes: ChildPipes) -> None:
    try:
        while await pipes.read():
            pass
    except (ConnectionLost, anyio.ClosedResourceError):
        return


async def _wait_group(process: Process) -> None:
    await process.wait()
    while _group_exists(process):  # noqa: ASYNC110 - the kernel reports the end of a group to nobody
        await anyio.sleep(POLL_SECONDS)


if sys.platform == "win32":

    async def _start(
        command: Sequence[str], env: Mapping[str, str], cwd: str | os.PathLike[str] | None, write_deadline: float
    ) -> tuple[Process, ChildPipes]:
        # CreateProcess looks for .exe files only, and npx, uvx and the like are often .cmd files.
        program = shutil.which(command[0], path=env.get("PATH")) or command[0]
        process = await anyio.open_process(
            [program, *command[1:]], env=env, cwd=cwd, creationflags=subprocess.CREATE_NEW_PROCESS_GROUP
        )
        return process, _Streams(process, write_deadline)

    class _Streams(ChildPipes):
        """The streams that the event loop made."""

        def __init__(self, process: Process, write_deadline: float) -> None:
            assert process.stdin is not None
            assert process.stdout is not None
            self._stdin = process.stdin
            self._stdout = process.stdout
            self._deadline = write_deadline

        async def read(self) -> bytes:
            try:
                return await self._stdout.receive(READ_BYTES)
            except anyio.EndOfStream:
                return b""
            except (anyio.BrokenResourceError, OSError) as broken:
                raise ConnectionLost("the child broke off what it was sending") from broken

        async def write(self, data: bytes) -> None:
            for start in range(0, len(data), WRITE_BYTES):
                with anyio.move_on_after(self._deadline) as scope:
                    try:
                        await self._stdin.send(data[start : start + WRITE_BYTES])
                    except (anyio.BrokenResourceError, OSError) as broken:
                        raise ConnectionLost("the child no longer reads what we send") from broken
                if scope.cancelled_caught:
                    raise ConnectionLost(f"the child has not read for {self._deadline:g} s")

        async def end_input(self) -> None:
            await self._stdin.aclose()

        async def aclose(self) -> None:
            await self._stdin.aclose()
            await self._stdout.aclose()

    def _signal_group(process: Process, name: str) -> bool:
        # There are no signals: both steps are TerminateProcess, which ends the child alone. Its children would
        # need a job object, which the standard library does not offer.
        if process.returncode is not None:
            return False
        try:
            process.terminate()
        except OSError:
            return False
        return True

    def _group_exists(process: Process) -> bool:
        return False

    def _reap_inherited(process: Process) -> None:
        pass

else:

    async def _start(
        command: Sequence[str], env: Mapping[str, str], cwd: str | os.PathLike[str] | None, write_deadline: float
    ) -> tuple[Process, ChildPipes]:
        with ExitStack() as childs, ExitStack() as ours:
            given, writing = os.pipe()
            childs.callback(os.close, given)
            ours.callback(os.close, writing)
            reading, taken = os.pipe()
            childs.callback(os.close, taken)
            ours.callback(os.close, reading)
            process = await anyio.open_process(
                list(command), stdin=given, stdout=taken, env=env, cwd=cwd, start_new_session=True
            )
            ours.pop_all()
            return process, _Descriptors(reading, writing, write_deadline)

    class _Descriptors(ChildPipes):
        """Pipes of our own: the event loop's are several times as expensive to use."""

        def __init__(self, reading: int, writing: int, write_deadline: float) -> None:
            self._open = [reading, writing]
            self._reading = reading
            self._writing = writing
            self._input = InputDescriptor(reading)
            self._output = OutputDescriptor(writing, write_deadline=write_deadline)

        async def read(self) -> bytes:
            if self._reading not in self._open:
                raise anyio.ClosedResourceError
            return await self._input.read()

        async def write(self, data: bytes) -> None:
            if self._writing not in self._open:
                raise anyio.ClosedResourceError
            await self._output.write(data)

        def write_nowait(self, data: bytes) -> bool:
            return self._writing in self._open and self._output.write_nowait(data)

        async def end_input(self) -> None:
            if self._writing in self._open:
                self._open.remove(self._writing)
                self._output.close()
                os.close(self._writing)

        async def aclose(self) -> None:
            await self.end_input()
            if self._reading in self._open:
                self._open.remove(self._reading)
                self._input.close()
                os.close(self._reading)

    def _signal_group(process: Process, name: str) -> bool:
        """Signal the group of `process`; False when there is nobody left in it."""
        return _kill_group(process, signal.Signals[name])

    def _group_exists(process: Process) -> bool:
        _reap_inherited(process)
        return _kill_group(process, 0)

    def _reap_inherited(process: Process) -> None:
        # As process 1 of a container we inherit what the child leaves behind, and nobody else would reap it. The
        # child's own status belongs to the event loop, so not before that has it.
        if process.returncode is None:
            return
        try:
            while os.waitpid(-process.pid, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return

    def _kill_group(process: Process, number: int) -> bool:
        if process.returncode is not None and _number_reused(process.pid):
            return False
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return False  # the group is empty
        except PermissionError:
            # macOS says so of a group of zombies; elsewhere its members have all become another user's.
            return False
        return True

    def _number_reused(pid: int) -> bool:
        # While a group has members the kernel gives its number to no process. So a process that bears the number
        # of our child after we reaped that child shows that our group is gone, and that this is a stranger's.
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def _refusal(
    refused: Exception, command: Sequence[str], env: Mapping[str, str], cwd: str | os.PathLike[str] | None
) -> str:
    if cwd is not None and not os.path.isdir(cwd):
        return f"cannot start {command_text(command)!r}: its working directory {os.fspath(cwd)!r} does not exist"
    if isinstance(refused, FileNotFoundError):
        return (
            f"cannot start {command_text(command)!r}: there is no program {command[0]!r}; check the spelling, that "
            f"it is installed, and that the child's PATH ({env.get('PATH', 'not set')}) names its directory"
        )
    if isinstance(refused, PermissionError):
        return f"cannot start {command_text(command)!r}: {command[0]!r} may not be executed; check its mode bits"
    return f"cannot start {command_text(command)!r}: {refused}"
