"""Clients without a user, and tokens that are bound to a key, against a scripted site."""

import base64
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from transports.protected_site import Asked, ProtectedSite, Reply, json_page, protected_site

from mcpcore import Client, LocalProtocolError
from mcpcore_transports.oauth import (
    ClientCredentials,
    DiscoveryFailed,
    EnterpriseManaged,
    LoginFailed,
    MemoryStorage,
    OAuth,
    PrivateKey,
    TokenRefused,
    UntrustedMetadata,
    WorkloadIdentity,
)

pytestmark = pytest.mark.anyio

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ID_JAG = "urn:ietf:params:oauth:token-type:id-jag"


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def without_registration(site: ProtectedSite, *methods: str) -> None:
    del site.metadata["registration_endpoint"], site.metadata["code_challenge_methods_supported"]
    site.metadata["token_endpoint_auth_methods_supported"] = list(methods)
    site.refreshes = False


async def call(client: Client) -> str:
    [block] = (await client.call_tool("x")).content
    return str(block.text)  # type: ignore[union-attr]


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_a_secret(method: str) -> None:
    async with protected_site() as site:
        without_registration(site, method)
        async with Client(site.url, auth=ClientCredentials("me", "client-secret")) as client:
            assert await call(client) == "done"
        [token] = site.seen("/token")
        assert {**token.form, "client_id": "", "client_secret": ""} == {
            "grant_type": "client_credentials",
            "resource": site.url,
            "scope": "read",
            "client_id": "",
            "client_secret": "",
        }
        assert ("client_secret" in token.form) is (method == "client_secret_post")
        assert str(site).startswith("POST /mcp GET"), "nothing is sent before the server asks"


async def test_an_expired_token_is_replaced() -> None:
    async with protected_site() as site:
        without_registration(site, "client_secret_basic")
        auth = ClientCredentials("me", "client-secret")
        async with Client(site.url, auth=auth) as client:
            for _ in range(5):
                access = auth._accesses[site.url]
                assert access.token is not None
                access.token = msgspec.structs.replace(access.token, use_until=0.0)
                assert await call(client) == "done"
        assert len(site.seen("/token")) == 6
        assert site.bearers.count("") == 6, "an expired token is not sent"


async def test_a_key() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    data = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    async with protected_site() as site:
        without_registration(site, "private_key_jwt")
        async with Client(site.url, auth=ClientCredentials("me", private_key=PrivateKey(data))) as client:
            assert await call(client) == "done"
        [token] = site.seen("/token")
        claims = jwt.decode(
            token.form["client_assertion"], key.public_key(), algorithms=["ES256"], audience=site.issuer
        )
        assert (claims["iss"], claims["sub"]) == ("me", "me")
        assert "client_id" not in token.form


async def test_a_workload() -> None:
    audiences: list[str] = []

    async def identity(audience: str) -> str:
        audiences.append(audience)
        return "tok-secret-of-the-platform"

    async with protected_site() as site:
        without_registration(site, "none")
        async with Client(site.url, auth=WorkloadIdentity(identity, client_id="pod")) as client:
            assert await call(client) == "done"
        [token] = site.seen("/token")
        assert audiences == [site.issuer]
        assert token.form == {
            "grant_type": JWT_BEARER,
            "assertion": "tok-secret-of-the-platform",
            "resource": site.url,
            "scope": "read",
            "client_id": "pod",
        }


@pytest.mark.parametrize("error", ["invalid_grant", "invalid_scope", "unauthorized_client"])
async def test_a_workload_that_is_refused_tries_nothing_else(error: str) -> None:
    async with protected_site() as site:
        without_registration(site, "none")
        site.pages["/token"] = lambda asked: json_page({"error": error}, 400)
        with pytest.raises(TokenRefused) as refused:
            async with Client(site.url, auth=WorkloadIdentity("tok-secret")):
                raise AssertionError
        assert (refused.value.error, len(site.seen("/token"))) == (error, 1)
        assert "tok-secret" not in str(refused.value)


async def test_an_identity_that_cannot_be_had() -> None:
    def identity(audience: str) -> str:
        raise RuntimeError("tok-secret")

    async with protected_site() as site:
        without_registration(site, "none")
        with pytest.raises(LoginFailed, match=r"identity\(\) failed with RuntimeError") as failed:
            async with Client(site.url, auth=WorkloadIdentity(identity)):
                raise AssertionError
        assert "tok-secret" not in str(failed.value)


@pytest.mark.parametrize("discovered", [False, True])
async def test_an_enterprise(discovered: bool) -> None:
    async with protected_site() as site, protected_site() as idp:
        without_registration(site, "client_secret_basic")
        idp.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
        idp.pages["/token"] = lambda asked: json_page(
            {"access_token": "tok-secret-jag", "issued_token_type": ID_JAG, "token_type": "N_A"}
        )
        where = {"idp_issuer": idp.issuer} if discovered else {"idp_token_endpoint": f"{idp.origin}/token"}
        auth = EnterpriseManaged(
            "tok-secret-id",
            client_id="me",
            client_secret="client-secret",
            idp_client_id="sso",
            idp_client_secret="client-secret-2",
            **where,
        )
        async with Client(site.url, auth=auth) as client:
            assert await call(client) == "done"
        [exchange], [token] = idp.seen("/token"), site.seen("/token")
        assert exchange.form == {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "requested_token_type": ID_JAG,
            "audience": site.issuer,
            "resource": site.url,
            "scope": "read",
            "subject_token": "tok-secret-id",
            "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
            "client_id": "sso",
            "client_secret": "client-secret-2",
        }
        assert (token.form["grant_type"], token.form["assertion"]) == (JWT_BEARER, "tok-secret-jag")
        assert base64.b64decode(token.headers["authorization"].removeprefix("Basic ")) == b"me:client-secret"
        assert site.seen("/authorize") == []


