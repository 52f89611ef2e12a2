"""Serving MCP over HTTP with our own listener: both eras at one path, and HTTP+SSE beside them if asked for."""

import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import anyio
from anyio.abc import TaskStatus

from mcpcore.groups import sole_error
from mcpcore_transports.http.endpoint import Endpoint
from mcpcore_transports.http.measured import METRICS_HOST, METRICS_PATH, start_metrics
from mcpcore_transports.http.options import MAX_BODY_BYTES, MAX_OPEN_STREAMS, HttpOptions
from mcpcore_transports.http.replay import ReplayStore
from mcpcore_transports.http.served import Served
from mcpcore_transports.http.sessions import IDLE_SECONDS, MAX_SESSIONS
from mcpcore_transports.web.access import AccessEntry
from mcpcore_transports.web.limits import HttpLimits
from mcpcore_transports.web.listener import GRACE_SECONDS, serve_http
from mcpcore_transports.web.sockets import Address

__all__ = ("endpoint_at", "endpoint_running", "say_urls", "serve", "urls_of")

_CLOSE_SECONDS = 1.0
"""For an application's own verifier to close what it holds; ours wait for nothing."""


async def serve(
    server: Served,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    uds: str | None = None,
    sockets: Sequence[socket.socket] | None = None,
    path: str | None = "/mcp",
    sse_path: str | None = None,
    public_url: str | None = None,
    allow_hosts: Iterable[str] = (),
    allow_origins: Iterable[str] = (),
    auth: Any = None,
    json_response: bool = False,
    grace: float = GRACE_SECONDS,
    max_body_bytes: int = MAX_BODY_BYTES,
    max_sessions: int = MAX_SESSIONS,
    max_streams: int = MAX_OPEN_STREAMS,
    idle_seconds: float = IDLE_SECONDS,
    store: ReplayStore | None = None,
    limits: HttpLimits | None = None,
    max_connections: int | None = None,
    read_timeout: float | None = None,
    stream_timeout: float | None = None,
    keepalive: float | None = None,
    idle_timeout: float | None = None,
    http_parser: str = "auto",
    access_log: Callable[[AccessEntry], None] | None = None,
    metrics: bool = False,
    metrics_port: int | None = None,
    metrics_host: str = METRICS_HOST,
    task_status: TaskStatus[Any] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled or until `server.stop` is called; then running requests have `grace` seconds.

    Reports started with the URLs it answers at, and says them on stderr. `port=0` picks a free port; `uds` is the path
    of a Unix socket instead. With `sockets`, which were bound for `host` or `uds`, whoever bound them says where they
    are. `limits` are those of a connection; the arguments below it replace one of them each, as the flags of
    `mcpcore run` with their names do (seconds; `read_timeout` is for a head and for a body).
    `http_parser` is "h11", "httptools", or "auto" for the faster one that is installed. `auth` is that of the server
    unless it is given here.

    `metrics` shows Prometheus metrics at /metrics to whoever may use the server, and is refused without `auth` unless
    that is only this machine; `metrics_port` shows them on a port of `metrics_host`, without authentication.

    Raises `LocalProtocolError` for an address that others can reach when nothing says who may (`allow_hosts`,
    `public_url` or `auth`), for tokens that are made for a URL which nothing says, for metrics that others could read,
    and for a parser that is not installed; `ConnectFailed` when the address cannot be had.
    """
    endpoint = endpoint_at(
        server,
        None if uds is not None else host,
        metrics=metrics,
        measured=metrics or metrics_port is not None,
        public_url=public_url,
        allow_hosts=allow_hosts,
        allow_origins=allow_origins,
        path=path,
        sse_path=sse_path,
        json_response=json_response,
        auth=auth,
        max_body_bytes=max_body_bytes,
        max_sessions=max_sessions,
        max_streams=max_streams,
        idle_seconds=idle_seconds,
        store=store,
    )
    limits = (limits or HttpLimits()).with_settings(
        max_connections=max_connections,
        read_timeout=read_timeout,
        stream_timeout=stream_timeout,
        keepalive=keepalive,
        idle_timeout=idle_timeout,
    )
    stopping = anyio.Event()
    with sole_error():
        async with endpoint_running(server, endpoint, stopping.set), anyio.create_task_group() as tasks:

            async def announce(*, task_status: TaskStatus[Any] = task_status) -> None:
                await serve_http(
                    endpoint,
                    host=host,
                    port=port,
                    uds=uds,
                    sockets=sockets,
                    limits=limits,
                    stopping=stopping,
                    grace=grace,
                    access_log=access_log,
                    parser=http_parser,
                    task_status=task_status,
                )
                tasks.cancel_scope.cancel()

            if endpoint.measured is not None and metrics_port is not None:
                await start_metrics(endpoint.measured, metrics_host, metrics_port, tasks, shared=sockets is not None)
            addresses = await tasks.start(announce)
            endpoint.admission.listens_at(addresses)
            urls = urls_of(addresses, *endpoint.paths)
            if sockets is None:
                say_urls(urls)
            task_status.started(urls)


def endpoint_at(
    server: Served, host: str | None, *, auth: Any = None, metrics: bool = False, measured: bool = False, **options: Any
) -> Endpoint:
    """The endpoint of a listener about to be bound to `host`, None for a Unix socket. `options` are those of
    `HttpOptions.for_bind`; `metrics` shows what is `measured` to whoever may use the server.

    Raises `LocalProtocolError` as `serve` does.
    """
    http_options = HttpOptions.for_bind(
        "localhost" if host is None else host,
        auth=server.auth if auth is None else auth,
        measured=server.metrics() if measured else None,
        metrics_path=METRICS_PATH if metrics else None,
        **options,
    )
    endpoint = Endpoint(server, http_options)
    endpoint.admission.check_place(host)
    return endpoint


def urls_of(addresses: Iterable[Address], *paths: str, scheme: str = "http") -> list[str]:
    """The URLs at which clients find these paths."""
    return [f"{_origin(address, scheme)}{path}" for address in addresses for path in paths]


def say_urls(urls: Iterable[str]) -> None:
    """Say on stderr where clients are awaited, one line for each URL."""
    for url in urls:
        print(f"mcpcore: listening on {url}", file=sys.stderr, flush=True)


def _origin(address: Address, scheme: str) -> str:
    if isinstance(address, str):
        return f"{scheme}+unix://{quote(address, safe='')}"
    host, port = address
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


@asynccontextmanager
async def endpoint_running(
    server: Served, endpoint: Endpoint, on_stop: Callable[[], None] | None = None
) -> AsyncIterator[None]:
    """What an endpoint needs around its requests: the server's lifespan, and a home for sessions.

    When the server is told to stop, the endpoint drains and `on_stop` is called. On leaving, sessions are cancelled.
    """

    def stop(_: float) -> None:
        endpoint.drain()
        if on_stop is not None:
            on_stop()

    async with server.running():
        try:
            with sole_error():
                async with anyio.create_task_group() as tasks:
                    endpoint.start(tasks)
                    server.on_stop.add(stop)
                    streams = set() if endpoint.measured is None else endpoint.measured.open_streams
                    streams.add(endpoint.count_streams)
                    try:
                        yield
                    finally:
                        streams.discard(endpoint.count_streams)
                        server.on_stop.discard(stop)
                        tasks.cancel_scope.cancel()
        finally:
            with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
                await endpoint.admission.aclose()
