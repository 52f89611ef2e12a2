"""What an HTTP host takes from a client before it gives up: sizes in bytes, times in seconds."""

import math

import msgspec

from mcpcore.errors import LocalProtocolError

__all__ = (
    "BODY_SECONDS",
    "GONE_SECONDS",
    "HEADER_LINES",
    "HEAD_BYTES",
    "HEAD_SECONDS",
    "IDLE_SECONDS",
    "LINGER_SECONDS",
    "MAX_CONNECTIONS",
    "QUIET_SECONDS",
    "WRITE_SECONDS",
    "YOUNG_SECONDS",
    "HttpLimits",
)

HEAD_BYTES = 64 * 1024
"""Bytes of a request line with its headers. Room for a large bearer token, cookies and `Mcp-Param-*` headers; common
servers take 8 to 80 KiB."""

HEADER_LINES = 200
"""Lines of a head. Each costs a few microseconds to check, so their number is a limit of its own."""

HEAD_SECONDS = 10.0
"""Seconds from the first byte of a head (or from the start of the connection) to its last. A head fits into a packet
or two; whoever takes longer holds a connection on purpose."""

BODY_SECONDS = 60.0
"""Seconds in which a whole body has to arrive, once the application asked for it. 4 MiB take that long at 70 KB/s."""

WRITE_SECONDS = 30.0
"""Seconds a client may leave what we send unread. Any byte it takes starts them again: slow is allowed, stopped is
not."""

IDLE_SECONDS = 75.0
"""Seconds a connection is kept without a request. Longer than the 60 that proxies reuse a connection for."""

QUIET_SECONDS = 15.0
"""Seconds after which a silent stream sends its idle bytes: proxies and clients drop silent ones after 30 to 300."""

MAX_CONNECTIONS = 4096
"""Connections at a time: 1 000 sessions with a stream each, their requests, and as much again. About 20 KB each."""

LINGER_SECONDS = 1.0
"""Seconds that a client has to notice that its request was refused before it was read (RFC 9112, 9.6). Closing at once
would make its kernel throw our answer away."""

YOUNG_SECONDS = 0.01
"""Seconds for which a request may run without anybody asking whether its client is still there. A client that shut
down its sending side after the request (`nc -N`) still gets an answer that takes no longer."""

GONE_SECONDS = 0.25
"""Seconds between telling an application that its client left and cancelling it, so that it can end by itself."""


class HttpLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of one HTTP host. The defaults allow 1 000 sessions and 1 000 open streams from one address."""

    head_bytes: int = HEAD_BYTES
    head_seconds: float = HEAD_SECONDS
    body_seconds: float = BODY_SECONDS
    write_seconds: float = WRITE_SECONDS
    idle_seconds: float = IDLE_SECONDS
    quiet_seconds: float = QUIET_SECONDS
    linger_seconds: float = LINGER_SECONDS
    max_connections: int = MAX_CONNECTIONS

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if not 0 < getattr(self, name) < math.inf:
                raise LocalProtocolError(f"{name} has to be a number above 0, not {getattr(self, name)!r}")

    def with_settings(
        self,
        *,
        max_connections: int | None = None,
        read_timeout: float | None = None,
        stream_timeout: float | None = None,
        keepalive: float | None = None,
        idle_timeout: float | None = None,
    ) -> "HttpLimits":
        """These limits with what the flags of the same names say; None leaves a limit alone."""
        said = {
            "max_connections": max_connections,
            "head_seconds": read_timeout,
            "body_seconds": read_timeout,
            "write_seconds": stream_timeout,
            "quiet_seconds": keepalive,
            "idle_seconds": idle_timeout,
        }
        return msgspec.structs.replace(self, **{name: value for name, value in said.items() if value is not None})
