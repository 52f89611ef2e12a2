"""What can be set about serving over HTTP, with its limits and their reasons."""

from collections.abc import Iterable
from typing import Any, Self

import msgspec

from mcpcore.errors import LocalProtocolError
from mcpcore_transports.framing.origins import AccessPolicy
from mcpcore_transports.http.measured import Measured, check_reach
from mcpcore_transports.http.replay import MemoryReplayStore, ReplayStore
from mcpcore_transports.http.sessions import IDLE_SECONDS, MAX_SESSIONS

__all__ = ("MAX_BODY_BYTES", "MAX_OPEN_STREAMS", "HttpOptions")

MAX_BODY_BYTES = 4 * 1024 * 1024
"""Bytes of one POST. What the official SDKs allow too; base64 of a photograph fits."""

MAX_OPEN_STREAMS = 10_000
"""Event streams of one server that stay open by design: those of HTTP+SSE, of a session's GET, and listens. Each is an
open connection, so the host's own limit is usually met first."""


class HttpOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How one application is served."""

    policy: AccessPolicy
    path: str | None = "/mcp"
    """Where Streamable HTTP is served; None to not serve it."""

    sse_path: str | None = None
    """Where HTTP+SSE clients of 2024-11-05 connect; None to not serve them. They post below it, at `/messages`."""

    json_response: bool = False
    """Never answer with an event stream: notifications are left out."""

    auth: Any = None
    """Who may use it: whatever `guard_of` understands; None for everybody."""

    public_url: str | None = None
    """What clients call the server, as `Location` has it."""

    max_body_bytes: int = MAX_BODY_BYTES
    max_sessions: int = MAX_SESSIONS
    max_streams: int = MAX_OPEN_STREAMS
    idle_seconds: float = IDLE_SECONDS
    store: ReplayStore = msgspec.field(default_factory=MemoryReplayStore)
    measured: Measured | None = None
    """Where what passes is counted; None to count nothing."""

    metrics_path: str | None = None
    """Where that is shown to whoever may use the server; None to not show it here."""

    retry_ms: int | None = None
    """Milliseconds a client should wait before it reconnects, sent when a stream begins."""

    def __post_init__(self) -> None:
        if self.metrics_path is not None and self.metrics_path in (self.path, self.sse_path):
            raise LocalProtocolError(f"{self.metrics_path} is where the metrics are: serve something else elsewhere")
        if self.path is None and self.sse_path is None:
            raise LocalProtocolError("there is nothing to serve: give path=, sse_path=, or both")
        if self.path == self.sse_path:
            raise LocalProtocolError(f"Streamable HTTP and HTTP+SSE cannot share the path {self.path}: see --sse-path")

    @classmethod
    def for_bind(
        cls,
        host: str,
        *,
        public_url: str | None = None,
        allow_hosts: Iterable[str] = (),
        allow_origins: Iterable[str] = (),
        auth: Any = None,
        store: ReplayStore | None = None,
        metrics_path: str | None = None,
        **more: Any,
    ) -> Self:
        """The options of a listener about to be bound to `host`; see `AccessPolicy.for_bind`."""
        policy = AccessPolicy.for_bind(
            host,
            public_url=public_url,
            allow_hosts=allow_hosts,
            allow_origins=allow_origins,
            authenticated=auth is not None,
        )
        if metrics_path is not None:
            check_reach(reachable=policy.lets_others_in, authenticated=auth is not None)
        return cls(
            policy=policy,
            auth=auth,
            public_url=public_url,
            store=MemoryReplayStore() if store is None else store,
            metrics_path=metrics_path,
            **more,
        )
