"""The part that both limit servers share: typed decoding, one table of answers, encoding."""

import os
import time
from collections.abc import Iterator
from typing import Any, Final

import msgspec

__all__ = ("Request", "acknowledged", "answer", "decode", "progress_frames", "say", "updated")


class Meta(msgspec.Struct):
    revision: str = msgspec.field(default="", name="io.modelcontextprotocol/protocolVersion")
    client: dict[str, Any] = msgspec.field(default_factory=dict, name="io.modelcontextprotocol/clientInfo")
    capabilities: dict[str, Any] = msgspec.field(
        default_factory=dict, name="io.modelcontextprotocol/clientCapabilities"
    )
    token: str | int | None = msgspec.field(default=None, name="progressToken")


class Arguments(msgspec.Struct):
    text: str = ""
    upto: int = 0


class Params(msgspec.Struct):
    name: str = ""
    cancelled: str | int | None = msgspec.field(default=None, name="requestId")
    arguments: Arguments = msgspec.field(default_factory=Arguments)
    meta: Meta = msgspec.field(default_factory=Meta, name="_meta")


class Request(msgspec.Struct):
    method: str = ""
    jsonrpc: str = "2.0"
    id: str | int | None = None
    params: Params = msgspec.field(default_factory=Params)


class Content(msgspec.Struct):
    text: str
    type: str = "text"


class Structured(msgspec.Struct):
    result: str | int


_INFO: Final = {"name": "limit", "version": "1"}
_META: Final = {"io.modelcontextprotocol/serverInfo": _INFO}
_TEXT: Final = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
_NUMBER: Final = {"type": "object", "properties": {"upto": {"type": "integer"}}, "required": ["upto"]}


class Result(msgspec.Struct):
    content: list[Content]
    structured: Structured = msgspec.field(name="structuredContent")
    kind: str = msgspec.field(default="complete", name="resultType")
    meta: dict[str, Any] = msgspec.field(default_factory=lambda: _META, name="_meta")


class Response(msgspec.Struct):
    id: str | int | None
    result: Any
    jsonrpc: str = "2.0"


_CAPABILITIES: Final[dict[str, Any]] = {"tools": {}}
_FRESH: Final = {"_meta": _META, "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
_ANSWERS: Final[dict[str, Any]] = {
    "server/discover": {**_FRESH, "supportedVersions": ["2026-07-28", "2025-11-25"], "capabilities": _CAPABILITIES},
    "initialize": {"protocolVersion": "2025-11-25", "capabilities": _CAPABILITIES, "serverInfo": _INFO},
    "ping": {},
    "tools/list": {
        **_FRESH,
        "tools": [{"name": "echo", "inputSchema": _TEXT}, {"name": "count", "inputSchema": _NUMBER}],
    },
}

_SAID: Final = os.environ.get("BENCHMARK_REPORT_FD")


def say() -> None:
    """When this happened, to whoever measures."""
    if _SAID is not None:
        os.write(int(_SAID), f"{time.monotonic_ns()}\n".encode())


def _about(id: str | int | None, method: str, params: dict[str, Any]) -> bytes:
    params["_meta"] = {"io.modelcontextprotocol/subscriptionId": id}
    return _encode({"jsonrpc": "2.0", "method": method, "params": params})


def acknowledged(id: str | int | None) -> bytes:
    """The first message of a `subscriptions/listen`."""
    return _about(id, "notifications/subscriptions/acknowledged", {"notifications": {}})


def updated(id: str | int | None) -> bytes:
    """What a listener hears of a resource that changed."""
    return _about(id, "notifications/resources/updated", {"uri": "bench://value"})


decode = msgspec.json.Decoder(Request).decode
_encode = msgspec.json.Encoder().encode


def answer(request: Request) -> bytes:
    """The response to a request, encoded. KeyError for a method that nobody measures."""
    if request.method != "tools/call":
        return _encode(Response(request.id, _ANSWERS[request.method]))
    given = request.params.arguments
    found = given.upto or given.text or "touched"
    return _encode(Response(request.id, Result([Content(str(found))], Structured(found))))


def progress_frames(request: Request) -> Iterator[bytes]:
    """What the tool `count` says before its result, one encoded notification each."""
    params = request.params
    if params.name != "count" or params.meta.token is None:
        return
    upto = params.arguments.upto
    for number in range(1, upto + 1):
        yield _encode(
            {
                "jsonrpc": "2.0",
                "method": "notifications/progress",
                "params": {"progressToken": params.meta.token, "progress": number, "total": upto},
            }
        )
