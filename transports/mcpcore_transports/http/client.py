"""Streamable HTTP, client side, for servers of any generation: the transport that `Client` and others are given."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio

from mcpcore.channel import Channel
from mcpcore.errors import ConnectFailed, ConnectionLost, LocalProtocolError
from mcpcore.groups import sole_error
from mcpcore.types import Tool
from mcpcore_transports.framing.headers import InvalidAnnotation, headers_for_call, parameter_headers
from mcpcore_transports.http.authorized import Authorization, AuthorizedClient, Requests
from mcpcore_transports.http.channel import DELETE_SECONDS, HttpChannel
from mcpcore_transports.http.failures import connection_errors
from mcpcore_transports.web.client import HttpClient
from mcpcore_transports.web.request_head import header_lines
from mcpcore_transports.web.urls import parse_url

__all__ = ("KNOCK_SECONDS", "HttpTransport", "connect")

KNOCK_SECONDS = 10.0
"""How long a server may take to answer the `ping` that finds out whether a login is needed."""

_PING = b'{"jsonrpc":"2.0","id":"knock","method":"ping"}'

logger: logging.Logger = logging.getLogger("mcpcore.http")


class HttpTransport:
    """Reaches a server by URL.

    `auth` is a bearer token, or an `Authorization`, e.g. `OAuth()` of `mcpcore_transports.oauth`, asked for each
    request. Raises `LocalProtocolError` for a URL, headers or `auth` that cannot be used.
    """

    def __init__(
        self, url: str, *, headers: Mapping[str, str] | None = None, auth: Any = None, client: HttpClient | None = None
    ) -> None:
        fixed = {name.lower(): value for name, value in (headers or {}).items()}
        credentials = parse_url(url).authorization
        if auth is not None and not isinstance(auth, str | Authorization):
            raise LocalProtocolError(f"auth= takes a token or an Authorization, and not a {type(auth).__name__}")
        if isinstance(auth, str):
            fixed["authorization"] = f"Bearer {auth}"
        elif credentials is not None:
            fixed.setdefault("authorization", credentials)
        header_lines(tuple(fixed.items()))
        self._url = url
        self._headers = fixed
        self._auth = None if isinstance(auth, str) else auth
        self._client = client
        self.extensions: Mapping[str, Any] = {} if self._auth is None else self._auth.extensions
        """What a client that uses this declares."""

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Channel]:
        """A channel to the server. Entered and left by one task.

        Nothing is sent before the first request, unless an `Authorization` may have to ask a human: then a `ping` finds
        out whether it has to, and this waits for as long as that takes. Raises what the authorization does.
        """
        client = HttpClient() if self._client is None else self._client
        requests: Requests = client
        try:
            if self._auth is not None:
                requests = AuthorizedClient(client, self._auth, self._url)
                if self._auth.patient:
                    await self._knock(requests)
            with sole_error():
                async with anyio.create_task_group() as tasks:
                    channel = HttpChannel(self._url, requests, self._headers, tasks)
                    try:
                        yield channel
                    finally:
                        with anyio.move_on_after(DELETE_SECONDS, shield=True):
                            await channel.aclose()
                        tasks.cancel_scope.cancel()
        finally:
            if self._client is None:
                await client.aclose()

    async def _knock(self, requests: AuthorizedClient) -> None:
        """Ask for nothing, to be told whether a login is needed. Any other answer is for the negotiation to see."""
        headers = {**self._headers, "accept": "application/json, text/event-stream", "content-type": "application/json"}
        request = requests.request("POST", self._url, headers=tuple(headers.items()), body=_PING, seconds=KNOCK_SECONDS)
        try:
            with connection_errors():
                async with request:
                    pass
        except ConnectFailed:
            raise
        except ConnectionLost as lost:
            logger.debug("the server did not answer a ping: %s", lost)

    def refuses(self, tool: Tool) -> str | None:
        """Why this transport cannot call a tool: its schema wants headers that there cannot be."""
        try:
            parameter_headers(tool.input_schema)
        except InvalidAnnotation as error:
            return str(error)
        return None

    def headers_for(self, tool: Tool, arguments: Mapping[str, Any]) -> Mapping[str, str]:
        """What a call has to mirror in headers."""
        return headers_for_call(tool.input_schema, arguments)


def connect(target: str, *, headers: Mapping[str, str] | None = None, auth: Any = None) -> HttpTransport:
    """The transport for a URL (`mcpcore.transport.client_transport` looks for this name)."""
    return HttpTransport(target, headers=headers, auth=auth)
