"""What happens at a server, as Prometheus metrics: a view of its statistics, and the latencies that it observes.

Requests are counted in plain integers, and turned into samples when somebody asks for them: a request costs a look-up
and a few additions. There is no global state: each server has a registry of its own, and with several processes each
answers for itself.

No label is a peer's to choose: methods are those of the protocol, tools those of the catalogue (and only if asked
for), transports and revisions those that this library has; whatever else comes is counted as "other".

Needs the extra mcpcore[metrics].
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from mcpcore.errors import LocalProtocolError
from mcpcore.methods import REQUESTS
from mcpcore.revisions import Era, Revision
from mcpcore.traffic import Traffic
from mcpcore.types import CallToolResult

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

__all__ = ("BUCKETS_SECONDS", "MAX_TOOL_NAMES", "Measurable", "Metrics")

BUCKETS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Upper bounds of the latency histogram: from an answer out of memory to the two minutes after which clients commonly
give up."""

MAX_TOOL_NAMES = 1000
"""Tools that are told apart; a catalogue that grows while it serves must not fill the memory of the one who reads."""

_OTHER = "other"


class Measurable(Protocol):
    """As much of a server as is measured."""

    def statistics(self) -> Any:
        """Its `ServerStatistics`."""

    @property
    def catalogue(self) -> Any:
        """Its `Catalogue`."""


class _Series:
    """The requests of one method, transport and era, and of one tool if tools are told apart."""

    __slots__ = ("buckets", "running", "seconds", "tool_errors")

    def __init__(self) -> None:
        self.buckets: list[int] = [0] * (len(BUCKETS_SECONDS) + 1)
        self.running: int = 0
        self.tool_errors: int = 0
        self.seconds: float = 0.0

    def ended(self, seconds: float, result: Any) -> None:
        self.running -= 1
        self.seconds += seconds
        self.buckets[bisect_left(BUCKETS_SECONDS, seconds)] += 1
        if type(result) is CallToolResult and result.is_error:
            self.tool_errors += 1


