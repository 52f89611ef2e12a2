"""Every exception raised here and every JSON-RPC code; the name says who is to blame.

    LocalProtocolError      our own caller broke a rule; nothing was sent
      MissingCapability       the peer never declared what was asked of it
      SchemaError             a signature or schema that MCP cannot express
    RemoteProtocolError     the peer broke a rule; `.reply` is the JSON-RPC error that answers it
    PeerError               the peer answered our request with an error
    ConnectionLost          the connection ended before the answer came
      ConnectFailed           it never came up
    DeadlineExceeded        the peer did not answer in time; the request was cancelled
    RequestError            a handler answers its request with this JSON-RPC error
      InvalidParams           ... because the parameters are wrong
      ResourceNotFound        ... because there is no such resource
    ToolError               a tool speaks to the model: the text becomes an `isError` result

There is no common base class: they are not one family, and nobody should catch all of them at once.
`anyio.ClosedResourceError` keeps its meaning: *your* code closed the thing it is using now.
"""

from typing import Any

__all__ = (
    "CODE_HEADER_MISMATCH",
    "CODE_INTERNAL_ERROR",
    "CODE_INVALID_PARAMS",
    "CODE_INVALID_REQUEST",
    "CODE_METHOD_NOT_FOUND",
    "CODE_MISSING_CAPABILITY",
    "CODE_PARSE_ERROR",
    "CODE_RESOURCE_NOT_FOUND",
    "CODE_SERVER_BUSY",
    "CODE_UNSUPPORTED_REVISION",
    "CODE_UPSTREAM_LOST",
    "CODE_UPSTREAM_SILENT",
    "CODE_URL_ELICITATION_REQUIRED",
    "CODE_USER_REJECTED",
    "ConnectFailed",
    "ConnectionLost",
    "DeadlineExceeded",
    "InvalidParams",
    "LocalProtocolError",
    "MissingCapability",
    "PeerError",
    "RemoteProtocolError",
    "RequestError",
    "ResourceNotFound",
    "SchemaError",
    "ToolError",
)

# JSON-RPC 2.0, section 5.1.
CODE_PARSE_ERROR = -32700
CODE_INVALID_REQUEST = -32600
CODE_METHOD_NOT_FOUND = -32601
CODE_INVALID_PARAMS = -32602
CODE_INTERNAL_ERROR = -32603

# MCP, handshake era only. 2026-07-28 retires both: clients still understand them, servers never send them there.
CODE_RESOURCE_NOT_FOUND = -32002
CODE_URL_ELICITATION_REQUIRED = -32042
CODE_USER_REJECTED = -1

# MCP 2026-07-28, the only three codes it defines in the reserved range -32020 … -32099.
CODE_HEADER_MISMATCH = -32020
CODE_MISSING_CAPABILITY = -32021
CODE_UNSUPPORTED_REVISION = -32022

# Ours. MCP 2026-07-28 asks for application codes outside -32768 … -32000; what HTTP would say is in the last digits.
CODE_SERVER_BUSY = -31503
CODE_UPSTREAM_LOST = -31502
CODE_UPSTREAM_SILENT = -31504


class LocalProtocolError(Exception):
    """Our own caller asked for something the protocol does not allow. Nothing was sent."""


class MissingCapability(LocalProtocolError):
    """The peer did not declare a capability that this call needs.

    `required` has the shape of the peer's capabilities object, e.g. `{"elicitation": {"form": {}}}`: it is
    what a 2026-07-28 error carries as `data.requiredCapabilities`.
    """

    def __init__(self, message: str, required: dict[str, Any]) -> None:
        super().__init__(message)
        self.required = required


class SchemaError(LocalProtocolError):
    """A signature, type or JSON Schema that MCP cannot express; the text names the parameter."""


class RequestError(Exception):
    """Raised by a handler to answer its request with a JSON-RPC error instead of a result.

    The text and `data` go to the peer as they are: put no secret in them.
    """

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def __str__(self) -> str:
        return f"{self.message} (code {self.code})"


class InvalidParams(RequestError):
    """The parameters of a request are wrong: -32602."""

    def __init__(self, message: str, data: Any = None) -> None:
        super().__init__(CODE_INVALID_PARAMS, message, data)


class ResourceNotFound(RequestError):
    """No resource has this URI: -32002 in the handshake era, -32602 from 2026-07-28 on (the session translates)."""

    def __init__(self, uri: str) -> None:
        super().__init__(CODE_RESOURCE_NOT_FOUND, f"no resource has the URI {uri!r}", {"uri": uri})


class RemoteProtocolError(Exception):
    """The peer broke a rule. `reply` is the JSON-RPC error that tells it so, for whoever holds its reply channel."""

    def __init__(self, message: str, *, code: int = CODE_INVALID_REQUEST, data: Any = None) -> None:
        super().__init__(message)
        self.reply: RequestError = RequestError(code, message, data)


class PeerError(Exception):
    """The peer answered our request with a JSON-RPC error."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def __str__(self) -> str:
        return f"the peer answered with error {self.code}: {self.message}"


class ConnectionLost(ConnectionError):
    """The connection ended before the answer came. Whether the peer did the work is unknown."""


class ConnectFailed(ConnectionLost):
    """The connection never came up, so nothing was done."""


class DeadlineExceeded(TimeoutError):
    """The peer did not answer within the deadline (seconds); it was told that the request is cancelled."""


class ToolError(Exception):
    """What a tool wants to tell the model: the text becomes the content of an `isError` result, word for word."""
