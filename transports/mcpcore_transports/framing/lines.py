"""One frame per line: the framing of stdio and of any other byte stream (MCP, "Transports", stdio).

A line ends with the byte 0x0A and with nothing else. U+2028, U+2029 and U+0085 are line breaks for many text
libraries and ordinary characters inside a JSON string, so incoming lines are never split on them, and outgoing
ones carry them escaped for the sake of peers that do.
"""

from collections.abc import Sequence

from mcpcore.jsonrpc import OVERSIZE_KEPT_BYTES, Oversize

__all__ = ("MAX_LINE_BYTES", "LineDecoder", "encode_lines")

MAX_LINE_BYTES = 16 * 1024 * 1024
"""Bytes one incoming line may have. It bounds what a peer can make us hold before a message is even parsed, and
lets a 10 MB file through as base64, the largest thing that tools commonly return."""

# What a text library may take for the end of a line although it may stand inside a JSON string as it is. JSON
# allows non-ASCII characters inside strings only, so the escape means the same wherever one of them occurs.
_OTHER_LINE_BREAKS = (
    ("\u0085".encode(), rb"\u0085"),
    ("\u2028".encode(), rb"\u2028"),
    ("\u2029".encode(), rb"\u2029"),
)


class LineDecoder:
    """Cuts a stream of bytes into lines, in time linear in their length however they are chunked.

    Holds at most `max_line_bytes` of an unfinished line. A longer line is dropped as it arrives and reported once,
    when it ends, as an `Oversize` with its size and both its ends. Sizes count the bytes before the line feed. One
    trailing carriage return is stripped; empty lines are no frames.
    """

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._limit = max_line_bytes
        self._held = bytearray()
        self._skipped = 0
        """Bytes dropped of the line that is arriving; 0 while it is within the limit."""
        self._start = b""
        self._end = b""

    def feed(self, chunk: bytes) -> list[bytes | Oversize]:
        """The frames that end within `chunk`."""
        *ended, rest = chunk.split(b"\n")
        frames: list[bytes | Oversize] = []
        if ended and (self._held or self._skipped):
            self._hold(ended[0])
            frame = self.finish()
            if frame is not None:
                frames.append(frame)
            del ended[0]
        for line in ended:
            if len(line) > self._limit:
                kept = OVERSIZE_KEPT_BYTES
                frames.append(Oversize(len(line), self._limit, line[:kept], line[-kept:]))
                continue
            line = line.removesuffix(b"\r")
            if line:
                frames.append(line)
        self._hold(rest)
        return frames

    def finish(self) -> bytes | Oversize | None:
        """End the line that is arriving, as the end of the stream does; None if there is none or it is empty."""
        if self._skipped:
            oversize = Oversize(self._skipped, self._limit, self._start, self._end)
            self._skipped = 0
            return oversize
        # A bytearray rather than a list of pieces: bytes that trickle in one by one take no more room than others.
        line = bytes(self._held)
        self._held.clear()
        return line.removesuffix(b"\r") or None

    def _hold(self, piece: bytes) -> None:
        kept = OVERSIZE_KEPT_BYTES
        if self._skipped:
            self._skipped += len(piece)
            self._start += piece[: kept - len(self._start)]
            self._end = (self._end + piece[-kept:])[-kept:]
        elif len(self._held) + len(piece) > self._limit:
            self._skipped = len(self._held) + len(piece)
            self._start = bytes((self._held[:kept] + piece[:kept])[:kept])
            self._end = bytes((self._held[-kept:] + piece[-kept:])[-kept:])
            self._held.clear()
        else:
            self._held += piece


def encode_lines(frames: Sequence[bytes]) -> bytes:
    """The bytes that carry `frames`, each a JSON text, as one line each.

    Line breaks between the tokens of a JSON text become spaces, so text that somebody else has indented may be
    passed on as it is; other line separators inside strings become escapes. What the JSON says stays the same.
    """
    wire = b"\n".join((*frames, b""))
    if wire.count(b"\n") != len(frames) or b"\r" in wire:
        wire = b"\n".join((*(frame.replace(b"\n", b" ").replace(b"\r", b" ") for frame in frames), b""))
    if not wire.isascii():
        for raw, escape in _OTHER_LINE_BREAKS:
            wire = wire.replace(raw, escape)
    return wire
