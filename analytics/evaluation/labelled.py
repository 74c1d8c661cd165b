"""Judge alarms by labelled events, next to simple baselines. Pure.

Owns the rules of matching. An event is one instrument with one announcement. An alarm is a bar that fires;
alarms within `TOGETHER` minutes of one another count as one. The alarm is a hit if one of its bars is between
5 minutes before and 10 minutes after the announcement, and not a false alarm if it begins within 180 minutes after it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from analytics.evaluation.detector import matched
from analytics.evaluation.intervals import Floats, bootstrap, compared, share
from analytics.schema import KEY, TIME
from ingest.errors import ConfigError

# Minutes after the announcement; TOGETHER: the largest distance of alarms that count as one.
EARLY, LATE, AFTERMATH, TOGETHER = -5, 10, 180, 60
COLUMNS = ("event", "bucket", "open", "high", "low", "close", "volume", "announced_at")
SCORE_MIN = -5.0  # log-odds; lower scores cannot become an alarm
SCORE_MAX = 1e6  # of a matched baseline: more is a division by an average of nothing, which would crowd out the rest
CANDIDATES_MAX = 5_000  # the highest scores of a baseline, among which its threshold is matched

_VOLUME, _RISE = pl.col("volume"), pl.col("high") / pl.col("open") - 1
_HALF_DAY, _DAY = 720, 1440
_Z = (_VOLUME - _VOLUME.rolling_mean(_HALF_DAY).shift(1)) / _VOLUME.rolling_std(_HALF_DAY).shift(1)
_MEAN_20 = _VOLUME.rolling_mean(20).shift(1)  # 0 in a coin that did not trade: then the highest volume scores highest
# Score and usual threshold of simple detectors.
BASELINES: dict[str, tuple[pl.Expr, float]] = {
    "volume z-score over 12 h > 30, high 5 % over open": (pl.when(_RISE > 0.05).then(_Z), 30.0),
    "volume z-score over 12 h > 30": (_Z, 30.0),
    "volume over 100 times the mean of 20 bars": (_VOLUME / pl.max_horizontal(_MEAN_20, pl.lit(1e-9)), 100.0),
    "high 10 % over the mean close of a day": (pl.col("high") / pl.col("close").rolling_mean(_DAY).shift(1), 1.1),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a detector on labelled events."""

    precision: float | None
    recall: float
    true_positives: int
    false_positives: int
    false_negatives: int
    median_delay_minutes: float | None
    false_alarms_per_day: float

    def as_dict(self) -> dict[str, float | int | None]:
        """Return the fields by name."""
        return asdict(self)


def read_events(frame: pl.DataFrame) -> pl.DataFrame:
    """Return labelled bars with instrument_key for the event and minute, relative to the announcement.

    Parameters
    ----------
    frame
        event String; bucket, announced_at Datetime (UTC if they have no zone); open, high, low, close,
        volume; trades if known.

    Raises
    ------
    ConfigError
        If a column is missing, or an event has two announcements.
    """
    if missing := [name for name in COLUMNS if name not in frame.columns]:
        raise ConfigError(f"column {missing[0]!r} is missing: a file of events has {', '.join(COLUMNS)}")
    times = [
        (pl.col(name) if frame.schema[name].time_zone else pl.col(name).dt.replace_time_zone("UTC")).cast(TIME)  # type: ignore[attr-defined]
        for name in ("bucket", "announced_at")
    ]
    if frame.group_by("event").agg(pl.col("announced_at").n_unique()).filter(pl.col("announced_at") != 1).height:
        raise ConfigError("column 'announced_at' has several values in one event: give each event its own name")
    return (
        frame.with_columns(times)
        .sort("event", "bucket")
        .rename({"event": KEY})
        .with_columns(minute=(pl.col("bucket") - pl.col("announced_at")).dt.total_minutes())
    )


def by_event(alarms: pl.DataFrame, events: pl.DataFrame) -> pl.DataFrame:
    """Match alarms with events and count, for each event.

    Parameters
    ----------
    alarms
        instrument_key and minute of the bars that fired.
    events
        All bars, from `read_events`.

    Returns
    -------
    polars.DataFrame
        One row for each event, in their order: instrument_key, hits (0 or 1), false (alarms), delay (minutes; null if
        missed).
    """
    episodes = (
        alarms.sort(KEY, "minute")
        .with_columns(number=(pl.col("minute").diff().over(KEY) > TOGETHER).fill_null(True).cum_sum().over(KEY))
        .group_by(KEY, "number")
        .agg(
            begins=pl.col("minute").min(),
            hit=pl.col("minute").filter(pl.col("minute").is_between(EARLY, LATE)).min(),
        )
    )
    is_false = pl.col("hit").is_null() & ~pl.col("begins").is_between(0, AFTERMATH)
    counts = episodes.group_by(KEY).agg(
        hits=pl.col("hit").is_not_null().sum().cast(pl.Int64),
        false=is_false.sum().cast(pl.Int64),
        delay=pl.col("hit").min(),
    )
    found = events.select(pl.col(KEY).unique(maintain_order=True)).join(
        counts, on=KEY, how="left", maintain_order="left"
    )
    return found.with_columns(pl.col("hits", "false").fill_null(0))


