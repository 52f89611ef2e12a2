"""tracing: spans at both ends, over memory here and over stdio and HTTP below, in both eras."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from cli.program import PYTHONPATH, program, site
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from mcpcore import Client, Context, Elicited, LocalProtocolError, PeerError, RequestError, Server, ToolError
from mcpcore.tracing import MAX_NAME_CHARACTERS, client_spans, server_spans
from mcpcore.transport import client_transport
from mcpcore.types import ElicitResult

pytestmark = pytest.mark.anyio

eras = pytest.mark.parametrize("era", ["modern", "legacy"])

SECRET = "a secret that is in no span"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


class Spans:
    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def take(self) -> list[ReadableSpan]:
        """What has ended since the last time, in this order."""
        spans = list(self._exporter.get_finished_spans())
        self._exporter.clear()
        assert SECRET not in "".join(span.to_json() for span in spans)
        return spans


@pytest.fixture
def spans() -> Spans:
    return Spans()


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def id_of(span: ReadableSpan) -> int:
    found = span.get_span_context()
    assert found is not None
    return found.span_id


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def traced_server(spans: Spans) -> Server:
    server = Server("traced", inbound=[server_spans(spans.provider)])

    @server.tool
    async def add(a: int, b: int, ctx: Context) -> int:
        with trace.get_tracer("library", tracer_provider=spans.provider).start_as_current_span("inside"):
            return a + b

    @server.tool
    def in_a_thread() -> str:
        return str(trace.get_current_span().get_span_context().span_id)

    @server.tool
    async def luggage() -> str:
        return str(baggage.get_baggage("user"))

    @server.tool
    async def sulk() -> None:
        raise ToolError(SECRET)

    @server.tool
    async def fail() -> None:
        raise RuntimeError(SECRET)

    @server.tool
    async def refuse() -> None:
        raise RequestError(7, "come back later")

    @server.tool
    async def hang(ctx: Context) -> None:
        await ctx.progress(1)
        await anyio.sleep_forever()

    @server.tool
    async def ask(ctx: Context) -> str:
        answer: Elicited[Any] = await ctx.elicit("Well?", {"type": "object", "properties": {"x": {"type": "string"}}})
        return str(answer.content)

    @server.resource("note://one")
    async def note() -> str:
        return SECRET

    @server.prompt
    async def greet(name: str) -> str:
        return f"Hello {name}"

    return server


@eras
async def test_both_ends_of_a_call_are_one_trace(spans: Spans, era: Any) -> None:
    async with Client(traced_server(spans), era=era, outbound=[client_spans(spans.provider)]) as client:
        spans.take()
        await client.call_tool("add", {"a": 1, "b": 2})
        inside, server, asked = spans.take()
        assert [span.name for span in (inside, server, asked)] == ["inside", "tools/call add", "tools/call add"]
        assert (server.kind, asked.kind) == (SpanKind.SERVER, SpanKind.CLIENT)
        assert (parent_of(inside), parent_of(server), parent_of(asked)) == (id_of(server), id_of(asked), None)
        expected = {
            "mcp.method.name": "tools/call",
            "mcp.protocol.version": str(client.revision),
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "add",
        }
        id = attributes(asked)["jsonrpc.request.id"]
        assert attributes(asked) == attributes(server) == {**expected, "jsonrpc.request.id": id}
        assert server.status.status_code is StatusCode.UNSET

        assert not trace.get_current_span().get_span_context().is_valid  # nothing is left behind
        token = context.attach(baggage.set_baggage("user", "alice"))
        result = await client.call_tool("luggage")
        context.detach(token)
        assert result.structured_content == {"result": "alice"}


@eras
async def test_names_are_few(spans: Spans, era: Any) -> None:
    async with Client(traced_server(spans), era=era, outbound=[client_spans(spans.provider)]) as client:
        spans.take()
        await client.read_resource("note://one")
        await client.get_prompt("greet", {"name": SECRET})
        await client.list_tools()
        with pytest.raises(PeerError):
            await client.call_tool("x" * 1000)
    read, _, got, _, listed, _, unknown, _ = spans.take()
    assert [span.name for span in (read, got, listed)] == ["resources/read", "prompts/get greet", "tools/list"]
    assert attributes(read)["mcp.resource.uri"] == "note://one"
    assert attributes(got)["gen_ai.prompt.name"] == "greet"
    assert unknown.name == f"tools/call {'x' * MAX_NAME_CHARACTERS}"


@eras
@pytest.mark.parametrize(
    ("tool", "kind", "code", "text"),
    [
        ("sulk", "tool_error", None, None),
        ("fail", "tool_error", None, None),
        ("refuse", "7", "7", "come back later"),
        ("none", "-32602", "-32602", "there is no tool 'none'"),
    ],
)
async def test_errors_are_recorded_without_what_they_say_inside(
    spans: Spans, era: Any, tool: str, kind: str, code: str | None, text: str | None
) -> None:
    async with Client(traced_server(spans), era=era, outbound=[client_spans(spans.provider)]) as client:
        spans.take()
        try:
            await client.call_tool(tool)
        except PeerError as error:
            assert code == str(error.code)  # noqa: PT017
    for span in spans.take():
        found = attributes(span)
        assert (found["error.type"], found.get("rpc.response.status_code")) == (kind, code)
        assert (span.status.status_code, span.events) == (StatusCode.ERROR, ())
        assert (text or "") in (span.status.description or "")


@eras
async def test_what_is_given_up_ends_its_spans(spans: Spans, era: Any) -> None:
    async with Client(traced_server(spans), era=era, outbound=[client_spans(spans.provider)]) as client:
        spans.take()
        with anyio.CancelScope() as scope:

            async def stop(*_: Any) -> None:
                scope.cancel()

            await client.call_tool("hang", on_progress=stop)
    assert sorted((span.name, attributes(span)["error.type"]) for span in spans.take()) == [
        ("tools/call hang", "cancelled"),
        ("tools/call hang", "cancelled"),
    ]


@eras
async def test_a_question_is_no_error(spans: Spans, era: Any) -> None:
    async def answer(question: Any) -> ElicitResult:
        return ElicitResult(action="accept", content={"x": "y"})

    options: dict[str, Any] = {"on_elicit": answer, "outbound": [client_spans(spans.provider)]}
    async with Client(traced_server(spans), era=era, **options) as client:
        spans.take()
        await client.call_tool("ask")
    found = spans.take()
    assert len(found) == (4 if era == "modern" else 2)  # one for each round
    assert {span.status.status_code for span in found} == {StatusCode.UNSET}


@eras
@pytest.mark.parametrize("value", [7, "", "garbage", None])
async def test_a_garbled_context_is_none(spans: Spans, era: Any, value: Any) -> None:
    async with Client(traced_server(spans), era=era) as client:
        spans.take()
        await client.call_tool("add", {"a": 1, "b": 2}, meta={"traceparent": value})
        _, server = spans.take()
        assert parent_of(server) is None
        await client.call_tool("add", {"a": 1, "b": 2}, meta={"traceparent": PARENT, "tracestate": "x=1"})
        _, server = spans.take()
        found = server.get_span_context()
        assert found is not None
        assert (f"{found.trace_id:032x}", found.trace_state.get("x")) == (TRACE_ID, "1")


async def test_without_an_sdk_nothing_happens() -> None:
    server = Server("plain", inbound=[server_spans()])

    @server.tool
    async def meta(ctx: Context) -> dict[str, Any]:
        return dict(ctx.meta)

    async with Client(server, outbound=[client_spans()]) as client:
        assert (await client.call_tool("meta")).structured_content == {}


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", None)
    with pytest.raises(LocalProtocolError, match=r"install mcpcore\[otel\]"):
        server_spans()
    with pytest.raises(LocalProtocolError, match=r"install mcpcore\[otel\]"):
        client_spans()


FILE = '''
from typing import Any
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from mcpcore import Server
from mcpcore.tracing import server_spans

exporter = InMemorySpanExporter()
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(SimpleSpanProcessor(exporter))
server = Server("traced", inbound=[server_spans(provider)])

@server.tool
async def add(a: int, b: int) -> int:
    return a + b

@server.tool
async def spans() -> list[dict[str, Any]]:
    """What has ended so far."""
    return [
        {"name": span.name, "trace": f"{span.context.trace_id:032x}", "attributes": dict(span.attributes or {}),
          "parent": None if span.parent is None else f"{span.parent.span_id:016x}"}
        for span in exporter.get_finished_spans() if span.attributes["mcp.method.name"] == "tools/call"
    ]
'''


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "traced.py"
    path.write_text(FILE)
    return path


@contextmanager
def target(transport: str, file: Path, backend: str) -> Iterator[Any]:
    if transport == "stdio":
        yield client_transport("stdio")(program("run", str(file), "--backend", backend), env={"PYTHONPATH": PYTHONPATH})
    else:
        with site(file, "--backend", backend, transport=transport) as served:
            yield served.urls[0]


class TestRealTime:
    """Worker threads, and other processes: clocks that do not jump."""

    @pytest.fixture(params=["asyncio", "trio"])
    def anyio_backend(self, request: pytest.FixtureRequest) -> str:
        return str(request.param)

    @pytest.mark.parametrize(
        ("transport", "era"),
        [("stdio", "modern"), ("stdio", "legacy"), ("http", "modern"), ("http", "legacy"), ("sse", "auto")],
    )
    async def test_the_context_crosses(
        self, spans: Spans, file: Path, anyio_backend: str, transport: str, era: Any
    ) -> None:
        with target(transport, file, anyio_backend) as where, anyio.fail_after(30):
            async with Client(where, era=era, outbound=[client_spans(spans.provider)]) as client:
                await client.call_tool("add", {"a": 1, "b": 2})
                [asked] = [span for span in spans.take() if span.name == "tools/call add"]
            headers = None if transport == "stdio" else {"traceparent": PARENT}
            async with Client(where, era=era, headers=headers) as client:
                await client.call_tool("add", {"a": 1, "b": 2})
                await client.call_tool("add", {"a": 1, "b": 2}, meta={"traceparent": f"00-{'1' * 32}-{'2' * 16}-01"})
                *_, told, own = (await client.call_tool("spans")).structured_content["result"]
            if transport != "stdio":  # where each client has a process of its own
                [span, *_] = _
                assert (span["name"], span["parent"]) == ("tools/call add", f"{id_of(asked):016x}")
                assert span["attributes"]["network.protocol.name"] == "http"
                # The headers count where the message says nothing.
                assert (told["trace"], told["parent"]) == (TRACE_ID, "00f067aa0ba902b7")
        assert (own["trace"], own["parent"]) == ("1" * 32, "2" * 16)
        assert own["attributes"]["network.transport"] == ("pipe" if transport == "stdio" else "tcp")
        assert "mcp.session.id" not in own["attributes"]

    @eras
    async def test_a_worker_thread_is_inside_the_span(self, spans: Spans, anyio_backend: str, era: Any) -> None:
        async with Client(traced_server(spans), era=era) as client:
            result = await client.call_tool("in_a_thread")
        span = spans.take()[-1]
        assert result.structured_content == {"result": str(id_of(span))}
