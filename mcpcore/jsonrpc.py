"""JSON-RPC 2.0 messages, and the way between them and bytes. Pure: no I/O.

A frame is decoded once, with `params` and `result` left as raw JSON: whoever knows the method decodes those
straight into its own struct. Encoding takes structs, dicts and raw JSON alike.

What a peer sends is never an exception here. A frame that is no message becomes `Malformed`, which holds the
JSON-RPC error that answers it, so that one loop can treat everything that arrives the same way.
"""

import re
from typing import Any, Final, TypeAlias

import msgspec

from mcpcore.errors import CODE_INVALID_REQUEST, CODE_PARSE_ERROR, RequestError
from mcpcore.types.base import RequestId

__all__ = (
    "ABSENT",
    "MAX_BATCH_MESSAGES",
    "OVERSIZE_KEPT_BYTES",
    "Batch",
    "ErrorObject",
    "ErrorResponse",
    "Malformed",
    "Message",
    "Notification",
    "Oversize",
    "Request",
    "Response",
    "decode",
    "encode",
    "error_response",
)

MAX_BATCH_MESSAGES = 100
"""Messages in one 2025-03-26 batch. A batch is one frame, so the frame limit alone would allow a million of them."""

OVERSIZE_KEPT_BYTES = 1024
"""Bytes kept of each end of a frame that is over the limit: enough for the members around its result or its params."""

ABSENT: Final = msgspec.Raw()
"""`params` that were not sent. Raw JSON is never empty, so nothing on the wire looks like it."""


class Request(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="jsonrpc", tag="2.0"):
    """A message that wants an answer. `params` is raw JSON when it came from a peer, a struct when we send it."""

    id: RequestId
    method: str
    params: Any = ABSENT


class Notification(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="jsonrpc", tag="2.0"):
    """A message that gets no answer, ever."""

    method: str
    params: Any = ABSENT


class Response(msgspec.Struct, frozen=True, tag_field="jsonrpc", tag="2.0"):
    id: RequestId
    result: Any


class ErrorObject(msgspec.Struct, frozen=True, omit_defaults=True):
    code: int
    message: str
    data: Any = msgspec.UNSET


class ErrorResponse(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="jsonrpc", tag="2.0"):
    """The answer of a request that failed. `id` is None, and left out, when the request's id was unreadable.

    The published schemas from 2025-11-25 on want it left out; plain JSON-RPC 2.0 wants null. Both are read.
    """

    error: ErrorObject
    id: RequestId | None = None


class Malformed(msgspec.Struct, frozen=True):
    """A frame that is no JSON-RPC message."""

    error: RequestError
    """What to answer."""

    id: RequestId | None = None
    """The frame's id, where one could be read."""

    answers: bool = False
    """It was meant as a response: an id, a result or an error, and no method. Nobody answers a response."""


Message: TypeAlias = Request | Notification | Response | ErrorResponse | Malformed


class Batch(msgspec.Struct, frozen=True):
    """A JSON array of messages, legal in 2025-03-26 only. Whoever knows the revision accepts or refuses it."""

    messages: tuple[Message, ...]


class Oversize(msgspec.Struct, frozen=True):
    """A frame that was longer than the limit and was skipped as it arrived."""

    size: int
    """Bytes seen."""

    limit: int
    """Bytes allowed."""

    start: bytes = b""
    """Its first bytes, `OVERSIZE_KEPT_BYTES` at most; empty where none were kept."""

    end: bytes = b""
    """Its last bytes, as many at most; the two may overlap."""

    def malformed(self) -> Malformed:
        """What is left of it: the error that answers it, and whose it is where its ends say so.

        Known implementations write the id before the one large member, or after it.
        """
        text = f"a message of {self.size} bytes is over the limit of {self.limit}; send less at once"
        seen = _first_members(self.start)
        id = _id_of(seen.get(b"id") or _last_id(self.end))
        answers = id is not None and b"method" not in seen and (b"result" in seen or b"error" in seen)
        return Malformed(RequestError(CODE_INVALID_REQUEST, text), id, answers=answers)


_STRING = rb'"(?:[^"\\]|\\.)*"'
_PLAIN = rb"(?:" + _STRING + rb"|-?\d+)"
_KEY = re.compile(rb'[{,\s]*"((?:[^"\\]|\\.)*)"\s*:\s*')
_VALUE = re.compile(rb"(" + _PLAIN + rb")(?=\s*,)")
_LAST_MEMBERS = re.compile(rb"(?:,\s*" + _STRING + rb"\s*:\s*" + _PLAIN + rb"\s*)+\}\s*$")
_LAST_ID = re.compile(rb',\s*"id"\s*:\s*(' + _PLAIN + rb")")


def _first_members(start: bytes) -> dict[bytes, bytes]:
    """The members an object begins with, up to the first that is no whole string or integer: that one is empty."""
    members: dict[bytes, bytes] = {}
    position = 0
    while key := _KEY.match(start, position):
        value = _VALUE.match(start, key.end())
        members[key[1]] = value[1] if value else b""
        if value is None:
            break
        position = value.end()
    return members


def _last_id(end: bytes) -> bytes:
    """The id among the members that an object ends with, as long as those are strings and integers."""
    members = _LAST_MEMBERS.search(end)
    found = members and _LAST_ID.search(members[0])
    return found[1] if found else b""


def _id_of(written: bytes) -> RequestId | None:
    try:
        return _decode_id.decode(written)
    except ValueError:
        return None


