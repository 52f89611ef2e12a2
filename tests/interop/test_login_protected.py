"""Both halves of this library with somebody else's authorization server between them: our client logs in at the
certified `oidc-provider` of npm, to a server that `Protected` guards, whose tools need scopes of their own.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from interop.test_login import Provider, anyio_backend, issuer
from transports.protected_site import protected_site

from mcpcore import Client, ConnectFailed, Context, Server, serve
from mcpcore_transports.oauth import MemoryStorage, OAuth
from mcpcore_transports.protected import DpopProofs, JwtVerifier, Protected

__all__ = ("anyio_backend", "issuer")  # fixtures

pytestmark = [pytest.mark.anyio, pytest.mark.npm]


@asynccontextmanager
async def guarded(issuer: str, **options: Any) -> AsyncIterator[str]:
    """A protected server on a port of its own; its URL."""
    guard = Protected(JwtVerifier(issuer), authorization_servers=[issuer], scopes=["mcp"], dpop=DpopProofs(**options))
    server = Server("guarded", auth=guard)

    @server.tool
    def whoami(ctx: Context) -> str:
        return str(ctx.principal.subject)

    @server.tool(scopes=["mcp:write"])
    def write() -> str:
        return "written"

    async with anyio.create_task_group() as tasks:

        async def listen(*, task_status: Any) -> None:
            await serve(server, "http", port=0, task_status=task_status)

        [url] = await tasks.start(listen)
        yield url
        tasks.cancel_scope.cancel()


async def said(client: Client, tool: str) -> str:
    [block] = (await client.call_tool(tool)).content
    return str(block.text)  # type: ignore[union-attr]


@pytest.mark.parametrize("era", ["modern", "legacy"])
@pytest.mark.parametrize("dpop", [False, True])
async def test_a_login_and_a_step_up(issuer: str, era: Any, dpop: bool) -> None:
    storage = MemoryStorage()
    async with guarded(issuer, required=dpop) as url, protected_site() as unused:
        user = Provider(issuer, unused)
        opened: list[str] = []

        async def browse(page: str) -> None:
            opened.append(page)
            await user.browse(page)

        async with Client(url, era=era, auth=OAuth(open_browser=browse, storage=storage)) as client:
            assert await said(client, "whoami") == "ann"
            assert len(opened) == 1
            assert await said(client, "write") == "written"
            assert len(opened) == 2
            assert await said(client, "whoami") == "ann"
        async with Client(url, era=era, auth=OAuth(open_browser=browse, storage=storage)) as client:
            assert await said(client, "write") == "written"
        assert len(opened) == 2


async def test_a_token_for_another_server_is_refused(issuer: str) -> None:
    async with guarded(issuer) as url, protected_site() as other:
        user = Provider(issuer, other)
        storage = MemoryStorage()
        async with Client(other.url, auth=OAuth(open_browser=user.browse, storage=storage)):
            pass
        [token] = other.granted
        with pytest.raises(ConnectFailed, match="401"):
            async with Client(url, auth=token):
                raise AssertionError
