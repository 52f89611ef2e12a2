"""Members of JSON objects are changed, and the others stay the bytes that they were."""

from typing import Any

import msgspec
import pytest

from mcpcore.errors import RemoteProtocolError
from mcpcore.splicing import joined, members_of, outline_of, raw_of, with_members, with_meta
from mcpcore.types import RequestParams


def raw(text: bytes) -> msgspec.Raw:
    return msgspec.Raw(text)


def test_what_came_raw_stays_what_it_is() -> None:
    payload = raw(b'{ "a" :1}')
    assert raw_of(payload) is payload
    assert bytes(raw_of(RequestParams(meta={"a": 1}))) == b'{"_meta":{"a":1}}'


@pytest.mark.parametrize(
    ("payload", "token"),
    [
        (b"", None),
        (b"{}", None),
        (b'{"_meta":null}', None),
        (b'{"_meta":{"progressToken":"a"}}', "a"),
        (b'{"_meta":{"progressToken":7}}', 7),
        (b'{"_meta":{"progressToken":true}}', None),
        (b'{"_meta":{"progressToken":[1]}}', None),
        (b'{"arguments":{"_meta":{"progressToken":7}}}', None),
    ],
)
def test_the_token(payload: bytes, token: Any) -> None:
    assert outline_of(raw(payload)).token == token


@pytest.mark.parametrize("payload", [b"[1]", b"7", b'{"_meta":[]}', b'{"a":', b"[" * 5000, b'{"_meta":' + b"[" * 5000])
def test_what_cannot_be_read(payload: bytes) -> None:
    for read in (outline_of, members_of):
        if read is members_of and payload == b'{"_meta":[]}':
            continue
        with pytest.raises(RemoteProtocolError) as refused:
            read(raw(payload))
        assert refused.value.reply.code == -32602


def test_members_keep_their_bytes() -> None:
    payload = raw(b'{"a": [ 1.50, {"b" :"\\u00e4"}], "c":2}')
    assert bytes(with_members(payload, {"c": raw(b" 3")}, ("d",))) == b'{"a":[ 1.50, {"b" :"\\u00e4"}],"c":3}'.replace(
        b":3", b": 3"
    )
    assert with_members(payload, {}, ("d",)) is payload
    assert bytes(with_members(payload, {}, ("a",))) == b'{"c":2}'
    assert bytes(joined(members_of(payload))) == b'{"a":[ 1.50, {"b" :"\\u00e4"}],"c":2}'


@pytest.mark.parametrize(
    ("payload", "put", "drop", "result"),
    [
        (b'{"a": 1}', {"k": 2}, (), b'{"a":1,"_meta":{"k":2}}'),
        (b"", {"k": 2}, (), b'{"_meta":{"k":2}}'),
        (b'{"_meta":{"x":[ 1],"k":1},"a":1}', {"k": 2}, (), b'{"_meta":{"x":[ 1],"k":2},"a":1}'),
        (b'{"_meta":{"x":1,"k":1},"a":1}', {}, ("k",), b'{"_meta":{"x":1},"a":1}'),
        (b'{"_meta":{"k":1},"a":1}', {}, ("k",), b'{"a":1}'),
        (b'{"_meta":{"k":1}}', {}, ("k",), b"{}"),
    ],
)
def test_meta(payload: bytes, put: Any, drop: Any, result: bytes) -> None:
    assert bytes(with_meta(raw(payload), put, drop)) == result


@pytest.mark.parametrize("payload", [b"", b'{ "a":1}', b'{"_meta" : {"x":1}}', b'{"a":{"_meta":{"k":1}}}'])
def test_meta_that_need_not_change(payload: bytes) -> None:
    given = raw(payload)
    assert with_meta(given, {}, ("k",)) is given
