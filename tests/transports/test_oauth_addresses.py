"""Which addresses and URLs a login may use, going by where the server itself is."""

import pytest

from mcpcore_transports.oauth.addresses import Reach, Zone, is_loopback_name, outermost, zone_of
from mcpcore_transports.oauth.errors import UntrustedMetadata


@pytest.mark.parametrize(
    ("address", "zone"),
    [
        ("93.184.215.14", Zone.PUBLIC),
        ("2606:2800:220:1:248:1893:25c8:1946", Zone.PUBLIC),
        ("10.1.2.3", Zone.PRIVATE),
        ("172.31.0.1", Zone.PRIVATE),
        ("192.168.0.1", Zone.PRIVATE),
        ("100.64.0.1", Zone.PRIVATE),
        ("fd00::1", Zone.PRIVATE),
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


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST.", "app.localhost", "127.9.9.9", "::1"])
def test_names_of_this_machine(name: str) -> None:
    assert is_loopback_name(name)
    assert not is_loopback_name(f"{name}.example")


@pytest.mark.parametrize(
    "url",
    [
        "https://login.example/x?y=1",
        "https://login.example:8443",
        "http://allowed.example:8080/token",
    ],
)
def test_urls_that_may_be_used(url: str) -> None:
    Reach(Zone.PUBLIC, ["allowed.example"]).check_url(url, "it")


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
        ("http://127.0.0.1/", "further inside"),
        ("https://192.168.1.1/", "further inside"),
        ("https://[::ffff:10.0.0.1]/", "further inside"),
        ("https://169.254.169.254/", "further inside"),
        ("", "no URL"),
    ],
)
def test_urls_that_must_not(url: str, says: str) -> None:
    with pytest.raises(UntrustedMetadata, match=says) as refused:
        Reach(Zone.PUBLIC, ["allowed.example"]).check_url(url, "the token_endpoint")
    assert str(refused.value).startswith("the token_endpoint")


def test_a_server_on_this_machine_may_use_what_is_on_it() -> None:
    for url in ("http://127.0.0.1:9/", "http://localhost/", "https://10.0.0.1/"):
        Reach(Zone.LOOPBACK).check_url(url, "it")
    with pytest.raises(UntrustedMetadata):
        Reach(Zone.LOOPBACK).check_url("http://10.0.0.1/", "it")
