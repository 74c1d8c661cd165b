"""Check that each day adds up: bars + gaps = volume counted by the exchange. Reads only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

import psycopg

from ingest.audit.report import PROBLEMS_MAX
from ingest.database.connections import translated
from ingest.database.queries import query
from ingest.market.time import day_span


@dataclass(slots=True)
class VolumeReport:
    """Findings of one day, in units."""

    day: date
    instruments: int = 0
    bar_volume: int = 0
    gap_volume: int = 0
    day_volume: int = 0
    differing: int = 0
    unsettled: int = 0  # minutes whose bars are still forming or not yet made: not judged, but their ticks are
    unlisted: int = 0  # rejected updates that are only counted: their instruments are not known, and may differ
    skipped: str = ""  # why the day was not checked
    problems: list[str] = field(default_factory=list)

    @property
    def adds_up(self) -> bool:
        """Return whether the volume of every instrument is accounted for, as far as it can be told."""
        return not self.differing or self.unlisted > 0

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"day": self.day.isoformat(), "adds_up": self.adds_up}


def verify_volumes(connection: psycopg.Connection[Any], day: date | None = None) -> Iterator[VolumeReport]:
    """Check each recorded day, or one: volume of bars + volume of gaps = last `vtt`, for every instrument.

    Raises
    ------
    StoreError
        If the database cannot be read.
    """
    with translated():
        rejected = {row[0] for row in connection.execute(query("audit/rejected_instruments"))}
        always = {"start": "-infinity", "end": "infinity"}
        dropped = {row[0] for row in connection.execute(query("shared/dropped_days"), always)}
        for recorded, collectors in connection.execute(query("audit/recorded_days")).fetchall():
            if day not in (None, recorded):
                continue
            if recorded in dropped:
                yield VolumeReport(recorded, skipped="its ticks were dropped by retention")
            else:
                yield _verify_day(connection, recorded, collectors, rejected)


def _verify_day(connection: psycopg.Connection[Any], day: date, collectors: int, rejected: set[int]) -> VolumeReport:
    report = VolumeReport(day)
    if collectors > 1:
        # One collector may have heard what another missed: gaps and bars overlap.
        report.skipped = f"{collectors} collectors recorded it"
        return report
    start, end = day_span(day)
    span = {"start": start, "end": end}
    [(report.unsettled,)] = connection.execute(query("audit/unsettled_minutes"), span).fetchall()
    [(report.unlisted,)] = connection.execute(query("audit/unlisted_updates"), span).fetchall()
    for id_, key, bars, gaps, traded in connection.execute(query("shared/day_volumes"), span):
        report.instruments += 1
        report.bar_volume += bars
        report.gap_volume += gaps
        report.day_volume += traded
        if bars + gaps != traded and id_ not in rejected:
            report.differing += 1
            if report.differing <= PROBLEMS_MAX:
                report.problems.append(f"{key}: {bars:,} in bars + {gaps:,} in gaps, {traded:,} traded")
    return report
