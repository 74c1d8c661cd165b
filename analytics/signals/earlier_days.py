"""Read out of the factors of earlier days how rare scores are, for the calibration of the next day. Pure.

Owns which bars of a history count. What is done with them: `analytics.signals.calibration`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Self

import polars as pl

from analytics.factors.factors import local_day
from analytics.schema import KEY
from analytics.signals.calibration import Calibration, calibrate
from analytics.signals.detection import candidates, instrument_class
from analytics.signals.rules import Rules

EPOCH = date(1970, 1, 1)
SHOWN = ("_day", "move_usual")


@dataclass(frozen=True, slots=True)
class Scored:
    """The bars of a history that could fire, and how many instruments were judged on each day."""

    candidates: pl.DataFrame
    judged: pl.DataFrame

    @staticmethod
    def plans(features: pl.LazyFrame, rules: Rules) -> list[pl.LazyFrame]:
        """Return what must be collected, to be done together with what else the caller needs."""
        # A day says how rare scores are if it was judged with what is usual at its times of day.
        days = features.filter(pl.col("move_usual").is_not_null()).select(
            KEY, _day=local_day(), instrument_class=instrument_class(set(features.collect_schema().names()))
        )
        judged = days.group_by("_day", "instrument_class").agg(instruments=pl.col(KEY).n_unique())
        return [candidates(features.with_columns(_day=local_day()), rules, SHOWN), judged]

    @classmethod
    def of(cls, features: pl.LazyFrame, rules: Rules) -> Self:
        """Return the bars that could fire among the factors of bars."""
        return cls(*pl.collect_all(cls.plans(features, rules)))

    def calibration(self, day: date, rules: Rules) -> Calibration:
        """Return the calibration for a market day, out of the days before it."""
        number = (day - EPOCH).days
        earlier = self.judged.filter(pl.col("_day") < number)
        counts = earlier.group_by("instrument_class").agg(pl.col("instruments").sum()).iter_rows()
        known = (pl.col("_day") < number) & pl.col("move_usual").is_not_null()
        return calibrate(self.candidates.filter(known), dict(counts), earlier["_day"].n_unique(), rules)
