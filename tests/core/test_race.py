"""A cancellation that races its response, thousands of times in one connection: one outcome each, and nothing left.

Two sessions over a multiplexed memory pipe. Each run is a request of either side; the caller gives up, and the
handler answers, each after a random number of turns of the scheduler. The seed of a run is its number, so a run that
fails can be had again.
"""

import os
from collections import Counter
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mcpcore.channel import Origin
from mcpcore.jsonrpc import Notification
from mcpcore.multiplex import Multiplexer
from mcpcore.session import Call, Role, Session
from mcpcore.testing import memory_pipes

pytestmark = [pytest.mark.anyio, pytest.mark.sweep]

RUNS = 50_000 if os.environ.get("MCPCORE_SWEEP") else 10_000
"""Runs on each backend; about a millisecond each."""

SIDE_BY_SIDE = 8
"""Runs at a time: their lines share writes, and their ids share tables."""

MOST_TURNS = 12
"""Turns of the scheduler that either side waits at most. A round trip takes about six."""

FAR_SECONDS = 3600.0

PATIENCE_SECONDS = 60.0 + RUNS / 100
"""How long the whole sweep may take: ten times what it does, so that a run that waits for ever fails."""


async def turns(count: int) -> None:
    for _ in range(count):
        await anyio.lowlevel.checkpoint()


class Racer(Role):
    """Answers after as many turns as the request says, with progress on the way."""

    def __init__(self) -> None:
        self.finished: Counter[str] = Counter()
        self.cancelled: Counter[str] = Counter()

    async def answer(self, call: Call) -> Any:
        run, wait, notify = (int(word) for word in call.method.split("/"))
        try:
            await turns(wait)
            if notify:
                await call.notify("notifications/progress", {"progressToken": call.id, "progress": run})
        except anyio.get_cancelled_exc_class():
            self.cancelled[call.method] += 1
            raise
        self.finished[call.method] += 1
        return run

    def hear(self, notification: Notification, origin: Origin | None) -> None:
        raise AssertionError(f"{notification!r} belongs to a request and went past it")

    def is_stream(self, method: str) -> bool:
        return False


async def race(session: Session, run: int, outcomes: Counter[str]) -> None:
    random = Random(run)
    method = f"{run}/{random.randrange(MOST_TURNS)}/{random.randrange(2)}"
    patience = random.randrange(2 * MOST_TURNS)
    heard: list[Notification] = []

    async def hear(notification: Notification) -> None:
        heard.append(notification)

    async def give_up(scope: anyio.CancelScope) -> None:
        await turns(patience)
        scope.cancel()

    found: list[str] = []
    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            tasks.start_soon(give_up, scope)
            result = await session.request(method, {}, timeout=FAR_SECONDS, on_notification=hear)
            assert bytes(result) == str(run).encode(), f"run {run} was answered with the result of another one"
            found.append("answered")
        if scope.cancelled_caught:
            found.append("cancelled")
        tasks.cancel_scope.cancel()
    assert len(found) == 1, f"run {run} ended like this: {found!r}"
    assert len(heard) <= 1
    outcomes[found[0]] += 1


async def test_a_cancellation_and_a_response_that_cross_have_one_outcome() -> None:
    ours, theirs = memory_pipes()
    roles = Racer(), Racer()
    outcomes: Counter[str] = Counter()
    with anyio.fail_after(PATIENCE_SECONDS):
        async with Multiplexer(ours) as one, Multiplexer(theirs) as other:
            sessions = Session(one, roles[0]), Session(other, roles[1])
            async with anyio.create_task_group() as tasks:
                for session in sessions:
                    tasks.start_soon(session.run)

                async def lane(first: int) -> None:
                    for run in range(first, RUNS, SIDE_BY_SIDE):
                        await race(sessions[run % 3 == 0], run, outcomes)

                async with anyio.create_task_group() as lanes:
                    for first in range(SIDE_BY_SIDE):
                        lanes.start_soon(lane, first)

                # Both sessions are alive, and whatever was still on its way has arrived after a round trip.
                for session in sessions:
                    for run in (RUNS, RUNS + 1):
                        assert bytes(await session.request(f"{run}/0/0", {}, timeout=FAR_SECONDS)) == str(run).encode()
                await anyio.wait_all_tasks_blocked()

                assert outcomes.total() == RUNS
                assert min(outcomes["answered"], outcomes["cancelled"]) > RUNS / 10, f"hardly a race: {outcomes}"
                counted = [channel.statistics() for channel in (one, other)]
                for statistics in counted:
                    assert (statistics["owed"], statistics["awaited"]) == (0, 0)
                    assert (statistics["duplicates"], statistics["dropped"], statistics["unwritten_bytes"]) == (0, 0, 0)
                for session in sessions:
                    assert session.statistics().running == session.statistics().awaited == 0
                    assert session.statistics().orphans == 0
                handled = sum((role.finished + role.cancelled for role in roles), Counter())
                alive = [f"{run}/0/0" for run in (RUNS, RUNS + 1)]
                twice = {method for method, count in handled.items() if count > 1 and method not in alive}
                assert not twice, "a request was handled twice, or finished and was cancelled as well"
                assert [handled[method] for method in alive] == [2, 2]
                tasks.cancel_scope.cancel()
