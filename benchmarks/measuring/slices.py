"""Interleaved measuring: every contestant has a slice in each round, in an order that changes.

A machine that is slow for a while is then slow for all of them. What is reported is the median of the slices, and the
smallest and the largest of them as the spread.
"""

import random
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ("Row", "Slice", "interleaved", "ratio")

Slice = Callable[[], float]
"""Measures once: does the work for a slice of time and returns one figure."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """The figures of one contestant, or the reason why there are none."""

    name: str
    group: str
    """ours, peer or limit."""
    values: tuple[float, ...] = ()
    why_not: str | None = None

    @property
    def median(self) -> float | None:
        return statistics.median(self.values) if self.values else None

    @property
    def smallest(self) -> float | None:
        return min(self.values, default=None)

    @property
    def largest(self) -> float | None:
        return max(self.values, default=None)


def ratio(row: Row, reference: Row | None) -> float | None:
    """How many times the reference's median this one's is; None when either has none, or the reference's is 0."""
    if reference is None or row.median is None or not reference.median:
        return None
    return row.median / reference.median


def interleaved(contestants: Mapping[str, Slice], slices: int, *, seed: int = 0) -> dict[str, list[float] | Exception]:
    """Rounds of one slice for each, shuffled. Who raises is out, and what was raised stands for the figures."""
    order = random.Random(seed)
    figures: dict[str, list[float] | Exception] = {name: [] for name in contestants}
    for _ in range(slices):
        names = [name for name, found in figures.items() if isinstance(found, list)]
        order.shuffle(names)
        for name in names:
            found = figures[name]
            assert isinstance(found, list)
            try:
                found.append(contestants[name]())
            except (OSError, RuntimeError, ValueError, AssertionError) as problem:
                figures[name] = problem
    return figures
