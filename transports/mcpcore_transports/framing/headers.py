"""The headers that mirror a request's body (MCP 2026-07-28, Streamable HTTP, "Request Metadata"). Pure rules.

A client repeats the revision, the method, the name and annotated tool arguments as headers, so that what stands
between the peers can route without reading the body. A server that reads the body refuses a request whose headers
say something else: whoever routes on a header must not see another request than the one that runs.

Received headers are a mapping from the lower-case name to every value that was sent under it: `header_fields`.
"""

import base64
import binascii
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias

import msgspec

from mcpcore.errors import CODE_HEADER_MISMATCH, LocalProtocolError, RemoteProtocolError

__all__ = (
    "MAX_MIRRORED_INTEGER",
    "MAX_PARAMETER_HEADERS",
    "NAMED_METHODS",
    "HeaderFields",
    "HeaderMismatch",
    "HeaderParameter",
    "InvalidAnnotation",
    "ParameterHeaders",
    "check_parameter_headers",
    "check_request_headers",
    "decode_header_value",
    "encode_header_value",
    "header_fields",
    "headers_for_call",
    "parameter_headers",
    "request_headers",
)

NAMED_METHODS: Final[Mapping[str, str]] = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""The methods that need `Mcp-Name`, each with the member of `params` that it mirrors."""

MAX_MIRRORED_INTEGER = 2**53 - 1
"""The largest integer, either sign, that may be mirrored: JavaScript holds no larger one exactly."""

MAX_PARAMETER_HEADERS = 64
"""Parameters that one tool may mirror. HTTP servers commonly refuse requests with more than 100 headers, and the
paths of what a hostile server annotates would take far more memory than the schema that names them."""

HeaderFields: TypeAlias = Mapping[str, Sequence[str]]
"""Lower-case header name to its values, one for each time it was sent."""

_ANNOTATION = "x-mcp-header"
_PREFIX = "Mcp-Param-"
_OPENING, _CLOSING = "=?base64?", "?="
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_PLAIN = re.compile(r"[\t\x20-\x7e]*")
_INTEGER = re.compile(r"(-?[0-9]{1,20})(?:\.0*)?")
_WHITESPACE = " \t"  # RFC 9110, 5.6.3: what may stand around a value without being part of it
_SHOWN_CHARACTERS = 80  # of a peer's value in an error message: enough to recognise it

# Where JSON Schema, 2020-12 and the drafts before it, has further schemas. Anything else is data: an annotation
# inside a default value or an unknown keyword is not one.
_SCHEMA_KEYWORDS = (
    "additionalItems",
    "additionalProperties",
    "allOf",
    "anyOf",
    "contains",
    "contentSchema",
    "else",
    "if",
    "items",
    "not",
    "oneOf",
    "prefixItems",
    "propertyNames",
    "then",
    "unevaluatedItems",
    "unevaluatedProperties",
)
_SCHEMA_MAP_KEYWORDS = ("$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties")


class HeaderMismatch(RemoteProtocolError):
    """The headers of a request contradict its body, or are missing or malformed: HTTP 400 with -32020."""

    def __init__(self, message: str) -> None:
        super().__init__(f"Header mismatch: {message}", code=CODE_HEADER_MISMATCH)


class InvalidAnnotation(ValueError):
    """An `x-mcp-header` that makes its tool definition invalid.

    A client leaves such a tool out of the list and logs `name` and `reason`; a server refuses to offer it.
    """

    def __init__(self, name: Any, reason: str) -> None:
        super().__init__(f"{_ANNOTATION} {_shown(name)} is invalid: {reason}")
        self.name = name
        """The annotation's value: a string, unless that is what is wrong with it."""
        self.reason = reason


class HeaderParameter(msgspec.Struct, frozen=True):
    """A tool parameter whose value is mirrored."""

    header: str
    """The name of the header, e.g. `Mcp-Param-Region`."""

    path: tuple[str, ...]
    """Property names from the arguments down to the value."""

    type: str
    """"string", "integer" or "boolean"."""


