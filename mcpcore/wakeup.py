"""How one task waits for another in the cheapest way that the event loop has.

An `anyio.Event` on asyncio is two objects, a queue of waiters and two coroutines: more than a kilobyte for everything
that waits, which is a tenth of what a session weighs. Where one task waits at a time, a future does.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable
from typing import Any

import anyio
import anyio.lowlevel

__all__ = ("Wakeup", "make_wakeup")


class Wakeup(ABC):
    """Wakes the one task that waits. It has no memory: whoever waits looks first whether there is a reason to, and
    again afterwards. Belongs to the event loop that it was made in."""

    __slots__ = ()

    @abstractmethod
    def wait(self) -> Awaitable[Any]:
        """What to await at once; it ends with the next `set`. A cancelled wait leaves nothing behind."""

    @abstractmethod
    def set(self) -> None:
        """End the wait, if there is one."""


def make_wakeup() -> Wakeup:
    """For the event loop that runs."""
    loop: Any = anyio.lowlevel.current_token().native_token
    return _FutureWakeup(loop) if hasattr(loop, "create_future") else _TrioWakeup()


class _FutureWakeup(Wakeup):
    __slots__ = ("_future", "_loop")

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._future: Any = None

    def wait(self) -> Awaitable[Any]:
        future: Awaitable[Any] = self._loop.create_future()
        self._future = future
        return future

    def set(self) -> None:
        future, self._future = self._future, None
        if future is not None and not future.done():  # a cancelled wait leaves a cancelled future
            future.set_result(None)


class _TrioWakeup(Wakeup):
    __slots__ = ("_lowlevel", "_task")

    def __init__(self) -> None:
        import trio.lowlevel

        self._lowlevel = trio.lowlevel
        self._task: Any = None

    async def wait(self) -> None:
        self._task = self._lowlevel.current_task()
        await self._lowlevel.wait_task_rescheduled(self._abort)

    def set(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            self._lowlevel.reschedule(task)

    def _abort(self, raise_cancel: Any) -> Any:
        self._task = None
        return self._lowlevel.Abort.SUCCEEDED
