"""The table at the end of `make soak`: each test by its file, how it ended, how long it took, and its figures.

A test leaves a figure by pytest's `record_property`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby

import pytest

KINDS = ("error", "failed", "passed", "skipped", "")  # worst first; "" is a set-up or a tear-down that worked


@dataclass(slots=True)
class Outcome:
    """How one test ended. The seconds include set-up and tear-down."""

    kind: str = ""
    seconds: float = 0.0
    figures: dict[str, object] = field(default_factory=dict)

    def add(self, kind: str, report: pytest.TestReport) -> None:
        """Take one of the reports of a test: of its set-up, its call or its tear-down."""
        self.kind = min(self.kind, kind, key=KINDS.index)
        self.seconds += report.duration
        self.figures |= dict(report.user_properties)


def table_of(reports: Iterable[tuple[str, pytest.TestReport]]) -> list[str]:
    """Return the lines of the table.

    Parameters
    ----------
    reports
        Every report of the run, with the kind that pytest counts it under.
    """
    outcomes: dict[str, Outcome] = {}
    for kind, report in reports:
        outcomes.setdefault(report.nodeid, Outcome()).add(kind, report)
    lines: list[str] = []
    for path, nodeids in groupby(sorted(outcomes), key=lambda nodeid: nodeid.partition("::")[0]):
        lines += ["", path]
        for nodeid in nodeids:
            outcome = outcomes[nodeid]
            lines.append(f"  {outcome.kind:8}{outcome.seconds:8.1f} s  {nodeid.partition('::')[2]}")
            lines += [f"  {'':20}{name} {_shown(figure)}" for name, figure in outcome.figures.items()]
    counts = Counter(outcome.kind for outcome in outcomes.values())
    said = ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts[kind])
    return [*lines, "", f"{said} in {sum(outcome.seconds for outcome in outcomes.values()):.0f} s"] if lines else []


def _shown(figure: object) -> str:
    return f"{figure:,}" if isinstance(figure, int) else str(figure)
