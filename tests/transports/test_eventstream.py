"""framing/eventstream: server-sent events to bytes and back."""

import re
import time
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcpcore.errors import LocalProtocolError
from mcpcore.jsonrpc import Oversize
from mcpcore_transports.framing.eventstream import (
    KEEP_ALIVE,
    MAX_EVENT_BYTES,
    Event,
    EventDecoder,
    encode_comment,
    encode_event,
    encode_priming_event,
)
from mcpcore_transports.framing.lines import MAX_LINE_BYTES

LIMIT = 12
BOM = b"\xef\xbb\xbf"
WORDS = [b"data", b"event", b"id", b"retry", b":", b": ", b"  x", b"7", b"\n", b"\r", b"\r\n", b"\n\n", b"\0", b"\xff"]
pieces = st.lists(st.sampled_from([*WORDS, BOM, b":" + b"c" * 20, b"data:" + b"d" * 20]), max_size=30)


def decode(*chunks: bytes, limit: int = MAX_EVENT_BYTES) -> list[Event | Oversize]:
    decoder = EventDecoder(limit)
    return [event for chunk in chunks for event in decoder.feed(chunk)]


def reference(stream: bytes, limit: int) -> list[Event | Oversize]:
    """The rules once more, over the whole stream at once and without regard to memory."""
    events: list[Event | Oversize] = []
    lines = re.split(rb"\r\n|\n|\r", stream.removeprefix(BOM))[:-1]
    block: list[bytes] = []
    for line in lines:
        if line:
            block.append(line)
            continue
        fields = [(one, *one.partition(b":")[::2]) for one in block if not one.startswith(b":")]
        block = []
        size = sum(len(one) for one, _, _ in fields)
        if size > limit:
            events.append(Oversize(size, limit))
            continue
        data: list[bytes] = []
        name, id, retry = b"", None, None
        for _, key, raw in fields:
            value = raw.removeprefix(b" ")
            if key == b"data":
                data.append(value)
            elif key == b"event":
                name = value
            elif key == b"id" and b"\0" not in value:
                id = value.decode(errors="replace")
            elif key == b"retry" and re.fullmatch(rb"[0-9]{1,9}", value):
                retry = int(value)
        joined = b"\n".join(data)
        if joined or id is not None:
            events.append(Event(joined, name.decode(errors="replace") or "message", id, retry))
    return events


@given(pieces, st.sampled_from([LIMIT, 1000]))
@example([BOM, b"data", b": ", b"7", b"\r", b"\r\n"], LIMIT)
def test_any_chunking_gives_the_same_events(chunks: list[bytes], limit: int) -> None:
    stream = b"".join(chunks)
    expected = reference(stream, limit)
    assert decode(stream, limit=limit) == expected
    assert decode(*chunks, limit=limit) == expected
    assert decode(*(stream[i : i + 1] for i in range(len(stream))), limit=limit) == expected
    whole, single = EventDecoder(limit), EventDecoder(limit)
    whole.feed(stream)
    for i in range(len(stream)):
        single.feed(stream[i : i + 1])
    assert (whole.last_event_id, whole.retry_ms) == (single.last_event_id, single.retry_ms)


one_line = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), min_size=1)


@given(
    st.lists(
        st.tuples(
            st.binary().filter(bool),
            st.none() | one_line,
            st.none() | one_line,
            st.none() | st.integers(0, 999_999_999),
        )
    )
)
def test_what_is_encoded_is_decoded(events: list[tuple[bytes, str | None, str | None, int | None]]) -> None:
    stream = b"".join(encode_event(d, event=e, id=i, retry_ms=r) for d, e, i, r in events)
    expected = [Event(re.sub(rb"\r\n|\r", b"\n", d), e or "message", i, r) for d, e, i, r in events]
    assert decode(stream) == expected


def test_the_bytes_of_an_event() -> None:
    assert encode_event(b"{}") == b"data: {}\n\n"
    assert encode_event(b"{}", event="message") == b"event: message\ndata: {}\n\n"
    assert encode_event(b"/m", event="endpoint") == b"event: endpoint\ndata: /m\n\n"
    assert encode_event(b"{}", event="message", id="7", retry_ms=50) == (
        b"id: 7\nretry: 50\nevent: message\ndata: {}\n\n"
    )
    assert encode_event(b"a\nb\r\nc\rd\n") == b"data: a\ndata: b\ndata: c\ndata: d\ndata: \n\n"


@pytest.mark.parametrize(
    "fields",
    [{"event": "a\nb"}, {"event": "a\rb"}, {"id": "a\ndata: forged"}, {"id": "a\r"}, {"id": "\0"}, {"retry_ms": -1}],
)
def test_a_field_that_would_end_its_line_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(LocalProtocolError):
        encode_event(b"{}", **fields)  # type: ignore[arg-type]


def test_the_priming_event_brings_an_id_without_data() -> None:
    decoder = EventDecoder()
    assert decoder.feed(encode_priming_event("s/0", retry_ms=20)) == [Event(b"", "message", "s/0", 20)]
    assert (decoder.last_event_id, decoder.retry_ms) == ("s/0", 20)
    assert decode(b"id: 1\n\n", b"data:\n\n", b"event: x\n\n") == [Event(b"", "message", "1")]


@pytest.mark.parametrize("comment", [KEEP_ALIVE, encode_comment("ping"), encode_comment("a\nb\r\nc"), b": x\r\n"])
def test_comments_are_lines_with_a_colon_and_no_events(comment: bytes) -> None:
    assert all(line.startswith(b":") for line in comment.splitlines() if line)
    assert decode(comment, b"data: 1\n\n", comment) == [Event(b"1")]
    assert decode(b"data: 1\n" + comment.rstrip() + b"\ndata: 2\n\n") == [Event(b"1\n2")]


