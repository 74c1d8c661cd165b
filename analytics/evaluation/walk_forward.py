"""Judge a detector day by day, each day by what was known before it. Pure.

Owns what a detector gets to see: for a day, `fit` gets the bars of earlier days, and `scored` those and the day itself.
Whether a score depends on later minutes of the day is asked separately: `look_ahead`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import polars as pl

from analytics.evaluation.detector import SCORED, Detector, Fitted
from analytics.evaluation.history import DAY, EARLIER
from analytics.schema import KEY
from ingest.errors import ConfigError

DAYS_MIN = 3  # before the first judged day
KEPT = 0.1  # share of a day's bars whose scores are kept, the highest: thresholds for few alarms are among them
Step = Callable[[int, int], None]  # done, total


@dataclass(frozen=True, slots=True)
class JudgedDay:
    """A detector as it was known before a day, and the bars it judges: the day, after its context.

    Only instruments with `days_min` earlier days are judged; the others only tell `fit` what is usual.
    """

    day: date
    days_min: int
    fitted: Fitted
    bars: pl.DataFrame

    def scored(self, bars: pl.DataFrame) -> pl.DataFrame:
        """Return the scores of the day, out of bars with its context."""
        marked = self.fitted.scored(bars).cast(SCORED).with_columns(bars[DAY], bars[EARLIER])
        return marked.filter((pl.col(DAY) == self.day) & (pl.col(EARLIER) >= self.days_min)).drop(EARLIER)


def judged_days(bars: pl.DataFrame, days_min: int) -> list[date]:
    """Return the days before which some instrument has enough days.

    Raises
    ------
    ConfigError
        If there is none.
    """
    days: list[date] = bars.filter(pl.col(EARLIER) >= days_min)[DAY].unique().sort().to_list()
    if not days:
        most = bars.select(pl.col(EARLIER).max()).item()
        raise ConfigError(
            f"no instrument has more than {most + 1} market days, and {days_min} must come before a judged one: give "
            f"more days, or --days-min {most}"
        )
    return days


def days_of(bars: pl.DataFrame, detector: Detector, days_min: int = DAYS_MIN) -> Iterator[JudgedDay]:
    """Yield each judged day with the detector fitted on all days before it.

    Parameters
    ----------
    bars
        From `history.read_history`.
    """
    for day in judged_days(bars, days_min):
        fitted = detector.fit(bars.filter(pl.col(DAY) < day))
        yield JudgedDay(day, days_min, fitted, context_of(bars, day, detector.context_days))


def context_of(bars: pl.DataFrame, day: date, context_days: int) -> pl.DataFrame:
    """Return the bars of a day and of the calendar days before it."""
    return bars.filter(pl.col(DAY).is_between(day - timedelta(days=context_days), day))


def walk(
    bars: pl.DataFrame,
    detector: Detector,
    days_min: int = DAYS_MIN,
    others: Sequence[pl.DataFrame] = (),
    step: Step = lambda done, total: None,
) -> list[pl.DataFrame]:
    """Return the scores of all judged days: of the bars, and of other versions of them by the same fitted detectors.

    Returns
    -------
    list of polars.DataFrame
        The columns of `detector.SCORED`, and day: of each day the highest tenth of the scores, and every onset. Sorted
        by instrument_key and bucket.
    """
    parts: list[list[pl.DataFrame]] = [[] for _ in range(1 + len(others))]
    total = len(judged_days(bars, days_min)) * len(parts)
    done = 0
    for one in days_of(bars, detector, days_min):
        for version, of_version in enumerate((None, *others)):
            seen = one.bars if of_version is None else context_of(of_version, one.day, detector.context_days)
            parts[version].append(_highest(one.scored(seen)))
            done += 1
            step(done, total)
    return [pl.concat(days).sort(KEY, "bucket") for days in parts]


def look_ahead(one: JudgedDay, until: datetime) -> int:
    """Return how many bars of a day up to a time get another score when the bars after it are not there.

    0 for a detector that judges a minute by what is known then.
    """
    whole = one.scored(one.bars).filter(pl.col("bucket") <= until)
    cut = one.scored(one.bars.filter(pl.col("bucket") <= until))
    columns = [name for name in SCORED if name not in (KEY, "bucket")]
    beside = whole.join(cut, on=[KEY, "bucket"], how="full", suffix="_cut")
    differs = [pl.col(name).ne_missing(pl.col(f"{name}_cut")) for name in columns]
    return beside.filter(pl.any_horizontal(differs)).height


def _highest(scored: pl.DataFrame) -> pl.DataFrame:
    """Return the scores of a day that are among the highest tenth of its bars, and the onsets."""
    known = scored.filter(pl.col("score").is_not_null())
    most = max(int(KEPT * scored.height), 1)
    if known.height <= most:
        return known
    limit = known["score"].top_k(most).min()
    return known.filter((pl.col("score") >= limit) | pl.col("onset"))
