"""The interface through which every detector is judged, and alarms out of its scores. Pure.

Owns what a detector must offer. Whoever judges knows nothing else of it: the rules, simple baselines and detectors made
for tests are fitted on a history, and then give each bar of later days a score.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Protocol

import polars as pl

from analytics.schema import KEY, TIME

# Columns of scored bars, sorted by instrument_key and bucket.
SCORED = pl.Schema(
    {
        KEY: pl.String(),
        "bucket": TIME,
        "score": pl.Float64(),  # higher: more unusual; null: cannot fire
        "confidence": pl.Float64(),  # 0 to 1; null where the detector has none
        "rising": pl.Boolean(),
        "onset": pl.Boolean(),  # an alarm begins, at the detector's own threshold
    }
)
QUIET = timedelta(minutes=60)  # a bar that fires within this time after another continues its alarm


class Fitted(Protocol):
    """A detector whose weights, calibration and threshold are settled."""

    def scored(self, bars: pl.DataFrame) -> pl.DataFrame:
        """Return the columns of `SCORED` for each bar.

        Parameters
        ----------
        bars
            instrument_key, bucket (UTC), open, high, low, close, volume and what else is known (trades, oi, iv,
            quality, instrument_class); sorted by instrument_key and bucket. A score may depend on this bar and those
            before it.
        """


class Detector(Protocol):
    """Something that can be fitted and then judges bars."""

    @property
    def name(self) -> str:
        """Name in tables."""

    @property
    def context_days(self) -> int:
        """Calendar days of bars before a day that its scores need."""

    def fit(self, history: pl.DataFrame) -> Fitted:
        """Return the detector as it is known at the end of a history, which has the columns of `Fitted.scored`."""


def onsets(scored: pl.DataFrame, threshold: float) -> pl.DataFrame:
    """Return the bars at which alarms begin if a bar fires from this score on."""
    fires = scored.filter(pl.col("score") >= threshold)
    since = pl.col("bucket").diff().over(KEY)
    return fires.filter(since.is_null() | (since > QUIET))


def matched(values: pl.Series, alarms_from: Callable[[float], int], number: int) -> float:
    """Return the lowest threshold at which not more than `number` alarms begin; infinite if any has more.

    Parameters
    ----------
    values
        The scores.
    alarms_from
        How many alarms begin if a bar fires from a score on. As it falls they grow in number, until they merge; so
        the search goes down from the highest score, in doubled steps, and ends where there are more.
    """
    steps = values.drop_nulls().unique().sort(descending=True)
    least, most = 0, max(number, 1)  # how many of the highest scores fire: not too many alarms, perhaps too many
    while most < len(steps) and alarms_from(float(steps[most - 1])) <= number:
        least, most = most, 2 * most
    most = min(most, len(steps))
    while least < most:
        middle = (least + most + 1) // 2
        if alarms_from(float(steps[middle - 1])) <= number:
            least = middle
        else:
            most = middle - 1
    return float(steps[least - 1]) if least else float("inf")
