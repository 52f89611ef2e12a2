"""framing/origins: which Host and Origin a listener accepts."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcpcore.errors import LocalProtocolError
from mcpcore_transports.framing.origins import PREFLIGHT_SECONDS, AccessPolicy

PUBLIC = "https://mcp.example.com/some/path"
LOOPBACK = [
    "localhost",
    "localhost:8000",
    "localhost:",
    "LocalHost:8000",
    "localhost.",
    "localhost.:8000",
    "127.0.0.1",
    "127.0.0.1:80",
    "127.8.9.10:8000",
    "[::1]",
    "[::1]:8000",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]:1",
]
NOT_LOOPBACK = [
    "evil.example.com",
    "evil.example.com:8000",
    "localhost.evil.com",
    "evillocalhost",
    "127.0.0.1.evil.com",
    "127.0.0.1.nip.io:8000",
    "128.0.0.1",
    "0.0.0.0:8000",
    "[::]",
    "[::2]:8000",
    "[::ffff:10.0.0.1]",
    "192.168.1.5",
]
MALFORMED = [
    "",
    ":8000",
    "::1",
    "[::1",
    "[]",
    "[127.0.0.1]",
    "[localhost]",
    "[::1]x",
    "localhost:80:90",
    "localhost:http",
    "localhost:-1",
    "localhost:99999",
    "localhost:000080",
    "user@localhost",
    "localhost@evil.com",
    "evil.com#localhost",
    "localhost/evil",
    "localhost\\evil",
    "localhost evil",
    " localhost",
    "localhost, evil.com",
    "localhost..",
    "local\x00host",
    "localhost\n",
    "lоcalhost",  # with a Cyrillic o
    "127.0.0.1٣",
    "http://localhost",
    "%6cocalhost",
    "*",
]


@pytest.mark.parametrize("bind", ["127.0.0.1", "127.0.0.2", "localhost", "LOCALHOST", "::1", "[::1]"])
def test_a_loopback_listener_accepts_the_names_of_this_machine_only(bind: str) -> None:
    policy = AccessPolicy.for_bind(bind)
    for host in LOOPBACK * 2:
        assert policy.check_host(host) is None, host
    for host in NOT_LOOPBACK + MALFORMED:
        assert policy.check_host(host), host


@pytest.mark.parametrize("host", NOT_LOOPBACK)
def test_a_refused_host_is_told_which_setting_to_change(host: str) -> None:
    text = AccessPolicy.for_bind("127.0.0.1").check_host(host)
    assert text is not None
    assert "--allow-host" in text
    assert "--public-url" in text
    name = text.split("--allow-host ")[1].split()[0]
    assert AccessPolicy.for_bind("127.0.0.1", allow_hosts=[name]).check_host(host) is None


def test_a_refusal_repeats_little_of_what_it_was_sent() -> None:
    policy = AccessPolicy.for_bind("127.0.0.1")
    for text in (policy.check_host("a" * 10_000), policy.check_origin("http://" + "a" * 10_000, "localhost")):
        assert text is not None
        assert len(text) < 700
    assert "\x1b" not in str(policy.check_host("\x1b[31mevil"))
    assert str(policy.check_origin("http://\x1b<script>é", "localhost")).isascii()


def test_a_missing_host_is_refused_unless_every_host_is_allowed() -> None:
    assert "Host header" in str(AccessPolicy.for_bind("127.0.0.1").check_host(None))
    assert AccessPolicy.for_bind("0.0.0.0", allow_hosts=["*"]).check_host(None) is None


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "[::]", "", "192.168.1.5", "fe80::1", "myhost", "0"])
def test_binding_beyond_this_machine_needs_a_list_or_authentication(bind: str) -> None:
    for origins in ((), ("*",)):
        with pytest.raises(LocalProtocolError, match="--allow-host") as caught:
            AccessPolicy.for_bind(bind, allow_origins=origins)
        assert "--public-url" in str(caught.value)
    AccessPolicy.for_bind(bind, allow_hosts=["mcp.example.com"])
    AccessPolicy.for_bind(bind, public_url=PUBLIC)
    AccessPolicy.for_bind(bind, authenticated=True)


@pytest.mark.parametrize(
    ("allowed", "accepted", "refused"),
    [
        (
            "mcp.example.com",
            ["mcp.example.com", "MCP.example.com.:8443", "mcp.example.com:1"],
            ["example.com", "x.mcp.example.com", "mcp.example.com.evil.com"],
        ),
        ("MCP.Example.com.", ["mcp.example.com"], ["mcp.example.org"]),
        ("mcp.example.com:*", ["mcp.example.com", "mcp.example.com:8443"], ["example.com"]),
        (
            "mcp.example.com:8443",
            ["mcp.example.com:8443"],
            ["mcp.example.com", "mcp.example.com:443", "mcp.example.com:84430"],
        ),
        ("mcp.example.com:443", ["mcp.example.com:443", "mcp.example.com"], ["mcp.example.com:80"]),
        ("kiosk", ["kiosk", "KIOSK"], ["\u212aiosk"]),  # the Kelvin sign, whose lower case is a k
        ("10.0.0.7", ["10.0.0.7:99"], ["10.0.0.8"]),
        ("2001:db8::1", ["[2001:db8::1]", "[2001:DB8:0:0::1]:80"], ["[2001:db8::2]"]),
        ("[2001:db8::1]:80", ["[2001:db8::1]:80", "[2001:db8::1]"], ["[2001:db8::1]:81"]),
        ("my_host", ["my_host:3000"], ["my-host"]),
        ("*", [*NOT_LOOPBACK, *LOOPBACK], []),
    ],
)
def test_allowed_hosts(allowed: str, accepted: Sequence[str], refused: Sequence[str]) -> None:
    policy = AccessPolicy.for_bind("10.9.9.9", allow_hosts=[allowed])
    assert [host for host in accepted if policy.check_host(host) is not None] == []
    assert [host for host in refused if policy.check_host(host) is None] == []


@pytest.mark.parametrize("setting", ["", "a b", "https://mcp.example.com", "*.example.com", "a/b", "u@h", "münchen.de"])
def test_a_setting_that_is_no_host_is_refused(setting: str) -> None:
    with pytest.raises(LocalProtocolError, match="--allow-host"):
        AccessPolicy(allow_hosts=[setting])


@pytest.mark.parametrize(
    "url", ["mcp.example.com", "ftp://a.b", "https://", "https:///x", "https://u@h/", "https://a b/"]
)
def test_a_setting_that_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(LocalProtocolError, match="--public-url"):
        AccessPolicy(public_url=url)


@pytest.mark.parametrize(
    "origin", ["app.example.com", "https://a.b/c", "https://", "://a", "https:// a", "https://*.b"]
)
def test_a_setting_that_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(LocalProtocolError, match="--allow-origin"):
        AccessPolicy(allow_origins=[origin])


def test_the_names_that_each_kind_of_listener_has_by_itself() -> None:
    def accepted(host: str | None, **settings: Any) -> list[str]:
        policy = AccessPolicy(host, **settings)
        hosts = ("localhost:1", "10.9.9.9:1", "myhost", "mcp.example.com", "evil.com")
        return [one for one in hosts if policy.check_host(one) is None]

    assert accepted("127.0.0.1", public_url=PUBLIC) == ["localhost:1", "mcp.example.com"]
    assert accepted("127.0.0.1", authenticated=True) == ["localhost:1"]
    assert accepted("0.0.0.0", public_url=PUBLIC) == ["localhost:1", "mcp.example.com"]
    assert accepted("::", allow_hosts=["myhost"]) == ["localhost:1", "myhost"]
    assert accepted("10.9.9.9", public_url=PUBLIC) == ["10.9.9.9:1", "mcp.example.com"]
    assert accepted("myhost", public_url=PUBLIC) == ["myhost", "mcp.example.com"]
    assert accepted(None) == ["localhost:1"]
    assert accepted(None, allow_hosts=["myhost"]) == ["localhost:1", "myhost"]
    assert len(accepted("0.0.0.0", authenticated=True)) == 5
    assert accepted("0.0.0.0", authenticated=True, public_url=PUBLIC) == ["localhost:1", "mcp.example.com"]


def test_more_accepted_hosts_than_are_remembered() -> None:
    policy = AccessPolicy.for_bind("127.0.0.1")
    for port in range(1000):
        assert policy.check_host(f"localhost:{port}") is None
        assert policy.check_host(f"evil.com:{port}")


def refusals(policy: AccessPolicy, host: str | None, origins: Sequence[str | None]) -> list[str | None]:
    return [origin for origin in origins if policy.check_origin(origin, host) is not None]


def test_a_request_from_no_page_is_accepted() -> None:
    assert AccessPolicy.for_bind("127.0.0.1").check_origin(None, "localhost") is None
    assert AccessPolicy.for_bind("127.0.0.1").check_origin(None, None) is None


def test_a_loopback_listener_accepts_pages_of_this_machine_only() -> None:
    policy = AccessPolicy.for_bind("127.0.0.1")
    good = [f"{scheme}://{host}" for scheme in ("http", "https") for host in LOOPBACK] + ["HTTP://LOCALHOST:6274"]
    assert refusals(policy, "localhost:8000", good) == []
    bad = [f"http://{host}" for host in NOT_LOOPBACK + MALFORMED]
    assert refusals(policy, "localhost:8000", bad) == bad
    odd = [
        "null",
        "",
        "localhost",
        "ftp://localhost",
        "file://",
        "http:localhost",
        "http://localhost/",
        "x-y://localhost",
    ]
    assert refusals(policy, "localhost:8000", odd) == odd


def test_a_refused_origin_is_told_which_setting_to_change() -> None:
    policy = AccessPolicy.for_bind("127.0.0.1")
    assert "--allow-origin null" in str(policy.check_origin("null", "localhost"))
    text = str(policy.check_origin("https://App.example.com:444", "localhost"))
    assert "--allow-origin https://app.example.com:444 (allow_origins=)" in text
    assert "--public-url" in text


@pytest.mark.parametrize(
    ("allowed", "accepted", "refused"),
    [
        (
            "https://app.example.com",
            ["https://app.example.com", "https://app.example.com:443"],
            ["http://app.example.com", "https://app.example.com:8443", "https://x.app.example.com", "null"],
        ),
        ("https://app.example.com/", ["https://app.example.com"], ["https://app.example.com/"]),
        (
            "http://app.example.com:*",
            ["http://app.example.com", "http://app.example.com:3000"],
            ["https://app.example.com"],
        ),
        ("http://[2001:db8::1]:80", ["http://[2001:db8::1]", "http://[2001:db8:0::1]:80"], ["http://[2001:db8::1]:81"]),
        ("vscode-webview://0a1b", ["vscode-webview://0a1b"], ["vscode-webview://0a1c", "https://0a1b"]),
        ("null", ["null"], ["http://null"]),
        ("*", ["null", "https://a.b", "odd"], ["https://a.b\r\nX: 1", "https://é"]),
    ],
)
def test_allowed_origins(allowed: str, accepted: Sequence[str], refused: Sequence[str]) -> None:
    policy = AccessPolicy.for_bind("127.0.0.1", allow_origins=[allowed])
    assert refusals(policy, "localhost", accepted) == []
    assert refusals(policy, "localhost", refused) == list(refused)


def test_the_public_origin_is_accepted_whatever_host_the_proxy_passes_on() -> None:
    policy = AccessPolicy.for_bind("127.0.0.1", public_url=PUBLIC)
    assert refusals(policy, "127.0.0.1:8000", ["https://mcp.example.com", "https://mcp.example.com:443"]) == []
    bad = ["http://mcp.example.com", "https://mcp.example.com:8443", "https://mcp.example.com.evil.com"]
    assert refusals(policy, "127.0.0.1:8000", bad) == bad


def test_the_origin_of_the_server_itself_is_accepted() -> None:
    policy = AccessPolicy.for_bind("0.0.0.0", allow_hosts=["mcp.example.com", "other.example.com:8080"])
    assert refusals(policy, "mcp.example.com", ["https://mcp.example.com", "http://mcp.example.com"]) == []
    assert refusals(policy, "MCP.example.com:8000", ["http://mcp.example.com:8000"]) == []
    assert refusals(policy, "other.example.com:8080", ["http://other.example.com:8080"]) == []
    bad = ["https://mcp.example.com:8000", "http://other.example.com", "http://localhost:8000", "ftp://mcp.example.com"]
    assert refusals(policy, "mcp.example.com", bad) == bad
    assert refusals(policy, None, ["https://mcp.example.com"]) == ["https://mcp.example.com"]
    assert refusals(policy, "user@mcp.example.com", ["https://mcp.example.com"]) == ["https://mcp.example.com"]


def test_a_name_that_passes_by_the_wildcard_alone_vouches_for_no_origin() -> None:
    rebound = "http://evil.com:8000"
    policy = AccessPolicy.for_bind("0.0.0.0", allow_hosts=["*"])
    assert policy.check_host("evil.com:8000") is None
    assert "--allow-origin" in str(policy.check_origin(rebound, "evil.com:8000"))
    assert policy.check_origin("http://localhost:8000", "localhost:8000") is None
    # With authentication the page has no token to send, and the operator's own pages stay usable.
    policy = AccessPolicy.for_bind("0.0.0.0", allow_hosts=["*"], authenticated=True)
    assert policy.check_origin(rebound, "evil.com:8000") is None
    assert policy.check_origin("http://evil.com", "mcp.example.com")


@given(st.text(st.sampled_from("localhst127.0:[]@/\\#?% \t\x00evil.com"), max_size=30))
def test_no_spelling_lets_another_host_pass(text: str) -> None:
    policy = AccessPolicy.for_bind("127.0.0.1")
    if policy.check_host(text) is None:
        name = text.lower().partition("]")[0].strip("[") if "[" in text else text.lower().partition(":")[0]
        assert name.removesuffix(".") in ("localhost", "::1") or name.startswith("127.")
        assert not set(text) & set("@/\\#?% \t\x00vi")
    assert (policy.check_origin("http://" + text, "localhost") is None) == (policy.check_host(text) is None)


def test_cross_origin_headers() -> None:
    policy = AccessPolicy.for_bind("127.0.0.1")
    assert policy.response_headers(None) == policy.preflight_headers({}) == ()
    actual = dict(policy.response_headers("http://localhost:6274"))
    assert actual == {
        "access-control-allow-origin": "http://localhost:6274",
        "access-control-expose-headers": "Mcp-Session-Id, WWW-Authenticate, MCP-Protocol-Version, DPoP-Nonce",
        "vary": "Origin",
    }
    preflight = dict(
        policy.preflight_headers(
            {
                "origin": "http://localhost:6274",
                "access-control-request-headers": "content-type, Mcp-Param-Region,mcp-param-b ,mcp-param-, "
                "mcp-param-a:b,mcp-param-x y,x-evil,mcp-param-é",
            }
        )
    )
    assert preflight["access-control-allow-origin"] == "http://localhost:6274"
    assert preflight["access-control-allow-headers"].split(", ") == [
        "Authorization",
        "DPoP",
        "Content-Type",
        "Accept",
        "MCP-Protocol-Version",
        "Mcp-Method",
        "Mcp-Name",
        "Mcp-Session-Id",
        "Last-Event-ID",
        "Mcp-Param-Region",
        "mcp-param-b",
    ]
    assert set(preflight["access-control-allow-methods"].split(", ")) == {"GET", "POST", "DELETE", "OPTIONS"}
    assert preflight["access-control-max-age"] == str(PREFLIGHT_SECONDS)
    assert "Access-Control-Request-Headers" in preflight["vary"]
    assert "access-control-allow-credentials" not in {**actual, **preflight}
