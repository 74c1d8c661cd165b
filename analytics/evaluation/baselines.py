"""Simple detectors to compare with on a history: what a trader has on any screen. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from analytics.evaluation.detector import QUIET, SCORED, Fitted
from analytics.schema import KEY

BARS = 20


@dataclass(frozen=True, slots=True)
class Baseline:
    """A detector of one figure and one threshold, the same for every instrument.

    Attributes
    ----------
    score
        The figure of each bar from the 20 before it, over the bars of an instrument.
    usual
        The threshold at which it is commonly used.
    lowest
        Lower figures are no score: nobody would call them unusual.
    """

    name: str
    score: pl.Expr
    usual: float
    lowest: float

    @property
    def context_days(self) -> int:
        """Calendar days before a day: 20 bars, over a weekend with holidays."""
        return 5

    def fit(self, history: pl.DataFrame) -> Fitted:
        """Return the baseline itself."""
        return self

    def scored(self, bars: pl.DataFrame) -> pl.DataFrame:
        """Return the columns of `detector.SCORED` for each bar; see `Fitted.scored`."""
        fires = (pl.col("score") >= self.usual).fill_null(False)
        since = pl.col("bucket") - pl.when(fires).then("bucket").forward_fill().shift(1).over(KEY)
        return (
            bars.with_columns(score=self.score.over(KEY), rising=pl.col("close") >= pl.col("open"))
            .with_columns(score=pl.when(pl.col("score").is_finite() & (pl.col("score") >= self.lowest)).then("score"))
            .with_columns(confidence=pl.lit(None, pl.Float64), onset=fires & (since.is_null() | (since > QUIET)))
            .select(*SCORED)
        )


_CLOSE, _VOLUME = pl.col("close").cast(pl.Float64), pl.col("volume").cast(pl.Float64)
BASELINES = (
    Baseline(
        "price z-score over 20 bars",
        (_CLOSE - _CLOSE.rolling_mean(BARS).shift(1)).abs() / _CLOSE.rolling_std(BARS).shift(1),
        usual=4.0,
        lowest=2.0,
    ),
    Baseline(
        "volume over the mean of 20 bars",
        _VOLUME / pl.max_horizontal(_VOLUME.rolling_mean(BARS).shift(1), pl.lit(1e-9)),
        usual=5.0,
        lowest=1.5,
    ),
)
