"""Deadlines that cost no time: trio's clock, jumping ahead whenever every task waits."""

from typing import Any

__all__ = ("virtual_time",)


def virtual_time() -> tuple[str, dict[str, Any]]:
    """What anyio's pytest plugin takes for `anyio_backend`: trio, on a clock that jumps to the next deadline.

    A test of a deadline of an hour then takes no time, and a test in which everybody waits for ever fails at once:

        @pytest.fixture
        def anyio_backend():
            return virtual_time()

    Each call makes a clock of its own, so make it a fixture: tests that share a clock start at different times.
    Not for tests with real sockets, pipes, processes or threads: waiting for those looks like idleness to the clock,
    which then jumps over deadlines that were not due. asyncio has no such clock; its tests need deadlines that are
    passed as arguments and short.
    """
    from trio.testing import MockClock

    return ("trio", {"clock": MockClock(autojump_threshold=0)})
