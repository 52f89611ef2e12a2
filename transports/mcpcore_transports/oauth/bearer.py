"""A token that is there already, or that something else gets."""

import inspect
from collections.abc import Awaitable, Callable, Mapping

from mcpcore.errors import LocalProtocolError
from mcpcore_transports.http.authorized import Authorization, Call
from mcpcore_transports.web.urls import parse_url

__all__ = ("Bearer",)


class Bearer(Authorization):
    """Sends a bearer token to the server: `token`, or what that function returns, which is asked for each request.

    A refusal is the caller's to see: nothing is renewed here. Its repr shows no secret.
    """

    def __init__(self, token: str | Callable[[], str | Awaitable[str]]) -> None:
        if not callable(token):
            _check(token)
        self._token = token

    def __repr__(self) -> str:
        return "<Bearer>"

    async def headers(self, call: Call) -> Mapping[str, str]:
        if parse_url(call.url).origin != parse_url(call.server).origin:
            return {}
        token = self._token
        if callable(token):
            given = token()
            token = await given if inspect.isawaitable(given) else given
            _check(token)
        return {"authorization": f"Bearer {token}"}


def _check(token: str) -> None:
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise LocalProtocolError("the token is no bearer token: it has to be printable ASCII without spaces")
