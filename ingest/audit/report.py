"""Findings of a check of a journal stream."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

PROBLEMS_MAX = 20  # listed per kind and stream; all are counted


@dataclass(slots=True)
class StreamReport:
    """Findings in one stream of a journal."""

    collector: str
    stream: str
    segments: int = 0
    frames: int = 0
    committed: int = 0
    pending: int = 0
    quarantined: int = 0
    ticks: int = 0  # rows that the committed frames should have
    rejected: int = 0  # updates and rows rejected, with the reason recorded
    unlisted_updates: int = 0  # of rejected: only counted, because the limit of a day was reached
    unlisted_frames: int = 0  # of quarantined: the same
    duplicates: int = 0  # updates that the other of two connections had already brought
    problem_counts: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # ends without a disconnect record: what may have been lost there

    @property
    def adds_up(self) -> bool:
        """Return whether nothing is missing, duplicated or damaged."""
        return not self.problem_counts

    def note(self, kind: str, text: str) -> None:
        """Add a problem."""
        self.problem_counts[kind] = self.problem_counts.get(kind, 0) + 1
        if self.problem_counts[kind] <= PROBLEMS_MAX:
            self.problems.append(f"{kind}: {text}")

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"adds_up": self.adds_up}