class _Frame(msgspec.Struct):
    """Any message: which one it is shows in the members it has."""

    jsonrpc: str = ""
    id: RequestId | msgspec.UnsetType | None = msgspec.UNSET
    method: str | msgspec.UnsetType = msgspec.UNSET
    params: msgspec.Raw = ABSENT
    result: msgspec.Raw = ABSENT
    error: ErrorObject | msgspec.UnsetType = msgspec.UNSET


class _Outline(msgspec.Struct):
    """What can be said of a frame whose members have the wrong types."""

    id: RequestId | None = None
    method: msgspec.Raw = ABSENT
    result: msgspec.Raw = ABSENT
    error: msgspec.Raw = ABSENT

    @property
    def answers(self) -> bool:
        return self.id is not None and self.method == ABSENT and (self.result != ABSENT or self.error != ABSENT)


_NULL: Final = msgspec.Raw(b"null")
_decode_id: Final[msgspec.json.Decoder[RequestId]] = msgspec.json.Decoder(RequestId)
_decode_frame = msgspec.json.Decoder(_Frame).decode
_decode_outline = msgspec.json.Decoder(_Outline).decode
_decode_frames = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


def decode(frame: bytes | msgspec.Raw) -> Message | Batch:
    """The message in one frame. Never raises on what a peer may send."""
    try:
        found = _decode_frame(frame)
    except (ValueError, RecursionError) as error:
        return _undecodable(frame, error)
    if found.jsonrpc != "2.0":
        return _malformed(found, 'not JSON-RPC 2.0: the member "jsonrpc" must be "2.0"')
    if found.method is not msgspec.UNSET:
        params = found.params
        if params == _NULL:
            params = ABSENT  # `"params": null` is what some peers write for none
        if found.id is msgspec.UNSET:
            return Notification(found.method, params)
        if found.id is None:
            return _malformed(found, "a request's id must be a string or an integer, not null")
        return Request(found.id, found.method, params)
    has_result = found.result != ABSENT
    if found.error is not msgspec.UNSET:
        if has_result:
            return _malformed(found, "a response has either a result or an error, not both")
        return ErrorResponse(found.error, None if found.id is msgspec.UNSET else found.id)
    if not has_result:
        return _malformed(found, 'no message: neither "method" nor "result" nor "error" is there')
    if found.id is msgspec.UNSET or found.id is None:
        return _malformed(found, "a result needs the id of its request")
    return Response(found.id, found.result)


def encode(message: Message | Batch) -> bytes:
    """One line of JSON without a line break inside, whatever raw JSON the message holds.

    U+2028, U+2029 and U+0085 are escaped: readers that split on Unicode line boundaries would cut a frame in two.
    """
    if type(message) is Malformed:
        message = error_response(message.id, message.error)
    data = _encode(message.messages if type(message) is Batch else message)
    if b"\xe2\x80" in data:
        data = data.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    if b"\xc2\x85" in data:
        data = data.replace(b"\xc2\x85", b"\\u0085")
    if b"\n" in data or b"\r" in data:
        # Outside strings a line break is white space, and inside them JSON has it escaped: a space is the same.
        data = data.replace(b"\r", b" ").replace(b"\n", b" ")
    return data


def error_response(id: RequestId | None, error: RequestError) -> ErrorResponse:
    """The answer that a raised `RequestError` stands for."""
    data = msgspec.UNSET if error.data is None else error.data
    return ErrorResponse(ErrorObject(error.code, error.message, data), id)


def _malformed(found: _Frame, text: str) -> Malformed:
    id = None if found.id is msgspec.UNSET else found.id
    answers = found.method is msgspec.UNSET and (found.result != ABSENT or found.error is not msgspec.UNSET)
    return Malformed(RequestError(CODE_INVALID_REQUEST, text), id, answers=answers and id is not None)


def _undecodable(frame: bytes | msgspec.Raw, error: Exception) -> Message | Batch:
    if isinstance(error, RecursionError):
        return Malformed(RequestError(CODE_INVALID_REQUEST, "the JSON is nested too deeply"))
    if not isinstance(error, msgspec.ValidationError):
        return Malformed(RequestError(CODE_PARSE_ERROR, f"not JSON: {error}"))
    if bytes(frame).lstrip(b" \t\r\n")[:1] == b"[":
        return _decode_batch(frame)
    try:
        seen = _decode_outline(frame)
    except (ValueError, RecursionError):
        seen = _Outline()
    text = f"not a JSON-RPC message: {error}"
    return Malformed(RequestError(CODE_INVALID_REQUEST, text), seen.id, answers=seen.answers)


def _decode_batch(frame: bytes | msgspec.Raw) -> Message | Batch:
    try:
        frames = _decode_frames(frame)
    except RecursionError:
        return Malformed(RequestError(CODE_INVALID_REQUEST, "the JSON is nested too deeply"))
    except ValueError as error:
        return Malformed(RequestError(CODE_PARSE_ERROR, f"not JSON: {error}"))
    if not 0 < len(frames) <= MAX_BATCH_MESSAGES:
        text = f"a batch holds 1 to {MAX_BATCH_MESSAGES} messages, not {len(frames)}"
        return Malformed(RequestError(CODE_INVALID_REQUEST, text))
    messages: list[Message] = []
    for one in frames:
        message = decode(one)
        if type(message) is Batch:
            message = Malformed(RequestError(CODE_INVALID_REQUEST, "a batch cannot hold a batch"))
        messages.append(message)  # type: ignore[arg-type]
    return Batch(tuple(messages))
