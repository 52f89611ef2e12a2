"""Worker threads for sync tools, with a limit that counts threads and not callers.

anyio's own limiter is shared with everything else in the process, takes a thread for free as soon as its caller
is cancelled although the thread still runs, and the interpreter joins its threads before it exits. Here:

- a slot is given back only when the function has really returned, so abandoned threads cannot pile up;
- the threads are daemons, so a tool that never returns does not keep the process alive;
- more callers than may wait are refused (`Overloaded`) instead of queued.
"""

import sys
import weakref
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar, copy_context
from enum import Enum
from functools import partial
from threading import Lock, RLock, Thread
from typing import Any, TypeAlias, TypeVar, cast

import anyio
import msgspec
from anyio.lowlevel import checkpoint_if_cancelled, current_token

from mcpcore.errors import CODE_SERVER_BUSY, LocalProtocolError, RequestError

__all__ = (
    "IDLE_SECONDS",
    "MAX_THREADS",
    "MAX_WAITING",
    "Overloaded",
    "ThreadLimiter",
    "ThreadStatistics",
    "call_in_loop",
)

MAX_THREADS = 40
"""Threads that one limiter runs at once: what anyio allows too, so tools moved here find the room they had."""

MAX_WAITING = 1000
"""Calls that may wait for a thread: one for each of the sessions that the default limits admit."""

IDLE_SECONDS = 10.0
"""Seconds of real time that a thread waits for its next call before it ends: a burst reuses it, a quiet server
gets its memory back."""

T = TypeVar("T")


_LoopEntry: TypeAlias = Callable[[Callable[[], object]], object]

_loop_entry: ContextVar[_LoopEntry | None] = ContextVar("_loop_entry", default=None)
"""In a limiter's thread: how to have the caller's event loop run something."""


class Overloaded(RequestError):
    """All threads are taken and no more calls may wait. Nothing was run; the same call may succeed later."""

    def __init__(self, message: str = "the server is busy: try again later") -> None:
        super().__init__(CODE_SERVER_BUSY, message)


class ThreadStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot. All but `max_threads` may have changed by the time it is read."""

    running: int
    """Slots taken: functions that have not returned, the abandoned ones included."""

    waiting: int
    """Calls that wait for a slot."""

    abandoned: int
    """Those of `running` whose caller was cancelled."""

    max_threads: int


class _State(Enum):
    WAITING = 1
    RUNNING = 2
    ABANDONED = 3  # cancelled while it ran; its slot is still taken
    ENDED = 4


def call_in_loop(fn: Callable[[], object]) -> None:
    """Call `fn` in the event loop: soon, when this is one of a limiter's threads, at once when it is not."""
    entry = _loop_entry.get()
    if entry is None:
        fn()
    else:
        _enter(entry, fn)


def _enter(entry: _LoopEntry, fn: Callable[[], object]) -> None:
    # Both backends raise a RuntimeError once the loop has ended: then nobody is left who could want the result.
    with suppress(RuntimeError):
        entry(fn)


class _Job:
    """One call, from its admission until its result is collected."""

    __slots__ = ("__weakref__", "_function", "_wake", "ended", "error", "state", "value")

    def __init__(self, function: Callable[[], object]) -> None:
        self.state = _State.WAITING
        self.ended = anyio.Event()
        self.value: object = None
        self.error: BaseException | None = None
        context = copy_context()
        self._function: Callable[[], object] | None = partial(context.run, function)
        # anyio's blocking way from a thread into a loop waits for the loop to run the call, for ever if the loop
        # stops in between. The loop's own entry point does not wait, and both kinds take (function, *arguments).
        loop: Any = current_token().native_token
        self._wake: _LoopEntry = (
            loop.run_sync_soon
            if hasattr(loop, "run_sync_soon")
            # asyncio would run the call with the thread's context variables.
            else partial(loop.call_soon_threadsafe, context=copy_context())
        )
        context.run(_loop_entry.set, self._wake)
        # By what the caller's context says, a loop runs here; none does, and the function may well start one.
        if (sniffio := sys.modules.get("sniffio")) is not None:
            context.run(sniffio.current_async_library_cvar.set, None)

    def call(self) -> None:
        function, self._function = self._function, None
        assert function is not None
        try:
            self.value = function()
        except BaseException as error:
            self.error = error

    def wake(self) -> None:
        _enter(self._wake, self.ended.set)

    def drop(self) -> None:
        # An error holds frames that hold this job; letting go of it here leaves no cycle to the garbage collector.
        self.value = self.error = None

    def collect(self) -> object:
        value, error = self.value, self.error
        self.drop()
        if error is None:
            return value
        try:
            if isinstance(error, (StopIteration, anyio.get_cancelled_exc_class())):
                # In a coroutine the first would mean "returned" and the second "cancelled from outside".
                raise RuntimeError(f"the function raised {type(error).__name__} in its thread") from error
            raise error
        finally:
            del error