class _Position(NamedTuple):
    """Where a schema is. Linked, since a path for every property of a deep and broad schema would not fit in memory."""

    parent: "_Position | None"
    property: str


_ROOT = _Position(None, "")


class ParameterHeaders(dict[str, HeaderParameter]):
    """What `parameter_headers` found: the lower-case name of each header, and the parameter it mirrors."""


def header_fields(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, list[str]]:
    """The headers of a request as the checks here want them; `pairs` as h11 and ASGI have them."""
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        fields.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return fields


def encode_header_value(text: str) -> str:
    """`text` as the value of `Mcp-Name` or `Mcp-Param-*` ("Value Encoding").

    Visible ASCII with spaces and tabs inside goes as it is; anything else, and whatever looks encoded already, as
    `=?base64?…?=`. Raises `LocalProtocolError` for a lone surrogate, which UTF-8 cannot express.
    """
    looks_encoded = text.startswith(_OPENING) and text.endswith(_CLOSING)
    if _is_plain(text) and not looks_encoded:
        return text
    try:
        encoded = base64.b64encode(text.encode()).decode()
    except UnicodeEncodeError:
        raise LocalProtocolError(f"{text!a:.100} has a lone surrogate and cannot be sent in a header") from None
    return f"{_OPENING}{encoded}{_CLOSING}"


def decode_header_value(value: str, *, header: str = "a header") -> str:
    """The text that the value of `Mcp-Name` or `Mcp-Param-*` stands for; `header` is its name for the error.

    Raises `HeaderMismatch` for characters that no header value may have, and for what is marked as Base64 and is
    not: other characters, padding missing or in excess, bytes that are no UTF-8. The marks are case-sensitive; with
    only one of the two, the value is meant literally.
    """
    value = value.strip(_WHITESPACE)
    if not _PLAIN.fullmatch(value):
        raise HeaderMismatch(f"{header} has characters that are not allowed in a header; encode it as =?base64?…?=")
    # The marks do not overlap: "=?base64?=" holds no encoded value.
    if len(value) < len(_OPENING) + len(_CLOSING) or not (value.startswith(_OPENING) and value.endswith(_CLOSING)):
        return value
    encoded = value[len(_OPENING) : -len(_CLOSING)]
    try:
        decoded = base64.b64decode(encoded, validate=True)
        # Decoders differ in what they forgive. One text has one encoding here, so that everybody reads the same.
        if base64.b64encode(decoded).decode() == encoded:
            return decoded.decode()
    except (binascii.Error, UnicodeDecodeError):
        pass
    raise HeaderMismatch(f"{header} value {_shown(value)} is not the Base64 of a UTF-8 text")


def request_headers(method: str, name_or_uri: str | None, revision: str) -> dict[str, str]:
    """The headers with which a client sends a request of 2026-07-28 or later.

    `name_or_uri` is the member of `params` that `NAMED_METHODS` names for this method, None for other methods.
    Raises `LocalProtocolError` for a method that no header can carry.
    """
    if not _is_plain(method):
        raise LocalProtocolError(f"the method {method!a:.100} cannot be sent over HTTP: only visible ASCII can")
    headers = {"MCP-Protocol-Version": str(revision), "Mcp-Method": method}
    if name_or_uri is not None:
        headers["Mcp-Name"] = encode_header_value(name_or_uri)
    return headers


