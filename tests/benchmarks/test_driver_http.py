"""Replies as the drivers read them."""

import socket
from collections.abc import Iterator

import pytest
from measuring.driver_http import Reply, read_reply

JSON = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n{"id":1}'
CHUNKS = (b"event: message\ndata: {}", b"\n\n", b'data: {"id": 1}\n\n', b"")
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n" + b"".join(
    b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in CHUNKS
)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    here, there = socket.socketpair()
    with here, there:
        yield here, there


def test_a_body_with_a_length(ends: tuple[socket.socket, socket.socket]) -> None:
    here, there = ends
    there.sendall(JSON)
    reply = read_reply(here)
    assert (reply.status, reply.body, reply.messages()) == (200, b'{"id":1}', [{"id": 1}])


def test_a_stream_of_events_in_chunks(ends: tuple[socket.socket, socket.socket]) -> None:
    here, there = ends
    there.sendall(EVENTS)
    assert read_reply(here).messages() == [{}, {"id": 1}]


@pytest.mark.parametrize("whole", [JSON, EVENTS])
def test_a_reply_that_is_cut_off_is_none(ends: tuple[socket.socket, socket.socket], whole: bytes) -> None:
    here, there = ends
    there.sendall(whole[:-1])
    there.close()
    with pytest.raises(RuntimeError, match="before the reply did"):
        read_reply(here)


def test_comments_and_empty_data_are_no_messages() -> None:
    body = b": keep-alive\n\ndata:\n\nid: 4\ndata: {}\n\n"
    assert Reply(200, {"content-type": "text/event-stream"}, body).messages() == [{}]
