"""Streamable HTTP, client side, for servers of any generation: the transport that `Client` and others are given."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio

from mcpcore.channel import Channel
from mcpcore.groups import sole_error
from mcpcore.types import Tool
from mcpcore_transports.framing.headers import InvalidAnnotation, headers_for_call, parameter_headers
from mcpcore_transports.http.channel import DELETE_SECONDS, HttpChannel
from mcpcore_transports.web.client import HttpClient
from mcpcore_transports.web.request_head import header_lines
from mcpcore_transports.web.urls import parse_url

__all__ = ("HttpTransport", "connect")


class HttpTransport:
    """Reaches a server by URL.

    `auth` is a bearer token, or an object with `async headers() -> Mapping[str, str]`, asked for each request. Raises
    `LocalProtocolError` for a URL or headers that cannot be sent.
    """

    def __init__(
        self, url: str, *, headers: Mapping[str, str] | None = None, auth: Any = None, client: HttpClient | None = None
    ) -> None:
        fixed = {name.lower(): value for name, value in (headers or {}).items()}
        credentials = parse_url(url).authorization
        if isinstance(auth, str):
            fixed["authorization"] = f"Bearer {auth}"
        elif credentials is not None:
            fixed.setdefault("authorization", credentials)
        header_lines(tuple(fixed.items()))
        self._url = url
        self._headers = fixed
        self._auth = None if isinstance(auth, str) else auth
        self._client = client

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Channel]:
        """A channel to the server. Nothing is sent before the first request. Entered and left by one task."""
        client = HttpClient() if self._client is None else self._client
        try:
            with sole_error():
                async with anyio.create_task_group() as tasks:
                    channel = HttpChannel(self._url, client, self._headers, self._auth, tasks)
                    try:
                        yield channel
                    finally:
                        with anyio.move_on_after(DELETE_SECONDS, shield=True):
                            await channel.aclose()
                        tasks.cancel_scope.cancel()
        finally:
            if self._client is None:
                await client.aclose()

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
