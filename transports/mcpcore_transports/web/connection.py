"""One connection of our listener: read a head, run the application, go on or close. One task, one cancel scope.

Nothing here waits with a deadline of its own. A connection notes until when it waits, the listener's sweeper calls
`sweep` a few times a second, and a deadline that passed shuts the socket down, which ends the wait.
"""

import logging
import math
import time
from abc import abstractmethod
from collections.abc import Callable
from typing import Protocol

import anyio
import anyio.lowlevel

from mcpcore.errors import ConnectionLost
from mcpcore_transports.web.access import AccessEntry, AccessLog
from mcpcore_transports.web.departures import Watched
from mcpcore_transports.web.encoder import encode_head, refusal_text
from mcpcore_transports.web.exchange import Application, BodyTooLarge, WebRequest, WebResponse
from mcpcore_transports.web.head import BadRequest, Head
from mcpcore_transports.web.limits import GONE_SECONDS, YOUNG_SECONDS, HttpLimits
from mcpcore_transports.web.parser import Parser
from mcpcore_transports.web.peer import Peer

__all__ = ("LINGER_BYTES", "Connection", "Host", "Reply", "log_failure")

LINGER_BYTES = 1024 * 1024
"""Bytes of a refused body that are read and thrown away, so that the refusal arrives; more is cut off."""

_log = logging.getLogger("mcpcore.http")


class Reply(WebResponse):
    """A response as its connection sees it."""

    finished: bool = False
    status: int = 0
    """0 until the head is sent."""

    sent_bytes: int = 0
    """Bytes of the body."""

    reusable: bool = False
    """Whether another request may follow on the connection."""

    idle_bytes: bytes = b""
    """What `Connection.sweep` sends when the stream has been silent; empty to send nothing."""

    @abstractmethod
    async def send_refusal(self, refusal: BadRequest) -> None:
        """Answer in the application's place and end the connection. Raises nothing when the client has left."""


class Host(Protocol):
    """What the connections of one listener share."""

    app: Application
    limits: HttpLimits
    access: AccessLog | None
    scheme: str

    @property
    def closing(self) -> bool:
        """Whether connections end after the request they run: the listener stops, or is full."""
        ...

    def make_parser(self) -> Parser: ...
    def make_exchange(self, connection: "Connection", head: Head) -> tuple[WebRequest, Reply]: ...
    def discard(self, connection: "Connection") -> None: ...


