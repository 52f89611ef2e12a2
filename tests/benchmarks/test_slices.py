"""Interleaved slices, their medians and their ratios."""

import pytest
from measuring.slices import Row, interleaved, ratio


def row(*values: float, name: str = "someone") -> Row:
    return Row(name=name, group="peer", values=values)


def test_the_median_and_the_spread() -> None:
    measured = row(3.0, 1.0, 10.0)
    assert (measured.median, measured.smallest, measured.largest) == (3.0, 1.0, 10.0)


def test_who_was_not_measured_has_no_figures() -> None:
    missing = Row(name="peer", group="peer", why_not="not installed")
    assert (missing.median, missing.smallest, missing.largest) == (None, None, None)
    assert ratio(missing, row(1.0)) is None


@pytest.mark.parametrize(("values", "expected"), [((6.0,), 3.0), ((1.0,), 0.5), ((2.0, 4.0), 1.5)])
def test_a_ratio_is_between_medians(values: tuple[float, ...], expected: float) -> None:
    assert ratio(row(*values), row(2.0)) == expected


@pytest.mark.parametrize("reference", [None, row(), row(0.0)])
def test_there_is_no_ratio_without_a_reference(reference: Row | None) -> None:
    assert ratio(row(1.0), reference) is None


def test_everybody_has_a_slice_in_each_round_and_the_order_changes() -> None:
    turns: list[str] = []

    def contestant(name: str) -> float:
        turns.append(name)
        return float(len(turns))

    names = ("a", "b", "c")
    found = interleaved({name: lambda name=name: contestant(name) for name in names}, 20)
    rounds = [turns[start : start + 3] for start in range(0, 60, 3)]
    assert [sorted(order) for order in rounds] == [list(names)] * 20
    assert len({tuple(order) for order in rounds}) > 1
    assert {name: len(figures) for name, figures in found.items() if isinstance(figures, list)} == dict.fromkeys(
        names, 20
    )


def test_who_fails_is_out_and_the_others_go_on() -> None:
    calls = 0

    def breaks() -> float:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise RuntimeError("the server ended")
        return 1.0

    found = interleaved({"breaks": breaks, "works": lambda: 2.0}, 4)
    assert str(found["breaks"]) == "the server ended"
    assert calls == 2
    assert found["works"] == [2.0] * 4


def test_a_mistake_in_the_benchmark_itself_is_not_a_row() -> None:
    def wrong() -> float:
        raise TypeError("called with the wrong arguments")

    with pytest.raises(TypeError):
        interleaved({"wrong": wrong}, 1)
