"""A channel of which some envelopes are taken out as they arrive, before the session behind it reads on."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from mcpcore.channel import Channel, Envelope
from mcpcore.errors import ConnectionLost

__all__ = ("Tap",)


class Tap(Channel):
    """`take` is given each envelope that arrives, and says whether it has dealt with it.

    While `take` waits nothing more is read, so that whoever sends is held up: that is how back-pressure passes.
    `when_over` is called when nothing more will arrive, before anybody who waits for an answer learns of it.
    """

    def __init__(
        self,
        channel: Channel,
        take: Callable[[Envelope], Awaitable[bool]],
        when_over: Callable[[], None] = lambda: None,
    ) -> None:
        self._channel = channel
        self._take = take
        self._when_over = when_over

    async def receive(self) -> Envelope:
        while True:
            try:
                envelope = await self._channel.receive()
            except (anyio.EndOfStream, ConnectionLost):
                self._when_over()
                raise
            if not await self._take(envelope):
                return envelope

    async def send(self, envelope: Envelope) -> None:
        await self._channel.send(envelope)

    async def aclose(self) -> None:
        await self._channel.aclose()

    def statistics(self) -> dict[str, Any]:
        return self._channel.statistics()
