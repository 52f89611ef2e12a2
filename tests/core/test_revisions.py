"""The five revisions: their order, their eras, and what only some of them have."""

from itertools import combinations

import pytest

from mcpcore.revisions import (
    HANDSHAKE_REVISIONS,
    LATEST,
    LATEST_HANDSHAKE,
    MODERN_REVISIONS,
    REVISIONS,
    Era,
    Revision,
)

DATES = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")


def test_all_five_in_the_order_of_their_dates() -> None:
    assert tuple(revision.value for revision in REVISIONS) == DATES


def test_each_came_after_those_before_it() -> None:
    for earlier, later in combinations(REVISIONS, 2):
        assert later.at_least(earlier)
        assert not earlier.at_least(later)


def test_each_is_at_least_itself(revision: Revision) -> None:
    assert revision.at_least(revision)


def test_the_last_one_ended_the_handshake() -> None:
    assert [revision.era for revision in REVISIONS] == [Era.LEGACY] * 4 + [Era.MODERN]
    assert REVISIONS[:4] == HANDSHAKE_REVISIONS
    assert REVISIONS[4:] == MODERN_REVISIONS
    assert (LATEST, LATEST_HANDSHAKE) == (Revision.R2026_07_28, Revision.R2025_11_25)


def test_batches_were_there_for_one_revision() -> None:
    assert [revision for revision in REVISIONS if revision.batches] == [Revision.R2025_03_26]


def test_the_name_on_the_wire_is_read_and_written(revision: Revision) -> None:
    assert Revision.parse(revision.value) is revision
    assert str(revision) == revision.value


@pytest.mark.parametrize("text", ["", "2024-10-07", "2025-11-25 ", "2025-11-25-draft", "R2025_11_25", "LATEST"])
def test_another_name_is_no_revision(text: str) -> None:
    assert Revision.parse(text) is None
