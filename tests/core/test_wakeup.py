"""One task waits for another: woken once, cancelled without a trace, and no memory of what nobody waited for."""

import anyio
import pytest
from anyio.lowlevel import checkpoint

from mcpcore.wakeup import make_wakeup

pytestmark = pytest.mark.anyio


async def _settle() -> None:
    for _ in range(5):
        await checkpoint()


async def test_each_set_ends_one_wait_and_the_next_one_waits_again() -> None:
    wakeup = make_wakeup()
    woken: list[int] = []

    async def wait() -> None:
        for number in range(3):
            await wakeup.wait()
            woken.append(number)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await _settle()
        assert woken == []
        for number in range(3):
            wakeup.set()
            wakeup.set()  # the task has not run since: it was woken already
            await _settle()
            assert woken == list(range(number + 1))


async def test_what_was_set_while_nobody_waited_wakes_nobody() -> None:
    wakeup = make_wakeup()
    wakeup.set()
    with anyio.move_on_after(0) as scope:
        await wakeup.wait()
    assert scope.cancelled_caught


async def test_a_cancelled_wait_leaves_nothing_behind() -> None:
    wakeup = make_wakeup()
    with anyio.move_on_after(0):
        await wakeup.wait()
    wakeup.set()  # there is nobody to wake, and nothing to fail over
    woken = anyio.Event()

    async def wait() -> None:
        await wakeup.wait()
        woken.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await _settle()
        assert not woken.is_set()
        wakeup.set()
        await _settle()
        assert woken.is_set()


async def test_a_task_may_be_cancelled_once_it_was_woken() -> None:
    wakeup = make_wakeup()
    with anyio.CancelScope() as scope:

        async def wake_and_cancel() -> None:
            wakeup.set()
            scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wake_and_cancel)
            await wakeup.wait()
            await checkpoint()
    assert scope.cancelled_caught
