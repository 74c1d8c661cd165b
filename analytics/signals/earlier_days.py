"""Read out of the factors of earlier days how rare scores are, for the calibration of the next day. Pure.

Owns which bars of a history count, and what they are compared with: to say how rare a score is on the judged day, an
earlier day must be judged by as many days as that one. So what is usual at a time of day comes from all the other days
before the judged one, not only from those before the earlier day, which are fewer: with few of them, alarms at the open
are many times as frequent. What is done with the scores: `analytics.signals.calibration`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Self

import polars as pl

from analytics.factors.factors import CONTEXT, QUANTITIES, day_ratio, scores
from analytics.factors.windowed import local_day
from analytics.factors.windows import Windows
from analytics.schema import KEY
from analytics.signals.calibration import Calibration, calibrate
from analytics.signals.detection import candidates, has_moved, instrument_class
from analytics.signals.rules import Rules

EPOCH = date(1970, 1, 1)
USUAL = ("volume", "move")
SHOWN = ("_day", "move_usual")


@dataclass(frozen=True, slots=True)
class Scored:
    """The bars that could fire of a day and of the days before it, and how many instruments were judged on each.

    Attributes
    ----------
    candidates
        Of `analytics.signals.detection.candidates`, and _day; those of the earlier days that say how rare scores are.
    judged
        _day, instrument_class and instruments of the earlier days.
    """

    candidates: pl.DataFrame
    judged: pl.DataFrame
    day: date

    @staticmethod
    def plans(features: pl.LazyFrame, rules: Rules, day: date) -> list[pl.LazyFrame]:
        """Return what `made` needs, to be collected together with what else the caller needs.

        Parameters
        ----------
        features
            Factors of the bars of a market day and of days before it, or only of those.
        """
        features = features.with_columns(_day=local_day())
        windows, is_earlier = rules.windows, pl.col("_day") < (day - EPOCH).days
        # What is usual at a time of day never makes a score higher, so only these can be candidates.
        moved = (
            scores(features.with_columns(_usual="move_usual", move_usual=pl.lit(0.0)), windows, ("move",))
            .filter(has_moved(rules))
            .with_columns(move_usual="_usual")
        )
        other_days = features.group_by(KEY, _at=pl.col("bucket").dt.time()).agg(
            pl.col(f"{name}_x").filter(is_earlier).tail(windows.usual_days + 1).drop_nulls().sort().alias(f"_{name}")
            for name in USUAL
        )
        # A day says how rare scores are if it was judged with what is usual at its times of day.
        known = instrument_class(set(features.collect_schema().names()))
        judged = (
            features.filter(pl.col("move_usual").is_not_null())
            .select(KEY, "_day", instrument_class=known)
            .group_by("_day", "instrument_class")
            .agg(instruments=pl.col(KEY).n_unique())
        )
        return [moved, other_days, judged]

    @classmethod
    def of(cls, features: pl.LazyFrame, rules: Rules, day: date) -> Self:
        """Return the bars that could fire among the factors of bars of a day and of days before it."""
        return cls.made(pl.collect_all(cls.plans(features, rules, day)), rules, day)

    @classmethod
    def made(cls, collected: Sequence[pl.DataFrame], rules: Rules, day: date) -> Self:
        """Return the bars that could fire among the collected `plans`."""
        moved, other_days, judged = collected
        is_earlier, windows = pl.col("_day") < (day - EPOCH).days, rules.windows
        earlier = (
            moved.filter(is_earlier & pl.col("move_usual").is_not_null())
            .with_columns(_at=pl.col("bucket").dt.time())
            .join(other_days, on=[KEY, "_at"], how="left", maintain_order="left")
            .with_columns(
                _median_of_others(pl.col(f"{name}_x"), pl.col(f"_{name}"), windows).alias(f"{name}_usual")
                for name in USUAL
            )
            .with_columns(day_ratio(), *_as_settled(windows))
        )
        found = [
            candidates(scores(one.lazy(), windows), rules, SHOWN).collect()
            for one in (earlier, moved.filter(~is_earlier))
        ]
        return cls(pl.concat(found), judged.filter(is_earlier), day)

    def calibration(self, rules: Rules) -> Calibration:
        """Return the calibration for the day, out of the days before it."""
        number = (self.day - EPOCH).days
        counts = self.judged.group_by("instrument_class").agg(pl.col("instruments").sum()).iter_rows()
        earlier = self.candidates.filter(pl.col("_day") < number)
        return calibrate(earlier, dict(counts), self.judged["_day"].n_unique(), rules)


def _as_settled(windows: Windows) -> list[pl.Expr]:
    """Return the averages as if they were of as many bars as the instrument has at the end: doubt lowers scores."""
    columns = []
    for name in QUANTITIES:
        count = pl.col(f"{name}_count")
        settled = pl.when(count >= windows.warmup_bars).then(count.max().over(KEY)).otherwise(count)
        columns.append(settled.alias(f"{name}_count"))
        if name in CONTEXT:  # sums, not means
            columns += [
                (pl.col(f"{name}_{part}") * settled / count).alias(f"{name}_{part}") for part in ("sum", "squares")
            ]
    return columns


def _median_of_others(own: pl.Expr, values: pl.Expr, windows: Windows) -> pl.Expr:
    """Return the median of sorted values without one's own, null if there are too few."""
    count = values.list.len().cast(pl.Int64)
    lower, middle, upper = (values.list.get(count // 2 + step - 1, null_on_oob=True) for step in (0, 1, 2))
    of_even = pl.when(own < middle).then(middle).otherwise(lower)
    of_odd = (
        pl.when(own < middle).then(middle + upper).when(own > middle).then(lower + middle).otherwise(lower + upper) / 2
    )
    return pl.when(count > windows.usual_days_min).then(pl.when(count % 2 == 0).then(of_even).otherwise(of_odd))
