"""Answers that take their time: from a moment on they are event streams, which can say that they are alive.

One task looks after all of them, so that an answer which comes at once costs no timer.
"""

import math
from typing import Protocol

import anyio

__all__ = ("LOOK_SECONDS", "PATIENCE_SECONDS", "Begins", "Patience")

PATIENCE_SECONDS = 5.0
"""How long a response stays undecided. Until then an error can still have its HTTP status; proxies commonly wait 30
to 60 seconds for a first byte."""

LOOK_SECONDS = 1.0
"""How often the waiting ones are looked at: each is begun this much late at most."""


_PATIENT_LOOKS = math.ceil(PATIENCE_SECONDS / LOOK_SECONDS)


class Begins(Protocol):
    async def begin(self) -> None:
        """Begin an event stream, if nothing has been sent yet."""


class Patience:
    """Responses that are waited for, oldest first."""

    def __init__(self) -> None:
        self._since: dict[Begins, int] = {}
        self._looks = 0
        """A clock of its own, which costs no request a look at the time."""
        self._added: anyio.Event | None = None

    def add(self, reply: Begins) -> None:
        self._since[reply] = self._looks
        if self._added is not None:
            self._added.set()
            self._added = None

    def remove(self, reply: Begins) -> None:
        self._since.pop(reply, None)

    async def keep_alive(self) -> None:
        """Begin what has waited for long enough; runs until it is cancelled."""
        async with anyio.create_task_group() as tasks:
            while True:
                while not self._since:
                    self._added = anyio.Event()
                    await self._added.wait()
                await anyio.sleep(LOOK_SECONDS)
                self._looks += 1
                latest = self._looks - 1 - _PATIENT_LOOKS
                for reply, since in list(self._since.items()):
                    if since > latest:
                        break
                    # The head of a response fits into a socket's buffer; one that does not is no matter of the others.
                    del self._since[reply]
                    tasks.start_soon(reply.begin)
