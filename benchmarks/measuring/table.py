"""What a program found, as a table for people and as JSON for programs."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from measuring.slices import Row, ratio

__all__ = ("Case", "Report", "as_json", "as_text")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One table: the same work done by all."""

    name: str
    unit: str
    rows: tuple[Row, ...]
    more_is_better: bool = False
    reference: str = "ours asyncio"
    """The row that the others are compared with."""

    def row(self, name: str) -> Row | None:
        return next((row for row in self.rows if row.name == name), None)


@dataclass(frozen=True, kw_only=True)
class Report:
    """All cases of one question."""

    question: str
    title: str
    cases: tuple[Case, ...]
    versions: tuple[str, ...]
    machine: str


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}"


def _cells(case: Case, row: Row) -> tuple[str, ...]:
    if row.why_not is not None:
        return (row.name, row.why_not, "", "", "")
    times = ratio(row, case.row(case.reference))
    spread = f"{_number(row.smallest)}..{_number(row.largest)}"
    return (row.name, _number(row.median), spread, str(len(row.values)), "-" if times is None else f"{times:.2f}")


def _lines(case: Case) -> Iterable[str]:
    direction = "more is better" if case.more_is_better else "less is better"
    yield f"{case.name} [{case.unit}, {direction}]"
    head = ("who", "median", "min..max", "slices", f"x {case.reference}")
    cells = [head, *(_cells(case, row) for row in case.rows)]
    widths = [max(len(line[column]) for line in cells if line[2] or column == 0) for column in range(len(head))]
    for line in cells:
        if not line[2]:
            yield f"  {line[0]:<{widths[0]}}  {line[1]}"
            continue
        numbers = "  ".join(f"{cell:>{width}}" for cell, width in zip(line[1:], widths[1:], strict=True))
        yield f"  {line[0]:<{widths[0]}}  {numbers}"


def as_text(report: Report) -> str:
    parts = [report.title, *("\n" + "\n".join(_lines(case)) for case in report.cases)]
    return "\n".join([*parts, "", f"{report.machine}; {', '.join(report.versions)}"])


def as_json(report: Report) -> str:
    found: dict[str, Any] = {
        "question": report.question,
        "title": report.title,
        "machine": report.machine,
        "versions": list(report.versions),
        "cases": [
            {
                "name": case.name,
                "unit": case.unit,
                "more_is_better": case.more_is_better,
                "reference": case.reference,
                "rows": [
                    {
                        "name": row.name,
                        "group": row.group,
                        "median": row.median,
                        "min": row.smallest,
                        "max": row.largest,
                        "slices": len(row.values),
                        "ratio": ratio(row, case.row(case.reference)),
                        "values": list(row.values),
                        "why_not": row.why_not,
                    }
                    for row in case.rows
                ],
            }
            for case in report.cases
        ],
    }
    return json.dumps(found, indent=1) + "\n"
