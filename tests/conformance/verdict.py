"""Whether a run of the conformance suite ended as this release should.

usage: verdict.py server|client GATE_OUTPUT [MORE_FAILURES]

The suite's strict gate (`gate.py`) prints, for each revision, how many scenarios passed and one line for each that did
not. They have to be the ones in `expected_failures.txt`, and in the file MORE_FAILURES, no more and no fewer.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

__all__ = ("EXPECTED", "TOTALS", "Group", "complaints", "read_expected")

Group: TypeAlias = tuple[str, str, str]
"""Revision, leg, and "required" or "not_scored": what the gate counts together."""

EXPECTED = Path(__file__).parent / "expected_failures.txt"

TOTALS: dict[Group, int] = {
    ("2025-11-25", "server", "required"): 30,
    ("2025-11-25", "server", "not_scored"): 3,
    ("2026-07-28", "server", "required"): 37,
    ("2026-07-28", "server", "not_scored"): 13,
    ("2025-11-25", "client", "required"): 18,
    ("2025-11-25", "client", "not_scored"): 7,
    ("2026-07-28", "client", "required"): 32,
    ("2026-07-28", "client", "not_scored"): 7,
}
"""Scenarios in each group of the pinned suite. A run that counted fewer has not shown what it should."""

_SUMMARY = re.compile(r"(\S+) (server|client) (required|not_scored): (\d+)/(\d+) scenarios,")
_FAILURE = re.compile(r"   \| (required|not_scored) \| (\S+) \| (.*)")


def complaints(leg: str, output: str, expected: Iterable[tuple[Group, str]]) -> list[str]:
    """What is wrong with what the gate printed about a leg; empty when nothing is."""
    counts: dict[Group, tuple[int, int]] = {}
    failed: dict[tuple[Group, str], str] = {}
    revision = ""
    for line in output.splitlines():
        if found := _SUMMARY.match(line):
            revision = found[1]
            counts[revision, found[2], found[3]] = int(found[4]), int(found[5])
        elif found := _FAILURE.match(line):
            failed[(revision, leg, found[1]), found[2]] = found[3]
    wrong = []
    for group, total in TOTALS.items():
        if group[1] != leg:
            continue
        name = " ".join(group)
        if group not in counts:
            wrong.append(f"{name}: the gate printed no result")
            continue
        passed, counted = counts[group]
        if counted != total:
            wrong.append(f"{name}: {counted} scenarios ran, and the pinned suite has {total}")
        if passed + sum(of == group for of, _ in failed) != counted:
            wrong.append(f"{name}: the gate counted {passed} of {counted}, and named other failures")
    listed = {entry for entry in expected if entry[0][1] == leg}
    wrong += [
        f"{' '.join(group)} {name}: {why}" for (group, name), why in failed.items() if (group, name) not in listed
    ]
    wrong += [
        f"{' '.join(group)} {name}: passes, so its line in {EXPECTED.name} has to go"
        for group, name in sorted(listed)
        if group in counts and (group, name) not in failed
    ]
    return wrong


def read_expected(text: str) -> list[tuple[Group, str]]:
    """The failures that are expected. Raises ValueError for a line that is none."""
    entries = []
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            revision, leg, group, scenario = line.split()
            entries.append(((revision, leg, group), scenario))
    return entries


def main() -> int:
    leg, output = sys.argv[1], Path(sys.argv[2]).read_text()
    expected = [entry for file in (EXPECTED, *map(Path, sys.argv[3:])) for entry in read_expected(file.read_text())]
    wrong = complaints(leg, output, expected)
    for line in wrong:
        print(f"conformance: {line}", file=sys.stderr)
    print(f"conformance, {leg}: {'not as expected' if wrong else 'as expected'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
