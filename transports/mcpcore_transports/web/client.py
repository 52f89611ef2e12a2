"""The HTTP client of the transports and of OAuth: HTTP/1.1 on TCP, TLS and Unix sockets, directly or through a proxy.

    client = HttpClient()
    async with client.request("POST", url, headers=headers, body=body) as response:
        if response.status == 200:
            data = await response.read(limit)
    await client.aclose()

Connections are kept for a next request when a response has been read to its end. Redirects are not followed: where a
request with credentials goes is for the caller to decide.
"""

import os
import ssl
from collections.abc import Callable
from typing import Self

import anyio.lowlevel

from mcpcore_transports.web.client_limits import ClientLimits
from mcpcore_transports.web.dialing import Dialer
from mcpcore_transports.web.exchange import Headers
from mcpcore_transports.web.pool import Pool
from mcpcore_transports.web.proxy import Proxies
from mcpcore_transports.web.request import HttpRequest
from mcpcore_transports.web.request_head import RequestHead, header_lines
from mcpcore_transports.web.response import HttpResponse as HttpResponse  # what callers annotate with
from mcpcore_transports.web.urls import parse_url

__all__ = ("KNOWN_URLS", "HttpClient")

KNOWN_URLS = 32
"""URLs whose request heads are kept. A client of MCP uses a handful; OAuth adds some that are used once."""


class HttpClient:
    """A pool of connections, used by any number of tasks at once, and closed by any of them with `aclose`.

    limits
        Sizes and deadlines.
    ssl_context
        For https, to servers and to proxies alike. By default what the system trusts, with host names checked.
    trust_env
        Whether proxies are taken from the environment, as it is when the client is made: see `Proxies`.
    headers
        Sent with each request, unless it brings its own of the same name.
    admits
        Asked with the host and each of its addresses, before any is connected to. A host with one that is not admitted
        is not reached (`ConnectFailed`). What a proxy connects to is the proxy's to judge.

    `async with` is not needed; it closes the client at its end. Raises `LocalProtocolError` for headers that cannot be
    sent.
    """

    def __init__(
        self,
        *,
        limits: ClientLimits = ClientLimits(),  # noqa: B008 - it is frozen
        ssl_context: ssl.SSLContext | None = None,
        trust_env: bool = True,
        headers: Headers = (),
        admits: Callable[[str, str], bool] | None = None,
    ) -> None:
        self._limits = limits
        self._proxies = Proxies(os.environ if trust_env else {})
        self._headers = tuple(headers)
        self._heads: dict[str, RequestHead] = {}
        self._dialer = Dialer(limits, ssl_context, admits)
        self._pool = Pool(limits)
        header_lines(self._headers)

    def __repr__(self) -> str:
        return f"<HttpClient {self._pool!r}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection, at once and from any task. Requests that run raise `anyio.ClosedResourceError`."""
        self._pool.close()
        await anyio.lowlevel.checkpoint()

    def request(
        self, method: str, url: str, *, headers: Headers = (), body: bytes | None = None, repeatable: bool = True
    ) -> HttpRequest:
        """One request, sent by entering it: `async with client.request(…) as response`.

        Raises `LocalProtocolError` for what cannot be sent. Entering waits for the head of the response and raises
        `ConnectFailed` when no connection came up, so that nothing was done, `ConnectionLost` when it ended before the
        head came, `DeadlineExceeded` when that took longer than the limit's `head_seconds`, `RemoteProtocolError` for
        an answer that is not HTTP, and `anyio.ClosedResourceError` when the client is closed. Leaving closes the
        connection unless the whole response has arrived. Both hold for cancellation.

        A kept connection can be closed by its server while the request is on its way. If one is lost before any byte
        of an answer, and either within half a second or before all of the request was sent, the request is sent once
        more, on another connection that nobody has used yet. A request that is not `repeatable` is sent again only in
        the second case: in the first a server may have died of it.
        """
        head = self._heads.get(url)
        if head is None:
            head = self._make_head(url)
        data = head.encode(method, headers, body)
        return HttpRequest(self._pool, self._dialer, self._limits, head, method, data, repeatable)

    def _make_head(self, url: str) -> RequestHead:
        parsed = parse_url(url)
        head = RequestHead(parsed, self._proxies.proxy_for(parsed.origin), self._headers)
        if len(self._heads) >= KNOWN_URLS:
            self._heads.clear()
        self._heads[url] = head
        return head
