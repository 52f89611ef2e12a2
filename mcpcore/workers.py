"""Tasks that answer what waits, one request after another.

Starting a task costs more than most requests do, so a worker goes on with the next one. A request that waits has its
task for itself, because the next worker is on its way before any request is begun; those that do not wait are done
before it arrives.
"""

from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from math import inf
from time import perf_counter
from typing import Any

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from mcpcore.channel import Envelope
from mcpcore.wakeup import Wakeup, make_wakeup

__all__ = ("MAX_RESTING", "TURN_SECONDS", "Workers")

MAX_RESTING = 2
"""Workers of one session that stay for the next request when there is none: one to answer it, and one to be on its
way meanwhile. A task at rest holds some 6 KB: whoever has very many sessions that are seldom used sets it to 0."""

TURN_SECONDS = 0.001
"""Real time after which a worker lets other tasks run before it goes on with what waits: a thousand calls that compute
and never wait hold up no cancellation, and no answer of those before them, for longer than one of them takes."""


class Workers:
    """The workers of one session, `max_running` at most at work, and `max_resting` at rest.

    They live in the task group given to `start`.
    """

    __slots__ = (
        "_answer",
        "_coming",
        "_context",
        "_max_resting",
        "_max_running",
        "_pace",
        "_resting",
        "_tasks",
        "_turning",
        "_when_done",
        "running",
        "waiting",
    )

    def __init__(
        self,
        answer: Callable[[Envelope], Awaitable[None]],
        when_done: Callable[[], None],
        *,
        max_running: int,
        max_resting: int = MAX_RESTING,
    ) -> None:
        """`answer` answers one request; `when_done` is called after each, and must not wait."""
        self._answer = answer
        self._max_resting = max_resting
        self._max_running = max_running
        self._when_done = when_done
        self._tasks: TaskGroup | None = None
        self._context = Context()
        self._resting: list[Wakeup] = []
        self._coming = 0
        """Workers that were called and have not begun."""
        self._turning = 0
        """Workers that let others run between two requests."""
        self._pace = 1
        """Workers to call next."""
        self.running: int = 0
        self.waiting: list[Envelope] = []  # a deque would take a kilobyte of every idle session

    def start(self, tasks: TaskGroup) -> None:
        """Live in `tasks`, with the context variables that are set here and not those of who calls."""
        self._tasks = tasks
        self._context = copy_context()

    def call(self) -> None:
        """See to it that a worker is on its way whenever a request waits that may run."""
        if self._coming or self._tasks is None or self._tasks.cancel_scope.cancel_called:
            return
        self._coming = min(len(self.waiting), self._pace, self._max_running - self.running)
        for _ in range(self._coming):
            if self._resting:
                self._resting.pop().set()
            else:
                self._context.run(self._tasks.start_soon, self._work)

    async def _work(self) -> None:
        context = _identities(copy_context())
        cancellations = _cancellations()
        called: Wakeup | None = None
        try:
            while True:
                called = None
                self._coming -= 1
                # One that only let others run comes back for what waits. And what is answered is held by nothing at
                # rest here: a session may rest for long.
                if not self._turning and not await self._answer_waiting(context, cancellations):
                    if cancellations():
                        await anyio.lowlevel.checkpoint()  # where it arrives, if it has not yet
                    self.call()
                    return
                self._pace = 1
                if len(self._resting) >= self._max_resting:
                    return
                called = make_wakeup()
                self._resting.append(called)
                await called.wait()
        except anyio.get_cancelled_exc_class():
            if anyio.current_effective_deadline() == -inf:
                raise
            # asyncio only: somebody cancelled the task of a handler, which is more than a handler's own here. Raised
            # further it would end the session.
            if called in self._resting:
                self._resting.remove(called)
            elif called is not None:
                self._coming -= 1
            self.call()

    async def _answer_waiting(self, context: list[int], cancellations: Callable[[], int]) -> bool:
        """Answer until none waits. False when a handler has changed this task, so that it is fit for no other one."""
        if self.waiting and self.running:
            self._pace *= 2  # whoever is at work waits for something, so they all may
        turned = perf_counter()
        while self.waiting:
            envelope = self.waiting.pop(0)
            self.running += 1
            self.call()
            try:
                await self._answer(envelope)
                if self.waiting and perf_counter() - turned >= TURN_SECONDS:
                    await self._turn()  # in its place, so that no more than may run do
                    turned = perf_counter()
            finally:
                self.running -= 1
                self._when_done()
            if _identities(copy_context()) != context or cancellations():
                return False
        return True

    async def _turn(self) -> None:
        self._turning += 1
        try:
            await anyio.lowlevel.checkpoint()
        finally:
            self._turning -= 1


def _identities(context: Context) -> list[int]:
    """What tells a context from one in which a variable was set, whatever the values think of being compared."""
    return [*map(id, context), *map(id, context.values())]


def _cancellations() -> Callable[[], int]:
    """Counts the cancellations of this task that came from no cancel scope: asyncio has those, trio does not."""
    loop: Any = anyio.lowlevel.current_token().native_token
    if not hasattr(loop, "add_reader"):
        return int
    import asyncio

    task = asyncio.current_task()
    assert task is not None
    return task.cancelling
