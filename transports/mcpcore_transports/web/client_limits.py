"""What the HTTP client takes from a server before it gives up: sizes in bytes, times in seconds."""

import msgspec

__all__ = (
    "CLIENT_HEAD_BYTES",
    "CLIENT_IDLE_SECONDS",
    "CLIENT_WRITE_SECONDS",
    "CONNECT_SECONDS",
    "CROSSING_SECONDS",
    "IDLE_PER_ORIGIN",
    "ClientLimits",
)

CONNECT_SECONDS = 10.0
"""Seconds for a connection to come up: name, TCP, the proxy's consent and TLS together. Three lost SYNs take 7."""

CLIENT_WRITE_SECONDS = 30.0
"""Seconds a server may leave what we send unread. Any byte it takes starts them again."""

CLIENT_HEAD_BYTES = 64 * 1024
"""Bytes of a status line with its headers; as much as the listener takes of a request's."""

CLIENT_IDLE_SECONDS = 30.0
"""Seconds a connection is kept for a next request. Below the 60 after which most servers and proxies close one."""

IDLE_PER_ORIGIN = 16
"""Connections kept for one server. More are opened when needed; those beyond it are closed after their response."""

CROSSING_SECONDS = 0.5
"""Seconds after a request in which the loss of a reused connection is taken for a close that crossed the request.

Such a close shows within one round trip. A connection lost later ended a request that the server may be working on, so
that one is not sent again."""


class ClientLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one `HttpClient`."""

    connect_seconds: float = CONNECT_SECONDS
    write_seconds: float = CLIENT_WRITE_SECONDS
    head_seconds: float | None = None
    """From the end of the request to the end of the response's head. None where the caller has its own deadline."""

    body_seconds: float | None = None
    """Between two pieces of a body. None where silence is allowed, as on a stream of events."""

    head_bytes: int = CLIENT_HEAD_BYTES
    idle_seconds: float = CLIENT_IDLE_SECONDS
    idle_per_origin: int = IDLE_PER_ORIGIN
