"""Every payload type against the published schema of every revision that has it, and back again."""

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from core.payloads import instances
from core.schemas import definitions, examples, message_definition, validate
from hypothesis import given, settings

from mcpcore import types as mcp
from mcpcore.adaptation import adapt, complete
from mcpcore.errors import LocalProtocolError
from mcpcore.methods import NOTIFICATIONS, REQUESTS
from mcpcore.revisions import LATEST, REVISIONS, Era, Revision
from mcpcore.types.base import Model
from mcpcore.types.shapes import wire_decoder

# Values of each type.
EXAMPLES = 300 if os.environ.get("MCPCORE_SWEEP") else 10

PAYLOADS: dict[str, type[Model]] = {
    name: getattr(mcp, name)
    for name in mcp.__all__
    if isinstance(getattr(mcp, name), type) and issubclass(getattr(mcp, name), Model)
}
METHODS = {**REQUESTS, **NOTIFICATIONS}

# Renamed by 2025-06-18; what is on the wire stayed.
OLD_NAMES = {"ResourceTemplateReference": "ResourceReference"}

RUNTIME: dict[str, Any] = {
    mcp.META_PROTOCOL_VERSION: LATEST.value,
    mcp.META_CLIENT_CAPABILITIES: {},
}

REASONED_EXCLUSIONS: dict[str, frozenset[str]] = {
    "the envelope, in mcpcore.jsonrpc": frozenset(
        [
            "Error",
            "JSONRPCBatchRequest",
            "JSONRPCBatchResponse",
            "JSONRPCError",
            "JSONRPCErrorResponse",
            "JSONRPCMessage",
            "JSONRPCNotification",
            "JSONRPCRequest",
            "JSONRPCResponse",
            "JSONRPCResultResponse",
            "Notification",
            "Request",
        ]
    ),
    "one error code each, in mcpcore.errors; those with typed data have a struct for it": frozenset(
        [
            "HeaderMismatchError",
            "InternalError",
            "InvalidParamsError",
            "InvalidRequestError",
            "MethodNotFoundError",
            "MissingRequiredClientCapabilityError",
            "ParseError",
            "UnsupportedProtocolVersionError",
            "URLElicitationRequiredError",
        ]
    ),
    "who sends what, a column of mcpcore.methods": frozenset(
        [
            "ClientNotification",
            "ClientRequest",
            "ClientResult",
            "ServerNotification",
            "ServerRequest",
            "ServerResult",
            "PaginatedRequest",
        ]
    ),
    "part of a JSON Schema, which is kept whole as a dict": frozenset(
        [
            "BooleanSchema",
            "EnumSchema",
            "LegacyTitledEnumSchema",
            "MultiSelectEnumSchema",
            "NumberSchema",
            "PrimitiveSchemaDefinition",
            "SingleSelectEnumSchema",
            "StringSchema",
            "TitledMultiSelectEnumSchema",
            "TitledSingleSelectEnumSchema",
            "UntitledMultiSelectEnumSchema",
            "UntitledSingleSelectEnumSchema",
        ]
    ),
    "a `_meta` object, a dict with named keys in mcpcore.types.meta": frozenset(
        [
            "MetaObject",
            "NotificationMetaObject",
            "RequestMetaObject",
            "ResultMetaObject",
            "SubscriptionsListenResultMetaObject",
        ]
    ),
    "a plain Python type": frozenset(["Cursor", "JSONArray", "JSONObject", "JSONValue", "ResultType"]),
    "a mixin of members, written out in the structs that have them": frozenset(
        ["Annotated", "Icons", "ResourceRequestParams", "TaskAugmentedRequestParams"]
    ),
    "a map, annotated where it is used": frozenset(["InputRequests", "InputResponse", "InputResponses"]),
    "an older name of a type that is there": frozenset(OLD_NAMES.values()),
}
EXCLUDED = frozenset().union(*REASONED_EXCLUSIONS.values())


def known_as(kind: type[Model], revision: Revision) -> str | None:
    """The definition of this type in the revision's schema."""
    known = definitions(revision)
    return next((name for name in (kind.__name__, OLD_NAMES.get(kind.__name__)) if name in known), None)


