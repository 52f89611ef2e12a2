"""What the check of CI calls a regression."""

import json
from pathlib import Path

import pytest
from measuring.baseline import compare, dump, load

BASELINE = Path(__file__).parents[2] / "benchmarks" / "baseline.json"


@pytest.mark.parametrize(
    ("found", "regressed", "improved"),
    [
        (2.0, False, False),
        (2.39, False, False),
        (2.41, True, False),
        (2.5, True, False),
        (1.7, False, False),
        (1.6, False, True),
    ],
)
def test_a_fifth_more_is_a_regression(found: float, regressed: bool, improved: bool) -> None:
    (verdict,) = compare({"stdio": 2.0}, {"stdio": found})
    assert (verdict.regressed, verdict.improved) == (regressed, improved)


def test_the_tolerance_can_be_chosen() -> None:
    (verdict,) = compare({"stdio": 2.0}, {"stdio": 2.2}, 0.05)
    assert verdict.regressed
    assert str(verdict) == "stdio: 2.200, baseline 2.000, +10.0 %: REGRESSION"


def test_what_was_not_measured_and_what_is_not_in_the_baseline_fail() -> None:
    gone, unknown = compare({"gone": 1.0}, {"new": 1.0})
    assert gone.regressed
    assert unknown.regressed
    assert [str(gone), str(unknown)] == ["gone: not measured", "new: not in the baseline"]


def test_an_improvement_asks_for_a_baseline_that_guards_it() -> None:
    (verdict,) = compare({"stdio": 2.0}, {"stdio": 1.0})
    assert str(verdict) == "stdio: 1.000, baseline 2.000, -50.0 %: improved: renew the baseline"


def test_what_is_written_is_read() -> None:
    assert load(dump({"http": 1.26, "stdio": 2.31249})) == {"http": 1.26, "stdio": 2.312}


@pytest.mark.parametrize("ratio", [0, -1, "1.2", None, True])
def test_a_ratio_is_a_positive_number(ratio: object) -> None:
    with pytest.raises(ValueError, match="stdio"):
        load(json.dumps({"ratios": {"stdio": ratio}}))


def test_the_baseline_covers_every_transport_on_both_backends() -> None:
    kinds = {name.rpartition(" ")[0] for name in load(BASELINE.read_text())}
    assert {f"{kind} {backend}" for kind in kinds for backend in ("asyncio", "trio")} == set(load(BASELINE.read_text()))
    assert kinds == {"stdio", "http", "events", "memory"}
