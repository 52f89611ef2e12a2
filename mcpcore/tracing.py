"""OpenTelemetry spans, one for each request, at either end; nothing is traced unless somebody adds these.

    Server("name", inbound=[server_spans()])        Client(url, outbound=[client_spans()])

Names and attributes are those of OpenTelemetry's conventions for MCP. The context travels in `_meta` as `traceparent`,
`tracestate` and `baggage` (SEP-414), so it arrives over every transport; a server takes it from the headers of the HTTP
request where `_meta` has none. What is never recorded: arguments, results, the text of an unforeseen exception, and
session ids.

Needs the extra mcpcore[otel], which is the interface only: without an SDK that the application sets up, spans go
nowhere.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import anyio
import msgspec

from mcpcore.calling import Ask, Asked, Asking
from mcpcore.errors import DeadlineExceeded, LocalProtocolError, PeerError, RemoteProtocolError, RequestError
from mcpcore.revisions import Era, Revision
from mcpcore.types import CallToolResult

if TYPE_CHECKING:
    from opentelemetry.context import Context as TraceContext
    from opentelemetry.trace import Span, SpanKind, Tracer, TracerProvider

__all__ = ("MAX_NAME_CHARACTERS", "Traced", "client_spans", "server_spans")

MAX_NAME_CHARACTERS = 128
"""Of a tool or prompt that a peer names; it need not exist."""

_HEADERS = ("traceparent", "tracestate", "baggage")

_NETWORK = {"stdio": "pipe", "http": "tcp", "sse": "tcp"}


class Traced(Protocol):
    """As much of a `Context` as spans are made of."""

    @property
    def method(self) -> str: ...
    @property
    def params(self) -> Any: ...
    @property
    def request_id(self) -> int | str: ...
    @property
    def revision(self) -> Revision: ...
    @property
    def transport(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, str]: ...


def server_spans(
    tracer_provider: "TracerProvider | None" = None,
) -> Callable[[Any, Callable[[Any], Awaitable[Any]]], Awaitable[Any]]:
    """Inbound middleware that runs each request inside a span of its own, whose parent is the client's.

    Spans of libraries that the handler calls become its children, and the client's baggage is there. Without
    `tracer_provider` the global one counts. Raises `LocalProtocolError` without the extra.
    """
    tracer = _tracer(tracer_provider)
    from opentelemetry.trace import SpanKind

    async def trace(context: Traced, call_next: Callable[[Any], Awaitable[Any]]) -> Any:
        attributes = _attributes(context.method, context.params, context.request_id, context.revision)
        if context.transport in _NETWORK:
            attributes["network.transport"] = _NETWORK[context.transport]
            if context.headers:
                attributes["network.protocol.name"] = "http"
        with _span(tracer, SpanKind.SERVER, attributes, _parent(context)) as span:
            result = await call_next(context)
            _judge(span, result)
            return result

    return trace


def client_spans(tracer_provider: "TracerProvider | None" = None) -> Asking:
    """Outbound middleware of a `Client` that sends each request inside a span of its own, and the span along with it.

    A call that the server answers with questions has a span for each round. See `server_spans`.
    """
    tracer = _tracer(tracer_provider)
    from opentelemetry.propagate import inject
    from opentelemetry.trace import SpanKind

    async def trace(asked: Asked, ask: Ask) -> Any:
        attributes = _attributes(asked.method, asked.params, asked.id, asked.revision)
        with _span(tracer, SpanKind.CLIENT, attributes, None) as span:
            carrier: dict[str, Any] = {}
            inject(carrier)
            if carrier:
                params = msgspec.structs.replace(asked.params, meta={**(asked.params.meta or {}), **carrier})
                asked = msgspec.structs.replace(asked, params=params)
            result = await ask(asked)
            _judge(span, result)
            return result

    return trace


def _tracer(provider: "TracerProvider | None") -> "Tracer":
    try:
        from opentelemetry.trace import get_tracer
    except ImportError:
        raise LocalProtocolError("spans need the extra: install mcpcore[otel]") from None
    return get_tracer("mcpcore", tracer_provider=provider)


def _attributes(method: str, params: Any, id: int | str, revision: Revision) -> dict[str, Any]:
    attributes = {"mcp.method.name": method, "mcp.protocol.version": str(revision), "jsonrpc.request.id": str(id)}
    if method == "tools/call":
        attributes["gen_ai.operation.name"] = "execute_tool"
        attributes["gen_ai.tool.name"] = params.name[:MAX_NAME_CHARACTERS]
    elif method == "prompts/get":
        attributes["gen_ai.prompt.name"] = params.name[:MAX_NAME_CHARACTERS]
    elif isinstance(uri := getattr(params, "uri", None), str):
        attributes["mcp.resource.uri"] = uri
    return attributes


def _parent(context: Traced) -> "TraceContext":
    """The context that a request came with; else that of the HTTP request around it, if there is one.

    A request that arrived in a session runs in a task of the session, whose own context is that of whatever opened
    it: nothing that this request belongs to.
    """
    from opentelemetry.context import Context as TraceContext
    from opentelemetry.context import get_current
    from opentelemetry.propagate import extract
    from opentelemetry.trace import get_current_span

    around = get_current() if context.transport == "http" and context.revision.era is Era.MODERN else TraceContext()
    for carrier in (context.params.meta or {}, context.headers):
        found = extract({key: carrier[key] for key in _HEADERS if isinstance(carrier.get(key), str)}, around)
        if found != around and get_current_span(found) is not get_current_span(around):
            return found
    return around


@contextmanager
def _span(
    tracer: "Tracer", kind: "SpanKind", attributes: dict[str, Any], parent: "TraceContext | None"
) -> "Iterator[Span]":
    from opentelemetry.context import attach, detach, get_current
    from opentelemetry.trace import Link, get_current_span, set_span_in_context

    target = attributes.get("gen_ai.tool.name", attributes.get("gen_ai.prompt.name"))
    method = attributes["mcp.method.name"]
    parent = get_current() if parent is None else parent
    around = get_current_span().get_span_context()
    linked = around.is_valid and around != get_current_span(parent).get_span_context()
    span = tracer.start_span(
        f"{method} {target}" if target else method,
        context=parent,
        kind=kind,
        attributes=attributes,
        links=[Link(around)] if linked else None,
    )
    token = attach(set_span_in_context(span, parent))
    try:
        yield span
    except (RequestError, PeerError) as error:
        _fail(span, str(error.code), error.message, error.code)
        raise
    except RemoteProtocolError as error:
        _fail(span, str(error.reply.code), error.reply.message, error.reply.code)
        raise
    except DeadlineExceeded:
        _fail(span, "timeout")
        raise
    except Exception as error:
        _fail(span, type(error).__qualname__)
        raise
    except anyio.get_cancelled_exc_class():
        _fail(span, "cancelled")
        raise
    finally:
        detach(token)
        span.end()


def _judge(span: "Span", result: Any) -> None:
    if isinstance(result, CallToolResult) and result.is_error:
        _fail(span, "tool_error")


def _fail(span: "Span", kind: str, text: str | None = None, code: int | None = None) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_attribute("error.type", kind)
    if code is not None:
        span.set_attribute("rpc.response.status_code", str(code))
    span.set_status(Status(StatusCode.ERROR, text))
