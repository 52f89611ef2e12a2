"""One piece of work for all who need it: in virtual time."""

import anyio
import pytest

from mcpcore_transports.oauth.errors import LoginFailed, TokenRefused
from mcpcore_transports.oauth.flight import Flight

pytestmark = pytest.mark.anyio


class Work:
    def __init__(self, failure: LoginFailed | None = None) -> None:
        self.done = 0
        self.begun = 0
        self.failure = failure
        self.gate = anyio.Event()

    async def __call__(self) -> None:
        self.begun += 1
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.done += 1


async def test_many_wait_for_one() -> None:
    flight, work = Flight(), Work()
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(flight.join, work)
        await anyio.wait_all_tasks_blocked()
        work.gate.set()
    assert (work.begun, work.done) == (1, 1)
    await flight.join(work)
    assert work.done == 2, "and the next one is another piece of work"


async def test_all_get_its_failure_and_none_gets_the_same_object() -> None:
    flight, work = Flight(), Work(TokenRefused("no", error="invalid_grant", status=400))
    caught: list[TokenRefused] = []

    async def join() -> None:
        with pytest.raises(TokenRefused, match="no") as failed:
            await flight.join(work)
        caught.append(failed.value)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(join)
        await anyio.wait_all_tasks_blocked()
        work.gate.set()
    assert len({id(error) for error in caught}) == 3
    assert {(error.error, error.status) for error in caught} == {("invalid_grant", 400)}
    assert work.begun == 1


@pytest.mark.parametrize("crash", [False, True])
async def test_when_the_first_one_is_cancelled_or_breaks_another_one_begins_again(crash: bool) -> None:
    flight, work = Flight(), Work()
    breaks = anyio.Event()

    async def broken() -> None:
        await breaks.wait()
        raise RuntimeError

    async def first(scope: anyio.CancelScope) -> None:
        with scope:
            try:
                await flight.join(broken)
            except RuntimeError:
                assert crash

    async with anyio.create_task_group() as tasks:
        scope = anyio.CancelScope()
        tasks.start_soon(first, scope)
        await anyio.wait_all_tasks_blocked()
        for _ in range(3):
            tasks.start_soon(flight.join, work)
        await anyio.wait_all_tasks_blocked()
        assert work.begun == 0
        if crash:
            breaks.set()
        else:
            scope.cancel()
        await anyio.wait_all_tasks_blocked()
        assert work.begun == 1
        work.gate.set()
    assert work.done == 1


async def test_one_that_only_waits_may_be_cancelled() -> None:
    flight, work = Flight(), Work()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(flight.join, work)
        await anyio.wait_all_tasks_blocked()
        with anyio.move_on_after(0.01) as scope:
            await flight.join(work)
        assert scope.cancelled_caught
        work.gate.set()
    assert (work.begun, work.done) == (1, 1)
