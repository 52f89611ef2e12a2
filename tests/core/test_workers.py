"""Workers by themselves: what one request leaves behind, and how they share the event loop with others."""

import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar, copy_context
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from core.wire import settle

from mcpcore import workers as module
from mcpcore.channel import Envelope
from mcpcore.jsonrpc import Request
from mcpcore.workers import MAX_RESTING, TURN_SECONDS, Workers

pytestmark = pytest.mark.anyio

on_asyncio = pytest.mark.parametrize("anyio_backend", ["asyncio"])

_user = ContextVar("_user", default="nobody")


@asynccontextmanager
async def at_work(answer: Callable[[Envelope], Awaitable[None]], max_running: int = 10) -> AsyncIterator[Workers]:
    async with anyio.create_task_group() as tasks:
        workers = Workers(answer, lambda: None, max_running=max_running)
        workers.start(tasks)
        yield workers
        await settle()
        assert (workers.running, len(workers.waiting), tasks.cancel_scope.cancel_called) == (0, 0, False)
        tasks.cancel_scope.cancel()


def put(workers: Workers, id: int, params: Any = None) -> None:
    workers.waiting.append(Envelope(Request(id, "any", params)))
    workers.call()


def id_of(envelope: Envelope) -> Any:
    assert isinstance(envelope.message, Request)
    return envelope.message.id


async def test_who_calls_a_worker_lends_it_no_context_variables() -> None:
    seen: list[str] = []

    async def answer(envelope: Envelope) -> None:
        seen.append(_user.get())

    def call() -> None:
        _user.set("ann")  # a task that waits for an answer of its own, and reads a question with it
        put(workers, 1)

    async with at_work(answer) as workers:
        copy_context().run(call)
        await settle()
        put(workers, 2)  # to the worker that rests
    assert seen == ["nobody", "nobody"]


async def test_a_worker_at_rest_holds_nothing_of_what_it_answered() -> None:
    class Large:
        pass

    async def answer(envelope: Envelope) -> None:
        await anyio.lowlevel.checkpoint()

    large = Large()
    kept = weakref.ref(large)
    async with at_work(answer) as workers:
        put(workers, 1, large)
        del large
        await settle()
        gc.collect()
        assert kept() is None


# ---------------------------------------------------------------------- turns


async def test_requests_that_compute_let_others_run_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    done: list[int] = []
    alone = longest = 0

    async def answer(envelope: Envelope) -> None:
        nonlocal now, alone, longest
        now += TURN_SECONDS
        alone += 1
        longest = max(longest, alone)
        done.append(id_of(envelope))

    async def take_turns() -> None:
        nonlocal alone
        while len(done) < 1000:
            alone = 0
            await anyio.lowlevel.checkpoint()

    monkeypatch.setattr(module, "perf_counter", lambda: now)
    async with at_work(answer, 256) as workers, anyio.create_task_group() as others:
        others.start_soon(take_turns)
        for id in range(1000):
            put(workers, id)
    assert done == list(range(1000))
    assert longest <= 2 * MAX_RESTING  # though a thousand wait; trio's turns are in any order


async def test_a_worker_keeps_its_place_while_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    running = most = 0

    async def answer(envelope: Envelope) -> None:
        nonlocal now, running, most
        now += TURN_SECONDS
        running += 1
        most = max(most, running)
        if id_of(envelope) % 3:
            await anyio.lowlevel.checkpoint()
        running -= 1

    monkeypatch.setattr(module, "perf_counter", lambda: now)
    async with at_work(answer, 2) as workers:
        for id in range(60):
            put(workers, id)
            if id % 4 == 0:
                await anyio.lowlevel.checkpoint()
            assert workers.running <= 2
    assert most == 2


# ---------------------------------------------------------------------- tasks that somebody cancels (asyncio only)


@on_asyncio
async def test_cancelling_a_task_whose_request_is_answered_harms_no_other() -> None:
    import asyncio

    tasks: set[Any] = set()
    answered: list[int] = []

    async def answer(envelope: Envelope) -> None:
        tasks.add(asyncio.current_task())
        answered.append(id_of(envelope))

    async with at_work(answer) as workers:
        put(workers, 1)
        await settle()
        for task in tasks:
            task.cancel()  # as a timer does that outlives the handler which set it
        await settle()
        put(workers, 2)
        await settle()
        put(workers, 3)
        for task in tasks:
            task.cancel()  # with the worker called, and not there yet
        await settle()
    assert answered == [1, 2, 3]


@on_asyncio
@pytest.mark.parametrize("swallows", [False, True])
async def test_a_cancellation_that_a_handler_leaves_behind_reaches_no_other(swallows: bool) -> None:
    import asyncio

    left: list[int] = []

    async def answer(envelope: Envelope) -> None:
        task = asyncio.current_task()
        assert task is not None
        left.append(task.cancelling())
        if id_of(envelope) % 2 == 0:
            task.cancel()
        if swallows or id_of(envelope) % 2:
            try:
                await anyio.lowlevel.checkpoint()
            except asyncio.CancelledError:
                assert id_of(envelope) % 2 == 0

    async with at_work(answer) as workers:
        for id in range(6):
            put(workers, id)
    assert left == [0] * 6


async def test_workers_that_are_cancelled_begin_nothing_more() -> None:
    begun: list[int] = []

    async def answer(envelope: Envelope) -> None:
        begun.append(id_of(envelope))
        await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        workers = Workers(answer, lambda: None, max_running=1)
        workers.start(tasks)
        for id in range(3):
            put(workers, id)
        await settle()
        tasks.cancel_scope.cancel()
    assert begun == [0]
