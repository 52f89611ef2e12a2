"""The headers of a 2026-07-28 request against its body: gateways route by the one and servers act on the other."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mcpcore.channel import Verifier
from mcpcore.types import META_PROTOCOL_VERSION
from mcpcore_transports.framing.headers import (
    NAMED_METHODS,
    HeaderMismatch,
    InvalidAnnotation,
    ParameterHeaders,
    check_parameter_headers,
    check_request_headers,
    parameter_headers,
)
from mcpcore_transports.web.exchange import WebRequest

__all__ = ("HeaderVerifier",)

_STANDARD = ("mcp-protocol-version", "mcp-method", "mcp-name")


class HeaderVerifier(Verifier):
    """Compares one HTTP request with the message in its body."""

    __slots__ = ("_request",)

    def __init__(self, request: WebRequest) -> None:
        self._request = request

    def check(self, method: str, meta: Mapping[str, Any], params: Any) -> None:
        named = NAMED_METHODS.get(method)
        fields = {name: self._request.header_values(name) for name in _STANDARD}
        check_request_headers(
            fields,
            method=method,
            revision=meta[META_PROTOCOL_VERSION],
            name_or_uri=None if named is None or params is None else getattr(params, named),
        )

    def check_arguments(self, input_schema: Mapping[str, Any], arguments: Any) -> None:
        mirrored = _mirrored(input_schema)
        if not mirrored:
            return
        fields: dict[str, Sequence[str]] = {name: self._request.header_values(name) for name in mirrored}
        if isinstance(arguments, msgspec.Raw):
            try:
                arguments = msgspec.json.decode(arguments) if arguments else None
            except (ValueError, RecursionError):
                raise HeaderMismatch("the arguments cannot be read, so no header can be compared with them") from None
        check_parameter_headers(fields, mirrored, arguments if isinstance(arguments, dict) else None)


def _mirrored(schema: Mapping[str, Any]) -> ParameterHeaders:
    """The annotations of a schema, read once for each: a tool keeps the same schema object as long as it is offered."""
    key = id(schema)
    known = _KNOWN.get(key)
    if known is not None and known[0] is schema:
        return known[1]
    try:
        found = parameter_headers(schema)
    except InvalidAnnotation:
        found = ParameterHeaders()  # a client drops such a tool, so there is nothing to compare
    while len(_KNOWN) >= _MAX_KNOWN:
        del _KNOWN[next(iter(_KNOWN))]
    _KNOWN[key] = (schema, found)
    return found


_MAX_KNOWN = 4096
"""Schemas whose annotations are remembered; more than any server has tools."""

_KNOWN: dict[int, tuple[Mapping[str, Any], ParameterHeaders]] = {}
