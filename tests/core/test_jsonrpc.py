"""mcpcore.jsonrpc: what a peer may send, and what is made of it."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore.errors import CODE_INVALID_REQUEST, CODE_PARSE_ERROR, RequestError
from mcpcore.jsonrpc import (
    ABSENT,
    MAX_BATCH_MESSAGES,
    Batch,
    ErrorObject,
    ErrorResponse,
    Malformed,
    Message,
    Notification,
    Request,
    Response,
    decode,
    encode,
    error_response,
)

DEEP = 10_000

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
IDS = st.integers(-(2**63), 2**64 - 1) | st.text()


def line(**members: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", **members}).encode()


def malformed(frame: bytes) -> Malformed:
    message = decode(frame)
    assert isinstance(message, Malformed)
    return message


# ------------------------------------------------------------------ messages


@pytest.mark.parametrize("id", [0, 1, -1, 2**63 - 1, -(2**63), 2**64 - 1, "", "1", "a b", "\u2028", "💥"])
def test_a_request_keeps_its_id(id: int | str) -> None:
    message = decode(line(id=id, method="ping"))
    assert isinstance(message, Request)
    assert message.id == id
    assert type(message.id) is type(id)
    assert message.params is ABSENT or message.params == ABSENT


def test_params_and_results_stay_raw() -> None:
    request = decode(b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"a": [1, 2]}}')
    response = decode(b'{"jsonrpc":"2.0","id":1,"result":{"a" : 1}}')
    assert isinstance(request, Request)
    assert isinstance(response, Response)
    assert bytes(request.params) == b'{"a": [1, 2]}'
    assert bytes(response.result) == b'{"a" : 1}'


@pytest.mark.parametrize("with_id", [True, False])
def test_null_params_are_absent(with_id: bool) -> None:
    message = decode(line(method="m", params=None, **({"id": 1} if with_id else {})))
    assert isinstance(message, Request | Notification)
    assert message.params == ABSENT


def test_params_of_any_kind_are_for_the_method_to_judge() -> None:
    message = decode(line(id=1, method="m", params=[1, 2]))
    assert message == Request(1, "m", msgspec.Raw(b"[1, 2]"))


def test_a_null_result_is_a_result() -> None:
    message = decode(line(id=1, result=None))
    assert message == Response(1, msgspec.Raw(b"null"))


@pytest.mark.parametrize("members", [{}, {"id": None}])
def test_an_error_may_have_no_id(members: dict[str, Any]) -> None:
    message = decode(line(error={"code": -32700, "message": "no"}, **members))
    assert message == ErrorResponse(ErrorObject(-32700, "no"), None)


def test_the_data_of_an_error_is_kept() -> None:
    message = decode(line(id="x", error={"code": 1, "message": "no", "data": {"why": [1]}}))
    assert message == ErrorResponse(ErrorObject(1, "no", {"why": [1]}), "x")


def test_unknown_members_are_ignored() -> None:
    assert decode(line(id=1, method="ping", extra={"a": 1}, _more=[])) == Request(1, "ping")


# ------------------------------------------------------------------ frames that are no message


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b" ",
        b"{",
        b"}",
        b"nonsense",
        b'{"jsonrpc":"2.0","id":1,"method":"ping"',
        b'{"jsonrpc":"2.0","id":1,"method":"ping"} {}',
        b'{"jsonrpc":"2.0","id":1,"method":"pi\nng"}',
        b"{'jsonrpc':'2.0'}",
        b'{"jsonrpc":"2.0","id":NaN,"method":"ping"}',
        b"\x00",
        b'\xef\xbb\xbf{"jsonrpc":"2.0","id":1,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":1,"method":"\xff\xfe"}',
        b'{"jsonrpc":"2.0","id":"\xed\xa0\x80","method":"ping"}',
        b'[{"jsonrpc":"2.0","id":1,"method":"ping"}',
    ],
)
def test_what_is_no_json_is_a_parse_error_without_an_id(frame: bytes) -> None:
    message = malformed(frame)
    assert message.error.code == CODE_PARSE_ERROR
    assert message.id is None
    assert not message.answers


@pytest.mark.parametrize(
    ("frame", "id"),
    [
        (b"null", None),
        (b"1", None),
        (b'"text"', None),
        (b"true", None),
        (b"{}", None),
        (line(), None),
        (line(id=1), 1),
        (line(id=None), None),
        (b'{"id":1,"method":"ping"}', 1),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', 1),
        (b'{"jsonrpc":2.0,"id":1,"method":"ping"}', 1),
        (b'{"jsonrpc":null,"id":"x","method":"ping"}', "x"),
        (line(id=None, method="ping"), None),
        (line(id=1.5, method="ping"), None),
        (line(id=True, method="ping"), None),
        (line(id=[1], method="ping"), None),
        (line(id={}, method="ping"), None),
        (line(id=1, method=5), 1),
        (line(id=1, method=None), 1),
        (line(method=["ping"]), None),
        (line(result={}), None),
        (line(id=None, result={}), None),
    ],
)
def test_json_that_is_no_message_is_an_invalid_request_with_the_id_if_one_can_be_read(
    frame: bytes, id: int | str | None
) -> None:
    message = malformed(frame)
    assert message.error.code == CODE_INVALID_REQUEST
    assert message.id == id
    assert not message.answers


@pytest.mark.parametrize(
    "members",
    [
        {"result": {}, "error": {"code": 1, "message": "both"}},
        {"error": "text"},
        {"error": {"code": "x", "message": "m"}},
        {"error": {"message": "no code"}},
        {"error": {"code": 1}},
        {"error": None},
        {"error": [], "result": 1},
    ],
)
def test_a_broken_response_is_known_as_one_and_so_is_not_answered(members: dict[str, Any]) -> None:
    message = malformed(line(id=7, **members))
    assert message.id == 7
    assert message.answers


def test_a_broken_response_without_jsonrpc_still_answers() -> None:
    message = malformed(b'{"id":7,"result":{}}')
    assert (message.id, message.answers) == (7, True)


@pytest.mark.parametrize("id", [2**64, -(2**63) - 1, 10**400], ids=["2^64", "-2^63-1", "10^400"])
def test_an_id_beyond_64_bits_comes_back_as_it_was(id: int) -> None:
    message = decode(line(id=id, method="ping"))
    assert message == Request(id, "ping")
    assert f'"id":{id},' in encode(Response(id, {})).decode()


def test_an_id_of_more_digits_than_python_converts_is_refused() -> None:
    message = malformed(b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b',"method":"ping"}')
    assert message.id is None
    assert message.error.code in (CODE_INVALID_REQUEST, CODE_PARSE_ERROR)


def test_big_numbers_inside_params_stay_raw() -> None:
    frame = b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"n":' + b"9" * 1000 + b"}}"
    message = decode(frame)
    assert isinstance(message, Request)
    assert len(bytes(message.params)) == 1000 + len(b'{"n":}')


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_json_nested_too_deeply_is_an_invalid_request_wherever_it_stands(opening: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"
    deep = opening * DEEP + b"1" + closing * DEEP
    for frame in (
        deep,
        b'{"jsonrpc":"2.0","id":1,"method":"m","params":' + deep + b"}",
        b'{"jsonrpc":"2.0","id":1,"result":' + deep + b"}",
        b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m","data":' + deep + b"}}",
        b'{"jsonrpc":"2.0","id":' + deep + b',"method":"m"}',
        b'[{"jsonrpc":"2.0","id":1,"method":"m","params":' + deep + b"}]",
        b'{"extra":' + deep + b"}",
    ):
        message = decode(frame)
        assert isinstance(message, Malformed), frame[:40]
        assert message.error.code in (CODE_INVALID_REQUEST, CODE_PARSE_ERROR)
        assert msgspec.json.decode(encode(message))["error"]["code"] == message.error.code


# ------------------------------------------------------------------ batches


def test_a_batch_holds_messages_of_all_kinds() -> None:
    frame = b"[" + b",".join((line(id=1, method="a"), line(method="b"), line(id=2, result=3), b'{"id":4}', b"5")) + b"]"
    batch = decode(frame)
    assert isinstance(batch, Batch)
    assert [type(message) for message in batch.messages] == [Request, Notification, Response, Malformed, Malformed]


@pytest.mark.parametrize("count", [0, MAX_BATCH_MESSAGES + 1])
def test_a_batch_has_a_size(count: int) -> None:
    message = malformed(b"[" + b",".join([line(method="a")] * count) + b"]")
    assert message.error.code == CODE_INVALID_REQUEST
    assert str(count) in message.error.message


def test_the_largest_batch() -> None:
    batch = decode(b" \t\r\n[" + b",".join([line(method="a")] * MAX_BATCH_MESSAGES) + b"]")
    assert isinstance(batch, Batch)
    assert len(batch.messages) == MAX_BATCH_MESSAGES


@pytest.mark.parametrize("inner", [b"[]", b'[{"jsonrpc":"2.0","method":"a"}]'])
def test_a_batch_in_a_batch_is_refused(inner: bytes) -> None:
    batch = decode(b"[" + inner + b"," + line(id=1, method="a") + b"]")
    assert isinstance(batch, Batch)
    refused, kept = batch.messages
    assert isinstance(refused, Malformed)
    assert kept == Request(1, "a")


def test_a_batch_is_encoded_as_an_array() -> None:
    assert json.loads(encode(Batch((Request(1, "a"), Notification("b"))))) == [
        {"jsonrpc": "2.0", "id": 1, "method": "a"},
        {"jsonrpc": "2.0", "method": "b"},
    ]


# ------------------------------------------------------------------ encoding


@given(message=st.builds(Request, IDS, st.text(), JSON))
def test_a_request_survives_the_wire(message: Request) -> None:
    frame = encode(message)
    assert frame.decode().splitlines() == [frame.decode()]
    back = decode(frame)
    assert isinstance(back, Request)
    assert (back.id, back.method) == (message.id, message.method)
    params = None if back.params == ABSENT else msgspec.json.decode(back.params)
    assert params == message.params


@given(id=IDS, result=JSON)
def test_a_response_survives_the_wire(id: int | str, result: Any) -> None:
    back = decode(encode(Response(id, result)))
    assert isinstance(back, Response)
    assert (back.id, msgspec.json.decode(back.result)) == (id, result)


@given(st.binary(max_size=200))
def test_any_bytes_become_a_message_and_its_answer_can_be_sent(frame: bytes) -> None:
    message = decode(frame)
    assert isinstance(message, Batch | Request | Notification | Response | ErrorResponse | Malformed)
    assert b"\n" not in encode(message)


@given(JSON)
def test_any_json_becomes_a_message(value: Any) -> None:
    message = decode(json.dumps(value).encode())
    assert isinstance(message, Malformed | Batch)


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\u0085"])
def test_unicode_line_breaks_are_escaped_and_come_back(character: str) -> None:
    text = f"a{character}b"
    frame = encode(Notification("m", {"text": text, text: 1}))
    assert character not in frame.decode()
    assert json.loads(frame)["params"] == {"text": text, text: 1}


def test_characters_that_share_bytes_with_a_line_break_stay() -> None:
    text = "“quoted” \u2027 \u0084 É"
    assert json.loads(encode(Notification("m", {"text": text})))["params"] == {"text": text}


@pytest.mark.parametrize("space", [b"\n", b"\r\n", b"\r", b"\n\n"])
def test_indented_raw_json_becomes_one_line(space: bytes) -> None:
    frame = encode(Response(1, msgspec.Raw(b"{" + space + b'"a":' + space + b'"x\\ny"' + space + b"}")))
    assert b"\n" not in frame
    assert b"\r" not in frame
    assert json.loads(frame)["result"] == {"a": "x\ny"}


def test_absent_members_are_left_out() -> None:
    assert json.loads(encode(Request(1, "ping"))) == {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    assert json.loads(encode(error_response(None, RequestError(1, "no")))) == {
        "jsonrpc": "2.0",
        "error": {"code": 1, "message": "no"},
    }


@pytest.mark.parametrize("data", [{"a": 1}, [], 0, False, ""])
def test_error_data_is_sent_unless_there_is_none(data: Any) -> None:
    assert json.loads(encode(error_response("x", RequestError(1, "no", data)))) == {
        "jsonrpc": "2.0",
        "id": "x",
        "error": {"code": 1, "message": "no", "data": data},
    }


def test_a_malformed_frame_is_encoded_as_its_answer() -> None:
    message: Message = Malformed(RequestError(-32600, "why"), 3)
    assert json.loads(encode(message)) == {"jsonrpc": "2.0", "id": 3, "error": {"code": -32600, "message": "why"}}
