"""One piece of work for all who need it at the same time: twenty requests with an expired token make one refresh."""

import copy
from collections.abc import Awaitable, Callable

import anyio

from mcpcore_transports.oauth.errors import LoginFailed

__all__ = ("Flight",)


class _Run:
    def __init__(self) -> None:
        self.over = anyio.Event()
        self.failure: LoginFailed | None = None
        self.abandoned = True


class Flight:
    """Runs one piece of work at a time, in the task of whoever came first. Nobody holds a lock."""

    def __init__(self) -> None:
        self._run: _Run | None = None

    async def join(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do the work, or wait for whoever is doing such work, and raise the `LoginFailed` that it raised.

        When the one that does it is cancelled, one of those that wait begins it again.
        """
        while (run := self._run) is not None:
            await run.over.wait()
            if run.failure is not None:
                raise copy.copy(run.failure) from run.failure
            if not run.abandoned:
                return
        run = self._run = _Run()
        try:
            await work()
            run.abandoned = False
        except LoginFailed as failure:
            run.failure = failure
            raise
        finally:
            self._run = None
            run.over.set()
