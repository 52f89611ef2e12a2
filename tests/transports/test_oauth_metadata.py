"""What a server and its authorization server have to say about themselves to be used."""

import pytest

from mcpcore_transports.oauth.errors import DiscoveryFailed, UntrustedMetadata
from mcpcore_transports.oauth.metadata import ResourceMetadata, ServerMetadata, canonical_resource, covers


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
