"""One HTTP request in, one response out: what a host (our listener, an ASGI server) gives to an application.

An application is `async def app(request, response) -> None`. It sees neither sockets nor ASGI, so it behaves the same
under each host. A host owns the connection: deadlines, limits, disconnects and keep-alive bytes are its work, and
what an application has to do about a client that left is one callback.
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeAlias

__all__ = ("Application", "BodyTooLarge", "Headers", "WebRequest", "WebResponse")

Headers: TypeAlias = Sequence[tuple[str, str]]
"""Response headers, in order."""


class BodyTooLarge(Exception):
    """The client sent a larger body than the application takes. The rest of it is not read."""


class WebRequest(ABC):
    """A request whose head has arrived."""

    method: str
    """Upper case."""

    path: str
    """Percent-decoded, without the query, relative to where the application is mounted; begins with "/"."""

    mount: str
    """The prefix that was taken off `path`, e.g. "/api"; empty at the root."""

    query: str
    """As sent, without "?"."""

    scheme: str
    client: str
    """The peer's address, for the access log; empty on a Unix socket."""

    headers: Mapping[str, str]
    """Names in lower case. Values of a repeated name are joined with ", ", which no routing header may contain:
    see `header_values`."""

    @abstractmethod
    def header_values(self, name: str) -> Sequence[str]:
        """Every value of a header (lower-case name), as they came."""

    @abstractmethod
    async def body(self, limit: int) -> bytes:
        """The whole body, `limit` bytes at most.

        Raises `BodyTooLarge`, by the declared length or while counting what comes; `ConnectionLost` when the client
        leaves or takes too long.
        """

    @abstractmethod
    def when_gone(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` once when the client has left before the response was finished; it must not wait.

        Called within about 20 ms of the disconnect. Replaces an earlier one; None removes it.
        """


class WebResponse(ABC):
    """The one response to a request. `send_whole`, or `start`, any number of `send`, and `finish`."""

    started = False
    """Whether the status is on its way and nothing about it can be changed."""

    @abstractmethod
    async def send_whole(self, status: int, headers: Headers, body: bytes) -> None:
        """The response in one write; content-length is added. Raises `ConnectionLost`."""

    @abstractmethod
    async def start(self, status: int, headers: Headers, *, first: bytes = b"", idle_bytes: bytes = b"") -> None:
        """Begin a streamed response; the head is sent at once, together with `first`, which begins the body.

        When nothing has been sent for the host's idle time (15 seconds), `idle_bytes` are, so that proxies and
        clients do not take a quiet stream for a dead one. Raises `ConnectionLost`.
        """

    @abstractmethod
    async def send(self, chunk: bytes) -> None:
        """Send a part of the body, waiting while the client reads slowly. From one task at a time.

        Raises `ConnectionLost` when the client has left or has not read for the host's write deadline.
        """

    @abstractmethod
    async def finish(self, last: bytes = b"") -> None:
        """Send a last part, and end the body.

        A response that was started and not finished reaches the client as a broken one.
        """


Application: TypeAlias = Callable[[WebRequest, WebResponse], Awaitable[None]]
