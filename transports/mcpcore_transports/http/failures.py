"""What may go wrong with a request of the HTTP client, as the errors that a caller of MCP tells apart."""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urljoin, urlsplit

import anyio

from mcpcore.errors import ConnectFailed, ConnectionLost, DeadlineExceeded, LocalProtocolError, RemoteProtocolError
from mcpcore_transports.web.exchange import BodyTooLarge
from mcpcore_transports.web.response import HttpResponse

__all__ = ("REFUSAL_BYTES", "REFUSAL_SECONDS", "HttpError", "HttpRefused", "connection_errors", "read_refusal")

REFUSAL_BYTES = 64 * 1024
"""Bytes of a refusal that are read, for its first line. A longer page is cut off there."""

REFUSAL_SECONDS = 5.0
"""How long a server may take to send them once the status is here."""

_SHOWN_CHARACTERS = 200
"""Characters of a refusal's first line that are shown: enough for a sentence, too little for a page of HTML."""

_ADVICE = {
    401: "the server wants to know who is asking: give auth= or an Authorization header",
    403: "this caller is not allowed to do that",
    404: "there is no MCP endpoint at this URL: check its path",
    405: "there is no MCP endpoint at this URL: check its path",
    421: "the server does not answer to this host name: see its --allow-host or --public-url",
    429: "too many requests: come back later",
}


class HttpError(ConnectionLost):
    """A server, or something in front of it, answered with a status and without a JSON-RPC message.

    Whether the work was done is unknown: a gateway that lost the server says 502 as well. `status` is the HTTP status,
    `line` the first line of the body. `also` is what else was tried.
    """

    def __init__(self, status: int, line: str, *, advice: str = "", also: str = "") -> None:
        advice = advice or _ADVICE.get(status, "")
        text = f"HTTP {status}{f': {line}' if line else ''}{f' ({advice})' if advice else ''}"
        super().__init__(f"{text}; {also}" if also else text)
        self.status = status
        self.line = line


class HttpRefused(HttpError, ConnectFailed):
    """An `HttpError` after which nothing was done: the request itself was refused, or it was only to find out."""


async def read_refusal(response: HttpResponse, begun: bytes = b"", *, harmless: bool = False) -> HttpError:
    """The error for a response, from what comes of its body within `REFUSAL_BYTES` and `REFUSAL_SECONDS`.

    `begun` is what has been read of it. `harmless` says that the request asked for no work, so that none can have been
    done whatever the status.
    """
    body = begun
    with anyio.move_on_after(REFUSAL_SECONDS):
        try:
            while len(body) < REFUSAL_BYTES and (chunk := await response.receive()):
                body += chunk
        except (ConnectionLost, RemoteProtocolError):
            pass  # the status has arrived, and what is missing is only for show
    line = body[:REFUSAL_BYTES].decode(errors="replace").strip().partition("\n")[0].strip()
    shown = "".join(c if c.isprintable() else " " for c in line)[:_SHOWN_CHARACTERS]
    kind = HttpRefused if harmless or response.status < 500 else HttpError
    return kind(response.status, shown, advice=_moved(response))


def _moved(response: HttpResponse) -> str:
    """Where a redirect points, without its query, which may hold secrets."""
    if response.status not in (301, 302, 303, 307, 308):
        return ""
    try:
        parts = urlsplit(urljoin("/", response.headers.get("location", "")))
        port = "" if parts.port is None else f":{parts.port}"
    except ValueError:
        return "redirects are not followed: give the URL of the endpoint itself"
    where = f"{parts.scheme}://{parts.hostname}{port}" if parts.hostname else ""
    shown = "".join(c for c in f"{where}{parts.path}" if c.isprintable())[:_SHOWN_CHARACTERS]
    return f"redirects are not followed, and this one goes to {shown}: give the URL of the endpoint itself"


@contextmanager
def connection_errors() -> Iterator[None]:
    """Raise what a request of the HTTP client raises as a `ConnectionLost`, which is all that a channel may raise."""
    try:
        yield
    except RemoteProtocolError as error:
        raise ConnectionLost(f"the server does not speak HTTP as it should: {error}") from error
    except (BodyTooLarge, DeadlineExceeded) as error:
        raise ConnectionLost(str(error)) from error
    except LocalProtocolError as error:
        raise ConnectFailed(f"nothing was sent: {error}") from error
    except anyio.ClosedResourceError as error:
        raise ConnectionLost("the HTTP client was closed while a request was running") from error
