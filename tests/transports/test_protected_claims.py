"""What must be true of a token before it counts."""

from typing import Any

import pytest

from mcpcore_transports.protected.claims import ClaimRules, principal_of
from mcpcore_transports.protected.verifier import TokenRefused

NOW = 1_800_000_000.0
ISSUER = "https://login.example.com"
RESOURCE = "https://mcp.example.com/mcp"
RULES = ClaimRules(issuer=ISSUER)
GOOD = {
    "iss": ISSUER,
    "sub": "alice",
    "aud": RESOURCE,
    "client_id": "editor",
    "scope": "read write",
    "exp": NOW + 60,
    "nbf": NOW - 5,
    "iat": NOW - 5,
}


def judge(rules: ClaimRules = RULES, **claims: Any) -> Any:
    found = {name: value for name, value in {**GOOD, **claims}.items() if value is not None}
    return principal_of(found, rules, frozenset([RESOURCE]), NOW)


def test_a_good_token() -> None:
    found = judge(extra=1)
    assert (found.subject, found.client_id, found.issuer) == ("alice", "editor", ISSUER)
    assert found.scopes == {"read", "write"}
    assert found.claims["extra"] == 1
    assert found.expires == NOW + 90


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"exp": NOW - 30}, "expired 30 seconds ago"),
        ({"exp": None}, "never expires"),
        ({"exp": "soon"}, "exp is no date"),
        ({"exp": True}, "exp is no date"),
        ({"exp": 1e300}, "exp is no date"),
        ({"nbf": NOW + 31}, "not valid for another 31 seconds"),
        ({"iat": NOW + 3600}, "not valid for another 3600 seconds"),
        ({"iss": "https://login.example.com/"}, "another issuer"),
        ({"iss": "https://LOGIN.example.com"}, "another issuer"),
        ({"iss": None}, "no issuer"),
        ({"iss": ["x"]}, "iss is no text"),
        ({"aud": None}, "no audience"),
        ({"aud": []}, "another server"),
        ({"aud": {"a": 1}}, "no audience"),
        ({"aud": [RESOURCE, 1]}, "no audience"),
        ({"aud": "https://mcp.example.com"}, "another server"),
        ({"aud": "https://mcp.example.com/mcp/deeper"}, "another server"),
        ({"aud": "https://evil.example/mcp"}, "another server"),
        ({"aud": "http://mcp.example.com/mcp"}, "another server"),
        ({"sub": None}, "no subject"),
        ({"sub": ""}, "no subject"),
        ({"sub": 7}, "sub is no text"),
        ({"client_id": 7}, "client_id is no text"),
        ({"scope": 7}, "scope"),
        ({"scope": None, "scp": [1]}, "scope"),
    ],
)
def test_refused(claims: dict[str, Any], why: str) -> None:
    with pytest.raises(TokenRefused, match=why):
        judge(**claims)


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": NOW - 29},
        {"nbf": NOW + 30},
        {"nbf": None, "iat": None},
        {"aud": ["https://other.example", RESOURCE]},
        {"aud": "HTTPS://MCP.example.com:443/mcp/"},
    ],
)
def test_accepted(claims: dict[str, Any]) -> None:
    assert judge(**claims).subject == "alice"


def test_scopes_as_issuers_write_them() -> None:
    assert judge(scope=None, scp="a b").scopes == {"a", "b"}
    assert judge(scope=None, scp=["a"]).scopes == {"a"}
    assert judge(scope="", scp=["a"]).scopes == frozenset()
    assert judge(scope=None).scopes == frozenset()


def test_clients_as_issuers_write_them() -> None:
    assert judge(client_id=None, azp="app").client_id == "app"
    assert judge(client_id=None).client_id is None


def test_rules_of_the_application() -> None:
    with pytest.raises(TokenRefused, match="no tenant"):
        judge(ClaimRules(issuer=ISSUER, required=frozenset(["tenant"])))
    own = ClaimRules(issuer=ISSUER, audiences=frozenset(["api"]))
    assert judge(own, aud="api").subject == "alice"
    with pytest.raises(TokenRefused, match="another server"):
        judge(own)


def test_where_somebody_else_vouches() -> None:
    lenient = ClaimRules(issuer=ISSUER, must_expire=False, must_name_issuer=False, must_name_audience=False)
    found = judge(lenient, exp=None, iss=None, aud=None)
    assert (found.issuer, found.expires) == (ISSUER, None)
    for claims in ({"exp": NOW - 60}, {"iss": "https://other.example"}, {"aud": "https://other.example"}):
        with pytest.raises(TokenRefused):
            judge(lenient, **claims)
