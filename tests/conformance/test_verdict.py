"""The verdict on a run of the conformance suite: strict both ways."""

import pytest
from conformance.verdict import EXPECTED, TOTALS, complaints, read_expected

LISTED = [(("2025-11-25", "client", "required"), "auth/one"), (("2026-07-28", "client", "not_scored"), "auth/two")]
GOOD = """\
2025-11-25 client required: 17/18 scenarios, 50/54 checks, 0 warnings, 0 skipped
2025-11-25 client not_scored: 7/7 scenarios, 22/22 checks, 0 warnings, 0 skipped
   | required | auth/one | failed: something; nothing was proved; client exit code 1
2026-07-28 client required: 32/32 scenarios, 112/112 checks, 0 warnings, 2 skipped
2026-07-28 client not_scored: 6/7 scenarios, 20/22 checks, 0 warnings, 0 skipped
   | not_scored | auth/two | nothing was proved
results: somewhere
"""


def test_what_is_expected_is_fine() -> None:
    assert complaints("client", GOOD, LISTED) == []


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("required | auth/one", "required | initialize", "2025-11-25 client required initialize: failed: something"),
        ("17/18", "17/17", "2025-11-25 client required: 17 scenarios ran, and the pinned suite has 18"),
        ("17/18", "16/18", "2025-11-25 client required: the gate counted 16 of 18, and named other failures"),
        ("2026-07-28 client required: 32", "lost: 32", "2026-07-28 client required: the gate printed no result"),
    ],
)
def test_what_is_not_expected_is_told(before: str, after: str, complaint: str) -> None:
    assert before in GOOD
    assert any(line.startswith(complaint) for line in complaints("client", GOOD.replace(before, after), LISTED))


def test_a_listed_scenario_that_passes_is_told() -> None:
    output = GOOD.replace("6/7", "7/7").replace("   | not_scored | auth/two | nothing was proved\n", "")
    assert complaints("client", output, LISTED) == [
        "2026-07-28 client not_scored auth/two: passes, so its line in expected_failures.txt has to go"
    ]


def test_the_same_scenario_of_another_revision_is_not_excused() -> None:
    output = GOOD.replace("32/32", "31/32").replace(
        "   | not_scored", "   | required | auth/one | failed: x\n   | not_scored"
    )
    assert complaints("client", output, LISTED) == ["2026-07-28 client required auth/one: failed: x"]


def test_a_run_that_printed_nothing_is_told() -> None:
    assert len(complaints("server", "", [])) == 4


def test_only_logins_and_tasks_are_excused() -> None:
    entries = read_expected(EXPECTED.read_text())
    assert len(entries) == len(set(entries))
    assert {group for group, _ in entries} <= set(TOTALS)
    for (_, leg, group), scenario in entries:
        assert (
            scenario.startswith("auth/")
            if leg == "client"
            else (group == "not_scored" and scenario.startswith("tasks-"))
        )
