"""Response heads as bytes."""

import re

import pytest

from mcpcore.errors import LocalProtocolError
from mcpcore_transports.web.encoder import encode_chunk, encode_head, has_no_body


def test_head() -> None:
    head = encode_head(404, (("X-One", "a"), ("x-two", "\xe9")), b"connection: close\r\n")
    pattern = rb"HTTP/1.1 404 Not Found\r\ndate: [^\r]+ GMT\r\nX-One: a\r\nx-two: \xe9\r\nconnection: close\r\n\r\n"
    assert re.fullmatch(pattern, head)


def test_status_without_a_name() -> None:
    assert encode_head(299, (), b"").startswith(b"HTTP/1.1 299 \r\n")


@pytest.mark.parametrize(
    "header",
    [
        ("x", "a\r\nb: c"),
        ("x", "a\nb: c"),
        ("x", "a\r"),
        ("x\r\ny", "a"),
        ("x", "\0"),
        ("x", "€"),
        ("Connection", "close"),
        ("Transfer-Encoding", "chunked"),
        ("Date", "never"),
    ],
)
def test_headers_that_cannot_be_sent(header: tuple[str, str]) -> None:
    with pytest.raises(LocalProtocolError):
        encode_head(200, (("ok", "1"), header), b"")


def test_chunk() -> None:
    assert encode_chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"


@pytest.mark.parametrize(("status", "expected"), [(101, True), (204, True), (304, True), (200, False), (404, False)])
def test_has_no_body(status: int, expected: bool) -> None:
    assert has_no_body(status) is expected
