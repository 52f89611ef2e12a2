"""cli/protection: who may use a server, as flags say it."""

from pathlib import Path
from typing import Any

import pytest

from mcpcore.cli.protection import with_protection
from mcpcore.cli.usage import WrongUsage

KEY = "a-key-that-nobody-guesses"
ISSUER = "https://login.example.com"


@pytest.fixture
def keys(tmp_path: Path) -> str:
    path = tmp_path / "keys"
    path.write_text(f"alice {KEY} files:read\n")
    return str(path)


def test_nothing_said_is_nothing_asked() -> None:
    assert with_protection({"port": 1}) == {"port": 1}


def test_keys_alone_take_no_url(keys: str) -> None:
    found = with_protection({"port": 1, "api_key_file": keys})
    assert found.keys() == {"port", "auth"}
    assert not found["auth"].needs_place


@pytest.mark.parametrize(
    ("options", "resource"),
    [
        ({}, None),
        ({"auth_audience": "https://mcp.example.com/mcp"}, "https://mcp.example.com/mcp"),
        ({"auth_audience": "https://api.example.com", "public_url": "https://mcp.example.com"}, None),
        ({"auth_audience": "api"}, None),
    ],
)
def test_an_issuer(options: dict[str, Any], resource: str | None, keys: str) -> None:
    said = {"auth_issuer": ISSUER, "auth_jwks": f"{ISSUER}/jwks", "auth_scope": ("mcp",), "api_key_file": keys}
    found = with_protection({**said, **options})
    assert found["auth"].needs_place
    assert found["auth"].resource == resource
    assert repr(found["auth"]) == "<Protected by JwtVerifier, ApiKeys>"
    assert found.keys() == {"auth", *({"public_url"} & options.keys())}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"auth_scope": ("mcp",)}, "--auth-issuer"),
        ({"auth_jwks": "https://x"}, "--auth-issuer"),
        ({"auth_audience": "https://x", "api_key_file": "keys"}, "--auth-issuer"),
        ({"auth_issuer": "http://login.example.com"}, "https"),
        ({"auth_issuer": ISSUER, "auth_scope": ("offline_access",)}, "offline_access"),
        ({"api_key_file": "/nowhere/at/all"}, "/nowhere/at/all"),
    ],
)
def test_wrong_usage(options: dict[str, Any], why: str) -> None:
    with pytest.raises(WrongUsage, match=why):
        with_protection(options)