def check_request_headers(headers: HeaderFields, *, method: str, revision: str, name_or_uri: str | None) -> None:
    """Raises `HeaderMismatch` unless the standard headers of a request say what its body says.

    `revision` is the one in the body's `_meta`; `name_or_uri` the member of `params` that `NAMED_METHODS` names, and
    None for a method without a name or a body that lacks it (-32602 is for the session to say). Each header must
    be there exactly once: readers of duplicates disagree on which one counts. Values are case-sensitive.
    """
    found = headers.get("mcp-protocol-version", ())
    if len(found) != 1 or found[0] != revision:
        _require("MCP-Protocol-Version", found, revision)
    found = headers.get("mcp-method", ())
    if len(found) != 1 or found[0] != method:
        _require("Mcp-Method", found, method)
    found = headers.get("mcp-name", ())
    if name_or_uri is None:
        if len(found) > 1:
            _once("Mcp-Name", found)
        return
    # A value that equals the body's but looks encoded, or has characters that no header may have, is no match yet.
    plain = name_or_uri.isascii() and name_or_uri.isprintable() and not name_or_uri.startswith(_OPENING)
    if len(found) != 1 or found[0] != name_or_uri or not plain or name_or_uri != name_or_uri.strip():
        value = decode_header_value(_once("Mcp-Name", found), header="Mcp-Name")
        if value != name_or_uri:
            _mismatch("Mcp-Name", value, name_or_uri)


def parameter_headers(input_schema: Mapping[str, Any]) -> ParameterHeaders:
    """The parameters that a tool's input schema wants mirrored, in the order of their depth.

    Raises `InvalidAnnotation` if any annotation is not a header token, not unique whatever the case, not on a
    property of type string, integer or boolean, or not reachable through `properties` alone, and for more than
    `MAX_PARAMETER_HEADERS`.
    """
    found = ParameterHeaders()
    waiting: deque[tuple[Any, _Position | None]] = deque([(input_schema, _ROOT)])
    while waiting:
        schema, position = waiting.popleft()
        if not isinstance(schema, Mapping):
            continue
        if _ANNOTATION in schema:
            parameter = _parameter(schema, position)
            key = parameter.header.lower()
            if key in found:
                raise InvalidAnnotation(
                    schema[_ANNOTATION], f"{_dotted(found[key].path)} and {_dotted(parameter.path)} both have it"
                )
            if len(found) == MAX_PARAMETER_HEADERS:
                raise InvalidAnnotation(schema[_ANNOTATION], f"a tool may mirror {MAX_PARAMETER_HEADERS} parameters")
            found[key] = parameter
        waiting.extend(_inner(schema, position))
    return found


def headers_for_call(schema: Mapping[str, Any] | ParameterHeaders, arguments: Mapping[str, Any]) -> dict[str, str]:
    """The `Mcp-Param-*` headers of a `tools/call` with these arguments.

    `schema` is the tool's input schema, or what `parameter_headers` made of it, which saves reading it each time.
    An argument that is absent, null, or nothing that a header can hold has none: what is wrong with the latter is
    for the server to say. Raises `InvalidAnnotation`, and `LocalProtocolError` for an integer beyond
    `MAX_MIRRORED_INTEGER`.
    """
    headers: dict[str, str] = {}
    for parameter in _parameters(schema).values():
        value = _integral(_argument(arguments, parameter.path))
        if isinstance(value, str):
            headers[parameter.header] = encode_header_value(value)
        elif isinstance(value, bool):
            headers[parameter.header] = "true" if value else "false"
        elif isinstance(value, int):
            if abs(value) > MAX_MIRRORED_INTEGER:
                raise LocalProtocolError(
                    f"the argument {_dotted(parameter.path)} is mirrored in {parameter.header} and must lie within "
                    f"±{MAX_MIRRORED_INTEGER}"
                )
            headers[parameter.header] = str(value)
    return headers


