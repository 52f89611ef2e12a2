"""Names of several servers side by side."""

import itertools
import re

import pytest

from mcpcore.prefixing import MAX_NAME, prefixed


@pytest.mark.parametrize(
    ("server", "name", "shown"),
    [
        ("weather", "forecast", "weather__forecast"),
        ("a", "_b", "a___b"),
        ("a-b", "c_d", "a-b__c_d"),
        ("a", "b__c", "a__b__c"),
    ],
)
def test_a_plain_name(server: str, name: str, shown: str) -> None:
    assert prefixed(server, name) == shown


@pytest.mark.parametrize(
    ("server", "name", "start"),
    [
        ("a__b", "c", "a__b__c_"),
        ("a_", "b", "a___b_"),
        ("my server", "get.it", "my_server__get_it_"),
        ("ä", "b/c", "___b_c_"),
        ("s" * 40, "t" * 40, "s" * 40 + "__"),
    ],
)
def test_one_that_is_not_allowed_or_means_two_things(server: str, name: str, start: str) -> None:
    shown = prefixed(server, name)
    assert shown.startswith(start)
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", shown)
    assert re.search(r"_[0-9a-f]{12}$", shown)
    assert prefixed(server, name) == shown


def test_no_two_are_the_same() -> None:
    parts = ["a", "a_", "_a", "a__a", "a.a", "a a", "_", "__", "x" * 70, "x" * 71, ""]
    shown = [prefixed(server, name) for server, name in itertools.product(parts, parts)]
    assert len(set(shown)) == len(shown)
    assert max(map(len, shown)) <= MAX_NAME