def judge(alarms: pl.DataFrame, events: pl.DataFrame) -> Outcome:
    """Match alarms with events and return the outcome; arguments as in `by_event`."""
    counts = by_event(alarms, events)
    hits, false = int(counts["hits"].sum()), int(counts["false"].sum())
    spans = events.group_by(KEY).agg((pl.col("minute").max() - pl.col("minute").min()).alias("minutes"))
    days = float(spans["minutes"].sum()) / (24 * 60)
    return Outcome(
        precision=hits / (hits + false) if hits + false else None,
        recall=hits / counts.height,
        true_positives=hits,
        false_positives=false,
        false_negatives=counts.height - hits,
        median_delay_minutes=counts["delay"].median(),  # type: ignore[arg-type]
        false_alarms_per_day=false / days,
    )


def intervals(alarms: pl.DataFrame, events: pl.DataFrame) -> dict[str, Any]:
    """Return precision and recall with their 95 % intervals: Wilson's, and in `bootstrap` over events.

    The bootstrap allows for several false alarms in one event, but has no width where there is none at all.
    """
    counts = _counts(alarms, events)
    hits, false = counts.sum(axis=0)
    return {
        "events": len(counts),
        "precision": share(hits, hits + false).as_dict(),
        "recall": share(hits, len(counts)).as_dict(),
        "bootstrap": {
            "precision": bootstrap(counts, lambda sums: sums[:, 0] / (sums[:, 0] + sums[:, 1])).as_dict(),
            "recall": bootstrap(counts, lambda sums: sums[:, 0] / len(counts)).as_dict(),
        },
    }


def difference(alarms: pl.DataFrame, other: pl.DataFrame, events: pl.DataFrame) -> dict[str, Any]:
    """Return how much better a detector's precision and recall are than those of another on the same events.

    Both are drawn together, event by event, so what makes an event easy or hard for both does not widen the interval.
    """
    counts = np.hstack([_counts(alarms, events), _counts(other, events)])
    return {
        "precision": compared(
            counts,
            lambda sums: sums[:, 0] / (sums[:, 0] + sums[:, 1]),
            lambda sums: sums[:, 2] / (sums[:, 2] + sums[:, 3]),
        ),
        "recall": compared(counts, lambda sums: sums[:, 0] / len(counts), lambda sums: sums[:, 2] / len(counts)),
    }


def _counts(alarms: pl.DataFrame, events: pl.DataFrame) -> Floats:
    return by_event(alarms, events).select("hits", "false").to_numpy().astype(np.float64)


def baselines(events: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return the alarms of simple detectors at their usual thresholds, for comparison in the same run."""
    marked = _baseline_scores(events)
    return {name: marked.filter(pl.col(name) > usual).select(KEY, "minute") for name, (_, usual) in BASELINES.items()}


def matched_baselines(events: pl.DataFrame, number: int) -> dict[str, tuple[float, pl.DataFrame]]:
    """Return threshold and alarms of the simple detectors where each has up to `number` alarms, hits and false ones.

    Their thresholds are chosen in the knowledge of these very events, which is to their advantage.
    """
    marked = _baseline_scores(events)
    found = {}
    for name in BASELINES:

        def alarms(threshold: float, name: str = name) -> pl.DataFrame:
            return marked.filter(pl.col(name).is_between(threshold, SCORE_MAX)).select(KEY, "minute")

        def count(threshold: float, alarms: Callable[[float], pl.DataFrame] = alarms) -> int:
            return int(by_event(alarms(threshold), events).select(pl.col("hits") + pl.col("false")).sum().item())

        values = marked[name].drop_nulls()
        highest = values.filter(values <= SCORE_MAX).sort(descending=True).head(CANDIDATES_MAX)
        threshold = matched(highest, count, number)
        found[name] = threshold, alarms(threshold)
    return found


def _baseline_scores(events: pl.DataFrame) -> pl.DataFrame:
    return events.with_columns(score.fill_nan(None).over(KEY).alias(name) for name, (score, _) in BASELINES.items())


def curve(bars: pl.DataFrame, events: pl.DataFrame, thresholds: Sequence[float]) -> pl.DataFrame:
    """Return the outcome at each threshold of confidence."""
    rows = []
    for confidence in thresholds:
        alarms = bars.filter(pl.col("score") >= np.log(confidence / (1 - confidence)))
        rows.append({"confidence_min": confidence, **judge(alarms, events).as_dict()})
    return pl.DataFrame(rows)


def alarms_of(bars: pl.DataFrame) -> pl.DataFrame:
    """Return the highest score of each alarm, and whether it is right.

    An alarm that begins in the aftermath of an announcement is neither right nor wrong and is left out.
    """
    rows = bars.filter(pl.col("score") >= SCORE_MIN)
    number = (pl.col("minute").diff().over(KEY) > TOGETHER).fill_null(True).cum_sum().over(KEY)
    return (
        rows.with_columns(number=number)
        .group_by(KEY, "number")
        .agg(pl.col("score").max(), pl.col("minute").min(), right=pl.col("minute").is_between(EARLY, LATE).any())
        .filter(pl.col("right") | ~pl.col("minute").is_between(0, AFTERMATH))
    )
