"""Which addresses and URLs that a peer names may be used, going by where that peer is."""

import pytest

from mcpcore_transports.framing.addresses import Reach, Zone, is_loopback_host, outermost, split_strictly, zone_of


@pytest.mark.parametrize(
    ("address", "zone"),
    [
        ("93.184.215.14", Zone.PUBLIC),
        ("2606:2800:220:1:248:1893:25c8:1946", Zone.PUBLIC),
        ("::ffff:8.8.8.8", Zone.PUBLIC),
        ("64:ff9b::808:808", Zone.PUBLIC),
        ("10.1.2.3", Zone.PRIVATE),
        ("172.31.0.1", Zone.PRIVATE),
        ("192.168.0.1", Zone.PRIVATE),
        ("100.64.0.1", Zone.PRIVATE),
        ("fd00::1", Zone.PRIVATE),
        ("2001:db8::1", Zone.PRIVATE),
        ("64:ff9b::a00:1", Zone.PRIVATE),
        ("127.0.0.1", Zone.LOOPBACK),
        ("127.255.0.1", Zone.LOOPBACK),
        ("::1", Zone.LOOPBACK),
        ("::ffff:127.0.0.1", Zone.LOOPBACK),
        ("::ffff:10.0.0.1", Zone.PRIVATE),
        ("64:ff9b::7f00:1", Zone.LOOPBACK),
        ("2002:a00:1::", Zone.PRIVATE),
        ("169.254.169.254", Zone.FORBIDDEN),
        ("::ffff:169.254.169.254", Zone.FORBIDDEN),
        ("fe80::1%eth0", Zone.FORBIDDEN),
        ("0.0.0.0", Zone.FORBIDDEN),
        ("::", Zone.FORBIDDEN),
        ("224.0.0.1", Zone.FORBIDDEN),
        ("ff02::1", Zone.FORBIDDEN),
        ("64:ff9b:1::a00:1", Zone.FORBIDDEN),
        ("::a00:1", Zone.FORBIDDEN),
        ("", Zone.FORBIDDEN),
        ("255.255.255.255", Zone.FORBIDDEN),
        ("localhost", Zone.FORBIDDEN),
        ("2130706433", Zone.FORBIDDEN),
    ],
)
def test_zones(address: str, zone: Zone) -> None:
    assert zone_of(address) is zone


def test_a_server_is_where_its_outermost_address_is() -> None:
    assert outermost(["127.0.0.1", "93.184.215.14"]) is Zone.PUBLIC
    assert outermost(["127.0.0.1", "10.0.0.1"]) is Zone.PRIVATE
    assert outermost(["::1"]) is Zone.LOOPBACK
    assert outermost([]) is Zone.PUBLIC


@pytest.mark.parametrize("zone", list(Zone))
def test_nothing_further_inside_is_admitted(zone: Zone) -> None:
    reach = Reach(zone, ["Friend.example."])
    by_zone = {
        Zone.PUBLIC: "93.184.215.14",
        Zone.PRIVATE: "10.0.0.1",
        Zone.LOOPBACK: "::1",
        Zone.FORBIDDEN: "169.254.0.1",
    }
    for there, address in by_zone.items():
        assert reach.admits("name.example", address) is (there <= zone)
        assert reach.admits("friend.example", address)


@pytest.mark.parametrize("host", ["localhost", "app.localhost", "127.9.9.9", "::1"])
def test_names_of_this_machine(host: str) -> None:
    assert is_loopback_host(host)
    assert not is_loopback_host(f"{host}.example")
    for zone in Zone:
        reach = Reach(zone, [host])
        assert reach.admits(host, "127.0.0.1")
        assert not reach.admits(host, "93.184.215.14"), "a resolver does not decide what this machine is"
    assert not Reach().admits(host, "127.0.0.1")
    here = Reach(this_machine=True)
    assert here.admits(host, "127.0.0.1")
    assert not here.admits(host, "169.254.169.254")
    assert not here.admits("name.example", "127.0.0.1")
    assert not here.admits("name.example", "10.0.0.1")


@pytest.mark.parametrize(
    "host",
    [
        "localhost.evil.example",
        "localhost.",
        "10.0.0.1",
        "0.0.0.0",
        "",
        "evil",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2130706433",
    ],
)
def test_what_only_leads_to_this_machine_is_no_name_of_it(host: str) -> None:
    assert not is_loopback_host(host)
    assert not Reach(this_machine=True).admits(host, "127.0.0.1")


@pytest.mark.parametrize(
    "url",
    [
        "https://login.example/x?y=1",
        "https://login.example:8443",
        "http://allowed.example:8080/token",
    ],
)
def test_urls_that_may_be_used(url: str) -> None:
    assert Reach(Zone.PUBLIC, ["allowed.example"]).refusal(url, "it") is None


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://login.example/", "no https URL"),
        ("ftp://login.example/", "no https URL"),
        ("javascript:alert(1)", "no URL"),
        ("https://", "no URL"),
        ("https://[x", "no URL"),
        ("https://a:99999/", "no URL"),
        ("https://a b/", "no URL"),
        ("https://a\\@b/", "no URL"),
        ("https://ä.example/", "no URL"),
        ("https://allowed.example@evil.example/", "user information"),
        ("https://localhost/", "further inside"),
        ("https://localhost./", "further inside"),
        ("http://localhost./", "no https URL"),
        ("http://[::ffff:127.0.0.1]/", "no https URL"),
        ("https://a\tb/", "no URL"),
        ("http://127.0.0.1/", "further inside"),
        ("https://192.168.1.1/", "further inside"),
        ("https://[::ffff:10.0.0.1]/", "further inside"),
        ("https://169.254.169.254/", "further inside"),
        ("", "no URL"),
    ],
)
def test_urls_that_must_not(url: str, says: str) -> None:
    refusal = Reach(Zone.PUBLIC, ["allowed.example"]).refusal(url, "the token_endpoint") or ""
    assert (refusal.startswith("the token_endpoint"), says in refusal) == (True, True), refusal


def test_a_server_on_this_machine_may_use_what_is_on_it() -> None:
    for url in ("http://127.0.0.1:9/", "http://localhost/", "https://10.0.0.1/"):
        assert Reach(Zone.LOOPBACK).refusal(url, "it") is None
    for url in ("http://10.0.0.1/", "https://169.254.169.254/"):
        assert Reach(Zone.LOOPBACK).refusal(url, "it") is not None


def test_a_url_that_parsers_differ_about_is_none() -> None:
    for url in ("https://h.example\\@evil.example", "https://h.example/\n", "https://h .example", "https://", "x"):
        assert split_strictly(url) is None, url
    parts = split_strictly("https://h.example:8443/x?y#z")
    assert parts is not None
    assert (parts.hostname, parts.port) == ("h.example", 8443)
