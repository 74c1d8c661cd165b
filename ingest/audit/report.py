"""What a check of a journal stream found."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

PROBLEMS_MAX = 20  # of one kind in one stream that are listed; all are counted


@dataclass(slots=True)
class StreamReport:
    """What was found in one stream of a journal."""

    collector: str
    stream: str
    segments: int = 0
    frames: int = 0
    committed: int = 0
    pending: int = 0
    quarantined: int = 0
    ticks: int = 0  # rows that the committed frames should have
    rejected: int = 0  # updates and rows that made no row, with a reason on record
    duplicates: int = 0  # updates that the other of two connections had brought
    problem_counts: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # where it ended without a word: what may have been lost there

    @property
    def adds_up(self) -> bool:
        """Whether nothing is missing, nothing is there twice and nothing is damaged."""
        return not self.problem_counts

    def note(self, kind: str, text: str) -> None:
        """Add a problem."""
        self.problem_counts[kind] = self.problem_counts.get(kind, 0) + 1
        if self.problem_counts[kind] <= PROBLEMS_MAX:
            self.problems.append(f"{kind}: {text}")

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"adds_up": self.adds_up}
