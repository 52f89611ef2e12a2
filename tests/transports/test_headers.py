"""framing/headers: what a 2026-07-28 request says in its headers, and whether its body says the same."""

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore.errors import CODE_HEADER_MISMATCH, LocalProtocolError, RemoteProtocolError
from mcpcore.revisions import Revision
from mcpcore_transports.framing.headers import (
    MAX_MIRRORED_INTEGER,
    MAX_PARAMETER_HEADERS,
    NAMED_METHODS,
    HeaderMismatch,
    HeaderParameter,
    InvalidAnnotation,
    check_parameter_headers,
    check_request_headers,
    decode_header_value,
    encode_header_value,
    header_fields,
    headers_for_call,
    parameter_headers,
    request_headers,
)

MODERN = Revision.R2026_07_28

# The examples of the specification, "Value Encoding", and what the rules beside them imply.
ENCODED = [
    ("us-west1", "us-west1"),
    ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
    (" padded ", "=?base64?IHBhZGRlZCA=?="),
    ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
    ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
    ("", ""),
    ("us west\t1", "us west\t1"),
    ("us-west1 ", "=?base64?dXMtd2VzdDEg?="),
    ("\tindented", "=?base64?CWluZGVudGVk?="),
    ("\x7f", "=?base64?fw==?="),
    ("é", "=?base64?w6k=?="),
    ("=?base64??=", "=?base64?PT9iYXNlNjQ/Pz0=?="),
    ("=?base64?=", "=?base64?PT9iYXNlNjQ/PQ==?="),
    ("=?base64?half", "=?base64?half"),
    ("half?=", "half?="),
    ("=?BASE64?SGk=?=", "=?BASE64?SGk=?="),
]


def fields(**pairs: str) -> dict[str, list[str]]:
    return {name.replace("_", "-"): [value] for name, value in pairs.items()}


@pytest.mark.parametrize(("text", "value"), ENCODED)
def test_the_value_encoding(text: str, value: str) -> None:
    assert encode_header_value(text) == value
    assert decode_header_value(value) == text


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.text("=?base64 \tSGk\n", max_size=20))
def test_what_is_encoded_is_decoded_and_safe(text: str) -> None:
    value = encode_header_value(text)
    assert decode_header_value(value) == decode_header_value(f" {value}\t") == text
    assert value.isascii()
    assert value.replace("\t", "").isprintable() or value == ""
    assert value == value.strip()


def test_a_lone_surrogate_cannot_be_sent() -> None:
    with pytest.raises(LocalProtocolError, match="surrogate"):
        encode_header_value("a\ud800")


@pytest.mark.parametrize(
    "value",
    [
        "=?base64?SGVsbG8?=",  # padding missing
        "=?base64?SGVsbG8==?=",  # padding in excess
        "=?base64?SGVsbG9=?=",  # bits after the last byte
        "=?base64?SGVs!!!bG8=?=",  # not in the alphabet
        "=?base64?SGVs bG8=?=",
        "=?base64?SGVs-_8=?=",  # the alphabet of URLs
        "=?base64?=?=",
        "=?base64?/w==?=",  # no UTF-8
        "caf\xe9",
        "a\x00b",
        "a\nb",
        "a\x7fb",
    ],
)
def test_a_malformed_value_is_refused(value: str) -> None:
    with pytest.raises(HeaderMismatch) as caught:
        decode_header_value(value, header="Mcp-Name")
    assert caught.value.reply.code == CODE_HEADER_MISMATCH
    assert "Mcp-Name" in caught.value.reply.message
    assert isinstance(caught.value, RemoteProtocolError)


@pytest.mark.parametrize("value", ["SGVsbG8=", "=?base64?SGVsbG8=", "SGVsbG8=?=", "=?Base64?SGVsbG8=?=", "=?base64?="])
def test_without_both_marks_a_value_is_literal(value: str) -> None:
    assert decode_header_value(value) == value