def check_parameter_headers(
    headers: HeaderFields, schema: Mapping[str, Any] | ParameterHeaders, arguments: Mapping[str, Any] | None
) -> None:
    """Raises `HeaderMismatch` unless the `Mcp-Param-*` headers of a `tools/call` say what its arguments say.

    `schema` as for `headers_for_call`. A header whose argument is absent or null is refused like any other that
    contradicts the body; `Mcp-Param-*` headers that the schema does not know are ignored. Integers compare by value,
    so 42.0 is 42. An argument that no header can hold, such as an object, needs none: validation refuses it.
    """
    for key, parameter in _parameters(schema).items():
        found = headers.get(key, ())
        value = _integral(_argument(arguments, parameter.path))
        if not found and not isinstance(value, str | int):
            continue
        decoded = decode_header_value(_once(parameter.header, found), header=parameter.header)
        if not _equal(decoded, value):
            _mismatch(parameter.header, decoded, value)


def _is_plain(text: str) -> bool:
    return _PLAIN.fullmatch(text) is not None and text == text.strip(_WHITESPACE)


def _require(name: str, found: Sequence[str], expected: str) -> None:
    value = _once(name, found).strip(_WHITESPACE)
    if value != expected:
        _mismatch(name, value, str(expected))


def _once(name: str, found: Sequence[str]) -> str:
    if len(found) == 1:
        return found[0]
    raise HeaderMismatch(f"{name} is missing" if not found else f"{name} is there {len(found)} times, not once")


def _mismatch(name: str, value: str, expected: Any) -> NoReturn:
    raise HeaderMismatch(f"{name} header value {_shown(value)} does not match body value {_shown(expected)}")


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _dotted(path: Iterable[str]) -> str:
    return ".".join(path)


def _parameters(schema: Mapping[str, Any] | ParameterHeaders) -> ParameterHeaders:
    return schema if isinstance(schema, ParameterHeaders) else parameter_headers(schema)


def _parameter(schema: Mapping[str, Any], position: _Position | None) -> HeaderParameter:
    name, type = schema[_ANNOTATION], schema.get("type")
    path = _path(position)
    if not path:
        raise InvalidAnnotation(name, "it is not on a property that is reached from the root through properties alone")
    if not isinstance(name, str):
        raise InvalidAnnotation(name, f"on {_dotted(path)}: the name of a header is a string")
    if not _TOKEN.fullmatch(name):
        raise InvalidAnnotation(name, f"on {_dotted(path)}: the name of a header is a token (RFC 9110), not empty")
    if type not in ("string", "integer", "boolean"):
        raise InvalidAnnotation(
            name, f"{_dotted(path)} must have the type string, integer or boolean, and has {_shown(type)}"
        )
    return HeaderParameter(_PREFIX + name, path, type)


def _path(position: _Position | None) -> tuple[str, ...]:
    names: list[str] = []
    while position is not None and position.parent is not None:
        names.append(position.property)
        position = position.parent
    return tuple(reversed(names))


def _inner(schema: Mapping[str, Any], position: _Position | None) -> Iterator[tuple[Any, _Position | None]]:
    """The schemas directly inside `schema`, each with its position, None where its values have no one exact path."""
    properties = schema.get("properties")
    if isinstance(properties, Mapping):
        for name, inner in properties.items():
            yield inner, None if position is None else _Position(position, name)
    for keyword in _SCHEMA_KEYWORDS:
        if keyword in schema:
            inner = schema[keyword]
            for one in inner if isinstance(inner, list | tuple) else (inner,):
                yield one, None
    for keyword in _SCHEMA_MAP_KEYWORDS:
        if isinstance(inner := schema.get(keyword), Mapping):
            for one in inner.values():
                yield one, None


def _argument(arguments: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if not isinstance(arguments, Mapping):
            return None
        arguments = arguments.get(name)
    return arguments


def _integral(value: Any) -> Any:
    """JSON Schema has it that 42.0 is an integer, whatever made a float of it."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _equal(decoded: str, value: Any) -> bool:
    if isinstance(value, bool):
        return decoded == ("true" if value else "false")
    if isinstance(value, int):
        number = _INTEGER.fullmatch(decoded)
        return number is not None and int(number[1]) == value and abs(value) <= MAX_MIRRORED_INTEGER
    return bool(decoded == value)
