"""Exceptions and codes: what each says, and who may catch it."""

import anyio
import pytest

from mcpcore import errors
from mcpcore.errors import (
    CODE_INTERNAL_ERROR,
    CODE_INVALID_PARAMS,
    CODE_INVALID_REQUEST,
    CODE_RESOURCE_NOT_FOUND,
    ConnectFailed,
    ConnectionLost,
    DeadlineExceeded,
    InvalidParams,
    LocalProtocolError,
    MissingCapability,
    PeerError,
    RemoteProtocolError,
    RequestError,
    ResourceNotFound,
    SchemaError,
    ToolError,
)

CODES = {name: value for name, value in vars(errors).items() if name.startswith("CODE_")}
JSON_RPC = {"PARSE_ERROR", "INVALID_REQUEST", "METHOD_NOT_FOUND", "INVALID_PARAMS", "INTERNAL_ERROR"}
HANDSHAKE_ERA = {"RESOURCE_NOT_FOUND", "URL_ELICITATION_REQUIRED", "USER_REJECTED"}
OURS = {"SERVER_BUSY", "UPSTREAM_LOST", "UPSTREAM_SILENT"}
MODERN = {"HEADER_MISMATCH", "MISSING_CAPABILITY", "UNSUPPORTED_REVISION"}


def test_no_code_is_used_twice() -> None:
    assert len(set(CODES.values())) == len(CODES)


def test_each_code_is_from_the_range_of_whoever_defines_it() -> None:
    """JSON-RPC 2.0, section 5.1, and the ranges that 2026-07-28 sets aside."""
    assert CODES.keys() == {f"CODE_{name}" for name in (*JSON_RPC, *HANDSHAKE_ERA, *MODERN, *OURS)}
    assert all(-32768 <= CODES[f"CODE_{name}"] <= -32600 for name in JSON_RPC)
    assert all(-32099 <= CODES[f"CODE_{name}"] <= -32020 for name in MODERN)
    assert not any(-32768 <= CODES[f"CODE_{name}"] <= -32000 for name in OURS)


@pytest.mark.parametrize(
    ("error", "code", "message", "data", "text"),
    [
        (RequestError(7, "no", {"a": 1}), 7, "no", {"a": 1}, "no (code 7)"),
        (RequestError(CODE_INTERNAL_ERROR, "no"), CODE_INTERNAL_ERROR, "no", None, "no (code -32603)"),
        (InvalidParams("wrong", [1]), CODE_INVALID_PARAMS, "wrong", [1], "wrong (code -32602)"),
        (
            ResourceNotFound("a://b"),
            CODE_RESOURCE_NOT_FOUND,
            "no resource has the URI 'a://b'",
            {"uri": "a://b"},
            "no resource has the URI 'a://b' (code -32002)",
        ),
        (PeerError(7, "no", {"a": 1}), 7, "no", {"a": 1}, "the peer answered with error 7: no"),
    ],
)
def test_what_is_or_was_on_the_wire(error: RequestError, code: int, message: str, data: object, text: str) -> None:
    assert (error.code, error.message, error.data, str(error)) == (code, message, data, text)


def test_a_mistake_of_the_peer_brings_the_error_that_answers_it() -> None:
    error = RemoteProtocolError("an id is missing")
    assert str(error) == "an id is missing"
    assert (error.reply.code, error.reply.message, error.reply.data) == (CODE_INVALID_REQUEST, "an id is missing", None)
    error = RemoteProtocolError("no", code=CODE_INVALID_PARAMS, data={"at": "uri"})
    assert (error.reply.code, error.reply.data) == (CODE_INVALID_PARAMS, {"at": "uri"})


def test_a_missing_capability_says_which() -> None:
    error = MissingCapability("the client cannot elicit", {"elicitation": {"form": {}}})
    assert str(error) == "the client cannot elicit"
    assert error.required == {"elicitation": {"form": {}}}


@pytest.mark.parametrize(
    ("error", "caught_by"),
    [
        (MissingCapability, {LocalProtocolError}),
        (SchemaError, {LocalProtocolError}),
        (LocalProtocolError, set()),
        (RemoteProtocolError, set()),
        (PeerError, set()),
        (ConnectFailed, {ConnectionLost}),
        (ConnectionLost, set()),
        (DeadlineExceeded, set()),
        (InvalidParams, {RequestError}),
        (ResourceNotFound, {RequestError}),
        (RequestError, set()),
        (ToolError, set()),
    ],
)
def test_who_is_to_blame_decides_what_catches_it(error: type, caught_by: set[type]) -> None:
    ours = {cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, Exception)}
    assert {cls for cls in ours if issubclass(error, cls)} == {error, *caught_by}
    assert not issubclass(error, anyio.ClosedResourceError)


def test_the_usual_handlers_of_the_standard_library_work() -> None:
    assert issubclass(ConnectionLost, OSError)
    assert issubclass(DeadlineExceeded, TimeoutError)
