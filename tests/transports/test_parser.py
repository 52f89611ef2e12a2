"""What each HTTP/1.1 parser has to make of the bytes of a connection: one table for every implementation."""

import os
import sys
from collections.abc import Callable

import h11
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mcpcore.errors import LocalProtocolError
from mcpcore_transports.web import parsers
from mcpcore_transports.web.chunks import CHUNK_LINE_BYTES
from mcpcore_transports.web.h11parser import H11Parser
from mcpcore_transports.web.head import BadRequest
from mcpcore_transports.web.httptoolsparser import HttptoolsParser
from mcpcore_transports.web.limits import HEAD_BYTES, HEADER_LINES
from mcpcore_transports.web.parser import Parser
from mcpcore_transports.web.parsers import choose_parser

PARSERS: list[Callable[[], Parser]] = [H11Parser, HttptoolsParser]

Outcome = tuple[str, str, bytes] | int
"""A request as (method, target, body), or the status that refuses it."""

HOST = b"Host: a\r\n"
POST = b"POST /mcp HTTP/1.1\r\nHost: a\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
SHORT = GET + b"\r\n"
TEN = b"0123456789"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
EXACT_PADDING = HEAD_BYTES - len(GET) - len(b"x: \r\n\r\n")

VECTORS: dict[str, tuple[bytes, list[Outcome]]] = {
    # -- what is understood ------------------------------------------------------------------------------------------
    "no body": (GET + b"\r\n", [("GET", "/", b"")]),
    "query": (b"GET /a%20b?x=1 HTTP/1.1\r\nHost: a\r\n\r\n", [("GET", "/a%20b?x=1", b"")]),
    "body": (POST + b"Content-Length: 5\r\n\r\nhello", [("POST", "/mcp", b"hello")]),
    "empty body": (POST + b"Content-Length: 0\r\n\r\n", [("POST", "/mcp", b"")]),
    "header names in any case": (POST + b"CONTENT-length: 2\r\n\r\nab", [("POST", "/mcp", b"ab")]),
    "chunks": (CHUNKED + b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", [("POST", "/mcp", b"hello world")]),
    "no chunks": (CHUNKED + b"0\r\n\r\n", [("POST", "/mcp", b"")]),
    "chunk size in hex": (CHUNKED + b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", [("POST", "/mcp", TEN * 2)]),
    "chunk extension": (CHUNKED + b"2;name=value\r\nab\r\n0\r\n\r\n", [("POST", "/mcp", b"ab")]),
    "trailers": (CHUNKED + b"2\r\nab\r\n0\r\nX-Sum: 1\r\n\r\n", [("POST", "/mcp", b"ab")]),
    "HTTP/1.0": (b"GET / HTTP/1.0\r\n\r\n", [("GET", "/", b"")]),
    "HTTP/1.0 with body": (b"POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\nx", [("POST", "/", b"x")]),
    "pipelined": (
        SHORT + POST + b"Content-Length: 2\r\n\r\nab" + SHORT,
        [("GET", "/", b""), ("POST", "/mcp", b"ab"), ("GET", "/", b"")],
    ),
    "pipelined after chunks": (CHUNKED + b"1\r\nx\r\n0\r\n\r\n" + SHORT, [("POST", "/mcp", b"x"), ("GET", "/", b"")]),
    "empty line before the request": (b"\r\n" + SHORT + b"\r\n" + SHORT, [("GET", "/", b""), ("GET", "/", b"")]),
    "body that looks like a fold": (POST + b"Content-Length: 4\r\n\r\n\n a\n", [("POST", "/mcp", b"\n a\n")]),
    "absolute target": (b"GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n", [("GET", "http://a/x", b"")]),
    "largest head": (GET + b"x: " + b"y" * EXACT_PADDING + b"\r\n\r\n", [("GET", "/", b"")]),
    "incomplete head": (GET, []),
    "incomplete body": (POST + b"Content-Length: 5\r\n\r\nhell", []),
    "incomplete chunk": (CHUNKED + b"5\r\nhell", []),
    "unfinished chunks": (CHUNKED + b"5\r\nhello\r\n0\r\n", []),
    # -- two servers could read it differently ----------------------------------------------------------------------
    "length and chunks": (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [400]),
    "chunks and length": (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", [400]),
    "two lengths": (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", [400]),
    "list of two lengths": (POST + b"Content-Length: 5, 6\r\n\r\nhello!", [400]),
    "chunks in HTTP/1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [400]),
    "negative length": (POST + b"Content-Length: -1\r\n\r\n", [400]),
    "length with sign": (POST + b"Content-Length: +1\r\n\r\nx", [400]),
    "hexadecimal length": (POST + b"Content-Length: 0x1\r\n\r\nx", [400]),
    "no length": (POST + b"Content-Length: \r\n\r\n", [400]),
    "huge length": (POST + b"Content-Length: 99999999999999999999999\r\n\r\n", [400]),
    "unknown coding": (POST + b"Transfer-Encoding: gzip\r\n\r\n", [501]),
    "chunked twice": (POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [501]),
    "gzip, chunked": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", [501]),
    "not quite chunked": (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", [501]),
    "folded header": (GET + b"x: a\r\n b\r\n\r\n", [400]),
    "folded with tab": (GET + b"x: a\r\n\tb\r\n\r\n", [400]),
    "space before colon": (POST + b"Content-Length : 5\r\n\r\nhello", [400]),
    "space before first header": (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", [400]),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: a\n\n", [400]),
    "bare line feeds after the first line": (b"GET / HTTP/1.1\r\nHost: a\n\n", [400]),
    "one bare line feed": (b"GET / HTTP/1.1\r\nx: a\nHost: a\r\n\r\n", [400]),
    "bare carriage return": (b"GET / HTTP/1.1\r\nx: a\rb\r\nHost: a\r\n\r\n", [400]),
    "NUL in a header": (GET + b"x: a\0b\r\n\r\n", [400]),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", [400]),
    "two hosts": (GET + b"Host: b\r\n\r\n", [400]),
    "the same host twice": (GET + HOST + b"\r\n", [400]),
    "two hosts in HTTP/1.0": (b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", [400]),
    "length twice in one header": (POST + b"Content-Length: 5, 5\r\n\r\nhello", [("POST", "/mcp", b"hello")]),
    "the same length twice": (
        POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        [("POST", "/mcp", b"hello")],
    ),
    "length of twenty digits": (POST + b"Content-Length: 00000000000000000005\r\n\r\nhello", [400]),
    "length with an underscore": (POST + b"Content-Length: 1_0\r\n\r\n0123456789", [400]),
    "chunked in capitals": (POST + b"Transfer-Encoding: CHUNKED\r\n\r\n0\r\n\r\n", [("POST", "/mcp", b"")]),
    "chunked with a parameter": (POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", [501]),
    "chunked in quotes": (POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n', [501]),
    "chunked after a vertical tab": (POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", [400]),
    "chunked and a comma": (POST + b"Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n", [501]),
    "no coding": (POST + b"Transfer-Encoding:\r\n\r\n", [501]),
    "identity": (POST + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nab", [501]),
    "underscore for a dash": (POST + b"Content_Length: 2\r\n\r\n", [("POST", "/mcp", b"")]),
    "tab before colon": (POST + b"Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n", [400]),
    "header without a name": (GET + b": x\r\n\r\n", [400]),
    "header without a colon": (GET + b"x\r\n\r\n", [400]),
    "two spaces before the target": (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", [400]),
    "two spaces before the version": (b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", [400]),
    "space after the version": (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", [400]),
    "space before the method": (b" GET / HTTP/1.1\r\nHost: a\r\n\r\n", [400]),
    "tabs in the request line": (b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", [400]),
    "space in the target": (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", [400]),
    "target beyond ASCII": (b"GET /\xe9 HTTP/1.1\r\nHost: a\r\n\r\n", [400]),
    "carriage return before the end": (b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", [400]),
    "upgrade with a body": (
        POST + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nab" + SHORT,
        [("POST", "/mcp", b"ab"), ("GET", "/", b"")],
    ),
    "chunk size in 17 digits": (CHUNKED + b"10000000000000000\r\nabc\r\n0\r\n\r\n", []),
    "chunk extension after a space": (CHUNKED + b"2 ;x\r\nab\r\n0\r\n\r\n", [400]),
    "bare line feed in a chunk extension": (CHUNKED + b"2;x\nab\r\n0\r\n\r\n", [400]),
    "bare carriage return in a chunk extension": (CHUNKED + b"2;x\ry\r\nab\r\n0\r\n\r\n", [400]),
    "NUL in a chunk extension": (CHUNKED + b"2;\0\r\nab\r\n0\r\n\r\n", [400]),
    "bare line feed at the end of chunks": (CHUNKED + b"0\r\n\n" + SHORT, [400]),
    "bare line feeds after a trailer": (CHUNKED + b"0\r\nx: y\n\n" + SHORT, [400]),
    "bare line feed between trailers": (CHUNKED + b"0\r\nx: y\nz: t\r\n\r\n" + SHORT, [400]),
    "folded trailer": (CHUNKED + b"0\r\nx: y\r\n z\r\n\r\n" + SHORT, [400]),
    "bare carriage return in a trailer": (CHUNKED + b"0\r\nx: y\rz\r\n\r\n" + SHORT, [400]),
    "chunk size and a line feed": (CHUNKED + b"2\nab\r\n0\r\n\r\n", [400]),
    "chunk size after a space": (CHUNKED + b" 2\r\nab\r\n0\r\n\r\n", [400]),
    "chunk size and a space": (CHUNKED + b"2 \r\nab\r\n0\r\n\r\n", [("POST", "/mcp", b"ab")]),
    "last chunk of many zeros": (CHUNKED + b"000\r\n\r\n", [("POST", "/mcp", b"")]),
    "trailer that is a length": (
        CHUNKED + b"0\r\nContent-Length: 9\r\n\r\n" + SHORT,
        [("POST", "/mcp", b""), ("GET", "/", b"")],
    ),
    "trailer that is no header": (CHUNKED + b"0\r\nbad\r\n\r\n", [400]),
    "methods that llhttp does not know": (b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n", [("BREW", "/", b"")]),
    "method in small letters": (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", [("get", "/", b"")]),
    "protocol that llhttp knows": (b"OPTIONS rtsp://a/ RTSP/1.0\r\nHost: a\r\n\r\n", [400]),
    "another one": (b"SOURCE / ICE/1.0\r\nHost: a\r\n\r\n", [400]),
    "more than one thing wrong": (
        b'POST /mcp HTTP/1.1\r\nTransfer-Encoding: "chunked"\r\nTransfer-Encoding: chunked\r\n\r\n',
        [501],
    ),
    # -- broken chunks ----------------------------------------------------------------------------------------------
    "chunk size no number": (CHUNKED + b"xyz\r\nabc\r\n0\r\n\r\n", [400]),
    "chunk size negative": (CHUNKED + b"-1\r\nabc\r\n0\r\n\r\n", [400]),
    "chunk size empty": (CHUNKED + b"\r\nabc\r\n0\r\n\r\n", [400]),
    "chunk size with 0x": (CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n", [400]),
    "chunk size of 21 digits": (CHUNKED + b"1" * 21 + b"\r\nabc\r\n0\r\n\r\n", [400]),
    "chunk longer than said": (CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n", [400]),
    "chunk without its CR LF": (CHUNKED + b"3\r\nabcXX0\r\n\r\n", [400]),
    "chunk that ends in LF LF": (CHUNKED + b"3\r\nabc\n\n0\r\n\r\n", [400]),
    # -- other refusals ---------------------------------------------------------------------------------------------
    "garbage": (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", [400]),
    "no target": (b"GET HTTP/1.1\r\nHost: a\r\n\r\n", [400]),
    "control character in target": (b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", [400]),
    "HTTP/0.9": (b"GET /\r\n\r\n", [400]),
    "HTTP/2.0": (b"PRI * HTTP/2.0\r\n\r\n", [505]),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", [505]),
    "proxy request": (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", [400]),
    "large head": (GET + b"x: " + b"y" * (EXACT_PADDING + 1) + b"\r\n\r\n", [431]),
    "endless head": (GET + b"x: " + b"y" * HEAD_BYTES, [431]),
    "many headers": (GET + b"x: y\r\n" * HEADER_LINES + b"\r\n", [431]),
    "a good request, then a bad one": (GET + b"\r\nbad\r\n\r\n", [("GET", "/", b""), 400]),
}

LARGE = {"largest head", "large head", "endless head"}


START = POST.partition(b"\r\n")[0]
FRAGMENTS = sorted({line for sent, _ in VECTORS.values() for line in sent.split(b"\r\n") if len(line) < 100})
"""Everything that the table has between line endings, to be put together anew."""

EXAMPLES = 5_000 if os.environ.get("MCPCORE_SWEEP") else 400


def read_all(parser: Parser, pieces: list[bytes]) -> list[Outcome]:
    """What comes out when `pieces` go in one after the other; a refusal is the last thing."""
    found: list[Outcome] = []
    body = b""
    for data in pieces:
        parser.feed(data)
        try:
            while (head := parser.head()) is not None:
                while piece := parser.body():
                    body += piece
                if piece is None:
                    break
                found.append((head.method, head.target, body))
                body = b""
                parser.next_request()
        except BadRequest as refusal:
            return [*found, refusal.status]
    return found


@pytest.fixture(params=PARSERS, ids=lambda kind: kind.__name__)
def parser(request: pytest.FixtureRequest) -> Parser:
    made = request.param()
    assert isinstance(made, Parser)
    return made


@pytest.mark.parametrize(("sent", "expected"), VECTORS.values(), ids=VECTORS)
def test_in_one_piece(parser: Parser, sent: bytes, expected: list[Outcome]) -> None:
    assert read_all(parser, [sent]) == expected


@pytest.mark.parametrize("name", [name for name in VECTORS if name not in LARGE])
def test_byte_by_byte(parser: Parser, name: str) -> None:
    sent, expected = VECTORS[name]
    assert read_all(parser, [sent[at : at + 1] for at in range(len(sent))]) == expected


@pytest.mark.parametrize("name", sorted(LARGE))
def test_large_heads_in_pieces(parser: Parser, name: str) -> None:
    sent, expected = VECTORS[name]
    assert read_all(parser, [sent[at : at + 1000] for at in range(0, len(sent), 1000)]) == expected


def test_begun(parser: Parser) -> None:
    assert not parser.begun
    parser.feed(b"G")
    assert parser.head() is None
    assert parser.begun


def test_nothing_is_begun_between_requests(parser: Parser) -> None:
    parser.feed(GET + b"\r\n")
    assert parser.head() is not None
    assert parser.body() == b""
    parser.next_request()
    assert not parser.begun
    assert parser.head() is None


def test_head(parser: Parser) -> None:
    parser.feed(POST + b"X: caf\xe9\r\nx:  b \r\nContent-Length: 1\r\n\r\n")
    head = parser.head()
    assert head is not None
    assert head is parser.head()
    assert list(head.headers) == [("host", "a"), ("x", "caf\xe9"), ("x", "b"), ("content-length", "1")]
    assert (head.minor, head.content_length, head.keep_alive, head.expects_continue) == (1, 1, True, False)


@pytest.mark.parametrize(
    ("sent", "keep_alive", "expects_continue"),
    [
        (GET + b"Connection: close\r\n\r\n", False, False),
        (GET + b"Connection: Upgrade, Close\r\n\r\n", False, False),
        (GET + b"Connection: keep-alive\r\n\r\n", True, False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", False, False),
        (GET + b"Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n", True, False),
        (POST + b"Expect: 100-Continue\r\nContent-Length: 1\r\n\r\n", True, True),
        (POST + b"Expect: 100-continue\r\nContent-Length: 0\r\n\r\n", True, False),
        (CHUNKED[:-2] + b"Expect: 100-continue\r\n\r\n", True, True),
        (b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n", False, False),
    ],
)
def test_connection_options(parser: Parser, sent: bytes, keep_alive: bool, expects_continue: bool) -> None:
    parser.feed(sent)
    head = parser.head()
    assert head is not None
    assert (head.keep_alive, head.expects_continue) == (keep_alive, expects_continue)


def test_body_comes_as_it_arrives(parser: Parser) -> None:
    parser.feed(POST + b"Content-Length: 5\r\n\r\nhe")
    assert parser.head() is not None
    assert parser.body() == b"he"
    assert parser.body() is None
    parser.feed(b"lloGET")
    assert parser.body() == b"llo"
    assert parser.body() == b""
    parser.next_request()
    assert parser.begun


@pytest.mark.parametrize("end", [b"0\r\n" + b"x: y\r\n" * CHUNK_LINE_BYTES, b"1;" + b"x" * CHUNK_LINE_BYTES * 8])
def test_endless_framing_of_chunks_is_refused(parser: Parser, end: bytes) -> None:
    found = read_all(parser, [CHUNKED, *(end[at : at + 4096] for at in range(0, len(end), 4096))])
    assert len(found) == 1
    assert found[0] in (400, 431)


def test_refusals_repeat_nothing_of_the_request(parser: Parser) -> None:
    parser.feed(GET + b"authorization : secret\r\n\r\n")
    with pytest.raises(BadRequest) as refused:
        parser.head()
    assert "secret" not in str(refused.value)


Parts = tuple[str, str, str, list[tuple[str, str]]]


def read_by_h11_alone(raw: bytes) -> Parts | int:
    """What a whole connection of h11 makes of a head, or the status with which it refuses it."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(raw)
    try:
        request = connection.next_event()
    except h11.RemoteProtocolError as broken:
        return broken.error_status_hint
    if not isinstance(request, h11.Request):
        return 400
    headers = [(name.decode("ascii"), value.decode("latin-1")) for name, value in request.headers]
    return request.method.decode("ascii"), request.target.decode("ascii"), request.http_version.decode(), headers


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Requests that are nearly right: pieces of the table in any order, with a few bytes changed."""
    start = draw(st.sampled_from([START, *FRAGMENTS]) if draw(st.booleans()) else st.just(START))
    lines = draw(st.lists(st.sampled_from(FRAGMENTS), max_size=5))
    if draw(st.booleans()):
        lines.insert(draw(st.integers(0, len(lines))), b"Host: a")
    sent = bytearray(b"\r\n".join((start, *lines, b"", b"")))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(sent) - 1))
        new = draw(
            st.sampled_from([b"", b" ", b"\t", b"\r", b"\n", b"\r\n", b":", b"\0", b"\x0b", b"\x7f", b"\xa0", b"a"])
        )
        sent[at : at + draw(st.integers(0, 1))] = new
    return bytes(sent)


@pytest.mark.parametrize("sent", [sent for sent, _ in VECTORS.values()], ids=VECTORS)
def test_every_parser_finds_the_same_head(sent: bytes) -> None:
    found = set()
    for make in PARSERS:
        parser = make()
        parser.feed(sent)
        try:
            found.add(repr(parser.head()))
        except BadRequest as refusal:
            found.add(f"{refusal.status} {refusal}")
    assert len(found) == 1


@pytest.mark.sweep
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(sent=requests())
def test_every_parser_reads_what_h11_reads(sent: bytes) -> None:
    """No head is taken for another one, or for a good one, whichever parser reads it."""
    heads = []
    for make in PARSERS:
        parser = make()
        parser.feed(sent)
        try:
            head = parser.head()
            heads.append(None if head is None else msgspec.structs.asdict(head))
        except BadRequest as refusal:
            heads.append({"status": refusal.status})
    assert all(head == heads[0] for head in heads)
    assert [read_all(make(), [sent]) for make in PARSERS] == [read_all(PARSERS[0](), [sent])] * len(PARSERS)
    head = heads[0]
    if head is None or "status" in head:
        return
    while sent.startswith(b"\r\n"):
        sent = sent[2:]
    expected = read_by_h11_alone(sent[: sent.index(b"\r\n\r\n") + 4])
    assert (head["method"], head["target"], f"1.{head['minor']}", list(head["headers"])) == expected


def test_the_faster_parser_that_is_installed_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_parser() is choose_parser("httptools") is HttptoolsParser
    assert choose_parser("h11") is H11Parser
    monkeypatch.setattr(parsers, "find_spec", lambda name: None)
    assert choose_parser() is H11Parser


def test_a_parser_that_there_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LocalProtocolError, match="http_parser is auto, h11 or httptools, not 'x'"):
        choose_parser("x")
    monkeypatch.delitem(sys.modules, HttptoolsParser.__module__)
    monkeypatch.setitem(sys.modules, "httptools", None)
    with pytest.raises(LocalProtocolError, match=r"install mcpcore\[fast\], or use h11"):
        choose_parser("httptools")
