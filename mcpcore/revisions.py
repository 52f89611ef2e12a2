"""The five dated revisions of MCP, their two eras, and every comparison between them.

Nothing outside this file compares revisions: a question such as "may this peer send batches?" is a
named property here, so that a sixth revision is one more row.
"""

from enum import Enum, StrEnum

__all__ = ("HANDSHAKE_REVISIONS", "LATEST", "LATEST_HANDSHAKE", "MODERN_REVISIONS", "REVISIONS", "Era", "Revision")


class Era(Enum):
    """How a peer says which revision it speaks."""

    LEGACY = "legacy"
    """An `initialize` handshake once per session: 2024-11-05 to 2025-11-25."""

    MODERN = "modern"
    """In the `_meta` of every request, with no session at all: 2026-07-28."""


Era.__hash__ = object.__hash__  # type: ignore[method-assign]  # every message asks; that of enum is written in Python


class Revision(StrEnum):
    """A protocol revision; its value is the string on the wire."""

    R2024_11_05 = "2024-11-05"
    R2025_03_26 = "2025-03-26"
    R2025_06_18 = "2025-06-18"
    R2025_11_25 = "2025-11-25"
    R2026_07_28 = "2026-07-28"

    era: Era
    is_modern: bool
    """Whether its era is the modern one."""
    batches: bool
    """Whether a JSON array of messages is legal: added by 2025-03-26, removed by 2025-06-18."""

    def __init__(self, value: str) -> None:
        # Attributes, and the hash of the string: every message asks for them, and what enum has instead is slow.
        self.is_modern = value == "2026-07-28"
        self.era = Era.MODERN if self.is_modern else Era.LEGACY
        self.batches = value == "2025-03-26"

    __hash__ = str.__hash__

    def at_least(self, other: "Revision") -> bool:
        """Whether this revision is `other` or came after it."""
        return _ORDER[self] >= _ORDER[other]

    @classmethod
    def parse(cls, text: str) -> "Revision | None":
        """The revision with this wire name, or None for one that is not implemented here."""
        return _BY_NAME.get(text)


REVISIONS: tuple[Revision, ...] = tuple(Revision)
_ORDER = {revision: index for index, revision in enumerate(REVISIONS)}
_BY_NAME = {revision.value: revision for revision in REVISIONS}

HANDSHAKE_REVISIONS: tuple[Revision, ...] = tuple(r for r in REVISIONS if r.era is Era.LEGACY)
MODERN_REVISIONS: tuple[Revision, ...] = tuple(r for r in REVISIONS if r.era is Era.MODERN)
LATEST = REVISIONS[-1]
LATEST_HANDSHAKE = HANDSHAKE_REVISIONS[-1]
