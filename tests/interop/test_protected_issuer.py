"""Tokens of somebody else's authorization server, the certified `oidc-provider` of npm, at a protected server of ours.

The packages of `authorization/package.json` are installed in the directory `authorization` of MCPCORE_NPM.
"""

import json
import os
import re
import secrets
import shutil
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from interop.listening import running
from transports.raw_http import Site, call, modern, offer, serving
from transports.tokens import key_of, public_jwk

from mcpcore_transports.protected import DpopProofs, IntrospectionVerifier, JwtVerifier, Protected, TokenVerifier

pytestmark = [pytest.mark.anyio, pytest.mark.npm]

ISSUER = Path(__file__).parent / "authorization" / "issuer.mjs"
SIGNED, OPAQUE = "https://mcp.example.com/signed", "https://mcp.example.com/opaque"

_READY = re.compile(r"listening on (http://127\.0\.0\.1:\d+)")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Beside its packages: an ES module finds them in its own directory or above it, and nowhere else."""
    place = tmp_path_factory.mktemp("npm")
    (place / "node_modules").symlink_to(
        Path(os.environ["MCPCORE_NPM"], "authorization", "node_modules").resolve(strict=True)
    )
    with running(["node", str(shutil.copy(ISSUER, place)), SIGNED, OPAQUE], _READY) as [ready]:
        yield ready[1]


async def token_for(issuer: str, resource: str, scope: str = "mcp", **headers: str) -> str:
    form = {"grant_type": "client_credentials", "resource": resource, "scope": scope}
    async with httpx2.AsyncClient(trust_env=False) as client:
        auth = ("robot", "the+robot%27s%3A+1+%26+2")
        response = await client.post(f"{issuer}/token", data=form, auth=auth, headers=headers)
    found = response.json()
    assert response.status_code == 200, found
    return str(found["access_token"])


def proof(method: str, url: str, token: str | None = None) -> str:
    key = key_of("EC", "robot")
    jwk = {name: value for name, value in public_jwk(key, None).items() if name in ("kty", "crv", "x", "y")}
    claims = {"htm": method, "htu": url, "iat": int(time.time()), "jti": secrets.token_hex(8)}
    if token is not None:
        claims["ath"] = urlsafe_b64encode(sha256(token.encode()).digest()).rstrip(b"=").decode()
    return jwt.encode(claims, key, algorithm="ES256", headers={"typ": "dpop+jwt", "jwk": jwk})


@asynccontextmanager
async def protected(issuer: str, resource: str, verifier: TokenVerifier) -> AsyncIterator[Site]:
    guard = Protected(verifier, authorization_servers=[issuer], resource=resource, scopes=["mcp"], dpop=DpopProofs())
    path = resource[len("https://mcp.example.com") :]
    policy = {"allow_hosts": ["mcp.example.com"]}
    async with serving(offer(), auth=guard, path=path, policy=policy) as site:
        site.host = "mcp.example.com"
        yield site


async def ask(site: Site, tool: str, authorization: str, **headers: str) -> tuple[int, Any]:
    body, mirrored = modern(call(tool))
    async with site.connect() as wire:
        answer = await site.post(wire, body, {**mirrored, "Authorization": authorization, **headers})
        return answer.status, json.loads(await answer.body())


@pytest.fixture(params=["signed", "opaque"])
def resource(request: pytest.FixtureRequest) -> str:
    return SIGNED if request.param == "signed" else OPAQUE


@pytest.fixture
async def site(issuer: str, resource: str) -> AsyncIterator[Site]:
    """Keys are found by the issuer's metadata; or each token is asked about."""
    verifier: TokenVerifier = JwtVerifier(issuer)
    if resource == OPAQUE:
        verifier = IntrospectionVerifier(
            f"{issuer}/token/introspection", client_id="server", client_secret="the server's: 3 + 4", issuer=issuer
        )
    async with protected(issuer, resource, verifier) as made:
        yield made


async def test_a_token_for_this_server(issuer: str, resource: str, site: Site) -> None:
    token = await token_for(issuer, resource)
    assert (token.count(".") == 2) == (resource == SIGNED)
    status, found = await ask(site, "who", f"Bearer {token}")
    assert (status, found["result"]["content"][0]["text"]) == (200, "robot")
    assert (await ask(site, "write", f"Bearer {token}"))[0] == 403
    more = await token_for(issuer, resource, "mcp files:write")
    assert (await ask(site, "write", f"Bearer {more}"))[0] == 200


async def test_a_token_for_another_server(issuer: str, resource: str, site: Site) -> None:
    other = await token_for(issuer, OPAQUE if resource == SIGNED else SIGNED)
    for token in (other, other[:-8] + "AAAAAAAA", "garbage"):
        assert (await ask(site, "who", f"Bearer {token}"))[0] == 401


async def test_a_token_that_is_bound_to_a_key(issuer: str, resource: str, site: Site) -> None:
    token = await token_for(issuer, resource, DPoP=proof("POST", f"{issuer}/token"))
    assert (await ask(site, "who", f"Bearer {token}"))[0] == 401
    assert (await ask(site, "who", f"DPoP {token}"))[0] == 401
    good = proof("POST", resource, token)
    status, found = await ask(site, "who", f"DPoP {token}", DPoP=good)
    assert (status, found["result"]["content"][0]["text"]) == (200, "robot")
    assert (await ask(site, "who", f"DPoP {token}", DPoP=good))[0] == 401
