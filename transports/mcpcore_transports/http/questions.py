"""What a server asks in the handshake era, on the stream of a request or on its own: answered by POST."""

import logging
from collections.abc import Awaitable, Callable

from mcpcore.channel import Envelope, ReplyChannel
from mcpcore.errors import ConnectionLost, RemoteProtocolError
from mcpcore.jsonrpc import ErrorResponse, Message, Notification, Request, Response
from mcpcore.methods import NOTIFICATIONS

__all__ = ("Questions",)

logger: logging.Logger = logging.getLogger("mcpcore.http")


class Questions:
    """The questions of one server that are not answered yet. `tell` posts a message, or raises `ConnectionLost`."""

    def __init__(self, tell: Callable[[Message], Awaitable[None]]) -> None:
        self._tell = tell
        self._open: dict[int | str, _Answer] = {}

    def __len__(self) -> int:
        return len(self._open)

    def ask(self, request: Request) -> Envelope:
        """A question as the session takes it, with its way back."""
        reply = _Answer(self._open, self._tell, request.id)
        self._open[request.id] = reply
        return Envelope(request, reply)

    def cancel(self, notification: Notification) -> None:
        """The server has sent `notifications/cancelled`."""
        try:
            params = NOTIFICATIONS[notification.method].decode_params(notification.params)
        except RemoteProtocolError:
            return  # nobody can answer a notification, and what it was about is unknown
        reply = None if params.request_id is None else self._open.get(params.request_id)
        if reply is not None:
            reply.close(params.reason)

    def close(self, reason: str) -> None:
        """Nobody waits for the answers any more."""
        for reply in list(self._open.values()):
            reply.close(reason)


class _Answer(ReplyChannel):
    """The way back for one question: a POST."""

    __slots__ = ("_id", "_open", "_tell")

    def __init__(
        self, open: "dict[int | str, _Answer]", tell: Callable[[Message], Awaitable[None]], id: int | str
    ) -> None:
        super().__init__()
        self._open = open
        self._tell = tell
        self._id = id

    async def send(self, envelope: Envelope) -> bool:
        if self.closed:
            return False
        try:
            await self._tell(envelope.message)
        except ConnectionLost as lost:
            # The server waits for it in vain, or does not wait any more. The session that asks here goes on.
            logger.warning("the server did not take an answer to its question: %s", lost)
            return False
        finally:
            if isinstance(envelope.message, Response | ErrorResponse):
                self._forget()
        return True

    def close(self, reason: str | None = None) -> None:
        self._forget()
        super().close(reason)

    def _forget(self) -> None:
        if self._open.get(self._id) is self:
            del self._open[self._id]