async def test_an_exchange_for_something_else_goes_nowhere() -> None:
    async with protected_site() as site, protected_site() as idp:
        without_registration(site, "client_secret_basic")
        auth = EnterpriseManaged("x", client_id="me", idp_client_id="sso", idp_token_endpoint=f"{idp.origin}/token")
        with pytest.raises(TokenRefused, match="instead of urn:ietf:params:oauth:token-type:id-jag"):
            async with Client(site.url, auth=auth):
                raise AssertionError
        assert site.seen("/token") == []


async def test_credentials_are_for_the_issuer_that_was_named() -> None:
    async with protected_site() as site:
        without_registration(site, "client_secret_basic")
        auth = ClientCredentials("me", "client-secret", issuer="https://login.example")
        with pytest.raises(UntrustedMetadata, match="they were not sent"):
            async with Client(site.url, auth=auth):
                raise AssertionError
        assert site.seen("/token") == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: ClientCredentials("me"),
        lambda: ClientCredentials("me", "x", private_key=object()),
        lambda: EnterpriseManaged("x", client_id="me", idp_client_id="sso"),
        lambda: EnterpriseManaged("x", client_id="me", idp_client_id="sso", idp_issuer="x", identity_type="y"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(make: Any) -> None:
    with pytest.raises(LocalProtocolError):
        make()


# -- tokens that are bound to a key ----------------------------------------------------------------------------------


class Bound:
    """Turns a site into one that binds tokens to keys, with a nonce of each of its halves."""

    def __init__(self, site: ProtectedSite) -> None:
        self.site = site
        self.seen: set[str] = set()
        self.thumbprints: set[str] = set()
        site.members = {"token_type": "DPoP"}
        site.metadata["dpop_signing_alg_values_supported"] = ["ES256"]
        site.pages["/token"] = self.token
        site.pages["/mcp"] = self.mcp

    def proof(self, asked: Asked, path: str) -> dict[str, Any]:
        head = jwt.get_unverified_header(asked.headers["dpop"])
        claims: dict[str, Any] = jwt.decode(asked.headers["dpop"], jwt.PyJWK(head["jwk"]), algorithms=["ES256"])
        assert (claims["htm"], claims["htu"]) == ("POST", f"{self.site.origin}{path}")
        assert claims["jti"] not in self.seen
        self.seen.add(claims["jti"])
        self.thumbprints.add(head["jwk"]["x"])
        return claims

    def token(self, asked: Asked) -> Reply:
        if self.proof(asked, "/token").get("nonce") != "of-the-issuer":
            return Reply(400, b'{"error": "use_dpop_nonce"}', dpop_nonce="of-the-issuer")
        return self.site.token(asked)

    def mcp(self, asked: Asked) -> Reply:
        if not asked.token:
            return Reply(401, www_authenticate=f'DPoP resource_metadata="{self.site.challenge["resource_metadata"]}"')
        assert asked.headers["authorization"].startswith("DPoP ")
        claims = self.proof(asked, "/mcp")
        assert "ath" in claims
        if claims.get("nonce") != "of-the-server":
            return Reply(401, www_authenticate='DPoP error="use_dpop_nonce"', dpop_nonce="of-the-server")
        return self.site.mcp(asked)


@pytest.mark.parametrize("dpop", [None, True])
async def test_a_bound_token_with_nonces_of_both(dpop: bool | None) -> None:
    storage = MemoryStorage()
    async with protected_site() as site:
        bound = Bound(site)
        auth = OAuth(open_browser=site.browse, dpop=dpop, storage=storage)
        async with Client(site.url, auth=auth) as client:
            assert await call(client) == "done"
        async with Client(site.url, auth=OAuth(open_browser=site.browse, dpop=dpop, storage=storage)) as client:
            site.revoke()
            assert await call(client) == "done"
        assert len(bound.thumbprints) == 1, "the key came back from the storage"
        assert len(site.seen("/authorize")) == 1, "and refreshed"
        assert sum("nonce" not in jwt.decode(a.headers["dpop"], options={"verify_signature": False})
                   for a in site.seen("/mcp")[1:]) == 2, "each program had to be told the nonce once"  # fmt: skip


async def test_a_token_that_is_not_bound_is_refused() -> None:
    async with protected_site() as site:
        with pytest.raises(TokenRefused, match="not bound to the key"):
            async with Client(site.url, auth=OAuth(open_browser=site.browse, dpop=True)):
                raise AssertionError
        assert site.bearers == [""]


async def test_a_server_that_takes_only_what_is_turned_off_or_cannot_be_done() -> None:
    async with protected_site() as site:
        site.resource["dpop_bound_access_tokens_required"] = True
        with pytest.raises(DiscoveryFailed, match="turned off here"):
            async with Client(site.url, auth=OAuth(open_browser=site.browse, dpop=False)):
                raise AssertionError
        site.metadata["dpop_signing_alg_values_supported"] = ["EdDSA"]
        with pytest.raises(DiscoveryFailed, match="no DPoP proofs by ES256"):
            async with Client(site.url, auth=OAuth(open_browser=site.browse)):
                raise AssertionError
        assert site.seen("/authorize") == []
