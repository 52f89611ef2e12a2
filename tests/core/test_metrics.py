"""metrics: what a server has done, as samples with bounded labels. Over HTTP: transports/test_measured.py."""

import sys
from typing import Any

import anyio
import pytest
from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from mcpcore import Client, Context, Limits, LocalProtocolError, PeerError, RequestError, Revision, Server, ToolError
from mcpcore.errors import CODE_SERVER_BUSY
from mcpcore.metrics import BUCKETS_SECONDS, Metrics

pytestmark = pytest.mark.anyio

FEW = 5
OVERFLOW = 20
"""Made-up names beyond what is told apart."""


def samples(metrics: Metrics) -> dict[tuple[str, ...], float]:
    """Name and label values of each sample of ours, in the order of the labels' names."""
    content_type, text = metrics.exposition()
    assert content_type.startswith("text/plain")
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        if sample.name.startswith("mcpcore_") and not sample.name.endswith("_created")
    }


def offer() -> Server:
    server = Server("measured")

    @server.tool
    async def add(a: int, b: int) -> int:
        return a + b

    @server.tool
    async def sulk() -> None:
        raise ToolError("no")

    @server.tool
    async def refuse(code: int) -> None:
        raise RequestError(code, "no")

    @server.tool
    async def hang(ctx: Context) -> None:
        await ctx.progress(1)
        await anyio.sleep_forever()

    return server


async def test_requests_are_counted_by_method_era_and_outcome() -> None:
    server = offer()
    metrics = server.metrics()
    assert server.metrics() is metrics
    for era in ("modern", "legacy"):
        async with Client(server, era=era) as client:
            await client.list_tools()
            await client.call_tool("add", {"a": 1, "b": 2})
            await client.call_tool("sulk")
            with pytest.raises(PeerError):
                await client.call_tool("refuse", {"code": 7})
    found = samples(metrics)
    assert server.statistics().errors == {7: 2}
    assert found["mcpcore_errors_total", "7"] == 2
    for era in ("modern", "legacy"):
        assert found["mcpcore_requests_total", era, "tools/call", "memory"] == 3
        assert found["mcpcore_requests_in_flight", era, "tools/call", "memory"] == 0
        assert found["mcpcore_tool_errors_total", era, "tools/call", "memory"] == 1
        assert found["mcpcore_request_duration_seconds_count", era, "tools/call", "memory"] == 3
        assert found["mcpcore_request_duration_seconds_bucket", era, "+Inf", "tools/call", "memory"] == 3
        assert found["mcpcore_request_duration_seconds_sum", era, "tools/call", "memory"] > 0
    assert found["mcpcore_client_requests_total", "2026-07-28", "memory"] == 5  # server/discover among them
    assert found["mcpcore_client_requests_total", "2025-11-25", "memory"] >= 5  # initialize among them
    assert found["mcpcore_sessions",] == 0


async def test_what_runs_and_what_is_given_up() -> None:
    server = offer()
    metrics = server.metrics()
    running: list[float] = []
    async with Client(server, era="modern") as client:
        with anyio.CancelScope() as scope:

            async def show(*_: Any) -> None:
                running.append(samples(metrics)["mcpcore_requests_in_flight", "modern", "tools/call", "memory"])
                scope.cancel()

            await client.call_tool("hang", on_progress=show)
    found = samples(metrics)
    assert running == [1]
    assert found["mcpcore_requests_in_flight", "modern", "tools/call", "memory"] == 0
    assert found["mcpcore_requests_total", "modern", "tools/call", "memory"] == 1
    assert found["mcpcore_cancelled_total",] == server.statistics().cancelled == 1


async def test_what_never_reached_a_handler_is_an_error_too() -> None:
    server = offer()
    metrics = server.metrics()
    async with Client(server, era="modern") as client:
        with pytest.raises(PeerError):
            await client.get_prompt("none")
        with pytest.raises(PeerError):
            await client.read_resource("none://")
    assert {key[1]: value for key, value in samples(metrics).items() if key[0] == "mcpcore_errors_total"} == {
        "-32601": 2,
    }