def carried_by(kind: type[Model], revision: Revision) -> list[tuple[str, str]]:
    """(method, definition) of the messages that have this type as their parameters."""
    return [
        (method.name, name)
        for method in METHODS.values()
        if kind is method.params or (kind in getattr(method.params, "structs", ()))
        if (name := message_definition(revision, method.name)) is not None
    ]


def envelope(revision: Revision, definition: str) -> dict[str, Any]:
    """The members of JSON-RPC that the revision counts as part of this message."""
    members = definitions(revision)[definition]["properties"]
    return {name: value for name, value in (("jsonrpc", "2.0"), ("id", 1)) if name in members}


def several_choices(value: Any) -> bool:
    """Whether this is a form with a field of several values, or holds one."""
    return any(field["type"] == "array" for field in value.requested_schema["properties"].values())


def sent(value: Any, revision: Revision) -> Any:
    """What goes to a peer of this revision; None for what cannot go there and was refused."""
    older = revision.at_least(Revision.R2025_06_18) and not revision.at_least(Revision.R2025_11_25)
    if older and isinstance(value, mcp.ElicitRequestFormParams) and several_choices(value):
        with pytest.raises(LocalProtocolError, match="several values"):
            adapt(value, revision)
        return None
    if older and isinstance(value, mcp.ElicitRequestURLParams):
        with pytest.raises(LocalProtocolError, match="by URL"):
            adapt(value, revision)
        return None
    return complete(value, revision) if isinstance(value, mcp.Result) else adapt(value, revision)


def required_meta(value: Any, revision: Revision) -> Any:
    """What a modern client adds to each request."""
    embedded = (mcp.CreateMessageRequestParams, mcp.ElicitRequestFormParams, mcp.ElicitRequestURLParams)
    if isinstance(value, mcp.RequestParams) and not isinstance(value, embedded) and revision.era is Era.MODERN:
        return msgspec.structs.replace(value, meta={**(value.meta or {}), **RUNTIME})
    return value


TESTED = {
    name: kind
    for name, kind in PAYLOADS.items()
    if kind not in (mcp.CacheableResult, mcp.PaginatedResult)  # Bases: nothing on the wire is only that.
    and any(known_as(kind, revision) or carried_by(kind, revision) for revision in REVISIONS)
}


@pytest.mark.parametrize("name", sorted(TESTED))
def test_valid_in_every_revision(name: str) -> None:
    kind = TESTED[name]

    @settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True)
    @given(instances(kind))
    def check(drawn: Any) -> None:
        for revision in REVISIONS:
            definition = known_as(kind, revision)
            messages = carried_by(kind, revision)
            if definition is None and not messages:
                continue
            value = sent(required_meta(drawn, revision), revision)
            if value is None:
                continue
            if type(value) is not kind:
                raise AssertionError(f"{kind.__name__} became {type(value).__name__} though {revision} knows it")
            if definition is not None:
                validate(value, revision, definition)
            for method, message in messages:
                validate({**envelope(revision, message), "method": method, "params": value}, revision, message)

    check()


# Members that a decoder leaves raw compare by their JSON.
def same(kind: type[Model], first: Any, second: Any) -> bool:
    raw = {"params", "arguments", "input_responses", "input_requests"} & set(kind.__struct_fields__)
    if not raw:
        return bool(first == second)
    return type(first) is type(second) and json.loads(msgspec.json.encode(first)) == json.loads(
        msgspec.json.encode(second)
    )


@pytest.mark.parametrize("name", sorted(PAYLOADS))
def test_decodes_what_it_encodes(name: str) -> None:
    kind = PAYLOADS[name]

    @settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True)
    @given(instances(kind))
    def check(value: Any) -> None:
        assert same(kind, wire_decoder(kind).decode(msgspec.json.encode(value)), value)

    check()


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(member) for key, member in value.items() if member is not None}
    return [without_nulls(member) for member in value] if isinstance(value, list) else value


