"""A protected server of this library with the official SDK on both sides: its client, and its authorization server."""

import gc
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl
from transports.raw_http import Site, offer, serving

from mcpcore_transports.protected import JwtVerifier, Protected

pytestmark = [
    pytest.mark.anyio,
    # The SDK's client leaves the iterators of its HTTP library to the garbage collector, which trio reports.
    pytest.mark.filterwarnings("ignore:Async generator 'http(x|core)2:ResourceWarning"),
]

PATIENCE_SECONDS = 30
LOGIN = Path(__file__).parent / "servers" / "official_login.py"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What the client leaves behind is collected here, and not in somebody else's test."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    with subprocess.Popen([sys.executable, str(LOGIN)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/"
        finally:
            process.kill()


class User:
    """Somebody in front of a browser, and what their client keeps."""

    def __init__(self) -> None:
        self.asked: list[dict[str, list[str]]] = []
        """What each login asked for."""
        self._answer = AuthorizationCodeResult(code="")
        self._tokens: OAuthToken | None = None
        self._client: Any = None

    async def browse(self, url: str) -> None:
        self.asked.append(parse_qs(urlsplit(url).query))
        async with httpx2.AsyncClient() as browser:
            response = await browser.get(url)
        found = parse_qs(urlsplit(response.headers["location"]).query)
        self._answer = AuthorizationCodeResult(code=found["code"][0], state=found["state"][0])

    async def come_back(self) -> AuthorizationCodeResult:
        return self._answer

    async def get_tokens(self) -> OAuthToken | None:
        return self._tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self._tokens = tokens

    async def get_client_info(self) -> Any:
        return self._client

    async def set_client_info(self, client_info: Any) -> None:
        self._client = client_info

    def provider(self, url: str) -> OAuthClientProvider:
        metadata = OAuthClientMetadata(client_name="tests", redirect_uris=[AnyUrl("http://127.0.0.1:1/callback")])
        return OAuthClientProvider(url, metadata, self, self.browse, self.come_back)


@asynccontextmanager
async def protected(issuer: str, **options: Any) -> AsyncIterator[Site]:
    guard = Protected(
        JwtVerifier(issuer, jwks_uri=f"{issuer}jwks", **options), authorization_servers=[issuer], scopes=["mcp"]
    )
    async with serving(offer(), auth=guard) as site:
        yield site


@asynccontextmanager
async def logged_in(site: Site, user: User, mode: str) -> AsyncIterator[Client]:
    with anyio.fail_after(PATIENCE_SECONDS):
        async with httpx2.AsyncClient(auth=user.provider(site.url), timeout=PATIENCE_SECONDS) as http:
            transport: Any = streamable_http_client(site.url, http_client=http)
            async with Client(transport, mode=mode, cache=None) as client:
                yield client


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_it_logs_in_by_itself_and_again_for_a_tool_that_takes_more(issuer: str, mode: str) -> None:
    user = User()
    async with protected(issuer) as site, logged_in(site, user, mode) as client:
        result = await client.call_tool("who")
        assert result.content[0].text == "ann"
        [first] = user.asked
        assert (first["scope"], first["resource"]) == (["mcp"], [site.url])
        result = await client.call_tool("write")
        assert set(result.content[0].text.split()) == {"mcp", "files:write"}
        [_, second] = user.asked
        assert set(second["scope"][0].split()) == {"mcp", "files:write"}
        assert (await client.call_tool("who")).content[0].text == "ann"
        assert len(user.asked) == 2


async def test_a_token_for_another_server_is_of_no_use(issuer: str) -> None:
    user = User()
    async with protected(issuer) as one, protected(issuer) as other:
        async with logged_in(one, user, "auto") as client:
            await client.call_tool("who")
        tokens = await user.get_tokens()
        assert tokens is not None
        bearer = {"authorization": f"Bearer {tokens.access_token}"}
        body = {"jsonrpc": "2.0", "id": 1, "method": "server/discover"}
        async with one.connect() as wire:
            assert (await one.post(wire, body, bearer)).status != 401
        async with other.connect() as wire:
            assert (await other.post(wire, body, bearer)).status == 401
