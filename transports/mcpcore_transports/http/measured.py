"""Metrics over HTTP: what passes is counted here, and is shown at /metrics.

Who may read them: on the port of the server itself, whoever may use the server, under the same rules for Host, Origin
and authentication; so without authentication they are shown there only where nobody else can come in. On a port of
their own they are for this machine: it is bound to 127.0.0.1 and accepts no other Host. Whoever binds it to another
address says that those who reach it may read them.
"""

import errno
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from anyio.abc import TaskGroup, TaskStatus

from mcpcore.errors import ConnectFailed, LocalProtocolError
from mcpcore.traffic import Passed, Traffic
from mcpcore_transports.framing.origins import AccessPolicy
from mcpcore_transports.web.exchange import Headers, WebRequest, WebResponse
from mcpcore_transports.web.limits import HttpLimits
from mcpcore_transports.web.listener import serve_http

__all__ = (
    "MAX_CONNECTIONS",
    "METRICS_HOST",
    "METRICS_PATH",
    "PORTS_TRIED",
    "Measured",
    "MeasuredResponse",
    "MetricsApp",
    "check_reach",
    "send_metrics",
    "start_metrics",
)

METRICS_PATH = "/metrics"

METRICS_HOST = "127.0.0.1"

PORTS_TRIED = 256
"""Ports from the given one on, of which a worker takes the first that is free: as many workers as one machine has."""

MAX_CONNECTIONS = 16
"""Whoever collects metrics needs one at a time."""


class Measured(Protocol):
    """The metrics of a server: `mcpcore.metrics.Metrics` is one."""

    traffic: Traffic
    open_streams: set[Callable[[], int]]

    def exposition(self, accept: str = "") -> tuple[str, bytes]: ...


class MeasuredResponse(WebResponse):
    """Counts what is sent through it, as `passed` until `belongs` says better.

    Its methods are no coroutines of their own, since each would cost as much as all of the counting: they return those
    of the response.
    """

    __slots__ = ("_passed", "_response", "started")

    def __init__(self, response: WebResponse, passed: Passed) -> None:
        self._response = response
        self._passed = passed
        self.started: bool = False

    def belongs(self, passed: Passed, messages: int, size: int) -> None:
        """Say what this answers: so many messages, in a body of `size` bytes."""
        self._passed = passed
        passed.received_messages += messages
        passed.received_bytes += size

    def send_whole(self, status: int, headers: Headers, body: bytes) -> Coroutine[Any, Any, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.started = True
        self._passed.sent_messages += body[:1] in (b"{", b"[")
        self._passed.sent_bytes += len(body)
        return self._response.send_whole(status, headers, body)

    def start(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, status: int, headers: Headers, *, first: bytes = b"", idle_bytes: bytes = b""
    ) -> Coroutine[Any, Any, None]:
        self.started = True
        self._count_events(first)
        return self._response.start(status, headers, first=first, idle_bytes=idle_bytes)

    def send(self, chunk: bytes) -> Coroutine[Any, Any, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._count_events(chunk)
        return self._response.send(chunk)

    def finish(self, last: bytes = b"") -> Coroutine[Any, Any, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._count_events(last)
        return self._response.finish(last)

    def _count_events(self, chunk: bytes) -> None:
        self._passed.sent_messages += chunk.count(b"\ndata: {")
        self._passed.sent_bytes += len(chunk)


class MetricsApp:
    """An application with one path, for a port of its own."""

    def __init__(self, measured: Measured, host: str = METRICS_HOST) -> None:
        self._measured = measured
        policy = AccessPolicy(host)
        self._policy = AccessPolicy(host, allow_hosts=("*",)) if policy.lets_others_in else policy

    async def __call__(self, request: WebRequest, response: WebResponse) -> None:
        host = request.headers.get("host")
        refusal = self._policy.check_host(host)
        if refusal is not None:
            await response.send_whole(421, _TEXT, f"{refusal}\n".encode())
        elif (refusal := self._policy.check_origin(request.headers.get("origin"), host)) is not None:
            await response.send_whole(403, _TEXT, f"{refusal}\n".encode())
        elif request.path != METRICS_PATH:
            await response.send_whole(404, _TEXT, b"the metrics are at /metrics\n")
        else:
            await send_metrics(self._measured, request, response)


async def send_metrics(measured: Measured, request: WebRequest, response: WebResponse, headers: Headers = ()) -> None:
    """Answer a request for the metrics that was let in. Raises `ConnectionLost` when the client has left."""
    if request.method not in ("GET", "HEAD"):
        await response.send_whole(405, (*_TEXT, ("allow", "GET, HEAD"), *headers), b"read this with GET\n")
        return
    content_type, text = measured.exposition(request.headers.get("accept", ""))
    await response.send_whole(200, (("content-type", content_type), ("cache-control", "no-store"), *headers), text)


def check_reach(*, reachable: bool, authenticated: bool) -> None:
    """Raises `LocalProtocolError` if others than this machine could read metrics at the port of the server itself."""
    if reachable and not authenticated:
        raise LocalProtocolError(
            "/metrics would show everybody who can reach this server how it is used: give it a port of this machine's "
            "own with --metrics-port NUMBER (metrics_port=) instead, or require authentication"
        )


async def start_metrics(measured: Measured, host: str, port: int, tasks: TaskGroup, *, shared: bool) -> None:
    """Show metrics on host and port until `tasks` are cancelled, and say on stderr where. With `shared`, which is for
    several processes of one program, on the first port from `port` on that is free. Raises `ConnectFailed`."""
    app = MetricsApp(measured, host)
    limits = HttpLimits(max_connections=MAX_CONNECTIONS)
    last = port + PORTS_TRIED - 1 if shared and port else port
    for candidate in range(port, last + 1):

        async def listen(*, port: int = candidate, task_status: TaskStatus[Any]) -> None:
            await serve_http(app, host=host, port=port, limits=limits, task_status=task_status)

        try:
            addresses = await tasks.start(listen)
        except ConnectFailed as failed:
            if failed.errno != errno.EADDRINUSE or candidate == last:
                raise
            continue
        for address, number in addresses:
            place = f"[{address}]" if ":" in address else address
            print(f"mcpcore: metrics on http://{place}:{number}{METRICS_PATH}", file=sys.stderr, flush=True)
        return


_TEXT: Headers = (("content-type", "text/plain; charset=utf-8"),)
