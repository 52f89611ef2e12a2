"""Where metadata is looked for, and what it has to say to be used."""

import pytest

from mcpcore_transports.oauth.errors import DiscoveryFailed, UntrustedMetadata
from mcpcore_transports.oauth.metadata import ResourceMetadata, ServerMetadata, canonical_resource, covers
from mcpcore_transports.oauth.wellknown import (
    default_endpoints,
    origin_of,
    resource_metadata_urls,
    server_metadata_urls,
)

HERE = "https://a.example/.well-known"


@pytest.mark.parametrize(
    ("server", "paths"),
    [
        ("https://a.example", ["oauth-protected-resource"]),
        ("https://a.example/", ["oauth-protected-resource"]),
        ("https://a.example/mcp?key=1", ["oauth-protected-resource/mcp", "oauth-protected-resource"]),
        ("https://user:word@a.example/x/mcp/", ["oauth-protected-resource/x/mcp", "oauth-protected-resource"]),
    ],
)
def test_a_resource(server: str, paths: list[str]) -> None:
    assert list(resource_metadata_urls(server)) == [f"{HERE}/{path}" for path in paths]


def test_an_issuer() -> None:
    assert server_metadata_urls("https://a.example/") == (
        f"{HERE}/oauth-authorization-server",
        f"{HERE}/openid-configuration",
    )
    assert server_metadata_urls("https://a.example/tenant1") == (
        f"{HERE}/oauth-authorization-server/tenant1",
        f"{HERE}/openid-configuration/tenant1",
        "https://a.example/tenant1/.well-known/openid-configuration",
    )


def test_a_server_of_2025_03_26() -> None:
    found = default_endpoints("https://user:word@a.example:8443/x/mcp")
    assert set(found.values()) == {
        f"https://a.example:8443{path}" for path in ("", "/authorize", "/token", "/register")
    }
    assert origin_of("https://a.example:8443/x") == "https://a.example:8443"


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        ("https://a.example/x/mcp", True),
        ("https://a.example/x/mcp/", True),
        ("https://a.example/x", True),
        ("https://a.example/", True),
        ("https://a.example", True),
        ("HTTPS://A.example:443/x/mcp", True),
        ("https://a.example/x/mcpx", False),
        ("https://a.example/x/mc", False),
        ("https://a.example/x/mcp/y", False),
        ("https://a.example/x/mcp?y=1", False),
        ("https://a.example/x/mcp#y", False),
        ("http://a.example/x/mcp", False),
        ("https://a.example:8443/x/mcp", False),
        ("https://b.example/x/mcp", False),
        ("https://a.example.evil.example/x/mcp", False),
        ("https://u@a.example/x/mcp", False),
        ("https://[x", False),
        ("", False),
    ],
)
def test_which_resource_is_a_servers(resource: str, expected: bool) -> None:
    assert covers(resource, "https://a.example/x/mcp") is expected


def test_a_resource_of_another_server_is_refused() -> None:
    ResourceMetadata(resource="https://a.example", authorization_servers=["x"]).check("https://a.example/mcp")
    with pytest.raises(UntrustedMetadata, match="nothing was requested"):
        ResourceMetadata(resource="https://b.example", authorization_servers=["x"]).check("https://a.example/mcp")
    with pytest.raises(DiscoveryFailed, match="RFC 9728"):
        ResourceMetadata(resource="https://a.example").check("https://a.example/mcp")


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ("https://A.Example/mcp?key=secret#x", "https://a.example/mcp"),
        ("https://a.example/", "https://a.example"),
        ("https://u:p@a.example:8443/Mcp", "https://a.example:8443/Mcp"),
    ],
)
def test_the_identifier_of_a_server_that_publishes_none(server: str, expected: str) -> None:
    assert canonical_resource(server) == expected


@pytest.mark.parametrize("issuer", ["https://a.example/", "HTTPS://a.example", "https://a.example:443", ""])
def test_no_byte_of_an_issuer_may_differ(issuer: str) -> None:
    with pytest.raises(UntrustedMetadata, match="to the byte"):
        ServerMetadata(issuer=issuer).check_issuer("https://a.example")


def test_pkce_has_to_be_promised() -> None:
    ServerMetadata(issuer="x", code_challenge_methods_supported=["plain", "S256"]).check_pkce()
    for methods in (None, [], ["plain"]):
        with pytest.raises(DiscoveryFailed, match="S256"):
            ServerMetadata(issuer="x", code_challenge_methods_supported=methods).check_pkce()
    with pytest.raises(DiscoveryFailed, match="S256"):
        ServerMetadata(issuer="x", code_challenge_methods_supported=["plain"], guessed=True).check_pkce()
