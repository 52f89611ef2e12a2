"""The URLs of a server: which one tokens are made for, and where its metadata is."""

import pytest

from mcpcore.errors import LocalProtocolError
from mcpcore_transports.protected.location import Location, canonical, require_safe_url

WK = "/.well-known/oauth-protected-resource"


@pytest.mark.parametrize(
    ("resource", "public_url", "mount", "path", "found", "metadata"),
    [
        (None, "https://h.example", "", "/mcp", "https://h.example/mcp", f"https://h.example{WK}/mcp"),
        (None, "https://h.example/", "", "/sse", "https://h.example/sse", f"https://h.example{WK}/sse"),
        (None, "https://h.example", "/t", "/mcp", "https://h.example/t/mcp", f"https://h.example/t{WK}/mcp"),
        (None, "https://h.example/t/mcp", "", "/mcp", "https://h.example/t/mcp", f"https://h.example/t{WK}/mcp"),
        (None, "https://h.example/t/mcp", "/t", "/sse", "https://h.example/t/sse", f"https://h.example/t{WK}/sse"),
        (None, "https://h.example/other", "", "/mcp", "https://h.example/other", f"https://h.example{WK}/other"),
        ("https://h.example", None, "", "/mcp", "https://h.example", f"https://h.example{WK}"),
        ("https://H.example/mcp/", None, "", "/mcp", "https://H.example/mcp/", f"https://H.example{WK}/mcp"),
        ("https://h.example/a", "https://p.example", "", "/mcp", "https://h.example/a", f"https://h.example{WK}/a"),
    ],
)
def test_configured(
    resource: str | None, public_url: str | None, mount: str, path: str, found: str, metadata: str
) -> None:
    location = Location(["/mcp", "/sse"], resource=resource, public_url=public_url)
    assert location.fixed
    place = location.place(path, mount=mount, host="evil.example")
    assert place is not None
    assert (place.resource, place.metadata_url) == (found, metadata)
    assert canonical(found) in place.audiences
    assert not any("evil" in one for one in place.audiences)


def test_metadata_is_found_at_the_root_in_front_of_the_path_and_below_a_prefix() -> None:
    location = Location(["/mcp", "/sse"], public_url="https://h.example")
    for path, mount, found in (
        (WK, "", "/mcp"),
        (f"{WK}/", "", "/mcp"),
        (f"{WK}/mcp", "", "/mcp"),
        (f"{WK}/sse", "", "/sse"),
        (f"{WK}/t/mcp", "/t", "/mcp"),
        (f"{WK}/mcp", "/t", "/mcp"),
        (f"{WK}/t/mcp", "", None),
        (f"{WK}/mcp/messages", "", None),
        (f"{WK}mcp", "", None),
        ("/mcp", "", None),
        ("/.well-known/openid-configuration", "", None),
    ):
        assert location.endpoint_of(path, mount) == found, path
    behind_a_proxy = Location(["/mcp"], resource="https://h.example/t/mcp")
    assert behind_a_proxy.endpoint_of(f"{WK}/t/mcp", "") == "/mcp"


def test_a_server_at_the_root_has_no_slash() -> None:
    location = Location(["/"], public_url="https://h.example")
    place = location.place("/", mount="", host=None)
    assert place is not None
    assert (place.resource, place.metadata_url) == ("https://h.example", f"https://h.example{WK}")


def test_without_configuration_only_our_listener_on_this_machine_counts() -> None:
    location = Location(["/mcp"])
    assert not location.fixed
    assert location.place("/mcp", mount="", host="127.0.0.1:8000") is None
    location.listens_at([("127.0.0.1", 8000)], "http")
    place = location.place("/mcp", mount="", host="LOCALHOST:8000")
    assert place is not None
    assert place.resource == "http://localhost:8000/mcp"
    assert place.audiences == {f"http://{name}:8000/mcp" for name in ("localhost", "127.0.0.1", "[::1]")}
    # A token for another server of this machine, or of the sender's choice, must not count here.
    for host in ("127.0.0.1:9999", "evil.example:8000", "evil.example", "127.0.0.1", "[::1", None, "localhost:x"):
        assert location.place("/mcp", mount="", host=host) is None, host


def test_a_listener_with_tls() -> None:
    location = Location(["/mcp"])
    location.listens_at([("127.0.0.1", 443)], "https")
    place = location.place("/mcp", mount="", host="localhost")
    assert place is not None
    assert place.resource == "https://localhost/mcp"
    assert "https://127.0.0.1/mcp" in place.audiences


@pytest.mark.parametrize(
    ("uri", "form"),
    [
        ("https://H.example/MCP", "https://h.example/MCP"),
        ("HTTPS://h.example:443/mcp/", "https://h.example/mcp"),
        ("http://h.example:443/mcp", "http://h.example:443/mcp"),
        ("http://h.example:80", "http://h.example"),
        ("https://h.example/", "https://h.example"),
        ("https://h.example/a%2Fb?x=1", "https://h.example/a%2Fb?x=1"),
        ("https://h.example?x", "https://h.example?x"),
        ("https://h.example@evil.example/mcp", "https://h.example@evil.example/mcp"),
        ("urn:mcp:one", "urn:mcp:one"),
        ("API", "API"),
    ],
)
def test_canonical(uri: str, form: str) -> None:
    assert canonical(uri) == form


@pytest.mark.parametrize(
    "url",
    [
        "http://h.example/",
        "ftp://h.example/",
        "h.example",
        "https://",
        "https://h.example/#x",
        "https://u:p@h.example/",
        "https://h.example/?q",
        "https://h.example:port/",
        "https://h.example/ x",
        "https://h.example/\tx",
        "http://localhost./",
        "https://[::1",
        "https://h.example\\@evil.example",
        "",
    ],
)
def test_unsafe_urls_are_refused(url: str) -> None:
    with pytest.raises(LocalProtocolError, match="setting="):
        require_safe_url(url, "setting=")


def test_safe_urls_stay_as_they_are() -> None:
    for url in ("https://H.example/x/", "http://localhost:1/x", "http://[::1]:1", "http://127.0.0.1"):
        assert require_safe_url(url, "x") == url
    assert require_safe_url("https://h.example/?q=1", "x", query=True)
