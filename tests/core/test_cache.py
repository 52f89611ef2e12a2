"""ResultCache: how long results are kept, how many, and what a change drops."""

import pytest

from mcpcore.cache import MAX_ENTRIES, ResultCache


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_result_is_fresh_up_to_its_time_and_not_at_it(clock: Clock) -> None:
    cache = ResultCache(clock)
    cache.put("tools/list", "", "result", 1500)
    assert cache.get("tools/list", "") == "result"
    clock.now += 1.499
    assert cache.get("tools/list", "") == "result"
    clock.now += 0.001
    assert cache.get("tools/list", "") is None
    clock.now -= 1
    assert cache.get("tools/list", "") is None  # what was stale once is gone


@pytest.mark.parametrize("ttl_ms", [None, 0, -5])
def test_without_a_time_to_live_nothing_is_kept(clock: Clock, ttl_ms: int | None) -> None:
    cache = ResultCache(clock)
    cache.put("tools/list", "", "result", ttl_ms)
    assert cache.get("tools/list", "") is None


def test_a_later_result_replaces_an_earlier_one(clock: Clock) -> None:
    cache = ResultCache(clock)
    cache.put("tools/list", "", "old", 1000)
    clock.now += 0.9
    cache.put("tools/list", "", "new", 1000)
    clock.now += 0.9
    assert cache.get("tools/list", "") == "new"


def test_methods_and_keys_do_not_mix(clock: Clock) -> None:
    cache = ResultCache(clock)
    cache.put("tools/list", "a", 1, 1000)
    assert cache.get("tools/list", "b") is None
    assert cache.get("prompts/list", "a") is None


def test_one_key_or_a_whole_method_is_forgotten(clock: Clock) -> None:
    cache = ResultCache(clock)
    for method in ("resources/read", "tools/list"):
        for key in ("a", "b"):
            cache.put(method, key, f"{method} {key}", 1000)
    cache.forget("resources/read", "a")
    assert cache.get("resources/read", "a") is None
    assert cache.get("resources/read", "b") == "resources/read b"
    cache.forget("tools/list")
    assert cache.get("tools/list", "a") is None
    assert cache.get("tools/list", "b") is None
    assert cache.get("resources/read", "b") == "resources/read b"
    cache.forget("prompts/list")


def test_what_was_not_used_for_longest_goes_first(clock: Clock) -> None:
    cache = ResultCache(clock, limit=3)
    for key in "abc":
        cache.put("resources/read", key, key, 1000)
    assert cache.get("resources/read", "a") == "a"
    cache.put("resources/read", "d", "d", 1000)
    assert [cache.get("resources/read", key) for key in "abcd"] == ["a", None, "c", "d"]


def test_a_client_keeps_a_bounded_number_of_results(clock: Clock) -> None:
    cache = ResultCache(clock)
    for number in range(MAX_ENTRIES + 10):
        cache.put("resources/read", number, number, 1000)
    kept = [number for number in range(MAX_ENTRIES + 10) if cache.get("resources/read", number) is not None]
    assert kept == list(range(10, MAX_ENTRIES + 10))
