"""Tokens that are bound to a key: what a proof has to be, and what it must not be good for twice."""

import json
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any

import pytest
from transports.raw_http import call, modern, offer, serving
from transports.tokens import Issuer, key_of, public_jwk, sign

from mcpcore.errors import LocalProtocolError
from mcpcore_transports.framing.jose import thumbprint
from mcpcore_transports.protected import DpopProofs, JwtVerifier, Protected
from mcpcore_transports.protected import dpop as dpop_module
from mcpcore_transports.protected.dpop import MAX_PROOF_BYTES, NONCE_SECONDS, PROOF_SECONDS
from mcpcore_transports.protected.verifier import NonceWanted, ProofRefused, VerifierUnavailable

pytestmark = pytest.mark.anyio

URL = "https://mcp.example.com/mcp"
TOKEN = "a.token.of-alice"
NOW = 1_800_000_000.0


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


def public(key: Any) -> dict[str, Any]:
    return {name: value for name, value in public_jwk(key, None).items() if name in ("kty", "crv", "x", "y", "n", "e")}


def proof(
    key: Any = None, *, algorithm: str = "ES256", token: str = TOKEN, header: Any = None, jti: Any = "1", **claims: Any
) -> str:
    key = key_of("EC") if key is None else key
    said = {
        "htm": "POST",
        "htu": URL,
        "iat": NOW,
        "jti": jti,
        "ath": urlsafe_b64encode(sha256(token.encode()).digest()).rstrip(b"=").decode(),
        **claims,
    }
    said = {name: value for name, value in said.items() if value is not None}
    return sign(said, key, algorithm, **{"typ": "dpop+jwt", "jwk": public(key), **(header or {})})


BOUND_TO = thumbprint(public(key_of("EC")))


def check(proofs: DpopProofs, *shown: str, method: str = "POST", url: str = URL, bound_to: str = BOUND_TO) -> None:
    proofs.check(shown, method, url, TOKEN, bound_to)


@pytest.mark.parametrize(("kind", "algorithm"), [("EC", "ES256"), ("RSA", "PS256"), ("OKP", "EdDSA")])
def test_a_good_proof_counts_once(kind: str, algorithm: str) -> None:
    proofs = DpopProofs(now=Clock())
    key = key_of(kind)
    made = proof(key, algorithm=algorithm)
    check(proofs, made, bound_to=thumbprint(public(key)))
    with pytest.raises(ProofRefused, match="shown before"):
        check(proofs, made, bound_to=thumbprint(public(key)))
    check(proofs, proof(key, algorithm=algorithm, jti="2"), bound_to=thumbprint(public(key)))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"htm": "GET"}, "method"),
        ({"htm": None}, "method"),
        ({"htu": "https://mcp.example.com/other"}, "URL"),
        ({"htu": "https://evil.example/mcp"}, "URL"),
        ({"htu": None}, "URL"),
        ({"ath": "x"}, "another token"),
        ({"ath": None}, "another token"),
        ({"token": "another"}, "another token"),
        ({"iat": NOW - PROOF_SECONDS - 1}, "just now"),
        ({"iat": NOW + PROOF_SECONDS + 1}, "just now"),
        ({"iat": None}, "no date"),
        ({"iat": True}, "no date"),
        ({"iat": "now"}, "no date"),
        ({"iat": 10**400}, "no date"),
        ({"jti": None}, "identifier"),
        ({"jti": ""}, "identifier"),
        ({"jti": "x" * 600}, "identifier"),
        ({"jti": 7}, "identifier"),
        ({"header": {"typ": "at+jwt"}}, "kind"),
        ({"header": {"crit": ["x"]}}, "kind"),
        ({"header": {"jwk": None}}, "public key"),
        ({"header": {"jwk": {"kty": "oct", "k": "AAAA"}}}, "public key"),
        ({"header": {"jwk": {"kty": "EC"}}}, "damaged"),
        ({"key": key_of("EC", "stranger")}, "another key"),
        ({"header": {"jwk": public(key_of("EC", "stranger"))}}, "damaged"),
    ],
)
def test_proofs_that_are_none(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ProofRefused, match=why):
        check(DpopProofs(now=Clock()), proof(**options))


@pytest.mark.parametrize("shown", ["", "x", "a.b.c", "A" * (MAX_PROOF_BYTES + 1), "é"])
def test_garbage(shown: str) -> None:
    with pytest.raises(ProofRefused):
        check(DpopProofs(now=Clock()), shown)


def test_a_private_key_or_a_shared_one_is_no_proof() -> None:
    private = {**public(key_of("EC")), "d": "AAAA"}
    with pytest.raises(ProofRefused, match="public key"):
        check(DpopProofs(now=Clock()), proof(header={"jwk": private}))
    secret = "x" * 64
    signed = sign({"htm": "POST"}, secret, "HS256", typ="dpop+jwt", jwk={"kty": "oct", "k": "AAAA"})
    with pytest.raises(ProofRefused, match="kind"):
        check(DpopProofs(now=Clock()), signed)
    with pytest.raises(LocalProtocolError):
        DpopProofs(algorithms=["HS256"])


def test_a_token_that_is_bound_to_what_is_no_thumbprint() -> None:
    with pytest.raises(ProofRefused, match="another key"):
        check(DpopProofs(now=Clock()), proof(), bound_to="é")


def test_one_proof_for_one_request() -> None:
    for shown in ((), (proof(), proof(jti="2")), (f"{proof()}, {proof()}",)):
        with pytest.raises(ProofRefused, match="proof"):
            check(DpopProofs(now=Clock()), *shown)


