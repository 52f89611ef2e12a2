"""The bytes that drivers send: calls of the two eras, as lines and as HTTP requests."""

import json
from typing import Any

__all__ = (
    "CANCELLED",
    "HANDSHAKE_REVISION",
    "STATELESS_REVISION",
    "body",
    "call",
    "http_request",
    "initialize",
    "initialized",
    "listen",
    "listen_legacy",
)

STATELESS_REVISION = "2026-07-28"
HANDSHAKE_REVISION = "2025-11-25"
CANCELLED = "notifications/cancelled"

_CLIENT = {"name": "benchmark", "version": "1"}
_META = {
    "io.modelcontextprotocol/protocolVersion": STATELESS_REVISION,
    "io.modelcontextprotocol/clientInfo": _CLIENT,
    "io.modelcontextprotocol/clientCapabilities": {},
}


def body(method: str, params: dict[str, Any] | None = None, id: Any = None) -> bytes:
    """One JSON-RPC message, without a line end; a notification when `id` is None."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if id is not None:
        message["id"] = id
    if params is not None:
        message["params"] = params
    return json.dumps(message, separators=(",", ":")).encode()


def call(id: Any, tool: str, arguments: dict[str, Any], *, stateless: bool = True, token: Any = None) -> bytes:
    """A `tools/call`; `token` asks for progress."""
    meta: dict[str, Any] = dict(_META) if stateless else {}
    if token is not None:
        meta["progressToken"] = token
    params: dict[str, Any] = {"name": tool, "arguments": arguments}
    if meta:
        params["_meta"] = meta
    return body("tools/call", params, id)


def initialize(id: Any = 0) -> bytes:
    params = {"protocolVersion": HANDSHAKE_REVISION, "capabilities": {}, "clientInfo": _CLIENT}
    return body("initialize", params, id)


def initialized() -> bytes:
    return body("notifications/initialized")


def listen(id: Any, uri: str) -> bytes:
    """A `subscriptions/listen` for one resource."""
    return body("subscriptions/listen", {"notifications": {"resourceSubscriptions": [uri]}, "_meta": _META}, id)


def listen_legacy(id: Any, uri: str) -> bytes:
    return body("resources/subscribe", {"uri": uri}, id)


def http_request(
    message: bytes,
    *,
    port: int,
    method: str = "POST",
    rpc: str | None = None,
    name: str | None = None,
    session: str | None = None,
) -> bytes:
    """A whole request. `rpc` is the JSON-RPC method, which makes it a stateless one; `session` one of a session."""
    lines = [
        f"{method} /mcp HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Accept: application/json, text/event-stream" if method == "POST" else "Accept: text/event-stream",
        "User-Agent: benchmark",
    ]
    if message:
        lines += ["Content-Type: application/json", f"Content-Length: {len(message)}"]
    if rpc is not None:
        lines += [f"MCP-Protocol-Version: {STATELESS_REVISION}", f"Mcp-Method: {rpc}"]
        if name is not None:
            lines.append(f"Mcp-Name: {name}")
    elif session is not None:
        lines += [f"MCP-Protocol-Version: {HANDSHAKE_REVISION}", f"Mcp-Session-Id: {session}"]
    return "\r\n".join([*lines, "", ""]).encode() + message
