"""web/urls: what a URL means, and that no error repeats it."""

import pytest

from mcpcore.errors import LocalProtocolError
from mcpcore_transports.web.urls import Origin, Url, parse_url


@pytest.mark.parametrize(
    ("url", "parsed", "authority"),
    [
        ("http://Example.COM", Url(Origin("http", "example.com", 80), "/", None), "example.com"),
        ("HTTPS://example.com:443/a?b#c", Url(Origin("https", "example.com", 443), "/a?b", None), "example.com"),
        ("http://example.com:443/", Url(Origin("http", "example.com", 443), "/", None), "example.com:443"),
        ("http://example.com:/?q=1", Url(Origin("http", "example.com", 80), "/?q=1", None), "example.com"),
        ("http://[::0001]:81/", Url(Origin("http", "::1", 81), "/", None), "[::1]:81"),
        ("http://[fe80::1%25eth0]/", Url(Origin("http", "fe80::1%eth0", 80), "/", None), "[fe80::1]"),
        ("http://bücher.example/ä%2F", Url(Origin("http", "xn--bcher-kva.example", 80), "/%C3%A4%2F", None), None),
        ("http+unix://%2Frun%2FS.sock/mcp", Url(Origin("http+unix", "/run/S.sock", 0), "/mcp", None), "localhost"),
        ("http://u:p@h/", Url(Origin("http", "h", 80), "/", "Basic dTpw"), "h"),
        ("http://u@h/", Url(Origin("http", "h", 80), "/", "Basic dTo="), "h"),
    ],
)
def test_urls(url: str, parsed: Url, authority: str | None) -> None:
    assert parse_url(url) == parsed
    assert parsed.origin.authority == authority or authority is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/path",
        "example.com/secret",
        "secret:secret@example.com",
        "ftp://secret@example.com",
        "http://",
        "http:///secret",
        "http://secret:secret@/",
        "http://secret:secret@a b/",
        "http://secret:secret@a\r\nb/",
        "http://secret:secret@a:0/",
        "http://secret:secret@a:99999/",
        "http://secret:secret@a:secret/",
        "http://secret:secret@[::1/",
        "http://secret:secret@[secret]/",
        "http://secret:secret@[::1]secret/",
        "http://secret:secret@-a/",
        "http://secret:secret@\u2100/",
        "http://::1/",
        "http+unix://secret/x",
    ],
)
def test_urls_that_name_no_server(url: str) -> None:
    with pytest.raises(LocalProtocolError) as refused:
        parse_url(url)
    assert "secret" not in repr(refused.value)
    assert refused.value.__cause__ is None
