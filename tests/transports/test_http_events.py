"""http/events: how long a client waits before it comes back to a stream, and what it comes back with."""

import pytest

from mcpcore.jsonrpc import Malformed, Notification, Response
from mcpcore_transports.framing.eventstream import EventDecoder
from mcpcore_transports.http.events import (
    MAX_RECONNECT_SECONDS,
    POLL_SECONDS,
    RECONNECT_SECONDS,
    Cursor,
    messages_in,
)


def moved(*chunks: bytes) -> Cursor:
    cursor, decoder = Cursor(), EventDecoder()
    for chunk in chunks:
        decoder.feed(chunk)
        cursor.move(decoder)
    return cursor


def test_pauses_double_up_to_a_limit_and_are_spread() -> None:
    pauses = [[(cursor := Cursor()).pause(), *(cursor.pause() for _ in range(11))] for _ in range(50)]
    for attempt, made in enumerate(zip(*pauses, strict=True)):
        longest = min(RECONNECT_SECONDS * 2**attempt, MAX_RECONNECT_SECONDS)
        assert all(longest / 2 <= pause <= longest for pause in made)
        assert len(set(made)) > 1


def test_a_good_attempt_makes_the_next_pause_short_again() -> None:
    cursor = Cursor()
    cursor.failures = 4
    for _ in range(6):
        cursor.pause()
    cursor.settle()
    assert cursor.failures == 0
    assert cursor.pause() <= RECONNECT_SECONDS


def test_what_the_server_asks_for_counts() -> None:
    cursor = moved(b"retry: 1500\n\n")  # which is no event by itself
    assert [cursor.pause(), cursor.pause()] == [1.5, 1.5]
    assert cursor.polls
    assert not Cursor().polls
    assert not moved(b"retry: %d\n\n" % (POLL_SECONDS * 1000 - 1)).polls


@pytest.mark.parametrize(
    ("chunks", "id"),
    [
        ((), None),
        ((b"data: 1\n\n",), None),
        ((b"id: a\ndata: 1\n\n",), "a"),
        ((b"id: a\ndata:\n\n", b"data: 1\n\n"), "a"),
        ((b"id: a\ndata: 1\n\nid: b\ndata: 2\n",), "a"),
        ((b"id: a\n\nid: b\n\n",), "b"),
    ],
)
def test_the_place_is_that_of_the_last_whole_event(chunks: tuple[bytes, ...], id: str | None) -> None:
    cursor = moved(*chunks)
    assert cursor.last_id == id
    assert list(cursor.headers()) == ([] if id is None else [("last-event-id", id)])


def test_an_event_holds_messages() -> None:
    note = b'{"jsonrpc":"2.0","method":"n"}'
    answer = b'{"jsonrpc":"2.0","id":1,"result":{}}'
    assert messages_in(b"") == ()
    assert [type(message) for message in messages_in(b"[%b,%b]" % (note, answer))] == [Notification, Response]
    assert [type(message) for message in messages_in(b"{")] == [Malformed]
