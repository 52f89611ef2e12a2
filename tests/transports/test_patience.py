"""Virtual time: what is tested is when something happens, so these run on trio alone."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from mcpcore.testing import virtual_time
from mcpcore_transports.http.patience import LOOK_SECONDS, PATIENCE_SECONDS, Patience

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> Any:
    return virtual_time()


class Answer:
    def __init__(self) -> None:
        self.begun: list[float] = []

    async def begin(self) -> None:
        self.begun.append(anyio.current_time())


@asynccontextmanager
async def watched() -> AsyncIterator[Patience]:
    patience = Patience()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(patience.keep_alive)
        yield patience
        tasks.cancel_scope.cancel()


async def test_an_answer_that_takes_long_is_begun_once() -> None:
    async with watched() as patience:
        answer, start = Answer(), anyio.current_time()
        patience.add(answer)
        await anyio.sleep(3 * PATIENCE_SECONDS)
        assert len(answer.begun) == 1
        assert PATIENCE_SECONDS <= answer.begun[0] - start <= PATIENCE_SECONDS + LOOK_SECONDS


async def test_an_answer_that_came_is_left_alone() -> None:
    async with watched() as patience:
        quick, slow = Answer(), Answer()
        patience.add(quick)
        patience.add(slow)
        await anyio.sleep(PATIENCE_SECONDS / 2)
        patience.remove(quick)
        await anyio.sleep(2 * PATIENCE_SECONDS)
        assert (len(quick.begun), len(slow.begun)) == (0, 1)


async def test_each_has_its_own_time() -> None:
    async with watched() as patience:
        early, late = Answer(), Answer()
        patience.add(early)
        await anyio.sleep(PATIENCE_SECONDS - LOOK_SECONDS)
        patience.add(late)
        await anyio.sleep(2.5 * LOOK_SECONDS)
        assert (len(early.begun), len(late.begun)) == (1, 0)
