"""Serving MCP over HTTP with hypercorn: TLS and HTTP/2, configured as hypercorn is.

What cannot be promised here, and is with our own listener (`mcpcore_transports.http.server`):

- Returning. A client that opens a stream and stops reading keeps hypercorn's own `serve()` from returning, on both
  backends, past its `graceful_timeout`, and on trio past cancellation; on asyncio it keeps the event loop from being
  closed. The server's lifespan is left in time all the same, and `mcpcore run` then ends its process. A program that
  embeds this waits until that client reads on or disappears.
- Deadlines for a head: hypercorn has one for a connection without a request (`keep_alive_timeout`), and that is it.
- Memory: hypercorn takes what is sent to a client that has just left, until it notices.

Importing this does not import hypercorn.
"""

import os
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.lowlevel
from anyio.abc import TaskStatus

from mcpcore.errors import LocalProtocolError
from mcpcore.groups import sole_error
from mcpcore_transports.http.measured import METRICS_HOST, start_metrics
from mcpcore_transports.http.served import Served
from mcpcore_transports.http.server import endpoint_at, endpoint_running, say_urls, urls_of
from mcpcore_transports.web.access import AccessEntry, AccessLog
from mcpcore_transports.web.asgi import AsgiApp, Message, Receive, Scope, Send
from mcpcore_transports.web.limits import HttpLimits
from mcpcore_transports.web.listener import GRACE_SECONDS
from mcpcore_transports.web.sockets import address_of, close_sockets, open_sockets

__all__ = ("OVERTIME_SECONDS", "serve")

OVERTIME_SECONDS = 0.5
"""Seconds that hypercorn gets beyond the grace, at which requests are cancelled. The lifespan is left then, whether
hypercorn has returned or not, and has the rest of a second before `mcpcore run` ends its process."""

_CANCEL_SECONDS = 0.2
"""How long a cancelled hypercorn is waited for: closing sockets takes no longer, unless a peer can hold it up."""


async def serve(
    server: Served,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    uds: str | None = None,
    sockets: Sequence[socket.socket] | None = None,
    hypercorn_config: str | os.PathLike[str] | None = None,
    grace: float = GRACE_SECONDS,
    limits: HttpLimits | None = None,
    read_timeout: float | None = None,
    stream_timeout: float | None = None,
    keepalive: float | None = None,
    idle_timeout: float | None = None,
    access_log: Callable[[AccessEntry], None] | None = None,
    metrics: bool = False,
    metrics_port: int | None = None,
    metrics_host: str = METRICS_HOST,
    task_status: TaskStatus[Any] = anyio.TASK_STATUS_IGNORED,
    **options: Any,
) -> None:
    """Serve as `mcpcore_transports.http.server.serve` does, with the same options, and hypercorn's own from a file.

    `hypercorn_config` is TOML, or Python if its name ends in .py. Where to listen, how many processes there are and how
    long stopping takes are not its business. Of `limits`, body_seconds, write_seconds and quiet_seconds count. Reports
    started when it listens.

    Raises `LocalProtocolError` for a configuration that cannot be, and `OSError` when the address cannot be had.
    """
    config = _read(hypercorn_config)
    config.graceful_timeout = grace + OVERTIME_SECONDS
    limits = (limits or HttpLimits()).with_settings(
        read_timeout=read_timeout, stream_timeout=stream_timeout, keepalive=keepalive
    )
    if idle_timeout is not None:
        config.keep_alive_timeout = idle_timeout
    if read_timeout is not None:
        config.keep_alive_timeout = min(config.keep_alive_timeout, read_timeout)
    endpoint = endpoint_at(
        server,
        None if uds is not None else host,
        metrics=metrics,
        measured=metrics or metrics_port is not None,
        **options,
    )
    listening = await open_sockets(host, port, uds, sockets)
    try:
        scheme = "https" if config.ssl_enabled else "http"
        addresses = [address_of(one) for one in listening]
        endpoint.admission.listens_at(addresses, scheme)
        urls = urls_of(addresses, *endpoint.paths, scheme=scheme)
        # Hypercorn closes the sockets that it is given; the file of a Unix socket is left to `close_sockets`.
        config.bind = [f"fd://{os.dup(one.fileno())}" for one in listening]
        with sole_error():
            async with anyio.create_task_group() as background:
                log = None if access_log is None else AccessLog(access_log)
                if log is not None:
                    background.start_soon(log.run)
                measured = endpoint.measured
                if measured is not None and metrics_port is not None:
                    await start_metrics(measured, metrics_host, metrics_port, background, shared=sockets is not None)
                host_run = _Hypercorn(_Requests(AsgiApp(endpoint, limits=limits), log), config, grace)
                async with anyio.create_task_group() as hosting:
                    try:
                        async with endpoint_running(server, endpoint, host_run.stopping.set):
                            hosting.start_soon(host_run.run)
                            if sockets is None:
                                say_urls(urls)
                            task_status.started(urls)
                            await host_run.wait()
                    finally:
                        host_run.scope.cancel()
                background.cancel_scope.cancel()
    finally:
        close_sockets(listening, unlink=sockets is None)


