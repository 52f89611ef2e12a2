"""The same application inside an ASGI server, alone or mounted under a prefix in Starlette or FastAPI."""

from collections.abc import Iterable
from typing import Any

import anyio
import anyio.lowlevel

from mcpcore_transports.framing.origins import AccessPolicy
from mcpcore_transports.http.endpoint import Endpoint
from mcpcore_transports.http.measured import METRICS_PATH, check_reach
from mcpcore_transports.http.options import MAX_BODY_BYTES, MAX_OPEN_STREAMS, HttpOptions
from mcpcore_transports.http.replay import MemoryReplayStore, ReplayStore
from mcpcore_transports.http.served import Served
from mcpcore_transports.http.server import endpoint_running
from mcpcore_transports.http.sessions import IDLE_SECONDS, MAX_SESSIONS
from mcpcore_transports.web.asgi import AsgiApp
from mcpcore_transports.web.connection import log_failure
from mcpcore_transports.web.limits import HttpLimits

__all__ = ("MountedApp", "asgi_app")


def asgi_app(
    server: Served,
    *,
    path: str | None = "/mcp",
    sse_path: str | None = None,
    public_url: str | None = None,
    allow_hosts: Iterable[str] = (),
    allow_origins: Iterable[str] = (),
    auth: Any = None,
    json_response: bool = False,
    max_body_bytes: int = MAX_BODY_BYTES,
    max_sessions: int = MAX_SESSIONS,
    max_streams: int = MAX_OPEN_STREAMS,
    idle_seconds: float = IDLE_SECONDS,
    store: ReplayStore | None = None,
    read_timeout: float | None = None,
    stream_timeout: float | None = None,
    keepalive: float | None = None,
    metrics: bool = False,
) -> "MountedApp":
    """An ASGI application for a server. It works with and without ASGI's lifespan: there is nothing to wire up.

    The settings are those of `mcpcore run` with their names. Connections are the business of the ASGI server.
    `metrics` shows Prometheus metrics at /metrics to whoever may use the server; without `auth` no host but this
    machine's own may then be allowed.

    Under hypercorn, a client that stops reading can keep hypercorn's own `serve()` from returning, on both backends
    and past its `graceful_timeout`: that is outside of what an application can end. `mcpcore run` bounds it.

    `auth` is that of the server unless it is given here. Raises `LocalProtocolError` when tokens have to be made for
    this server and neither `public_url` nor `Protected(resource=)` says what its URL is.
    """
    auth = server.auth if auth is None else auth
    policy = AccessPolicy(
        public_url=public_url, allow_hosts=allow_hosts, allow_origins=allow_origins, authenticated=auth is not None
    )
    if metrics:
        check_reach(reachable=policy.lets_others_in, authenticated=auth is not None)
    options = HttpOptions(
        policy=policy,
        path=path,
        sse_path=sse_path,
        json_response=json_response,
        auth=auth,
        public_url=public_url,
        max_body_bytes=max_body_bytes,
        max_sessions=max_sessions,
        max_streams=max_streams,
        idle_seconds=idle_seconds,
        store=MemoryReplayStore() if store is None else store,
        measured=server.metrics() if metrics else None,
        metrics_path=METRICS_PATH if metrics else None,
    )
    limits = HttpLimits().with_settings(read_timeout=read_timeout, stream_timeout=stream_timeout, keepalive=keepalive)
    endpoint = Endpoint(server, options)
    endpoint.admission.check_place(None)
    return MountedApp(server, endpoint, limits)


class MountedApp:
    """An ASGI 3 application with one server behind it."""

    def __init__(self, server: Served, endpoint: Endpoint, limits: HttpLimits | None = None) -> None:
        self._server = server
        self._app = AsgiApp(endpoint, limits=limits)
        self._endpoint = endpoint
        self._home: _Home | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if self._home is None or self._home.over:
            # Nobody ran our lifespan, as frameworks do not for mounted applications: run it ourselves.
            self._home = _Home(self._server, self._endpoint)
            self._home.start_unowned()
        await self._home.wait_ready()
        await self._app(scope, receive, send)

    async def _lifespan(self, receive: Any, send: Any) -> None:
        await receive()
        home = self._home = _Home(self._server, self._endpoint)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(home.live)
            await home.wait_over_or_ready()
            if home.failure is None:
                await send({"type": "lifespan.startup.complete"})
                await receive()
                self._endpoint.drain()
                self._endpoint.streams.end_all()
                home.leave()
        if home.failure is None:
            await send({"type": "lifespan.shutdown.complete"})
        else:
            phase = "shutdown" if home.entered else "startup"
            await send({"type": f"lifespan.{phase}.failed", "message": str(home.failure)})


class _Home:
    """The task in which the server's lifespan is entered and left, and which owns the sessions."""

    def __init__(self, server: Served, endpoint: Endpoint) -> None:
        self._server = server
        self._endpoint = endpoint
        self._ready = anyio.Event()
        self._leaving = anyio.Event()
        self.failure: Exception | None = None
        self.entered = False
        self.over = False

    def start_unowned(self) -> None:
        """Live in a task of the event loop itself, which ends it when it shuts down."""
        token = anyio.lowlevel.current_token()
        if token.backend_class.__module__.endswith("_trio"):
            import trio

            trio.lowlevel.spawn_system_task(self.live)
        else:
            import asyncio

            self._task = asyncio.get_running_loop().create_task(self.live())

    async def wait_over_or_ready(self) -> None:
        await self._ready.wait()

    async def wait_ready(self) -> None:
        """Raises when the server's lifespan could not be entered."""
        await self._ready.wait()
        if self.failure is not None:
            raise RuntimeError("the server's lifespan failed") from self.failure

    def leave(self) -> None:
        self._leaving.set()

    async def live(self) -> None:
        """Raises nothing: whoever waits for the home is told of its failure, and the log is."""
        try:
            async with endpoint_running(self._server, self._endpoint):
                self.entered = True
                self._ready.set()
                await self._leaving.wait()
        except Exception as error:
            self.failure = error
            log_failure("the server's lifespan failed", error)
        finally:
            self.over = True
            self._ready.set()