@pytest.mark.parametrize(
    ("method", "name", "expected"),
    [
        ("tools/list", None, {}),
        ("tools/call", "get_weather", {"Mcp-Name": "get_weather"}),
        ("resources/read", "file:///ü", {"Mcp-Name": "=?base64?ZmlsZTovLy/DvA==?="}),
    ],
)
def test_what_a_client_sends_is_what_a_server_accepts(method: str, name: str | None, expected: dict[str, str]) -> None:
    headers = request_headers(method, name, MODERN)
    assert headers == {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": method, **expected}
    received = header_fields((name.encode(), value.encode()) for name, value in headers.items())
    check_request_headers(received, method=method, revision=MODERN, name_or_uri=name)


@pytest.mark.parametrize("method", ["tools/call\r\nX: 1", "métier", " x"])
def test_a_method_that_no_header_can_carry_is_not_sent(method: str) -> None:
    with pytest.raises(LocalProtocolError):
        request_headers(method, None, MODERN)


def test_header_names_have_no_case_and_repeated_ones_are_all_there() -> None:
    assert header_fields([(b"Mcp-Method", b"a"), (b"MCP-METHOD", b"b"), (b"x", b"\xe9")]) == {
        "mcp-method": ["a", "b"],
        "x": ["\xe9"],
    }


GOOD = {"mcp-protocol-version": ["2026-07-28"], "mcp-method": ["tools/call"], "mcp-name": ["get"]}


@pytest.mark.parametrize(
    "change",
    [
        {"mcp-method": [" tools/call\t"]},
        {"mcp-name": [" get "]},
        {"mcp-name": ["=?base64?Z2V0?="]},
        {"mcp-other": ["x"]},
    ],
)
def test_space_around_and_encoding_make_no_difference(change: dict[str, list[str]]) -> None:
    check_request_headers({**GOOD, **change}, method="tools/call", revision="2026-07-28", name_or_uri="get")


@pytest.mark.parametrize(
    ("header", "values", "says"),
    [
        ("MCP-Protocol-Version", None, "missing"),
        ("MCP-Protocol-Version", ["2025-11-25"], "'2025-11-25' does not match body value '2026-07-28'"),
        ("MCP-Protocol-Version", ["2026-07-28", "2026-07-28"], "2 times"),
        ("MCP-Protocol-Version", ["2026-07-28, 2026-07-28"], "does not match"),
        ("Mcp-Method", None, "missing"),
        ("Mcp-Method", [], "missing"),
        ("Mcp-Method", ["TOOLS/CALL"], "does not match"),
        ("Mcp-Method", ["tools/list"], "does not match"),
        ("Mcp-Method", ["tools/call", "tools/list"], "2 times"),
        ("Mcp-Method", ["=?base64?dG9vbHMvY2FsbA==?="], "does not match"),
        ("Mcp-Name", None, "missing"),
        ("Mcp-Name", ["Get"], "'Get' does not match body value 'get'"),
        ("Mcp-Name", ["get", "get"], "2 times"),
        ("Mcp-Name", ["=?base64?Z2V0?"], "does not match"),
        ("Mcp-Name", ["=?base64?Z2V?="], "not the Base64"),
        ("Mcp-Name", ["x" * 10_000], "…"),
    ],
)
def test_a_header_that_is_missing_repeated_or_different_is_refused(
    header: str, values: list[str] | None, says: str
) -> None:
    headers = {**GOOD, header.lower(): values}
    if values is None:
        del headers[header.lower()]
    with pytest.raises(HeaderMismatch) as caught:
        check_request_headers(
            {name: found for name, found in headers.items() if found is not None},
            method="tools/call",
            revision=MODERN,
            name_or_uri="get",
        )
    reply = caught.value.reply
    assert (reply.code, reply.message.startswith(f"Header mismatch: {header} ")) == (CODE_HEADER_MISMATCH, True)
    assert says in reply.message
    assert len(reply.message) < 300


@pytest.mark.parametrize("name", ["=?base64?Z2V0?=", "é", " get", "a\nb"])
def test_a_value_that_equals_the_body_but_had_to_be_encoded_is_no_match(name: str) -> None:
    with pytest.raises(HeaderMismatch):
        check_request_headers({**GOOD, "mcp-name": [name]}, method="tools/call", revision=MODERN, name_or_uri=name)
    headers = {**GOOD, "mcp-name": [encode_header_value(name)]}
    check_request_headers(headers, method="tools/call", revision=MODERN, name_or_uri=name)


def test_a_method_without_a_name_needs_none_and_takes_one_at_most() -> None:
    headers = {**GOOD, "mcp-method": ["tools/list"]}
    check_request_headers(headers, method="tools/list", revision=MODERN, name_or_uri=None)
    with pytest.raises(HeaderMismatch, match="2 times"):
        check_request_headers(
            {**headers, "mcp-name": ["a", "b"]}, method="tools/list", revision=MODERN, name_or_uri=None
        )


def test_the_methods_with_a_name() -> None:
    assert NAMED_METHODS == {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "count": {"type": "integer", "x-mcp-header": "count"},
        "query": {"type": "string"},
        "where": {
            "type": "object",
            "properties": {
                "dry": {"type": "boolean", "x-mcp-header": "Dry-Run"},
                "zone": {"type": "string", "x-mcp-header": "Zone"},
            },
        },
    },
}