def test_the_url_is_compared_as_urls_are() -> None:
    proofs = DpopProofs(now=Clock())
    check(proofs, proof(htu="HTTPS://MCP.example.com:443/mcp?x=1#y"))


def test_what_is_remembered_is_forgotten_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    proofs = DpopProofs(now=clock)
    monkeypatch.setattr(dpop_module, "MAX_PROOFS", 3)
    for number in range(3):
        check(proofs, proof(jti=f"{number}"))
    with pytest.raises(VerifierUnavailable):
        check(proofs, proof(jti="3"))
    clock.now += 2 * PROOF_SECONDS + 1
    check(proofs, proof(jti="3", iat=clock.now))
    # As long as one could be shown again, it is remembered.
    early = proof(jti="early", iat=clock.now + PROOF_SECONDS)
    check(proofs, early)
    clock.now += 2 * PROOF_SECONDS
    with pytest.raises(ProofRefused, match="shown before"):
        check(proofs, early)


def test_nonces_are_given_out_and_taken_for_a_while() -> None:
    clock = Clock()
    proofs = DpopProofs(nonces=True, now=clock)
    nonce = proofs.nonce
    assert nonce is not None
    for wrong in (None, "", "x", 7, "é", DpopProofs(nonces=True, now=clock).nonce):
        with pytest.raises(NonceWanted):
            check(proofs, proof(nonce=wrong))
    check(proofs, proof(nonce=nonce))
    clock.now += NONCE_SECONDS
    assert proofs.nonce != nonce
    check(proofs, proof(nonce=nonce, iat=clock.now, jti="2"))
    clock.now += NONCE_SECONDS
    with pytest.raises(NonceWanted):
        check(proofs, proof(nonce=nonce, iat=clock.now, jti="3"))
    shared = [DpopProofs(nonce_key=b"k" * 32, now=clock).nonce for _ in range(2)]
    assert shared[0] == shared[1]
    with pytest.raises(LocalProtocolError):
        DpopProofs(nonce_key=b"short")


# -- on the wire -----------------------------------------------------------------------------------------------------


async def test_a_bound_token_takes_a_proof_for_each_request() -> None:
    issuer, clock = Issuer(), Clock()
    for required in (False, True):
        proofs = DpopProofs(required=required, nonces=True, now=clock)
        verifier = JwtVerifier(issuer.url, keys={"keys": issuer.published})
        guard = Protected(verifier, authorization_servers=[issuer.url], dpop=proofs)
        async with serving(auth=guard, sse_path="/sse") as site, site.connect() as wire:
            url = f"http://{site.host}/mcp"
            token = issuer.token(aud=url, cnf={"jkt": BOUND_TO})
            body, mirrored = modern(call("who"))

            async def ask(
                scheme: str, shown: str, *proofs: str, site: Any = site, body: Any = body, mirrored: Any = mirrored
            ) -> Any:
                headers = {**mirrored, "Authorization": f"{scheme} {shown}"}
                if proofs:
                    headers["DPoP"] = proofs[0]
                async with site.connect() as wire:
                    answer = await site.post(wire, body, headers)
                    return answer.status, answer.headers, await answer.body()

            status, headers, _ = await ask("DPoP", token, proof(token=token, htu=url))
            assert (status, "use_dpop_nonce" in headers["www-authenticate"]) == (401, True)
            nonce = headers["dpop-nonce"]
            good = proof(token=token, htu=url, nonce=nonce)
            status, headers, data = await ask("DPoP", token, good)
            assert (status, b"alice" in data) == (200, True), data
            status, headers, _ = await ask("DPoP", token, good)
            assert (status, "invalid_dpop_proof" in headers["www-authenticate"]) == (401, True)
            for scheme, shown, made in (
                ("Bearer", token, []),
                ("Bearer", token, [proof(token=token, htu=url, nonce=nonce, jti="9")]),
                ("DPoP", token, []),
                ("DPoP", issuer.token(aud=url), [proof(token=token, htu=url, nonce=nonce, jti="8")]),
            ):
                status, _, _ = await ask(scheme, shown, *made)
                assert status == 401
            status, _, _ = await ask("Bearer", issuer.token(aud=url))
            assert status == (401 if required else 200)
            found = await (await wire.ask("GET", "/.well-known/oauth-protected-resource")).json()
            assert found["dpop_bound_access_tokens_required"] is required
            assert "ES256" in found["dpop_signing_alg_values_supported"]
            json.dumps(found)


async def test_a_proof_is_for_the_path_that_is_asked() -> None:
    """The metrics are beside the endpoint, whose tokens they take."""
    issuer = Issuer()
    server = offer()
    guard = Protected(JwtVerifier(issuer.url, keys={"keys": issuer.published}), dpop=DpopProofs(now=Clock()))
    options = {"measured": server.server.metrics(), "metrics_path": "/metrics"}
    async with serving(server, auth=guard, **options) as site, site.connect() as wire:
        token = issuer.token(aud=f"http://{site.host}/mcp", cnf={"jkt": BOUND_TO})
        for jti, path, status in (("1", "/metrics", 200), ("2", "/mcp", 401), ("3", "/mcp/metrics", 401)):
            made = proof(token=token, htu=f"http://{site.host}{path}", htm="GET", jti=jti)
            answer = await wire.ask("GET", "/metrics", {"Authorization": f"DPoP {token}", "DPoP": made})
            assert (answer.status, bool(await answer.body())) == (status, True)
