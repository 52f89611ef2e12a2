"""One request of the client: sent when it is entered, given up when it is left."""

import time
from types import TracebackType

import anyio.lowlevel

from mcpcore.errors import ConnectFailed, ConnectionLost
from mcpcore_transports.web.client_limits import CROSSING_SECONDS, ClientLimits
from mcpcore_transports.web.dialing import Dialer
from mcpcore_transports.web.pool import Pool
from mcpcore_transports.web.request_head import RequestHead
from mcpcore_transports.web.response import HttpResponse
from mcpcore_transports.web.wire import Wire

__all__ = ("HttpRequest",)


class HttpRequest:
    """An async context manager for one use: see `HttpClient.request`. Holds no cancel scope while it is entered."""

    __slots__ = ("_crossed", "_data", "_dialer", "_head", "_limits", "_method", "_pool", "_repeatable", "_response")

    def __init__(
        self,
        pool: Pool,
        dialer: Dialer,
        limits: ClientLimits,
        head: RequestHead,
        method: str,
        data: bytes,
        repeatable: bool,
    ) -> None:
        self._pool = pool
        self._dialer = dialer
        self._limits = limits
        self._head = head
        self._method = method
        self._data = data
        self._repeatable = repeatable
        self._response: HttpResponse | None = None
        self._crossed: ConnectionLost | None = None

    async def __aenter__(self) -> HttpResponse:
        await anyio.lowlevel.checkpoint_if_cancelled()
        wire = self._pool.take(self._head.origin)
        if wire is not None:
            response = await self._attempt(wire, reused=True)
            if response is not None:
                return response
        try:
            wire = await self._pool.open(self._head.origin, self._dial)
        except ConnectFailed as failed:
            if self._crossed is None:
                raise
            # Nothing was done by this connection; what became of the request on the first one is not known.
            raise ConnectionLost(f"{self._crossed}, and there is no other: {failed}") from failed
        response = await self._attempt(wire, reused=False)
        assert response is not None
        return response

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._response is not None:
            self._response.close()

    async def _dial(self) -> Wire:
        return await self._dialer.dial(self._head.origin, self._head.proxy)

    async def _attempt(self, wire: Wire, *, reused: bool) -> HttpResponse | None:
        """The response on this connection; None when it was closed before the server can have seen the request."""
        response = HttpResponse(self._pool, wire, self._method, self._limits)
        unsent: ConnectionLost | None = None
        sent_at = 0.0
        try:
            try:
                await wire.send(self._data, self._limits.write_seconds)
            except ConnectionLost as lost:
                # A server may answer, with 413 for example, and hang up before it has read everything (RFC 9112, 9.3).
                # After `abort`, what has arrived can be read, and nothing more is waited for.
                unsent = lost
                wire.abort()
            sent_at = time.monotonic()
            await response.receive_head()
        except ConnectionLost as lost:
            response.abandon()
            crossing = self._repeatable and time.monotonic() - sent_at <= CROSSING_SECONDS
            quickly = unsent is not None or crossing
            if reused and quickly and not response.begun:
                self._crossed = unsent or lost
                return None
            raise unsent or lost from None
        except BaseException:
            response.abandon()
            raise
        self._response = response
        return response
