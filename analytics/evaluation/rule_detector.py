"""The rules of spike detection as a detector that can be judged. Pure.

Owns the only place where judging touches the rules: when rules learn from a history, `fit` does it here.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from analytics.evaluation.detector import SCORED, Fitted
from analytics.factors.factors import factors
from analytics.schema import KEY, TIME
from analytics.signals.detection import is_onset, log_odds
from analytics.signals.rules import Rules


@dataclass(frozen=True, slots=True)
class RuleDetector:
    """The rules with their weights as they are: nothing is fitted on a history without labels."""

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
        """Return the rules themselves."""
        return self

    def scored(self, bars: pl.DataFrame) -> pl.DataFrame:
        """Return the columns of `detector.SCORED` for each bar; see `Fitted.scored`."""
        fires = pl.col("confidence") >= self.rules.confidence_min
        fired = pl.when("_fires").then("bucket").forward_fill().shift(1).over(KEY)
        return (
            factors(bars.lazy(), self.rules.windows)
            .with_columns(score=log_odds(self.rules), bucket=pl.col("bucket").cast(TIME))
            .with_columns(confidence=1 / (1 + (-pl.col("score")).exp()))
            .with_columns(_fires=fires.fill_null(False))
            .with_columns(onset=pl.col("_fires") & is_onset(pl.col("bucket") - fired, self.rules))
            .select(*SCORED)
            .collect()
        )
