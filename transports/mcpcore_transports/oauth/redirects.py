"""Where the browser comes back to: a listener on this machine's loopback, while one login takes (RFC 8252, 7.3)."""

import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from urllib.parse import parse_qsl

import anyio
import anyio.abc

from mcpcore.groups import sole_error
from mcpcore_transports.oauth.errors import LoginFailed

__all__ = (
    "CALLBACK_PATH",
    "HEAD_BYTES",
    "HEAD_SECONDS",
    "MAX_CONNECTIONS",
    "SHOW_SECONDS",
    "Redirects",
    "open_redirects",
)

CALLBACK_PATH = "/callback"

HEAD_BYTES = 16 * 1024
"""Bytes of a request's head; a redirect with a long code and the browser's headers has two or three thousand."""

HEAD_SECONDS = 5.0
"""Seconds that a browser may take to send one, and to take the answer."""

SHOW_SECONDS = 0.5
"""Seconds that a login waits for the browser to take its last page."""

MAX_CONNECTIONS = 16
"""Connections at a time; browsers open some in advance. More are closed at once."""

_REQUEST = re.compile(rb"([A-Z]+) ([\x21-\x7e]+) HTTP/1\.[01]\r?\n")
_ONCE = ("code", "error", "iss", "state")
_STATUS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 421: "Misdirected Request"}
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<body style="font-family: sans-serif; margin: 3em"><h1>{title}</h1><p>{text}</p></body></html>
"""

logger: logging.Logger = logging.getLogger("mcpcore.oauth")


class Redirects:
    """The first redirect of a login, however many come."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.uri: str = f"http://127.0.0.1:{port}{CALLBACK_PATH}"
        self._recognises: Callable[[Mapping[str, str]], bool] | None = None
        self._response: Mapping[str, str] | None = None
        self._arrived = anyio.Event()
        self._shown = anyio.Event()
        self._connections = 0

    async def wait(self, recognises: Callable[[Mapping[str, str]], bool]) -> Mapping[str, str]:
        """The parameters of the redirect, once it is here. `recognises` decides what page its user is shown."""
        self._recognises = recognises
        await self._arrived.wait()
        assert self._response is not None
        return self._response

    async def shown(self) -> None:
        """Wait until the page that answers the redirect is with the browser; for `SHOW_SECONDS`, if there is one."""
        if self._response is not None:
            with anyio.move_on_after(SHOW_SECONDS):
                await self._shown.wait()

    async def serve(self, stream: anyio.abc.SocketStream) -> None:
        """Answer one connection: one request, one page."""
        self._connections += 1
        try:
            with anyio.move_on_after(HEAD_SECONDS):
                if self._connections <= MAX_CONNECTIONS:
                    head = await _read_head(stream)
                    if head:
                        await stream.send(self._answer(head))
                        if self._response is not None:
                            self._shown.set()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream) as left:
            logger.debug("a browser left before it was answered: %s", type(left).__name__)
        finally:
            self._connections -= 1
            await anyio.aclose_forcefully(stream)

    def _answer(self, head: bytes) -> bytes:
        request = _REQUEST.match(head)
        if request is None:
            return _page(400, "That was no request", "This address is for the end of a login only.")
        target = request[2].decode("ascii")
        headers = _headers(head)
        if headers.get("host") not in (f"127.0.0.1:{self.port}", f"localhost:{self.port}"):
            return _page(421, "Wrong address", "This address is for the end of a login only.")
        path, _, query = target.partition("?")
        if path != CALLBACK_PATH:
            return _page(404, "Nothing here", "This address is for the end of a login only.")
        if request[1] != b"GET":
            return _page(405, "Nothing here", "A login ends with a redirect, which is a GET.")
        # A page elsewhere can make a browser ask for this, but not as a document of its own: nothing that a script or
        # an image does may end a login.
        if headers.get("sec-fetch-dest", "document") != "document":
            return _page(400, "Nothing here", "A login ends with a page, and not inside of one.")
        return self._take(query)

    def _take(self, query: str) -> bytes:
        try:
            pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=50)
        except ValueError:
            pairs = []
        names = [name for name, _ in pairs]
        if not pairs or any(names.count(name) > 1 for name in _ONCE) or self._recognises is None:
            return _page(400, "No login ended", "What the browser was sent here with is not the end of a login.")
        if self._response is not None:
            return _page(400, "Used before", "This login has come back already. To log in again, start anew.")
        self._response = dict(pairs)
        self._arrived.set()
        if not self._recognises(self._response):
            return _page(400, "Another login", "This is not the login that was begun. Start again from the program.")
        if "error" in self._response:
            return _page(200, "Not logged in", "The program says what went wrong. You can close this page.")
        return _page(200, "Almost done", "The program goes on from here. You can close this page.")


@asynccontextmanager
async def open_redirects(port: int = 0) -> AsyncIterator[Redirects]:
    """Listen on 127.0.0.1 at `port`, 0 for any free one, until the context is left; nothing listens after that.

    Raises `LoginFailed` when the port cannot be had.
    """
    try:
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=port)
    except OSError as error:
        raise LoginFailed(
            f"port {port} of 127.0.0.1, to which the browser comes back, cannot be had ({error.strerror}); free it, or "
            "choose another redirect_port"
        ) from error
    with sole_error():
        async with listener, anyio.create_task_group() as tasks:
            redirects = Redirects(listener.extra(anyio.abc.SocketAttribute.local_port))
            tasks.start_soon(listener.serve, redirects.serve, tasks)
            yield redirects
            await redirects.shown()
            tasks.cancel_scope.cancel()


async def _read_head(stream: anyio.abc.SocketStream) -> bytes:
    """The head of a request; b"" for one that is too long."""
    head = b""
    while b"\r\n\r\n" not in head and len(head) <= HEAD_BYTES:
        head += await stream.receive()
    return head if len(head) <= HEAD_BYTES else b""


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\n")[1:]
    return {
        name.strip().lower(): value.strip().lower() for name, colon, value in (x.partition(":") for x in lines) if colon
    }


def _page(status: int, title: str, text: str) -> bytes:
    body = _PAGE.format(title=title, text=text).encode()
    head = (
        f"HTTP/1.1 {status} {_STATUS[status]}\r\ncontent-type: text/html; charset=utf-8\r\n"
        f"content-length: {len(body)}\r\ncache-control: no-store\r\nreferrer-policy: no-referrer\r\n"
        "content-security-policy: default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'\r\n"
        "x-content-type-options: nosniff\r\nconnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
