"""Worker threads: the limit, the queue, cancellation, and what does not outlive them. Threads block on events."""

import asyncio
import contextvars
import gc
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import NoReturn

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mcpcore import threads
from mcpcore.errors import CODE_SERVER_BUSY, LocalProtocolError
from mcpcore.threads import Overloaded, ThreadLimiter, ThreadStatistics

pytestmark = pytest.mark.anyio

PATIENCE = 20.0  # seconds of real time until a test gives up on a thread


async def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up, "the threads never got there"
        await checkpoint()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What blocked threads wait for; opened at the end, so that none is left."""
    gate = threading.Event()
    yield gate
    gate.set()


async def test_arguments_and_result() -> None:
    assert await ThreadLimiter().run(lambda *args, **kwargs: (args, kwargs), 1, 2, fn=3) == ((1, 2), {"fn": 3})


async def test_runs_elsewhere_and_reuses_the_thread() -> None:
    limiter = ThreadLimiter()
    first = await limiter.run(threading.get_ident)
    assert first != threading.get_ident()
    assert [await limiter.run(threading.get_ident) for _ in range(3)] == [first] * 3


async def test_never_more_than_the_limit() -> None:
    limiter = ThreadLimiter(3)
    together = threading.Barrier(3)
    lock = threading.Lock()
    inside = peak = 0

    def work() -> None:
        nonlocal inside, peak
        with lock:
            inside += 1
            peak = max(peak, inside)
        together.wait(PATIENCE)  # passes only if three run at once
        with lock:
            inside -= 1

    async with anyio.create_task_group() as group:
        for _ in range(12):
            group.start_soon(limiter.run, work)
    assert peak == 3
    assert limiter.statistics() == ThreadStatistics(running=0, waiting=0, abandoned=0, max_threads=3)


async def test_first_come_first_served(gate: threading.Event) -> None:
    limiter = ThreadLimiter(1)
    order: list[int] = []
    async with anyio.create_task_group() as group:
        group.start_soon(limiter.run, gate.wait)
        await until(lambda: limiter.statistics().running == 1)
        for number in range(6):
            group.start_soon(limiter.run, order.append, number)
            await until(lambda: limiter.statistics().waiting == number + 1)  # noqa: B023 - awaited at once
        gate.set()
    assert order == list(range(6))


async def test_too_many_waiting_are_refused(gate: threading.Event) -> None:
    limiter = ThreadLimiter(1, max_waiting=2)
    called: list[str] = []
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(limiter.run, gate.wait)
        await until(lambda: limiter.statistics().waiting == 2)
        with pytest.raises(Overloaded) as refusal:
            await limiter.run(called.append, "refused")
        assert refusal.value.code == CODE_SERVER_BUSY
        gate.set()
    await limiter.run(called.append, "later")
    assert called == ["later"]


async def test_cancelling_abandons_the_thread_but_not_its_slot(gate: threading.Event) -> None:
    limiter = ThreadLimiter(1)
    called: list[str] = []
    async with anyio.create_task_group() as group:
        group.start_soon(limiter.run, gate.wait)
        await until(lambda: limiter.statistics().running == 1)
        group.cancel_scope.cancel()
    # The caller is gone while its thread still runs.
    assert limiter.statistics() == ThreadStatistics(running=1, waiting=0, abandoned=1, max_threads=1)
    async with anyio.create_task_group() as group:
        group.start_soon(limiter.run, called.append, "next")
        await until(lambda: limiter.statistics().waiting == 1)
        assert called == []
        gate.set()
    assert called == ["next"]
    assert limiter.statistics() == ThreadStatistics(running=0, waiting=0, abandoned=0, max_threads=1)


async def test_cancelled_while_waiting_is_never_called(gate: threading.Event) -> None:
    limiter = ThreadLimiter(1)
    called: list[str] = []
    async with anyio.create_task_group() as group:
        group.start_soon(limiter.run, gate.wait)
        await until(lambda: limiter.statistics().running == 1)
        async with anyio.create_task_group() as impatient:
            impatient.start_soon(limiter.run, called.append, "cancelled")
            await until(lambda: limiter.statistics().waiting == 1)
            impatient.cancel_scope.cancel()
        assert limiter.statistics() == ThreadStatistics(running=1, waiting=0, abandoned=0, max_threads=1)
        gate.set()
    await limiter.run(called.append, "next")
    assert called == ["next"]


async def test_cancelled_before_the_call_starts_nothing() -> None:
    limiter = ThreadLimiter()
    called: list[str] = []
    with anyio.CancelScope() as scope:
        scope.cancel()
        await limiter.run(called.append, "cancelled")
    await limiter.run(called.append, "next")
    assert scope.cancelled_caught
    assert called == ["next"]


async def test_an_abandoned_error_goes_nowhere(gate: threading.Event) -> None:
    limiter = ThreadLimiter(1)

    def fail() -> NoReturn:
        gate.wait()
        raise ValueError("too late")

    async with anyio.create_task_group() as group:
        group.start_soon(limiter.run, fail)
        await until(lambda: limiter.statistics().running == 1)
        group.cancel_scope.cancel()
    gate.set()
    await until(lambda: limiter.statistics().running == 0)
    assert limiter.statistics().abandoned == 0
    assert await limiter.run(str, 1) == "1"


def fail_with(error: BaseException) -> NoReturn:
    raise error


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), SystemExit(3)])
async def test_exceptions_arrive_unchanged(error: BaseException) -> None:
    limiter = ThreadLimiter()
    with pytest.raises(type(error)) as raised:
        await limiter.run(fail_with, error)
    assert raised.value is error
    assert limiter.statistics().running == 0


async def test_stop_iteration_becomes_a_runtime_error() -> None:
    error = StopIteration(1)
    with pytest.raises(RuntimeError, match="the function raised StopIteration in its thread") as raised:
        await ThreadLimiter().run(fail_with, error)
    assert raised.value.__cause__ is error


async def test_a_cancellation_raised_in_the_thread_does_not_cancel_the_caller(anyio_backend_name: str) -> None:
    if anyio_backend_name == "asyncio":
        error: BaseException = asyncio.CancelledError()
        with pytest.raises(RuntimeError, match="raised CancelledError") as raised:
            await ThreadLimiter().run(fail_with, error)
        assert raised.value.__cause__ is error
    else:  # trio's cannot be made by hand, and asyncio's is one exception among others
        error = asyncio.CancelledError()
        with pytest.raises(asyncio.CancelledError):
            await ThreadLimiter().run(fail_with, error)


async def test_context_variables_are_copied() -> None:
    variable = contextvars.ContextVar("variable", default="default")
    limiter = ThreadLimiter(1)

    def swap() -> str:
        before = variable.get()
        variable.set("of the thread")
        return before

    variable.set("of the caller")
    assert await limiter.run(swap) == "of the caller"
    assert variable.get() == "of the caller"
    assert await limiter.run(variable.get) == "of the caller"


async def test_tasks_go_on_while_a_hundred_threads_block(gate: threading.Event) -> None:
    limiter = ThreadLimiter(100)
    started = threading.Semaphore(0)

    def block() -> None:
        started.release()
        gate.wait()

    async with anyio.create_task_group() as group:
        for _ in range(100):
            group.start_soon(limiter.run, block)
        for _ in range(100):
            await until(partial(started.acquire, blocking=False))
        assert limiter.statistics().running == 100
        send, receive = anyio.create_memory_object_stream[int](0)

        async def count() -> None:
            async with send:
                for number in range(1000):
                    await send.send(number)

        group.start_soon(count)
        async with receive:
            assert [number async for number in receive] == list(range(1000))
        assert limiter.statistics().running == 100
        gate.set()


async def test_the_thread_of_an_idle_limiter_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "IDLE_SECONDS", 0.0)
    limiter = ThreadLimiter()
    for _ in range(3):
        thread = await limiter.run(threading.current_thread)
        thread.join(PATIENCE)
        assert not thread.is_alive()


async def test_close_ends_threads_and_refuses_calls(gate: threading.Event) -> None:
    limiter = ThreadLimiter(2)
    seen: list[threading.Thread] = []

    def block() -> None:
        seen.append(threading.current_thread())
        gate.wait()

    idle = await limiter.run(threading.current_thread)
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(limiter.run, block)
        await until(lambda: len(seen) == 2 and limiter.statistics().waiting == 1)
        limiter.close()
        with pytest.raises(anyio.ClosedResourceError):
            await limiter.run(str)
        gate.set()
    assert len(seen) == 3
    assert idle in seen
    for thread in seen:
        thread.join(PATIENCE)
        assert not thread.is_alive()


async def test_close_ends_an_idle_thread() -> None:
    limiter = ThreadLimiter()
    thread = await limiter.run(threading.current_thread)
    limiter.close()
    thread.join(threads.IDLE_SECONDS / 2)
    assert not thread.is_alive()


async def test_a_limiter_that_is_garbage_ends_its_threads() -> None:
    limiter = ThreadLimiter()
    thread = await limiter.run(threading.current_thread)
    del limiter
    gc.collect()
    thread.join(threads.IDLE_SECONDS / 2)
    assert not thread.is_alive()


class Thing:
    pass


async def test_an_idle_thread_holds_nothing_of_the_last_call() -> None:
    limiter = ThreadLimiter()
    thing = Thing()
    watched = weakref.ref(thing)
    assert await limiter.run(lambda argument: argument, thing) is thing
    del thing
    await until(lambda: watched() is None)


class Watched(Exception):
    pass


async def test_an_error_leaves_no_cycle() -> None:
    limiter = ThreadLimiter()

    def fail() -> NoReturn:
        raise Watched

    gc.disable()
    try:
        watched: weakref.ref[Watched] | None = None
        try:
            await limiter.run(fail)
        except Watched as error:
            watched = weakref.ref(error)
        assert watched is not None
        await until(lambda: watched() is None)
    finally:
        gc.enable()


async def test_no_thread_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    limiter = ThreadLimiter(1)

    def start(self: threading.Thread) -> NoReturn:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(Overloaded, match="out of threads"):
            await limiter.run(str)
    assert limiter.statistics().running == 0
    assert await limiter.run(str, 1) == "1"


@pytest.mark.parametrize("limits", [(0, 1), (-1, 1), (1, -1)])
def test_impossible_limits(limits: tuple[int, int]) -> None:
    with pytest.raises(LocalProtocolError):
        ThreadLimiter(*limits)


@pytest.mark.parametrize("backends", [("asyncio", "trio"), ("trio", "asyncio")])
def test_one_limiter_serves_one_loop_after_another(backends: tuple[str, str], gate: threading.Event) -> None:
    """The thread abandoned in the first loop ends during the second, and its result is dropped without a sound."""
    limiter = ThreadLimiter(1)

    async def abandon() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(limiter.run, gate.wait)
            await until(lambda: limiter.statistics().running == 1)
            group.cancel_scope.cancel()

    async def go_on() -> str:
        results: list[str] = []

        async def call() -> None:
            results.append(await limiter.run(str, "next"))

        async with anyio.create_task_group() as group:
            group.start_soon(call)
            await until(lambda: limiter.statistics().waiting == 1)
            gate.set()
        return results[0]

    first, second = backends
    anyio.run(abandon, backend=first)
    assert limiter.statistics().abandoned == 1
    assert anyio.run(go_on, backend=second) == "next"
    assert limiter.statistics() == ThreadStatistics(running=0, waiting=0, abandoned=0, max_threads=1)


EXIT_PROGRAM = """
import sys, threading, anyio
from mcpcore.threads import ThreadLimiter

async def main():
    limiter = ThreadLimiter(2)
    await limiter.run(str)
    started = threading.Event()
    def stuck():
        started.set()
        threading.Event().wait()
    async with anyio.create_task_group() as group:
        group.start_soon(limiter.run, stuck)
        while not started.is_set():
            await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    assert limiter.statistics().abandoned == 1
    other = {"asyncio": "trio", "trio": "asyncio"}[sys.argv[1]]
    assert other not in sys.modules, other

anyio.run(main, backend=sys.argv[1])
print("done")
"""


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_stuck_thread_does_not_keep_the_process(backend: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", EXIT_PROGRAM, backend], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "done\n", "")
