"""The rules of spike detection as a detector that can be judged. Pure.

Owns the only place where judging touches the rules: when rules learn from a history, `fit` does it here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from analytics.evaluation.detector import SCORED, Fitted
from analytics.factors.factors import factors
from analytics.market_time import market_day
from analytics.schema import KEY, TIME
from analytics.signals.calibration import Calibration
from analytics.signals.detection import candidates, fire
from analytics.signals.earlier_days import Scored
from analytics.signals.events import EventBuilder, with_events
from analytics.signals.rules import Rules


@dataclass(frozen=True, slots=True)
class RuleDetector:
    """The rules with their weights as they are; earlier days only say how rare scores are."""

    rules: Rules

    @property
    def name(self) -> str:
        """Name in tables."""
        return f"rules {self.rules.name}"

    @property
    def context_days(self) -> int:
        """Calendar days before a day; the same as when the day is judged live."""
        return self.rules.history_days

    def fit(self, history: pl.DataFrame) -> Fitted:
        """Return the rules, calibrated by the last days of a history, as when the next day is judged live."""
        rules = self.rules
        if history.is_empty():
            return CalibratedRules(rules, Calibration())
        last = history["bucket"].max()
        assert isinstance(last, datetime)
        recent = history.filter(pl.col("bucket") > last - timedelta(days=rules.history_days))
        scored = Scored.of(factors(recent.lazy(), rules.windows), rules, market_day(last) + timedelta(days=1))
        return CalibratedRules(rules, scored.calibration(rules))


@dataclass(frozen=True, slots=True)
class CalibratedRules:
    """Rules and how rare scores were before the judged day."""

    rules: Rules
    calibration: Calibration

    def scored(self, bars: pl.DataFrame) -> pl.DataFrame:
        """Return the columns of `detector.SCORED` for each bar; see `Fitted.scored`."""
        plan = candidates(factors(bars.lazy(), self.rules.windows), self.rules)
        found = plan.collect(engine="in-memory")  # of few days: the streaming engine takes five times as long
        onsets = with_events(fire(found, self.rules, self.calibration), EventBuilder(self.rules))
        scores = found.select(
            KEY,
            pl.col("bucket").cast(TIME),
            "rising",
            score=self.calibration.log_odds(found),
        )
        begun = onsets.select(KEY, "bucket", "onset")
        return (
            bars.select(KEY, pl.col("bucket").cast(TIME))
            .join(scores, on=[KEY, "bucket"], how="left", maintain_order="left")
            .join(begun, on=[KEY, "bucket"], how="left", maintain_order="left")
            .with_columns(pl.col("onset").fill_null(False), confidence=1 / (1 + (-pl.col("score")).exp()))
            .select(*SCORED)
        )
