"""The response to one request of the client: its head, and its body as it comes."""

from collections.abc import AsyncIterator, Mapping, Sequence

import anyio

from mcpcore.errors import ConnectionLost, DeadlineExceeded, RemoteProtocolError
from mcpcore_transports.web.client_limits import ClientLimits
from mcpcore_transports.web.exchange import BodyTooLarge
from mcpcore_transports.web.pool import Pool
from mcpcore_transports.web.response_parser import ResponseHead, ResponseParser
from mcpcore_transports.web.wire import Wire

__all__ = ("HttpResponse",)

_NO_HEAD = ResponseHead(0, b"", ())


class HttpResponse:
    """A response whose head has arrived. Used by one task at a time, inside the `async with` that gave it."""

    __slots__ = ("_ended", "_head", "_headers", "_held", "_limits", "_parser", "_pool", "_wire", "status")

    status: int
    """Three digits; a redirect is a response like any other."""

    def __init__(self, pool: Pool, wire: Wire, method: str, limits: ClientLimits) -> None:
        self._pool = pool
        self._wire = wire
        self._limits = limits
        self._parser = ResponseParser(wire.peer, method, limits.head_bytes)
        self._head = _NO_HEAD
        self._headers: dict[str, str] | None = None
        self._held = True  # whether the wire is this response's
        self._ended = False  # whether the body has been read to its end
        self.status = 0

    @property
    def reason(self) -> str:
        """The text beside the status; servers may leave it out."""
        return self._head.reason.decode("latin-1")

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case. Values of a repeated name are joined with ", ": see `header_values`."""
        if self._headers is None:
            joined: dict[str, str] = {}
            for raw_name, raw_value in self._head.headers:
                name = raw_name.decode("ascii")
                value = raw_value.decode("latin-1")
                joined[name] = f"{joined[name]}, {value}" if name in joined else value
            self._headers = joined
        return self._headers

    def header_values(self, name: str) -> Sequence[str]:
        """Every value of a header (lower-case name), as they came."""
        wanted = name.encode("ascii")
        return [value.decode("latin-1") for found, value in self._head.headers if found == wanted]

    async def read(self, limit: int) -> bytes:
        """The rest of the body, `limit` bytes at most.

        Raises `BodyTooLarge`, by the declared length or while counting what comes; `ConnectionLost` when the connection
        ends before the body does, or is silent for the limit's `body_seconds`; `RemoteProtocolError`;
        `anyio.ClosedResourceError` when the client is closed, or the response left. Each closes the connection.
        """
        data = await self.receive()
        pieces: list[bytes] = []
        count = len(data)
        if data and any(int(length) > limit for length in self.header_values("content-length")):
            count = limit + 1
        while data and count <= limit:
            pieces.append(data)
            data = await self.receive()
            count += len(data)
        if count > limit:
            self.close()
            raise BodyTooLarge(f"the response from {self._wire.peer} has a body larger than {limit} bytes")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def stream(self) -> AsyncIterator[bytes]:
        """The pieces of the body as they come, none of them empty. Raises as `read`; may be left at any point."""
        return _Pieces(self)

    async def receive(self) -> bytes:
        """The next piece of the body, b"" at its end. Raises as `read`. Cancellation loses nothing."""
        if self._ended:
            return b""
        if not self._held:
            raise anyio.ClosedResourceError
        seconds = self._limits.body_seconds
        try:
            while (data := self._parser.body()) is None:
                if seconds is None:
                    await self._feed()
                else:
                    with anyio.fail_after(seconds):
                        await self._feed()
        except TimeoutError:
            self.close()
            raise ConnectionLost(f"{self._wire.peer} has sent nothing for {seconds:g} seconds") from None
        except (ConnectionLost, RemoteProtocolError, anyio.ClosedResourceError):
            self.close()
            raise
        if not data:
            self._end()
        return data

    async def receive_head(self) -> None:
        """Wait for the head; for the client that makes this. Does not close the connection.

        Raises `ConnectionLost`, `RemoteProtocolError`, `anyio.ClosedResourceError`, and `DeadlineExceeded` after the
        limit's `head_seconds`.
        """
        seconds = self._limits.head_seconds
        if seconds is None:
            await self._wait_for_head()
            return
        with anyio.move_on_after(seconds) as patience:
            await self._wait_for_head()
        if patience.cancelled_caught:
            raise DeadlineExceeded(f"{self._wire.peer} did not answer within {seconds:g} seconds")

    @property
    def begun(self) -> bool:
        """Whether any byte of the response has arrived."""
        return self._parser.begun

    def close(self) -> None:
        """Give the connection up. It is kept for another request if the whole body is here already. Never waits."""
        if not self._held:
            return
        data: bytes | None = None
        if self.status:
            try:
                data = self._skip()
                if data is None and (arrived := self._wire.receive_now()) is not None:
                    self._parser.feed(arrived)
                    data = self._skip()
            except (ConnectionLost, RemoteProtocolError):
                data = None
        if data is None:
            self._held = False
            self._pool.release(self._wire, False)
        else:
            self._end()

    def abandon(self) -> None:
        """Close the connection, whatever has arrived."""
        if self._held:
            self._held = False
            self._pool.release(self._wire, False)

    async def _wait_for_head(self) -> None:
        while (head := self._parser.head()) is None:
            await self._feed()
        self._head = head
        self.status = head.status

    async def _feed(self) -> None:
        try:
            data = await self._wire.receive()
        except ConnectionLost:
            self._pool.check_open()
            raise
        if not data:
            self._pool.check_open()
        self._parser.feed(data)

    def _skip(self) -> bytes | None:
        while data := self._parser.body():
            pass
        return data

    def _end(self) -> None:
        self._ended = True
        self._held = False
        self._pool.release(self._wire, self._parser.reusable)


class _Pieces(AsyncIterator[bytes]):
    """A class and not a generator: one that is left in the middle has nothing to clean up, and none complains."""

    def __init__(self, response: HttpResponse) -> None:
        self._response = response

    async def __anext__(self) -> bytes:
        if data := await self._response.receive():
            return data
        raise StopAsyncIteration
