"""One request on its way through: asked in front, in flight behind."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio
import msgspec

from mcpcore.channel import Envelope, Inbox
from mcpcore.errors import CODE_UPSTREAM_LOST, CODE_UPSTREAM_SILENT, ConnectionLost, RemoteProtocolError, RequestError
from mcpcore.jsonrpc import ErrorResponse, Malformed, Notification, Request, Response
from mcpcore.methods import NOTIFICATIONS
from mcpcore.session import Call
from mcpcore.splicing import raw_of, with_meta
from mcpcore.types import META_SUBSCRIPTION_ID
from mcpcore.types.base import RequestId

__all__ = ("Flight", "passing_on")


class Flight:
    """A request in flight behind, and the call in front that waits for it.

    The call may be another one later: a client of 2026-07-28 comes back with answers under a new request.
    """

    __slots__ = ("call", "id", "inbox", "parked", "token", "wants")

    def __init__(self, call: Call, token: RequestId | None, id: RequestId, inbox: Inbox) -> None:
        self.call: Call = call
        self.token: RequestId | None = token
        """The progress token of the call in front; what it is behind is `id`."""
        self.id: RequestId = id
        self.inbox: Inbox = inbox
        self.parked: bool = False
        """Whether the server waits for an answer that the client has not come back with yet."""
        self.wants: Callable[[Notification], bool] | None = None
        """Which notifications the call in front is to be sent; all of them, unless this says otherwise."""

    def named(self, payload: msgspec.Raw) -> msgspec.Raw:
        """What belongs to a subscription, under the name that it has in front: the id of the request there."""
        return payload if self.id == self.call.id else with_meta(payload, {META_SUBSCRIPTION_ID: self.call.id})

    async def next(self) -> Response | Envelope:
        """What comes next that is not just passed on: the answer, or a question with its way back.

        Notifications go to the call in front, at the pace of its reader. Raises `RequestError` for an error, with
        its code and data, and `ConnectionLost`.
        """
        while True:
            envelope = await self.inbox.receive()
            message = envelope.message
            if isinstance(message, Response):
                return message
            if isinstance(message, Notification):
                await self._pass(message)
            elif isinstance(message, Request):
                return envelope
            elif isinstance(message, ErrorResponse):
                error = message.error
                raise RequestError(error.code, error.message, None if error.data is msgspec.UNSET else error.data)
            elif isinstance(message, Malformed):
                text = f"the server behind this bridge sent an answer that is none: {message.error.message}"
                raise RequestError(CODE_UPSTREAM_LOST, text)

    async def _pass(self, message: Notification) -> None:
        if self.call.method == "subscriptions/listen":
            try:
                message = Notification(message.method, self.named(raw_of(message.params)))
            except RemoteProtocolError:
                return  # a garbled announcement announces nothing
        elif message.method == "notifications/progress" and self.token != self.id:
            if self.token is None:
                return
            try:
                params = NOTIFICATIONS[message.method].decode_params(message.params)
            except RemoteProtocolError:
                return  # garbled progress tells nothing, and the result is still to come
            message = Notification(message.method, msgspec.structs.replace(params, progress_token=self.token))
        if not self.call.finished and (self.wants is None or self.wants(message)):
            await self.call.reply.send(Envelope(message))


@contextmanager
def passing_on(method: str, seconds: float) -> Iterator[None]:
    """What becomes of the server behind, as the errors that a client in front can tell apart.

    Nothing of what the server or the operating system said goes along: it may name files, hosts and secrets.
    """
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError:
        text = f"the server behind this bridge did not answer {method} within {seconds:g} s; it has been cancelled"
        raise RequestError(CODE_UPSTREAM_SILENT, text) from None
    except ConnectionLost as lost:
        text = "the connection to the server behind this bridge was lost before it answered; whether it did is unknown"
        raise RequestError(CODE_UPSTREAM_LOST, text) from lost
