"""Where metadata is looked for."""

import pytest

from mcpcore_transports.framing.wellknown import (
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
