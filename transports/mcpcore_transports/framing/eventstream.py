"""Server-sent events: the framing of `text/event-stream` (WHATWG HTML, section 9.2), without any input or output.

Every MCP transport over HTTP sends its messages this way: the JSON text of one message is the data of one event.
Data stays bytes on both sides; whoever decodes the JSON notices bad UTF-8.
"""

import re

import msgspec

from mcpcore.errors import LocalProtocolError
from mcpcore.jsonrpc import Oversize
from mcpcore_transports.framing.lines import MAX_LINE_BYTES

__all__ = (
    "KEEP_ALIVE",
    "MAX_EVENT_BYTES",
    "MAX_RETRY_DIGITS",
    "Event",
    "EventDecoder",
    "encode_comment",
    "encode_event",
    "encode_priming_event",
    "encode_retry",
)

MAX_EVENT_BYTES = MAX_LINE_BYTES + 4096
"""Bytes that the lines of one incoming event may have, without line ends and comments: a message that fits in a line
of stdio fits in an event, with room for the names of the fields and an event id."""

MAX_RETRY_DIGITS = 9
"""Digits a `retry` field may have; more would be a wait of weeks (it counts milliseconds), and is ignored."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\r|\n")


class Event(msgspec.Struct, frozen=True):
    """One event as it was dispatched."""

    data: bytes
    """The `data` lines, joined by line feeds. Empty only for an event that is there for the sake of its id."""

    event: str = "message"

    id: str | None = None
    """The id that this event itself carries. "" says that the events before it cannot be resumed from any more."""

    retry_ms: int | None = None
    """Milliseconds to wait before reconnecting, where this event says so."""


def encode_event(data: bytes, *, event: str | None = None, id: str | None = None, retry_ms: int | None = None) -> bytes:
    """The bytes of one event.

    Without `event` its type is "message", which is what the reader assumes. Each line of `data` becomes a line of its
    own; whether CR, LF or CRLF separated them is lost, which JSON does not mind. Raises `LocalProtocolError` for an
    event type or id that would end its line, an id with NUL (readers ignore those), and a negative `retry_ms`.
    """
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(_LINE_END.split(data))
    if id is None and retry_ms is None:
        if event == "message":
            return b"event: message\ndata: %b\n\n" % data
        if event is None:
            return b"data: %b\n\n" % data
    # The id goes first, so that a reader that drops the event for its size knows from where to go on.
    head = b""
    if id is not None:
        if "\0" in id:
            raise LocalProtocolError("an event id must not contain NUL: readers ignore such an id")
        head += _field(b"id", id)
    if retry_ms is not None:
        if retry_ms < 0:
            raise LocalProtocolError(f"retry_ms counts milliseconds and cannot be {retry_ms}")
        head += b"retry: %d\n" % retry_ms
    if event is not None:
        head += _field(b"event", event)
    return b"%bdata: %b\n\n" % (head, data)


def encode_priming_event(id: str, *, retry_ms: int | None = None) -> bytes:
    """An event with an id and no data: a client may reconnect from here before the first message (SEP-1699)."""
    return encode_event(b"", id=id, retry_ms=retry_ms)


def encode_retry(retry_ms: int) -> bytes:
    """Nothing but the milliseconds after which to reconnect: readers dispatch no event for it."""
    return b"retry: %d\n\n" % retry_ms


def encode_comment(text: str = "") -> bytes:
    """A comment, which readers skip, and a blank line for those that wait for one before they look at anything."""
    lines = (b": " + line if line else b":" for line in _LINE_END.split(text.encode()))
    return b"\n".join((*lines, b"\n"))


KEEP_ALIVE = encode_comment()
"""What a quiet stream sends so that nothing between the peers takes it for dead. Only between events."""


class EventDecoder:
    """Cuts a stream of bytes into events, in time linear in their length however they are chunked.

    CR, LF and CRLF end a line, also when a chunk ends inside CRLF; comments and unknown fields are skipped; an event
    that no blank line ends is never returned, so at the end of the stream there is nothing to do. An event without
    data is dispatched only if it has an id. The lines of an event may have `max_event_bytes` together; a larger event
    is dropped as it arrives and reported once, when it ends, as an `Oversize` with its size. Its id counts even so,
    or a client that resumes would be sent the same event for ever.

    last_event_id
        What to send as `Last-Event-ID` when reconnecting: the id of the last event that ended, "" for none.
    retry_ms
        The milliseconds to wait before reconnecting that the server asked for last, or None.
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.last_event_id: str = ""
        self.retry_ms: int | None = None
        self._limit = max_event_bytes
        self._opening: bytes | None = b""
        """What has arrived so far of a possible byte order mark; None once the stream is past it."""
        self._after_cr = False
        self._line = bytearray()
        """The line that is arriving."""
        self._dropped = 0
        """Bytes dropped of the line that is arriving; 0 while it is within the limit."""
        self._dropped_comment = False
        self._size = 0
        """Bytes of the lines of the event that is arriving."""
        self._data: bytes | bytearray | None = None
        self._event = b""
        self._id: str | None = None
        self._retry: int | None = None

    def feed(self, chunk: bytes) -> list[Event | Oversize]:
        """The events that end within `chunk`."""
        if self._opening is not None:
            chunk = self._opening + chunk
            if len(chunk) < len(_BYTE_ORDER_MARK) and _BYTE_ORDER_MARK.startswith(chunk):
                self._opening = chunk
                return []
            self._opening = None
            chunk = chunk.removeprefix(_BYTE_ORDER_MARK)
        if not chunk:
            return []
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]  # the second half of a CRLF whose first half has already ended the line
            if not chunk:
                self._after_cr = False
                return []
        # A CR ends its line at once: waiting to see whether LF follows would hold an event back that is complete.
        self._after_cr = chunk.endswith(b"\r")
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *ended, rest = chunk.split(b"\n")
        events: list[Event | Oversize] = []
        if ended and (self._line or self._dropped):
            self._hold(ended[0])
            ended[0] = bytes(self._line)
            self._line.clear()
            if self._dropped:
                if not self._dropped_comment:
                    self._count(self._dropped)
                self._dropped = 0
                del ended[0]
        for line in ended:
            if line:
                self._read(line)
            elif (found := self._dispatch()) is not None:
                events.append(found)
        self._hold(rest)
        return events

    def _hold(self, piece: bytes) -> None:
        if self._dropped:
            self._dropped += len(piece)
        elif len(self._line) + len(piece) > self._limit:
            self._dropped = len(self._line) + len(piece)
            self._dropped_comment = (self._line or piece).startswith(b":")
            self._line.clear()
        else:
            self._line += piece

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > self._limit:
            self._data = None

    def _read(self, line: bytes) -> None:
        colon = line.find(b":")
        if colon == 0:
            return
        self._count(len(line))
        if colon < 0:
            name, value = line, b""
        else:
            name, start = line[:colon], colon + 1
            value = line[start + 1 :] if line[start : start + 1] == b" " else line[start:]
        if name == b"data":
            self._add(value)
        elif len(line) > self._limit:
            return
        elif name == b"event":
            self._event = value
        elif name == b"id":
            if b"\0" not in value:
                self._id = value.decode(errors="replace")
        elif name == b"retry" and value.isdigit() and len(value) <= MAX_RETRY_DIGITS:
            self._retry = self.retry_ms = int(value)

    def _add(self, value: bytes) -> None:
        if self._data is None:
            self._data = value
            return
        # One buffer rather than a list of pieces: many short lines take no more room than one long one.
        if isinstance(self._data, bytes):
            self._data = bytearray(self._data)
        self._data += b"\n"
        self._data += value

    def _dispatch(self) -> Event | Oversize | None:
        size, data, name, id, retry = self._size, self._data, self._event, self._id, self._retry
        if size == 0:
            return None
        self._size, self._data, self._event, self._id, self._retry = 0, None, b"", None, None
        if id is not None:
            self.last_event_id = id
        if size > self._limit:
            return Oversize(size, self._limit)
        if not data and id is None:
            return None
        type = "message" if name in (b"", b"message") else name.decode(errors="replace")
        return Event(bytes(data or b""), type, id, retry)


def _field(name: bytes, value: str) -> bytes:
    if "\n" in value or "\r" in value:
        raise LocalProtocolError(f"the {name.decode()} of an event must be one line of text, not {value!r:.100}")
    return b"%b: %b\n" % (name, value.encode())