def test_annotations_are_found_with_their_paths() -> None:
    assert parameter_headers(SCHEMA) == {
        "mcp-param-region": HeaderParameter("Mcp-Param-Region", ("region",), "string"),
        "mcp-param-count": HeaderParameter("Mcp-Param-count", ("count",), "integer"),
        "mcp-param-dry-run": HeaderParameter("Mcp-Param-Dry-Run", ("where", "dry"), "boolean"),
        "mcp-param-zone": HeaderParameter("Mcp-Param-Zone", ("where", "zone"), "string"),
    }


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object"},
        {"properties": {"x-mcp-header": {"type": "number"}}},
        {"properties": {"a": True, "b": {"default": {"x-mcp-header": "A"}, "enum": [{"x-mcp-header": "A"}]}}},
        {"properties": {"a": {"const": {"x-mcp-header": ""}, "examples": [{"x-mcp-header": ""}]}}},
        {"x-other": {"x-mcp-header": "A"}, "items": False, "dependencies": {"a": ["b"]}, "properties": None},
    ],
)
def test_what_is_no_annotation(schema: dict[str, Any]) -> None:
    assert parameter_headers(schema) == {}


ANNOTATED = {"type": "string", "x-mcp-header": "A"}


@pytest.mark.parametrize(
    "annotated",
    [
        {"type": "string", "x-mcp-header": ""},
        {"type": "string", "x-mcp-header": None},
        {"type": "string", "x-mcp-header": 5},
        {"type": "string", "x-mcp-header": ["A"]},
        *(
            {"type": "string", "x-mcp-header": name}
            for name in ("a b", "a:b", "Région", "a\tb", "a\r\nb", "a\n", "a/b")
        ),
        {"type": "number", "x-mcp-header": "A"},
        {"type": "object", "x-mcp-header": "A"},
        {"type": "array", "items": {"type": "string"}, "x-mcp-header": "A"},
        {"type": "null", "x-mcp-header": "A"},
        {"type": ["string", "null"], "x-mcp-header": "A"},
        {"type": ["string"], "x-mcp-header": "A"},
        {"$ref": "#/$defs/S", "x-mcp-header": "A"},
        {"x-mcp-header": "A"},
        {"type": "array", "items": ANNOTATED},
        {"type": "array", "items": [ANNOTATED]},
        {"type": "array", "prefixItems": [{}, ANNOTATED]},
        *({keyword: [ANNOTATED]} for keyword in ("oneOf", "anyOf", "allOf")),
        *({keyword: ANNOTATED} for keyword in ("not", "if", "then", "else", "contains", "additionalProperties")),
        *({keyword: {"s": ANNOTATED}} for keyword in ("$defs", "definitions", "patternProperties", "dependentSchemas")),
        {"anyOf": [{"properties": {"b": ANNOTATED}}]},
        {"anyOf": [{"properties": {"b": {"properties": {"c": ANNOTATED}}}}]},
    ],
)
def test_an_invalid_annotation_is_named_with_its_reason(annotated: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": {"a": annotated, "good": {"type": "string", "x-mcp-header": "Good"}}}
    with pytest.raises(InvalidAnnotation) as caught:
        parameter_headers(schema)
    assert caught.value.name == annotated.get("x-mcp-header", "A")
    assert caught.value.reason in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_the_root_is_no_property() -> None:
    with pytest.raises(InvalidAnnotation):
        parameter_headers({"type": "string", "x-mcp-header": "A"})


@pytest.mark.parametrize("other", ["Region", "REGION"])
def test_annotations_are_unique_whatever_the_case_and_depth(other: str) -> None:
    inner = {"type": "object", "properties": {"b": {"type": "integer", "x-mcp-header": other}}}
    schema = {"properties": {"a": {"type": "string", "x-mcp-header": "Region"}, "in": inner}}
    with pytest.raises(InvalidAnnotation, match=r"a and in\.b") as caught:
        parameter_headers(schema)
    assert caught.value.name == other


def test_a_tool_mirrors_a_bounded_number_of_parameters() -> None:
    properties = {f"p{i}": {"type": "string", "x-mcp-header": f"P{i}"} for i in range(MAX_PARAMETER_HEADERS)}
    assert len(parameter_headers({"properties": properties})) == MAX_PARAMETER_HEADERS
    with pytest.raises(InvalidAnnotation, match=str(MAX_PARAMETER_HEADERS)):
        parameter_headers({"properties": {**properties, "more": ANNOTATED}})


def test_a_deep_schema_is_read_without_recursion() -> None:
    schema: dict[str, Any] = dict(ANNOTATED)
    for _ in range(5000):
        schema = {"properties": {"p": schema}}
    assert parameter_headers(schema)["mcp-param-a"].path == ("p",) * 5000


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, {}),
        ({"region": None, "count": None, "where": None}, {}),
        ({"region": "eu", "query": "q"}, {"Mcp-Param-Region": "eu"}),
        ({"region": ""}, {"Mcp-Param-Region": ""}),
        ({"region": " ü"}, {"Mcp-Param-Region": f"=?base64?{base64.b64encode(' ü'.encode()).decode()}?="}),
        ({"count": -7}, {"Mcp-Param-count": "-7"}),
        ({"count": 42.0}, {"Mcp-Param-count": "42"}),
        ({"count": MAX_MIRRORED_INTEGER}, {"Mcp-Param-count": "9007199254740991"}),
        ({"where": {"dry": True, "zone": "z"}}, {"Mcp-Param-Dry-Run": "true", "Mcp-Param-Zone": "z"}),
        ({"where": {"dry": False}}, {"Mcp-Param-Dry-Run": "false"}),
        ({"where": "no object", "dry": True, "count": 1.5, "region": ["eu"]}, {}),
        ({"where.dry": True}, {}),
    ],
)
def test_the_headers_of_a_call_pass_the_check_of_a_server(arguments: dict[str, Any], expected: dict[str, str]) -> None:
    assert headers_for_call(SCHEMA, arguments) == expected
    assert headers_for_call(parameter_headers(SCHEMA), arguments) == expected
    received = header_fields((name.encode(), value.encode()) for name, value in expected.items())
    check_parameter_headers(received, SCHEMA, arguments)
    for name in received:
        with pytest.raises(HeaderMismatch, match=r"missing|0 times"):
            check_parameter_headers({k: v for k, v in received.items() if k != name}, SCHEMA, arguments)


