"""Logging in at somebody else's authorization server: the certified `oidc-provider` of npm, in a process of its own.

The packages of `authorization/package.json` are installed in the directory `authorization` of MCPCORE_NPM. A scripted
browser gives a name and agrees. The server that is logged in to checks the tokens by the provider's published keys.
"""

import os
import re
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin
from urllib.request import HTTPCookieProcessor, ProxyHandler, build_opener

import anyio.to_thread
import jwt
import pytest
from interop.listening import PATIENCE_SECONDS, running
from transports.protected_site import Asked, ProtectedSite, Reply, protected_site

from mcpcore import Client
from mcpcore_transports.oauth import (
    AuthorizationRefused,
    ClientCredentials,
    OAuth,
    TokenRefused,
)

pytestmark = [pytest.mark.anyio, pytest.mark.npm]

PROVIDER = Path(__file__).parent / "authorization" / "provider.mjs"

_READY = re.compile(r"listening on (http://127\.0\.0\.1:\d+)")
_FORM = re.compile(r'<form[^>]*action="([^"]+)"[^>]*method="post"(.*?)</form>', re.DOTALL)
_HIDDEN = re.compile(r'<input type="hidden" name="([^"]+)" value="([^"]*)"')
_ABORT = re.compile(r'<a href="([^"]+/abort)"')


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class Provider:
    """The authorization server, and the MCP server that trusts it."""

    def __init__(self, issuer: str, site: ProtectedSite) -> None:
        self.issuer = issuer
        self.site = site
        self.claims: list[dict[str, Any]] = []
        """Those of each token that was accepted, once."""
        self.pages: list[str] = []
        self._keys = jwt.PyJWKClient(f"{issuer}/jwks")
        self._lock = threading.Lock()
        site.resource = {"resource": site.url, "authorization_servers": [issuer], "scopes_supported": ["mcp"]}
        site.challenge.pop("scope")
        site.pages["/mcp"] = self._guarded

    async def _guarded(self, asked: Asked) -> Reply:
        scheme = asked.headers.get("authorization", "").partition(" ")[0]
        if not scheme:
            return self.site.refuse()
        claims = await anyio.to_thread.run_sync(self._verify, asked.token)
        if "cnf" in claims:
            assert scheme == "DPoP"
            proof = jwt.decode(asked.headers["dpop"], options={"verify_signature": False})
            assert (proof["htm"], proof["htu"]) == ("POST", self.site.url)
        else:
            assert scheme == "Bearer"
        if claims not in self.claims:
            self.claims.append(claims)
        self.site.granted[asked.token] = claims["scope"]
        return self.site.mcp(asked)

    def _verify(self, token: str) -> dict[str, Any]:
        with self._lock:
            key = self._keys.get_signing_key_from_jwt(token)
        claims: dict[str, Any] = jwt.decode(
            token, key, algorithms=["RS256"], audience=self.site.url, issuer=self.issuer
        )
        return claims

    async def browse(self, url: str) -> None:
        """A user who logs in as Ann and agrees."""
        await anyio.to_thread.run_sync(self._browse, url, False, abandon_on_cancel=True)

    async def refuse(self, url: str) -> None:
        """A user who does not."""
        await anyio.to_thread.run_sync(self._browse, url, True, abandon_on_cancel=True)

    def _browse(self, url: str, aborts: bool) -> None:
        browser = build_opener(ProxyHandler({}), HTTPCookieProcessor(CookieJar()))
        data = None
        while True:
            with browser.open(url, data, timeout=20) as response:
                url, page = response.url, response.read().decode()
            self.pages.append(page)
            if aborts and (link := _ABORT.search(page)) is not None:
                url, data = urljoin(url, link[1]), None
            elif (form := _FORM.search(page)) is not None:
                fields = dict(_HIDDEN.findall(form[2]))
                data = urlencode({**fields, "login": "ann", "password": "any"}).encode()
                url = urljoin(url, form[1])
            else:
                return


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The provider beside its packages: an ES module finds them in its own directory or above it, and nowhere else."""
    place = tmp_path_factory.mktemp("npm")
    (place / "node_modules").symlink_to(
        Path(os.environ["MCPCORE_NPM"], "authorization", "node_modules").resolve(strict=True)
    )
    with running(["node", str(shutil.copy(PROVIDER, place))], _READY) as [ready]:
        yield ready[1]


@pytest.fixture
async def provider(issuer: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Provider]:
    for variable in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.upper(), raising=False)
    async with protected_site(3 * PATIENCE_SECONDS) as site:
        yield Provider(issuer, site)


async def call(client: Client) -> str:
    [block] = (await client.call_tool("x")).content
    return str(block.text)  # type: ignore[union-attr]


async def test_a_user_logs_in_with_a_client_that_registers_itself(provider: Provider) -> None:
    auth = OAuth(open_browser=provider.browse, client_name="the tests")
    async with Client(provider.site.url, auth=auth) as client:
        assert await call(client) == "done"
    [claims] = provider.claims
    assert (claims["sub"], claims["aud"], claims["scope"]) == ("ann", provider.site.url, "mcp")
    assert provider.pages[-1].count("Almost done") > 0


async def test_a_token_is_refreshed_and_rotates(provider: Provider) -> None:
    async with Client(provider.site.url, auth=OAuth(open_browser=provider.browse)) as client:
        await call(client)
        pages, accept = len(provider.pages), provider.site.pages["/mcp"]
        for _ in range(2):
            over = provider.claims[-1]["jti"]

            async def expired(asked: Asked, over: str = over) -> Reply:
                claims = jwt.decode(asked.token, options={"verify_signature": False})
                return provider.site.refuse(error="invalid_token") if claims["jti"] == over else await accept(asked)

            provider.site.pages["/mcp"] = expired
            assert await call(client) == "done"
            provider.site.pages["/mcp"] = accept
    assert len({claims["jti"] for claims in provider.claims}) == 3
    assert len(provider.pages) == pages, "nobody was asked again"


async def test_a_step_up_asks_the_user_for_the_other_scope(provider: Provider) -> None:
    provider.site.needed["tools/call"] = "mcp:write"
    async with Client(provider.site.url, auth=OAuth(open_browser=provider.browse)) as client:
        assert await call(client) == "done"
    assert [claims["scope"] for claims in provider.claims] == ["mcp", "mcp mcp:write"]


async def test_a_token_is_bound_to_a_key_with_the_providers_nonces(provider: Provider) -> None:
    async with Client(provider.site.url, auth=OAuth(open_browser=provider.browse, dpop=True)) as client:
        assert await call(client) == "done"
    [claims] = provider.claims
    assert claims["cnf"]["jkt"]


async def test_a_program_logs_in_with_its_secret(provider: Provider) -> None:
    auth = ClientCredentials("machine", "the secret of the machine: 1 & 2")
    async with Client(provider.site.url, auth=auth) as client:
        assert await call(client) == "done"
    [claims] = provider.claims
    assert (claims["client_id"], claims["scope"]) == ("machine", "mcp")


async def test_a_wrong_secret_is_told(provider: Provider) -> None:
    with pytest.raises(TokenRefused, match="check client_id and client_secret") as refused:
        async with Client(provider.site.url, auth=ClientCredentials("machine", "wrong-secret")):
            raise AssertionError
    assert refused.value.error == "invalid_client"
    assert "wrong-secret" not in str(refused.value)


async def test_a_user_who_declines(provider: Provider) -> None:
    with pytest.raises(AuthorizationRefused, match="declined") as refused:
        async with Client(provider.site.url, auth=OAuth(open_browser=provider.refuse)):
            raise AssertionError
    assert refused.value.error == "access_denied"
    assert provider.claims == []
