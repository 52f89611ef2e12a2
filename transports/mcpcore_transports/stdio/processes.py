"""Starting a child process and seeing to its end, and to that of what it started."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

import anyio
from anyio.abc import ByteReceiveStream, Process

from mcpcore.errors import ConnectFailed
from mcpcore_transports.stdio.diagnostics import Diagnostics
from mcpcore_transports.stdio.pipe import READ_BYTES

__all__ = (
    "COMMAND_TEXT_CHARACTERS",
    "LAST_WORDS_SECONDS",
    "POLL_SECONDS",
    "REAP_SECONDS",
    "STDIN_CLOSE_SECONDS",
    "TERM_SECONDS",
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

POLL_SECONDS = 0.02
"""How often we look whether the group of a child that has exited is empty."""

COMMAND_TEXT_CHARACTERS = 200


async def start_process(
    command: Sequence[str], *, env: Mapping[str, str], cwd: str | os.PathLike[str] | None
) -> Process:
    """Start `command` in a process group of its own, with pipes on its three standard descriptors.

    Raises `ConnectFailed` when that cannot be done.
    """
    if not command:
        raise ConnectFailed("the command of the server is empty; give the program and its arguments as a list")
    try:
        if sys.platform == "win32":
            # CreateProcess looks for .exe files only, and npx, uvx and the like are often .cmd files.
            program = shutil.which(command[0], path=env.get("PATH")) or command[0]
            return await anyio.open_process(
                [program, *command[1:]], env=env, cwd=cwd, creationflags=subprocess.CREATE_NEW_PROCESS_GROUP
            )
        return await anyio.open_process(list(command), env=env, cwd=cwd, start_new_session=True)
    except (OSError, ValueError) as refused:
        raise ConnectFailed(_refusal(refused, command, env, cwd)) from refused


async def take_down(
    process: Process,
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
            assert process.stdin is not None
            assert process.stdout is not None
            tasks.start_soon(_discard, process.stdout)
            tasks.start_soon(diagnostics.drain)
            await process.stdin.aclose()
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


async def _discard(stream: ByteReceiveStream) -> None:
    try:
        while True:
            await stream.receive(READ_BYTES)
    except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError):
        return


async def _wait_group(process: Process) -> None:
    await process.wait()
    while _group_exists(process):  # noqa: ASYNC110 - the kernel reports the end of a group to nobody
        await anyio.sleep(POLL_SECONDS)


if sys.platform == "win32":

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