class Metrics:
    """Counts from when it is made; `Server.metrics()` makes one.

    Raises `LocalProtocolError` when prometheus-client is not installed.
    """

    def __init__(self, server: Measurable, *, tool_names: bool = False) -> None:
        """`tool_names` tells tools apart: as many time series more as the catalogue has tools."""
        self._registry = _registry()
        self._registry.register(self)
        self._server = server
        self._tool_names = tool_names
        self._tools: set[str] = set()
        self._series: dict[tuple[str, str, str, str], _Series] = {}
        self._found: dict[tuple[str, str, str], _Series] = {}
        """The series of a method, transport and revision, where tools are not told apart."""
        self.traffic: Traffic = Traffic()
        """For transports to count in."""
        self.open_streams: set[Callable[[], int]] = set()
        """Each says how many event streams one endpoint has open."""

    def began(self, method: str, transport: str, revision: Revision, params: Any) -> _Series:
        """Count one request that is about to run; see `mcpcore.dispatch.Observer`."""
        series = self._found.get((method, transport, revision))
        if series is None:
            series = self._find(method, transport, revision, params)
        series.running += 1
        return series

    def exposition(self, accept: str = "") -> tuple[str, bytes]:
        """The metrics as text: its content type and its bytes. `accept` is the header of whoever asks, and decides
        between the formats of Prometheus and OpenMetrics."""
        from prometheus_client.exposition import choose_encoder

        encode, content_type = choose_encoder(accept)
        return content_type, encode(self._registry)

    def _find(self, method: str, transport: str, revision: Revision, params: Any) -> _Series:
        tool = ""
        if self._tool_names and method == "tools/call":
            tool = params.name
            if tool not in self._tools:
                if len(self._tools) < MAX_TOOL_NAMES and self._server.catalogue.tools.get(tool) is not None:
                    self._tools.add(tool)
                else:
                    tool = _OTHER
        known = method if method in REQUESTS else _OTHER
        era = "modern" if revision.era is Era.MODERN else "legacy"
        series = self._series.setdefault((known, transport, era, tool), _Series())
        if not tool and known is not _OTHER:
            self._found[method, transport, revision] = series
        return series

    def describe(self) -> list["Metric"]:
        """What a registry asks for; nothing, so that it does not collect for it."""
        return []

    def collect(self) -> Iterator["Metric"]:
        """What a registry asks for: every metric with its samples."""
        yield from self._of_requests()
        yield from self._of_traffic()
        yield from self._of_server()

    def _of_requests(self) -> Iterator["Metric"]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        names = ("method", "transport", "era", *(("tool",) if self._tool_names else ()))
        requests = CounterMetricFamily("mcpcore_requests", "Requests that reached a handler.", labels=names)
        running = GaugeMetricFamily("mcpcore_requests_in_flight", "Requests that run.", labels=names)
        failed = CounterMetricFamily("mcpcore_tool_errors", "Calls that a tool answered with isError.", labels=names)
        seconds = HistogramMetricFamily(
            "mcpcore_request_duration_seconds", "From a request's handler being called to its result.", labels=names
        )
        for key, series in list(self._series.items()):
            labels = list(key if self._tool_names else key[:3])
            requests.add_metric(labels, sum(series.buckets) + series.running)
            if key[0] == "subscriptions/listen":
                continue  # how long that lasts says nothing about this server
            running.add_metric(labels, series.running)
            if key[0] == "tools/call":
                failed.add_metric(labels, series.tool_errors)
            total, buckets = 0, []
            for bound, count in zip((*BUCKETS_SECONDS, float("inf")), series.buckets, strict=True):
                total += count
                buckets.append(("+Inf" if bound == float("inf") else str(bound), total))
            seconds.add_metric(labels, buckets, series.seconds)
        yield from (requests, running, failed, seconds)

    def _of_traffic(self) -> Iterator["Metric"]:
        from prometheus_client.core import CounterMetricFamily

        for name, what in (
            ("received_messages", "JSON-RPC messages that came."),
            ("received_bytes", "Bytes of the bodies that came."),
            ("sent_messages", "JSON-RPC messages that went."),
            ("sent_bytes", "Bytes of the bodies that went."),
        ):
            family = CounterMetricFamily(f"mcpcore_{name}", what, labels=("transport", "era"))
            for (transport, era), passed in self.traffic.items():
                family.add_metric([transport, era or "none"], getattr(passed, name))
            yield family

    def _of_server(self) -> Iterator["Metric"]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        found = self._server.statistics()
        errors = CounterMetricFamily("mcpcore_errors", "Requests answered with a JSON-RPC error.", labels=("code",))
        for code, count in found.errors.items():
            errors.add_metric([str(code) if code else _OTHER], count)
        yield errors
        yield CounterMetricFamily("mcpcore_cancelled", "Requests that were given up.", value=found.cancelled)
        clients = CounterMetricFamily(
            "mcpcore_client_requests",
            "Requests with the handshakes, by what the client speaks.",
            labels=("transport", "revision"),
        )
        spoken: dict[tuple[str, str], int] = {}
        for key, count in found.clients.items():
            transport, revision, _ = key.split(" ", 2)
            spoken[transport, revision] = spoken.get((transport, revision), 0) + count
        for pair, count in spoken.items():
            clients.add_metric(list(pair), count)
        yield clients
        for name, about, value in (
            ("sessions", "Sessions and connections that are served.", found.sessions),
            ("listeners", "Sessions and listens that are sent changes.", found.listeners),
            ("open_streams", "Event streams that stay open by design.", sum(count() for count in self.open_streams)),
            ("threads_running", "Threads that run plain functions.", found.threads.running),
            ("threads_waiting", "Plain functions that wait for a thread.", found.threads.waiting),
        ):
            yield GaugeMetricFamily(f"mcpcore_{name}", about, value=value)


def _registry() -> "CollectorRegistry":
    try:
        from prometheus_client import CollectorRegistry, ProcessCollector
    except ImportError:
        raise LocalProtocolError("metrics need the extra: install mcpcore[metrics]") from None
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    return registry
