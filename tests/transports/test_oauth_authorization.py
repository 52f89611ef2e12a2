"""The question to the user: what is in its URL, what answers it, and which scopes are asked for."""

import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from mcpcore_transports.oauth.authorization import AuthorizationRequest, Pkce
from mcpcore_transports.oauth.errors import AuthorizationRefused, DiscoveryFailed, ResponseMismatch
from mcpcore_transports.oauth.metadata import ServerMetadata
from mcpcore_transports.oauth.scopes import choose_scopes, union, with_offline_access

ISSUER = "https://login.example"


def asked(**changes: Any) -> AuthorizationRequest:
    known = {"issuer": ISSUER, "authorization_endpoint": f"{ISSUER}/authorize?tenant=1", **changes.pop("server", {})}
    options = {"client_id": "me", "redirect_uri": "http://127.0.0.1:1/callback", "resource": "https://s.example/mcp"}
    return AuthorizationRequest(ServerMetadata(**known), **{**options, "scopes": (), **changes})


def parameters(request: AuthorizationRequest) -> dict[str, str]:
    pairs = parse_qsl(urlsplit(request.url).query, keep_blank_values=True)
    assert len(pairs) == len(dict(pairs))
    return dict(pairs)


def test_the_pair_of_rfc_7636() -> None:
    """Appendix B."""
    pair = Pkce.of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    assert pair.challenge == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert pair.verifier not in repr(pair)
    assert re.fullmatch(r"[A-Za-z0-9._~-]{43,128}", Pkce.make().verifier)


def test_what_is_asked() -> None:
    request = asked(scopes=("a", "b"), dpop_thumbprint="thumb")
    found = parameters(request)
    assert request.url.startswith(f"{ISSUER}/authorize?tenant=1&response_type=code&")
    assert (found["resource"], found["scope"], found["dpop_jkt"]) == ("https://s.example/mcp", "a b", "thumb")
    assert Pkce.of(request.verifier).challenge == found["code_challenge"]
    assert (found["code_challenge_method"], found["client_id"]) == ("S256", "me")
    assert "prompt" not in found
    assert request.verifier not in repr(request) + request.url
    assert "scope" not in parameters(asked())
    assert parameters(asked(scopes=("a", "offline_access")))["prompt"] == "consent"
    assert parameters(asked())["state"] != parameters(asked())["state"]


@pytest.mark.parametrize(
    "resource", ["https://s.example", "https://s.example/", "https://s.example/a%2Fb?c=d", "HTTPS://S.example"]
)
def test_a_resource_is_asked_for_to_the_byte(resource: str) -> None:
    assert parameters(asked(resource=resource))["resource"] == resource


def test_a_state_is_used_up() -> None:
    request = asked()
    answer = {"code": "secret", "state": parameters(request)["state"]}
    assert request.recognises(answer)
    assert request.check(answer) == "secret"
    assert not request.recognises(answer)
    with pytest.raises(ResponseMismatch, match="was used before") as failed:
        request.check(answer)
    assert "secret" not in str(failed.value)


@pytest.mark.parametrize("promised", [True, False])
@pytest.mark.parametrize(
    "iss", ["https://evil.example", f"{ISSUER}/", ISSUER.upper(), f"{ISSUER}:443", "", "https://login%2Eexample"]
)
def test_another_issuer_is_refused_without_its_text(iss: str, promised: bool) -> None:
    request = asked(server={"authorization_response_iss_parameter_supported": promised})
    answer = {"error": "pay_here", "error_description": "sorry", "state": parameters(request)["state"], "iss": iss}
    with pytest.raises(ResponseMismatch, match="another authorization server") as failed:
        request.check(answer)
    assert "pay_here" not in str(failed.value) + failed.value.error
    assert "sorry" not in str(failed.value)


def test_a_promised_issuer_has_to_be_there() -> None:
    for promised in (True, False):
        request = asked(server={"authorization_response_iss_parameter_supported": promised})
        answer = {"code": "secret", "state": parameters(request)["state"]}
        if promised:
            with pytest.raises(ResponseMismatch, match="promises"):
                request.check(answer)
        else:
            assert request.check(answer) == "secret"
    request = asked(server={"authorization_response_iss_parameter_supported": True})
    assert request.check({"code": "x", "state": parameters(request)["state"], "iss": ISSUER}) == "x"


def test_an_error_says_whose_it_is() -> None:
    request = asked()
    with pytest.raises(AuthorizationRefused, match=r"login\.example refused the login: invalid_scope") as failed:
        request.check({"error": "invalid_scope", "state": parameters(request)["state"]})
    assert failed.value.error == "invalid_scope"


def test_a_server_without_the_endpoint() -> None:
    with pytest.raises(DiscoveryFailed, match="no authorization_endpoint"):
        asked(server={"authorization_endpoint": None})


@pytest.mark.parametrize(
    ("challenged", "supported", "wanted", "expected"),
    [
        (["a"], ["b"], [], "a"),
        ([], ["b", "c"], [], "b c"),
        ([], None, [], ""),
        ([], ["b"], ["x"], "x"),
        (["a"], ["b"], ["x", "a"], "a x"),
    ],
)
def test_scopes_of_a_first_login(
    challenged: list[str], supported: list[str] | None, wanted: list[str], expected: str
) -> None:
    assert " ".join(choose_scopes(challenged, supported, wanted)) == expected


def test_scopes_add_up_and_offline_access_is_asked_for_where_it_is_known() -> None:
    assert union(("a", "b"), ["b", "c"]) == ("a", "b", "c")
    assert with_offline_access(("a",), ["offline_access"]) == ("a", "offline_access")
    assert with_offline_access(("a",), ["a"]) == with_offline_access(("a",), None) == ("a",)
    assert with_offline_access((), ["offline_access"]) == ()