class Connection(Watched):
    """Owns `peer`; `client` is its address for the access log."""

    def __init__(self, peer: Peer, client: str, host: Host) -> None:
        self.peer = peer
        self.client = client
        self.host = host
        self.parser: Parser = host.make_parser()
        self.running_since: float = 0.0
        self.idle: bool = False
        """Whether it is kept between two requests; false before the first, which a new client is about to send."""
        self.yielded: float = 0.0
        """When this task last let others run (`time.monotonic`)."""
        self.refusal: BadRequest | None = None
        """Why a wait for the request was given up, for the answer that says so."""
        self.when_gone: Callable[[], None] | None = None
        self._deadline = math.inf
        self._cancel_at = math.inf
        self._late = BadRequest(408, "the request took too long to arrive")
        self._scope = anyio.CancelScope()
        self._lost = False
        self._reply: Reply | None = None
        self._written = 0.0

    async def run(self) -> None:
        """Serve requests until either side is done with the connection. Raises nothing but cancellation."""
        try:
            with self._scope:
                await self._serve()
        except Exception as error:
            log_failure("the HTTP listener failed on a connection; the others go on", error)
        finally:
            self.host.discard(self)
            self.peer.close()

    def sweep(self, now: float) -> None:
        """Enforce what is due and keep a silent stream alive. Never waits."""
        peer = self.peer
        if self._cancel_at <= now:
            self._scope.cancel()
        elif self._deadline <= now:
            self._deadline = math.inf
            self.refusal = self._late
            peer.stop_reading()
        elif peer.unsent:
            self._check_writing(now)
        elif peer.must_be_asked and 0.0 < self.running_since < now - YOUNG_SECONDS and peer.left():
            self.leave()
        elif self._reply is not None and self._reply.idle_bytes:
            self._keep_alive(self._reply.idle_bytes, now)

    def leave(self) -> None:
        """The client has left: tell the application, and cancel it if that does not make it end."""
        if self.refusal is None and not self._lost:
            if self.when_gone is None:
                self._lost = True
                self._scope.cancel()
            else:
                self._tell_gone()

    def close_unless_running(self) -> None:
        """End a connection that runs no request and is not receiving one."""
        if not self.running_since and not self.parser.begun:
            self._scope.cancel()

    async def receive(self, *, until: float) -> bytes:
        """The next bytes, or b"" when there will be none, by the client's doing or because `until` has passed."""
        self._deadline = until
        try:
            data = await self.peer.receive()
        finally:
            self._deadline = math.inf
        self.yielded = time.monotonic()
        return b"" if self.refusal is not None else data

    async def write(self, data: bytes) -> None:
        """Send all of `data`. Raises `ConnectionLost`. When cancelled, the rest is sent before whatever comes next."""
        if self._lost:
            raise ConnectionLost("the client left")
        peer = self.peer
        try:
            if peer.unsent:
                await peer.drain()
            if not peer.push(data):
                await peer.drain()
        except ConnectionLost:
            self._lost = True
            raise
        self._written = time.monotonic()

    def lose(self, why: str) -> ConnectionLost:
        """The error to raise when the connection has ended in the middle of a request."""
        self._lost = self.refusal is None
        return ConnectionLost(str(self.refusal or why))

    def request_is_read(self) -> bool:
        """Whether nothing of the request is left to read, once what has arrived is thrown away."""
        parser = self.parser
        try:
            while not parser.ended and parser.body() is not None:
                pass
        except BadRequest:
            return False
        return parser.ended

    async def _serve(self) -> None:
        host = self.host
        patience = host.limits.head_seconds  # a client that has just connected is about to send something
        while True:
            try:
                head = await self._next_head(patience)
            except BadRequest as refusal:
                await self._refuse(refusal)
                return
            if head is None:
                return
            self.running_since = started = time.monotonic()
            try:
                request, reply = host.make_exchange(self, head)
            except BadRequest as refusal:
                await self._refuse(refusal)
                return
            self._reply = reply
            try:
                await self._answer(request, reply)
            finally:
                self.when_gone = self._reply = None
                self.running_since = 0.0
                if host.access is not None:
                    seconds = time.monotonic() - started
                    path = head.target.partition("?")[0]  # as sent: the decoded one may contain line breaks
                    host.access.add(
                        AccessEntry(head.method, path, reply.status, reply.sent_bytes, seconds, self.client)
                    )
            if self._lost:
                return
            if not (reply.finished and reply.reusable):
                if reply.finished and not self.request_is_read():
                    await self._linger()
                return
            if host.closing:
                return
            self.parser.next_request()
            self.idle = True
            patience = host.limits.idle_seconds

    async def _next_head(self, patience: float) -> Head | None:
        """The next head; None when there is none. `patience` is how many seconds its first byte may take."""
        parser = self.parser
        fresh = not parser.begun
        if not fresh:
            head = parser.head()
            if head is not None:
                self.idle = False
                await anyio.lowlevel.checkpoint()  # pipelined requests must not keep other connections from their turn
                return head
            patience = self.host.limits.head_seconds
        until = time.monotonic() + patience
        head = None
        while head is None:
            data = await self.receive(until=until)
            if not data:
                if self.refusal is not None and parser.begun:
                    raise self.refusal
                return None
            self.idle = False
            if fresh:
                fresh = False
                until = self.yielded + self.host.limits.head_seconds
            parser.feed(data)
            head = parser.head()
        return head

    async def _answer(self, request: WebRequest, reply: Reply) -> None:
        """Run the application, and answer in its place when it does not."""
        try:
            await self.host.app(request, reply)
        except BodyTooLarge:
            failure = BadRequest(413, "the request body is larger than this server takes")
        except Exception as error:
            if self._lost and _is_loss(error):
                return
            if self.refusal is None or not _is_loss(error):
                log_failure("the application failed on an HTTP request", error)
            failure = BadRequest(500, "the server failed on this request; its log says why")
        else:
            if reply.finished:
                return
            _log.error("the application returned without finishing its HTTP response")
            failure = BadRequest(500, "the server gave no answer to this request")
        if reply.started:
            reply.finished = False
        else:
            await reply.send_refusal(self.refusal or failure)

    async def _refuse(self, refusal: BadRequest) -> None:
        body = refusal_text(refusal.status, str(refusal))
        framing = b"content-length: %d\r\nconnection: close\r\n" % len(body)
        try:
            await self.write(encode_head(refusal.status, (("content-type", "text/plain"),), framing) + body)
        except ConnectionLost:
            return
        await self._linger()

    async def _linger(self) -> None:
        """Let the client read the answer before its kernel learns that we did not read all it sent (RFC 9112, 9.6)."""
        self.peer.stop_writing()
        self.refusal = None
        until = time.monotonic() + self.host.limits.linger_seconds
        taken = 0
        while taken < LINGER_BYTES and (data := await self.receive(until=until)):
            taken += len(data)

    def _check_writing(self, now: float) -> None:
        peer = self.peer
        if not peer.draining:  # the rest of idle bytes, which nobody waits for
            try:
                peer.push(b"")
            except ConnectionLost:
                self.leave()
                return
        if peer.unsent and peer.progressed + self.host.limits.write_seconds <= now and not self._lost:
            peer.abort()
            self._tell_gone()

    def _keep_alive(self, idle_bytes: bytes, now: float) -> None:
        if self._written + self.host.limits.quiet_seconds <= now:
            self._written = now
            try:
                self.peer.push(idle_bytes)
            except ConnectionLost:
                self.leave()

    def _tell_gone(self) -> None:
        self._lost = True
        self._cancel_at = time.monotonic() + GONE_SECONDS
        callback, self.when_gone = self.when_gone, None
        if callback is not None:
            try:
                callback()
            except Exception as error:
                log_failure("a callback for a client that left failed", error)


def log_failure(what: str, error: BaseException) -> None:
    """Log an exception once, with its traceback, which goes to no client."""
    _log.error(what, exc_info=error)


def _is_loss(error: Exception) -> bool:
    if isinstance(error, ExceptionGroup):
        return error.split(ConnectionLost)[1] is None
    return isinstance(error, ConnectionLost)