class _Hypercorn:
    """One run of hypercorn's `serve()` on whichever backend this is."""

    def __init__(self, app: "_Requests", config: Any, grace: float) -> None:
        self._app = app
        self._config = config
        self._grace = grace
        self.stopping = anyio.Event()
        self.over = anyio.Event()
        # Cancelled from outside, hypercorn fails over its own connections; so it is stopped instead, and cancelled by
        # whoever waited for that.
        self.scope = anyio.CancelScope(shield=True)

    async def run(self) -> None:
        """Raises what hypercorn raises, except while it is being stopped. Ends when `scope` is cancelled."""
        hypercorn_serve: Callable[..., Awaitable[None]]
        if anyio.lowlevel.current_token().backend_class.__module__.endswith("_trio"):
            from hypercorn.trio import serve as hypercorn_serve
        else:
            from hypercorn.asyncio import serve as hypercorn_serve
        app, config, trigger = cast(Any, self._app), self._config, self.stopping.wait
        try:
            with self.scope:
                await hypercorn_serve(app, config, shutdown_trigger=trigger, mode="asgi")
        except Exception:
            if not self.stopping.is_set():
                raise
        finally:
            self.over.set()

    async def wait(self) -> None:
        """Wait until hypercorn has returned, or has had its time since it was told to stop.

        When this is cancelled, requests are too, and hypercorn has a moment to end before the server's lifespan does.
        """
        try:
            async with anyio.create_task_group() as first:
                first.start_soon(_then, self.over.wait, first.cancel_scope.cancel)
                await self.stopping.wait()
                await anyio.sleep(self._grace)
                self._app.cancel()
                await anyio.sleep(OVERTIME_SECONDS)
                first.cancel_scope.cancel()
        except BaseException:
            self._config.graceful_timeout = _CANCEL_SECONDS / 2
            self._app.cancel()
            self.stopping.set()
            with anyio.move_on_after(_CANCEL_SECONDS, shield=True):
                await self.over.wait()
            raise


async def _then(wait: Callable[[], Awaitable[Any]], call: Callable[[], None]) -> None:
    await wait()
    call()


class _Requests:
    """An ASGI application whose requests can be cancelled all together, and are told to the access log.

    Hypercorn cancels what outlasts its own timeout, too; but on asyncio without a cancel scope, which looks like a
    mistake of the handler that it hits.
    """

    def __init__(self, app: AsgiApp, log: AccessLog | None) -> None:
        self._app = app
        self._log = log
        self._scopes: set[anyio.CancelScope] = set()

    def cancel(self) -> None:
        for scope in self._scopes:
            scope.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = sent = 0

        async def counted(message: Message) -> None:
            nonlocal status, sent
            # Before, since a client that closes its connection after the last byte may end this at once.
            status = message.get("status", status)
            sent += len(message.get("body", b""))
            await send(message)

        began = time.perf_counter()
        client = scope.get("client")
        with anyio.CancelScope() as cancelling:
            self._scopes.add(cancelling)
            try:
                await self._app(scope, receive, counted)
            finally:
                self._scopes.discard(cancelling)
                if self._log is not None:
                    address = str(client[0]) if client else ""
                    seconds = time.perf_counter() - began
                    self._log.add(AccessEntry(scope["method"], scope["path"], status, sent, seconds, address))


_ELSEWHERE = {
    "bind": "say host and port, or uds (--host, --port, --uds)",
    "insecure_bind": "one address is served: host and port, or uds (--host, --port, --uds)",
    "quic_bind": "HTTP/3 is not served",
    "workers": "say workers (--workers)",
    "graceful_timeout": "say grace (--grace)",
    "worker_class": "say backend (--backend)",
}
"""What a configuration file cannot set here, and what does instead."""


def _read(path: str | os.PathLike[str] | None) -> Any:
    from hypercorn.config import Config

    if path is None:
        config = Config()
        config.loglevel = "WARNING"  # where it listens is said by us
        return config
    try:
        config = Config.from_pyfile(path) if Path(path).suffix == ".py" else Config.from_toml(path)
        config.create_ssl_context()  # so that what is wrong with it shows before anybody is told that this listens
    except (OSError, ValueError, ImportError, SyntaxError) as error:
        raise LocalProtocolError(f"--hypercorn-config {os.fspath(path)}: {error}") from None
    blank = Config()
    for name, instead in _ELSEWHERE.items():
        if getattr(config, name) != getattr(blank, name):
            raise LocalProtocolError(f"{os.fspath(path)} sets {name}, which counts for nothing here: {instead}")
    if (config.certfile is None) != (config.keyfile is None):
        raise LocalProtocolError(f"{os.fspath(path)}: TLS needs both, certfile and keyfile")
    return config