@pytest.mark.parametrize("value", [MAX_MIRRORED_INTEGER + 1, -MAX_MIRRORED_INTEGER - 1, 1e300])
def test_an_integer_that_javascript_cannot_hold_is_not_mirrored(value: float) -> None:
    with pytest.raises(LocalProtocolError, match="count"):
        headers_for_call(SCHEMA, {"count": value})
    with pytest.raises(HeaderMismatch):
        check_parameter_headers(fields(mcp_param_count=str(int(value))[:20]), SCHEMA, {"count": value})


@pytest.mark.parametrize(
    ("value", "argument"),
    [
        ("42", 42),
        ("42.0", 42),
        ("042", 42),
        ("42.", 42),
        ("42", 42.0),
        ("-0", 0),
        ("=?base64?NDI=?=", 42),
        (" 42 ", 42),
    ],
)
def test_integers_compare_by_value(value: str, argument: float) -> None:
    check_parameter_headers(fields(mcp_param_count=value), SCHEMA, {"count": argument})


@pytest.mark.parametrize(
    ("headers", "arguments"),
    [
        ({"mcp-param-count": ["43"]}, {"count": 42}),
        ({"mcp-param-count": ["42.5"]}, {"count": 42}),
        ({"mcp-param-count": ["4e1"]}, {"count": 40}),
        ({"mcp-param-count": ["٤٢"]}, {"count": 42}),
        ({"mcp-param-count": [""]}, {"count": 0}),
        ({"mcp-param-count": ["1"]}, {"count": True}),
        ({"mcp-param-count": ["42"]}, {"count": 42.5}),
        ({"mcp-param-region": ["EU"]}, {"region": "eu"}),
        ({"mcp-param-region": ["42.0"]}, {"region": "42"}),
        ({"mcp-param-region": ["eu", "eu"]}, {"region": "eu"}),
        ({"mcp-param-region": ["eu"]}, {"region": None}),
        ({"mcp-param-region": ["eu"]}, None),
        ({"mcp-param-region": ["{}"]}, {"region": {}}),
        ({"mcp-param-region": ["caf\xe9"]}, {"region": "caf\xe9"}),
        ({"mcp-param-region": ["=?base64?SGVsbG8?="]}, {"region": "Hello"}),
        ({"mcp-param-dry-run": ["True"]}, {"where": {"dry": True}}),
        ({"mcp-param-dry-run": ["true"]}, {"where": {"dry": False}}),
        ({"mcp-param-dry-run": ["1"]}, {"where": {"dry": True}}),
        ({}, {"region": ""}),
        ({}, {"count": 0}),
        ({}, {"where": {"dry": False}}),
    ],
)
def test_a_header_that_contradicts_its_argument_is_refused(headers: dict[str, list[str]], arguments: Any) -> None:
    with pytest.raises(HeaderMismatch, match=r"Header mismatch: Mcp-Param-") as caught:
        check_parameter_headers(headers, SCHEMA, arguments)
    assert caught.value.reply.code == CODE_HEADER_MISMATCH


def test_headers_of_other_tools_are_ignored() -> None:
    check_parameter_headers({"mcp-param-unknown": ["a", "\xff"], "mcp-param-region": ["eu"]}, SCHEMA, {"region": "eu"})
