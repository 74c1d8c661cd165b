"""Figures of repeated measurements, and how a table shows them. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Spread:
    """One figure over all runs."""

    median: float
    min: float
    max: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Return the spread of at least one value."""
        found = sorted(values)
        return cls(statistics.median(found), found[0], found[-1])

    def text(self, digits: int = 0) -> str:
        """Return the median, and the range if it has one.

        >>> Spread.of([1200, 1000, 1100]).text(), Spread.of([2.5]).text(1)
        ('1,100 (1,000..1,200)', '2.5')
        """
        median, low, high = (f"{value:,.{digits}f}" for value in (self.median, self.min, self.max))
        return median if low == high else f"{median} ({low}..{high})"


Row = dict[str, str]  # heading -> cell; rows of one table have the same headings


def columns_of(rows: list[Row]) -> list[list[str]]:
    """Return each heading with its cells, as `ingest.terminal.print_table` takes them."""
    return [[heading, *(row[heading] for row in rows)] for heading in rows[0]] if rows else []