def read_example(name: str, wire: Any) -> tuple[Any, Any]:
    """(decoded, the JSON it came from) for a published example of this type."""
    if name.endswith("ResultResponse"):
        return read_example(name.removesuffix("Response"), wire["result"])
    if "method" in wire and "params" in wire and name.endswith(("Request", "Notification")):
        return METHODS[wire["method"]].decode_params(wire["params"]), wire["params"]
    if "method" in wire:
        return METHODS[wire["method"]].decode_params(None), {}
    data: dict[str, Any] = {
        "UnsupportedProtocolVersionError": mcp.UnsupportedProtocolVersionErrorData,
        "MissingRequiredClientCapabilityError": mcp.MissingRequiredClientCapabilityErrorData,
    }
    if name in data:
        return wire_decoder(data[name]).decode(json.dumps(wire["error"]["data"])), wire["error"]["data"]
    if name == "InputRequests":
        result = REQUESTS["tools/call"].decode_result({"resultType": "input_required", "inputRequests": wire})
        return result.input_requests, wire
    return wire_decoder(PAYLOADS[name]).decode(json.dumps(wire)), wire


READABLE = [
    pytest.param(name, path, id=f"{name}-{path.stem}")
    for name, path in examples()
    if name
    not in EXCLUDED - {"InputRequests", "UnsupportedProtocolVersionError", "MissingRequiredClientCapabilityError"}
]


@pytest.mark.parametrize(("name", "path"), READABLE)
def test_published_example_survives(name: str, path: Path) -> None:
    decoded, wire = read_example(name, json.loads(path.read_text()))
    assert json.loads(msgspec.json.encode(decoded)) == without_nulls(wire)


def test_examples_are_there() -> None:
    assert len(READABLE) > 90


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_definition_is_accounted_for(revision: Revision) -> None:
    messages = {message_definition(revision, method) for method in METHODS}
    missing = [
        name
        for name in definitions(revision)
        if not (name in mcp.__all__ or name in messages or name in EXCLUDED or name.endswith("ResultResponse"))
    ]
    assert missing == []


def test_every_type_is_published_or_named_here() -> None:
    ours = {
        "Completion", "CompletionArgument", "CompletionContext", "ElicitationCapability", "ListChangedCapability",
        "MissingRequiredClientCapabilityErrorData", "ResourcesCapability", "RootsCapability", "SamplingCapability",
        "UnsupportedProtocolVersionErrorData", "URLElicitationRequiredErrorData",
        # Bases without a definition of their own.
        "CacheableResult", "Model", "PaginatedResult", "Tagged",
    }  # fmt: skip
    assert {name for name in PAYLOADS if name not in TESTED} == ours


@pytest.mark.parametrize(
    ("kind", "wire"),
    [
        (mcp.ProgressNotificationParams, {"progressToken": 1, "progress": 0.25, "total": 1.5}),
        (mcp.ElicitResult, {"action": "accept", "content": {"a": 1.5, "b": 2, "c": True, "d": ["x"]}}),
        (mcp.CreateMessageRequestParams, {"messages": [], "maxTokens": 1.0, "temperature": 0.7}),
        (mcp.Completion, {"values": [], "total": 3.0}),
        (mcp.Annotations, {"priority": 0.5}),
        (mcp.ModelPreferences, {"costPriority": 0.5}),
        (mcp.Task, {"taskId": "a", "status": "working", "createdAt": "", "lastUpdatedAt": "", "ttl": 1.5}),
    ],
)
def test_a_number_may_be_a_fraction(kind: type[Model], wire: Any) -> None:
    assert json.loads(msgspec.json.encode(wire_decoder(kind).decode(json.dumps(wire)))) == wire


@pytest.mark.parametrize("wire", [{}, {"requestId": None}])
def test_cancelled_may_name_no_request_in_2025_11_25(wire: Any) -> None:
    value = wire_decoder(mcp.CancelledNotificationParams).decode(json.dumps(wire))
    assert value.request_id is None
    validate(value, Revision.R2025_11_25, "CancelledNotificationParams")


