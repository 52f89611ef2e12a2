"""Event streams as a client reads them: how far it got, how long it waits before it comes back."""

import random
from collections.abc import Awaitable, Callable, Sequence

from mcpcore.jsonrpc import Batch, Message, Oversize, decode
from mcpcore_transports.framing.eventstream import EventDecoder
from mcpcore_transports.web.exchange import BodyTooLarge
from mcpcore_transports.web.response import HttpResponse

__all__ = (
    "LIVED_SECONDS",
    "MAX_ANSWER_BYTES",
    "MAX_RECONNECT_SECONDS",
    "POLL_SECONDS",
    "RECONNECTS",
    "RECONNECT_SECONDS",
    "Cursor",
    "media_type",
    "messages_in",
    "read_events",
)

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Bytes of one JSON answer, or of one event: the largest that a client is ready to hold in memory at once."""

RECONNECTS = 5
"""Times in a row that a stream is asked for without anything new arriving on it."""

RECONNECT_SECONDS = 0.5
"""Pause before it is asked for again; it doubles each time, with jitter, unless the server says `retry`."""

MAX_RECONNECT_SECONDS = 30.0
"""The longest such pause that is not the server's wish."""

POLL_SECONDS = 0.1
"""A server that ends streams and says `retry` with at least this much wants to be polled (2025-11-25): that is no
failure, however often it happens before the request's own deadline."""

LIVED_SECONDS = 5.0
"""A stream that lasted this long before it ended was a working one, though nothing came: proxies end idle ones."""


class Cursor:
    """How far an event stream has been read, and how often it has been asked for in vain since."""

    def __init__(self) -> None:
        self.last_id: str | None = None
        """What to send as `Last-Event-ID`; None when there is nothing to come back to."""
        self.retry_ms: int | None = None
        self.failures: int = 0
        self.pauses: int = 0
        self.heard = False
        """Whether a message came since this was last set."""

    def move(self, decoder: EventDecoder) -> None:
        """Note what has been read."""
        if decoder.last_event_id:
            self.last_id = decoder.last_event_id
        if decoder.retry_ms is not None:
            self.retry_ms = decoder.retry_ms

    @property
    def polls(self) -> bool:
        """Whether the server ends streams because it wants to be asked again."""
        return self.retry_ms is not None and self.retry_ms >= POLL_SECONDS * 1000

    def pause(self) -> float:
        """Seconds to wait before the next attempt: what the server asked for, or twice as long each time, by chance."""
        attempt = self.pauses
        self.pauses += 1
        if self.retry_ms is not None:
            return self.retry_ms / 1000
        return min(RECONNECT_SECONDS * float(2 ** min(attempt, 10)), MAX_RECONNECT_SECONDS) * random.uniform(0.5, 1.0)

    def settle(self) -> None:
        """The last attempt was a good one."""
        self.failures = self.pauses = 0

    def headers(self) -> Sequence[tuple[str, str]]:
        """What says where to go on: the id as UTF-8 (WHATWG HTML, 9.2.3), which a header holds as Latin-1."""
        return () if self.last_id is None else (("last-event-id", self.last_id.encode().decode("latin-1")),)


async def read_events(
    response: HttpResponse, cursor: Cursor, take: Callable[[Message], Awaitable[bool]], limit: int = MAX_ANSWER_BYTES
) -> bool:
    """Hand over the messages of one event stream until `take` says that this was all: True. False at its end.

    Raises as `HttpResponse.read`, with `limit` for one event. `cursor` is right even then.
    """
    decoder = EventDecoder(limit)
    async for chunk in response.stream():
        events = decoder.feed(chunk)
        cursor.move(decoder)  # nothing that follows can leave some of these out and go on
        for event in events:
            if isinstance(event, Oversize):
                raise BodyTooLarge(f"an event of {event.size} bytes is over the limit of {event.limit}")
            for message in messages_in(event.data):
                cursor.heard = True
                if await take(message):
                    return True
    return False


def messages_in(data: bytes) -> Sequence[Message]:
    """What one event or body holds: none for an event that is there for the sake of its id (2025-11-25)."""
    if not data:
        return ()
    message = decode(data)
    return message.messages if isinstance(message, Batch) else (message,)


def media_type(response: HttpResponse) -> str:
    """The content-type of a response, in lower case and without parameters."""
    return response.headers.get("content-type", "").partition(";")[0].strip().lower()
