"""framing/lines: bytes to lines and back."""

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcpcore.jsonrpc import OVERSIZE_KEPT_BYTES, Oversize
from mcpcore_transports.framing.lines import LineDecoder, encode_lines

LIMIT = 8
pieces = st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r", b"\r\n", "\u2028".encode(), b"123456789"]), max_size=40)


def over(line: bytes, limit: int = LIMIT) -> Oversize:
    return Oversize(len(line), limit, line[:OVERSIZE_KEPT_BYTES], line[-OVERSIZE_KEPT_BYTES:])


def decode(chunks: list[bytes], limit: int = LIMIT) -> list[bytes | Oversize]:
    decoder = LineDecoder(limit)
    frames = [frame for chunk in chunks for frame in decoder.feed(chunk)]
    last = decoder.finish()
    return frames if last is None else [*frames, last]


def reference(stream: bytes, limit: int = LIMIT) -> list[bytes | Oversize]:
    frames: list[bytes | Oversize] = []
    for line in stream.split(b"\n"):
        if len(line) > limit:
            frames.append(over(line, limit))
        elif line not in (b"", b"\r"):
            frames.append(line[:-1] if line.endswith(b"\r") else line)
    return frames


@settings(deadline=None)  # a busy machine is no failure
@given(pieces)
def test_any_chunking_gives_the_same_lines(chunks: list[bytes]) -> None:
    stream = b"".join(chunks)
    assert decode(chunks) == reference(stream)
    assert decode([stream]) == reference(stream)
    assert decode([stream[i : i + 1] for i in range(len(stream))]) == reference(stream)


def test_only_the_line_feed_ends_a_line() -> None:
    line = '{"a":"\u2028\u2029\u0085\x0b\x0c\x1c"}'.encode()
    assert decode([line + b"\n"], 100) == [line]


def test_a_carriage_return_before_the_line_feed_is_no_part_of_the_line() -> None:
    assert decode([b"a\r\nb\r", b"\nc\rd\n\r\n\n"]) == [b"a", b"b", b"c\rd"]


def test_finish_returns_the_unterminated_line_once() -> None:
    decoder = LineDecoder()
    assert decoder.feed(b"one\ntwo") == [b"one"]
    assert decoder.finish() == b"two"
    assert decoder.finish() is None


def test_an_oversize_line_is_reported_once_and_the_next_one_arrives() -> None:
    decoder = LineDecoder(LIMIT)
    assert decoder.feed(b"12345678\n123456789") == [b"12345678"]
    assert decoder.feed(b"abc") == []
    assert decoder.feed(b"d\nok\n") == [over(b"123456789abcd"), b"ok"]
    assert decoder.feed(b"123456789\n") == [over(b"123456789")]
    assert decoder.feed(b"123456789") == []
    assert decoder.finish() == over(b"123456789")
    assert decoder.finish() is None


@pytest.mark.parametrize("step", [1, 7, 1000, 1024, 1025, 5000, 10_000])
def test_both_ends_of_an_oversize_line_are_kept_however_it_is_cut(step: int) -> None:
    line = bytes(range(32, 127)) * 100
    assert decode([line[at : at + step] for at in range(0, len(line), step)] + [b"\n"], 3000) == [over(line, 3000)]


def test_an_oversize_line_is_not_held() -> None:
    decoder = LineDecoder(1024)
    chunk = b"x" * 65536
    decoder.feed(chunk)
    tracemalloc.start()
    try:
        for _ in range(200):
            decoder.feed(chunk)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * len(chunk)
    assert decoder.feed(b"\n") == [over(b"x" * (201 * 65536), 1024)]


def test_a_long_line_is_copied_a_constant_number_of_times() -> None:
    # Joining what is held with every chunk would need about 128 times the line's size over the whole run, and each
    # join a fresh block; growing in place keeps the peak near the line itself.
    decoder = LineDecoder()
    size = 16 * 1024 * 1024
    chunk = b"x" * 65536
    tracemalloc.start()
    try:
        for _ in range(size // len(chunk)):
            assert decoder.feed(chunk) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * size
    (line,) = decoder.feed(b"\n")
    assert isinstance(line, bytes)
    assert len(line) == size


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=10), max_size=3), max_size=5), st.booleans())
def test_what_is_encoded_is_one_line_each_and_says_the_same(values: list[dict[str, str]], indent: bool) -> None:
    frames = [json.dumps(value, ensure_ascii=False, indent=2 if indent else None).encode() for value in values]
    wire = encode_lines(frames)
    assert [json.loads(line) for line in decode([wire], 10_000) if isinstance(line, bytes)] == values
    # A peer that splits on everything that Unicode calls a line break sees the same lines.
    assert len(wire.decode().splitlines()) == len(values)


@pytest.mark.parametrize("separator", ["\u0085", "\u2028", "\u2029"])
def test_other_line_separators_leave_escaped(separator: str) -> None:
    wire = encode_lines([f'{{"a":"é{separator}"}}'.encode()])
    assert wire == f'{{"a":"é\\u{ord(separator):04x}"}}\n'.encode()


def test_nothing_to_encode_is_nothing_to_write() -> None:
    assert encode_lines([]) == b""
    assert encode_lines([b"{}", b"[]"]) == b"{}\n[]\n"