def test_the_keep_alive_is_one_comment() -> None:
    assert KEEP_ALIVE == b":\n\n"


def test_a_carriage_return_ends_an_event_at_once() -> None:
    decoder = EventDecoder()
    assert decoder.feed(b"data: 1\r\r") == [Event(b"1")]
    assert decoder.feed(b"\n") == []
    assert decoder.feed(b"data: 2\r\n\r") == [Event(b"2")]
    assert decoder.feed(b"\ndata: 3\n") == []
    assert decoder.feed(b"\n") == [Event(b"3")]


def test_only_carriage_return_and_line_feed_end_a_line() -> None:
    text = "a\u2028b\u0085c\x0b\x0cd\x1c".encode()
    assert decode(b"data: " + text + b"\n\n") == [Event(text)]


def test_one_space_is_stripped_and_fields_need_no_colon() -> None:
    assert decode(b"data:  a \n\n", b"data\ndata\n\n", b"data:b:c\n\n", b"Data: d\n\n") == [
        Event(b" a "),
        Event(b"\n"),
        Event(b"b:c"),
    ]


def test_only_a_mark_at_the_very_start_is_skipped() -> None:
    assert decode(BOM[:1], BOM[1:2], b"", BOM[2:] + b"data: 1\n\n") == [Event(b"1")]
    assert decode(BOM + BOM + b"data: 1\n\n", b"data: 2\n\n") == [Event(b"2")]
    assert decode(BOM[:2], b"data: 1\n\ndata: 2\n\n") == [Event(b"2")]


def test_ids_persist_and_an_unfinished_event_has_none() -> None:
    decoder = EventDecoder()
    assert decoder.last_event_id == ""
    assert decoder.feed(b"id: 1\ndata: a\n\ndata: b\n\nid: 2\0\ndata: c\n\n") == [
        Event(b"a", "message", "1"),
        Event(b"b"),
        Event(b"c"),
    ]
    decoder.feed(b"id: 3\ndata: d\n")
    assert decoder.last_event_id == "1"
    assert decoder.feed(b"\nid\n\n") == [Event(b"d", "message", "3"), Event(b"", "message", "")]
    assert decoder.last_event_id == ""


@pytest.mark.parametrize("value", [b"", b"-1", b"1.5", b"1 ", b"x", "٣".encode(), b"1000000000"])
def test_a_retry_of_other_than_few_digits_is_ignored(value: bytes) -> None:
    decoder = EventDecoder()
    assert decoder.feed(b"retry: 40\n\nretry: " + value + b"\ndata: 1\n\n") == [Event(b"1")]
    assert decoder.retry_ms == 40


def test_a_retry_without_data_counts_for_the_stream_and_not_for_the_next_event() -> None:
    decoder = EventDecoder()
    assert decoder.feed(b"retry: 40\n\ndata: 1\n\n") == [Event(b"1")]
    assert decoder.retry_ms == 40


def test_a_message_that_fits_a_line_fits_an_event() -> None:
    head = len(encode_event(b"", event="message", id="i" * 1000)) + MAX_LINE_BYTES
    assert head < MAX_EVENT_BYTES


def test_an_oversize_event_is_reported_once_and_its_id_counts() -> None:
    decoder = EventDecoder(LIMIT)
    assert decoder.feed(b"data:1234567\n\n") == [Event(b"1234567")]
    assert decoder.feed(b"data:12345678\n\ndata: 1\n\n") == [Oversize(13, LIMIT), Event(b"1")]
    assert decoder.feed(b"id:9\ndata:1\ndata:2\ndata:" + b"x" * 50) == []
    assert decoder.feed(b"x" * 50 + b"\ndata:3\n") == []
    assert decoder.feed(b"\ndata:4\n\n") == [Oversize(4 + 6 + 6 + 105 + 6, LIMIT), Event(b"4")]
    assert decoder.last_event_id == "9"


def test_a_line_beyond_the_limit_is_not_read_however_it_arrives() -> None:
    whole, cut = EventDecoder(LIMIT), EventDecoder(LIMIT)
    line = b"id:" + b"i" * LIMIT
    assert whole.feed(line + b"\n\n") == [Oversize(15, LIMIT)]
    assert cut.feed(line[:5]) + cut.feed(line[5:] + b"\n\n") == [Oversize(15, LIMIT)]
    assert whole.last_event_id == cut.last_event_id == ""


def test_a_comment_is_never_oversize() -> None:
    comment = b":" + b"c" * 100
    assert decode(b"data:1\n" + comment + b"\n\n", limit=LIMIT) == [Event(b"1")]
    assert decode(b"data:1\n" + comment[:50], comment[50:], b"\r\n\r\n", limit=LIMIT) == [Event(b"1")]


@pytest.mark.parametrize(
    "piece", [b"x" * 1000, b"\ndata:x" * 200, b"\ndata" * 200, b"\nid:" + b"x" * 900, b"\n:" * 500]
)
def test_an_endless_event_takes_bounded_memory(piece: bytes) -> None:
    decoder = EventDecoder(100_000)
    decoder.feed(b"data:")
    tracemalloc.start()
    try:
        for _ in range(1000):
            decoder.feed(piece)
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()


def test_time_is_linear_in_the_length_when_bytes_trickle_in() -> None:
    def seconds(size: int) -> float:
        decoder = EventDecoder()
        began = time.process_time()
        for _ in range(size // 10):
            decoder.feed(b"0123456789")
        decoder.feed(b"\ndata:x" * (size // 7))
        return time.process_time() - began

    small = min(seconds(100_000) for _ in range(3))
    assert seconds(800_000) < 8 * small * 4  # quadratic would be 64 times as long