class _Pool:
    """The threads of one limiter. They hold the pool and not the limiter, so that the limiter can become garbage.

    The lock is reentrant because closing can be a finalizer's doing, in any thread, also one that holds the lock.
    Whatever such a close misses ends after `IDLE_SECONDS` on its own.
    """

    def __init__(self, max_threads: int, max_waiting: int) -> None:
        self.max_threads = max_threads
        self.max_waiting = max_waiting
        self.lock = RLock()
        self.closed = False
        self.running = 0
        self.abandoned = 0
        self.waiting: OrderedDict[_Job, None] = OrderedDict()
        self.idle: list[_Worker] = []

    def admit(self, job: _Job) -> None:
        with self.lock:
            if self.closed:
                raise anyio.ClosedResourceError
            if self.running >= self.max_threads:
                if len(self.waiting) >= self.max_waiting:
                    raise Overloaded
                self.waiting[job] = None
                return
            if self.idle:
                # The one that became idle last: the others then stay idle long enough to end.
                self.idle.pop().give(job)
            else:
                try:
                    Thread(target=_Worker(self, job).run, name="mcpcore sync call", daemon=True).start()
                except RuntimeError as error:
                    raise Overloaded("the server is out of threads: try again later") from error
            self.running += 1
            job.state = _State.RUNNING

    def leave(self, job: _Job) -> None:
        """The caller was cancelled and no longer waits for this job, which may have ended."""
        with self.lock:
            if job.state is _State.WAITING:
                del self.waiting[job]
                job.state = _State.ENDED
            elif job.state is _State.RUNNING:
                job.state = _State.ABANDONED
                self.abandoned += 1
            else:
                job.drop()

    def end(self, job: _Job, worker: "_Worker") -> "tuple[_Job | None, bool]":
        """A function has returned: the worker's next job, and whether the worker stays when there is none."""
        with self.lock:
            if job.state is _State.ABANDONED:
                self.abandoned -= 1
                job.drop()
            job.state = _State.ENDED
            if self.waiting:
                following, _ = self.waiting.popitem(last=False)
                following.state = _State.RUNNING
                return following, True
            self.running -= 1
            if not self.closed:
                self.idle.append(worker)
            return None, not self.closed

    def retire(self, worker: "_Worker") -> bool:
        """Whether an idle worker may end; False if a job was given to it in the last moment."""
        with self.lock:
            if worker not in self.idle:
                return False
            self.idle.remove(worker)
            return True

    def close(self) -> None:
        with self.lock:
            self.closed = True
            while self.idle:
                self.idle.pop().give(None)


class _Worker:
    __slots__ = ("_job", "_pool", "_work")

    def __init__(self, pool: _Pool, job: _Job) -> None:
        self._pool = pool
        self._job: _Job | None = job
        self._work = Lock()  # held while there is nothing to do
        self._work.acquire()

    def give(self, job: _Job | None) -> None:
        """Hand the next job to an idle worker; None ends it."""
        self._job = job
        self._work.release()

    def run(self) -> None:
        while True:
            job, self._job = self._job, None
            while job is not None:
                job.call()
                following, stays = self._pool.end(job, self)
                # The slot is free before the caller hears of it, so that a caller may count on it.
                job.wake()
                job = following
                if not stays:
                    return
            # Nothing of the last call is held from here on: `job` and `following` are None.
            if not self._work.acquire(timeout=IDLE_SECONDS):
                if self._pool.retire(self):
                    return
                self._work.acquire()
            if self._job is None:
                return


class ThreadLimiter:
    """Runs sync functions in at most `max_threads` threads; at most `max_waiting` more calls wait, first come first
    served. Raises `LocalProtocolError` unless there is at least one thread and no negative number of waiters.

    It may serve several event loops, one after another or at once. Make one per process: threads do not survive a
    fork. Threads are started when needed and end when idle, at `close`, or once the limiter is garbage.
    """

    def __init__(self, max_threads: int = MAX_THREADS, max_waiting: int = MAX_WAITING) -> None:
        if max_threads < 1 or max_waiting < 0:
            raise LocalProtocolError(
                f"a limiter needs max_threads >= 1 and max_waiting >= 0, not {max_threads} and {max_waiting}"
            )
        self._pool = _Pool(max_threads, max_waiting)
        self._finalizer = weakref.finalize(self, self._pool.close)
        self._finalizer.atexit = False

    async def run(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Call `fn` in a thread, with a copy of the caller's context variables, and return what it returns.

        What `fn` raises is raised here, as it is; StopIteration and the event loop's cancellation exception come as
        the cause of a RuntimeError, since they would mean something else here. Raises `Overloaded` when too many
        calls wait already, and `anyio.ClosedResourceError` after `close`.

        Cancelling ends the wait at once. A function that was still waiting for a thread is then never called; one
        that runs goes on, keeps its slot until it returns, and what it returns or raises is dropped. There is no
        deadline here: that is the caller's cancel scope. `anyio.from_thread` does not work inside `fn`.
        """
        await checkpoint_if_cancelled()
        job = _Job(partial(fn, *args, **kwargs))
        self._pool.admit(job)
        try:
            await job.ended.wait()
        except BaseException:
            self._pool.leave(job)
            raise
        return cast(T, job.collect())

    def statistics(self) -> ThreadStatistics:
        pool = self._pool
        with pool.lock:
            return ThreadStatistics(
                running=pool.running,
                waiting=len(pool.waiting),
                abandoned=pool.abandoned,
                max_threads=pool.max_threads,
            )

    def close(self) -> None:
        """End the idle threads now and the others after their call. Calls that were admitted still run."""
        self._pool.close()