def test_null_structured_content_is_not_absent() -> None:
    decode = wire_decoder(mcp.CallToolResult).decode
    assert decode(b'{"content":[],"structuredContent":null}').structured_content is None
    assert decode(b'{"content":[]}').structured_content is msgspec.UNSET
    assert msgspec.json.encode(decode(b'{"content":[],"structuredContent":null}')).endswith(
        b'"structuredContent":null}'
    )


def test_arguments_stay_raw() -> None:
    decode: Any = wire_decoder(mcp.CallToolRequestParams).decode
    assert bytes(decode(b'{"name":"t","arguments":{"a": 1e2}}').arguments) == b'{"a": 1e2}'
    assert bytes(decode(b'{"name":"t"}').arguments) == b""
    assert msgspec.json.encode(mcp.CallToolRequestParams(name="t", arguments={"a": 1})) == (
        b'{"name":"t","arguments":{"a":1}}'
    )
    assert msgspec.json.encode(mcp.CallToolRequestParams(name="t")) == b'{"name":"t"}'


def test_bytes_are_base64_on_the_wire() -> None:
    block = mcp.ImageContent(data=b"\x00\xff", mime_type="image/png")
    assert json.loads(msgspec.json.encode(block)) == {"type": "image", "data": "AP8=", "mimeType": "image/png"}


@pytest.mark.parametrize(
    ("contents", "kind"),
    [({"text": ""}, mcp.TextResourceContents), ({"blob": ""}, mcp.BlobResourceContents)],
)
def test_contents_are_told_apart(contents: Any, kind: type[Model]) -> None:
    wire = {"contents": [{"uri": "x:", **contents}]}
    assert type(wire_decoder(mcp.ReadResourceResult).decode(json.dumps(wire)).contents[0]) is kind


@pytest.mark.parametrize("contents", [{"uri": "x:"}, {"uri": "x:", "blob": 3}, {"text": "a"}, 3])
def test_bad_contents_say_where(contents: Any) -> None:
    with pytest.raises(msgspec.ValidationError, match=r"\$\.contents"):
        wire_decoder(mcp.ReadResourceResult).decode(json.dumps({"contents": [contents]}))


def test_a_block_tells_its_type() -> None:
    blocks = (mcp.TextContent(text=""), mcp.ResourceLink(name="", uri=""), mcp.ResourceTemplateReference(uri=""))
    assert [block.type for block in blocks] == ["text", "resource_link", "ref/resource"]
    assert mcp.ElicitRequestURLParams(message="", url="").mode == "url"


def test_levels_are_in_order() -> None:
    assert [mcp.severity(level) for level in mcp.LOGGING_LEVELS] == list(range(8))
    assert mcp.severity("debug") < mcp.severity("warning") < mcp.severity("emergency")


@pytest.mark.parametrize(
    "key", ["", "name", "a", "com.example/a.b-c_d", "com.example/", "com.example.mcp/x", "a-b.c1/x", "mcp/x", "a/"]
)
def test_meta_key_is_legal(key: str) -> None:
    mcp.check_meta_key(key)


@pytest.mark.parametrize("key", ["/x", "1a/x", "a-/x", "a..b/x", "a/b/c", "-x", "x.", "a b", "é", "a/x\n", "a.1b/x"])
def test_meta_key_breaks_the_grammar(key: str) -> None:
    with pytest.raises(LocalProtocolError, match="no _meta key"):
        mcp.check_meta_key(key)


@pytest.mark.parametrize(
    "key",
    [
        "io.modelcontextprotocol/x",
        "dev.mcp/x",
        "com.mcp.tools/",
        "org.modelcontextprotocol.api/x",
        "mcp.dev/x",
        "tools.mcp.com/x",
        "IO.ModelContextProtocol/x",
    ],
)
def test_meta_key_is_reserved(key: str) -> None:
    assert mcp.is_reserved_meta_key(key)
    with pytest.raises(LocalProtocolError, match="reserved"):
        mcp.check_meta_key(key)


def test_public_names_exist_once() -> None:
    assert len(mcp.__all__) == len(set(mcp.__all__))
    assert all(hasattr(mcp, name) for name in mcp.__all__)
