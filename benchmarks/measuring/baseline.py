"""Ratios against those of a baseline: what counts as a regression."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ("TOLERANCE", "Verdict", "compare", "dump", "load")

TOLERANCE = 0.2
"""By which part of the baseline a ratio may grow."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One piece of work, compared."""

    name: str
    expected: float | None
    """None when the baseline does not have it."""
    found: float | None
    """None when it was not measured."""
    tolerance: float

    @property
    def change(self) -> float | None:
        """By which part of the baseline it grew; negative when it shrank."""
        if self.expected is None or self.found is None:
            return None
        return self.found / self.expected - 1

    @property
    def regressed(self) -> bool:
        """Also when there is nothing to compare: a check that stopped measuring is no check."""
        return self.change is None or self.change > self.tolerance

    @property
    def improved(self) -> bool:
        """So much that the baseline no longer guards it."""
        return self.change is not None and self.change < -self.tolerance / (1 + self.tolerance)

    def __str__(self) -> str:
        if self.expected is None:
            return f"{self.name}: not in the baseline"
        if self.found is None:
            return f"{self.name}: not measured"
        word = "REGRESSION" if self.regressed else "improved: renew the baseline" if self.improved else "ok"
        return f"{self.name}: {self.found:.3f}, baseline {self.expected:.3f}, {100 * (self.change or 0):+.1f} %: {word}"


def compare(
    baseline: Mapping[str, float], found: Mapping[str, float], tolerance: float = TOLERANCE
) -> tuple[Verdict, ...]:
    """A verdict for everything that either of them has."""
    names = sorted({*baseline, *found})
    return tuple(
        Verdict(name=name, expected=baseline.get(name), found=found.get(name), tolerance=tolerance) for name in names
    )


def load(text: str) -> dict[str, float]:
    """The ratios of a baseline file. Raises ValueError for a ratio that is no positive number."""
    ratios = json.loads(text)["ratios"]
    for name, ratio in ratios.items():
        if not isinstance(ratio, int | float) or isinstance(ratio, bool) or ratio <= 0:
            raise ValueError(f"{name}: a ratio is a positive number, not {ratio!r}")
    return {name: float(ratio) for name, ratio in ratios.items()}


def dump(found: Mapping[str, float]) -> str:
    """A baseline file."""
    what = "instructions per request, ours over the limit's: renew with benchmarks/instructions.py --write"
    return (
        json.dumps({"what": what, "ratios": {name: round(found[name], 3) for name in sorted(found)}}, indent=1) + "\n"
    )