async def test_a_peer_cannot_make_up_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    server = offer()
    metrics = server.metrics(tool_names=True)

    for number in range(OVERFLOW):
        metrics.began(f"made/up{number}", "memory", Revision.R2026_07_28, None).ended(0, None)
    monkeypatch.setattr("mcpcore.server.MAX_ERROR_CODES", FEW)
    async with Client(server, era="modern") as client:
        for number in range(OVERFLOW):
            with pytest.raises(PeerError):
                await client.call_tool(f"tool {number}")
        await client.call_tool("add", {"a": 1, "b": 2})
        for number in range(FEW + OVERFLOW):
            with pytest.raises(PeerError):
                await client.call_tool("refuse", {"code": 1000 + number})
    found = samples(metrics)
    methods = {key[2] for key in found if key[0] == "mcpcore_requests_total"}
    assert methods == {"other", "server/discover", "tools/call"}
    tools = {
        key[-2]: value for key, value in found.items() if key[:3] == ("mcpcore_requests_total", "modern", "tools/call")
    }
    assert tools == {"add": 1, "refuse": FEW + OVERFLOW, "other": OVERFLOW}
    errors = {key[1]: value for key, value in found.items() if key[0] == "mcpcore_errors_total"}
    assert len(errors) == FEW + 1
    assert errors["other"] == OVERFLOW + 1  # the unknown tools have taken one of the codes


async def test_tools_are_told_apart_only_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcpcore.metrics.MAX_TOOL_NAMES", FEW)
    server = Server("many")
    metrics = server.metrics(tool_names=True)
    for number in range(FEW + OVERFLOW):

        @server.tool(name=f"tool{number}", input_schema={"type": "object"})
        async def nothing() -> None: ...

    async with Client(server, era="modern") as client:
        for number in range(FEW + OVERFLOW):
            await client.call_tool(f"tool{number}")
    tools = {key[-2]: value for key, value in samples(metrics).items() if key[0] == "mcpcore_requests_total"}
    assert len(tools) == FEW + 2  # server/discover has none
    assert tools["other"] == OVERFLOW


async def test_a_request_that_found_no_place_is_an_error() -> None:
    server = Server("small", limits=Limits(max_running=1, max_waiting=0))
    began = anyio.Event()

    @server.tool
    async def hang() -> None:
        began.set()
        await anyio.sleep_forever()

    async with Client(server, era="modern") as client, anyio.create_task_group() as tasks:
        tasks.start_soon(client.call_tool, "hang")
        await began.wait()
        with pytest.raises(PeerError):
            await client.list_tools()
        assert server.statistics().errors == {CODE_SERVER_BUSY: 1}
        tasks.cancel_scope.cancel()


async def test_a_latency_falls_into_its_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("mcpcore.dispatch.perf_counter", lambda: now)
    server = Server("slow")
    metrics = server.metrics()

    @server.tool
    async def wait(seconds: float) -> None:
        nonlocal now
        now += seconds

    async with Client(server, era="modern") as client:
        for seconds in (0.0, 0.25, 0.3, 1000.0):
            await client.call_tool("wait", {"seconds": seconds})
    key = "modern", "tools/call", "memory"
    found = samples(metrics)
    below = {
        bound: found["mcpcore_request_duration_seconds_bucket", "modern", str(bound), *key[1:]]
        for bound in BUCKETS_SECONDS
    }
    assert (below[0.001], below[0.1], below[0.25], below[0.5], below[120.0]) == (1, 1, 2, 3, 3)
    assert found["mcpcore_request_duration_seconds_count", *key] == 4
    assert found["mcpcore_request_duration_seconds_sum", *key] == pytest.approx(1000.55)


async def test_servers_share_nothing_and_leave_the_global_registry_alone() -> None:
    one, other = offer(), offer()
    first, second = one.metrics(), other.metrics()
    async with Client(one, era="modern") as client:
        await client.list_tools()
    assert ("mcpcore_requests_total", "modern", "tools/list", "memory") in samples(first)
    assert ("mcpcore_requests_total", "modern", "tools/list", "memory") not in samples(second)
    assert not [family.name for family in REGISTRY.collect() if family.name.startswith("mcpcore")]


def test_both_formats() -> None:
    metrics = offer().metrics()
    content_type, text = metrics.exposition("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert text.endswith(b"# EOF\n")


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(LocalProtocolError, match=r"install mcpcore\[metrics\]"):
        offer().metrics()
