"""Evaluate spike detection: labelled events, matching, baselines, fitting and cross-validation. Pure.

Owns the rules of matching. An event is one instrument with one announcement. An alarm is a bar that fires;
alarms within `TOGETHER` minutes of one another count as one. The alarm is a hit if one of its bars is between
5 minutes before and 10 minutes after the announcement, and not a false alarm if it begins within 180 minutes after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from analytics.factors.factors import factors
from analytics.schema import KEY, TIME
from analytics.signals.detection import log_odds
from analytics.signals.rules import Rules
from ingest.errors import ConfigError

Floats = npt.NDArray[np.float64]
# Minutes after the announcement; TOGETHER: the largest distance of alarms that count as one.
EARLY, LATE, AFTERMATH, TOGETHER = -5, 10, 180, 60
COLUMNS = ("event", "bucket", "open", "high", "low", "close", "volume", "announced_at")
FACTORS = ("volume_score", "trades_score", "move_score")
SCORE_MIN = -5.0  # log-odds; lower scores cannot become an alarm
RIDGE = 5.0  # on standardised scores; 1 and 5 give the same curve on the training events


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


def judge(alarms: pl.DataFrame, events: pl.DataFrame) -> Outcome:
    """Match alarms with events and return the outcome.

    Parameters
    ----------
    alarms
        instrument_key and minute of the bars that fired.
    events
        All bars, from `read_events`.
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
    hits = episodes.filter(pl.col("hit").is_not_null())
    false = episodes.filter(pl.col("hit").is_null() & ~pl.col("begins").is_between(0, AFTERMATH)).height
    total = events[KEY].n_unique()
    spans = events.group_by(KEY).agg((pl.col("minute").max() - pl.col("minute").min()).alias("minutes"))
    days = float(spans["minutes"].sum()) / (24 * 60)
    return Outcome(
        precision=hits.height / (hits.height + false) if hits.height + false else None,
        recall=hits.height / total,
        true_positives=hits.height,
        false_positives=false,
        false_negatives=total - hits.height,
        median_delay_minutes=None if hits.is_empty() else float(np.median(hits["hit"].to_numpy())),
        false_alarms_per_day=false / days,
    )


def scored(events: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """Return all bars with their factors and log-odds in column score."""
    return factors(events.lazy(), rules.windows).with_columns(score=log_odds(rules)).collect()


def baselines(events: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Return the alarms of simple detectors, for comparison in the same run."""
    volume, rise = pl.col("volume"), pl.col("high") / pl.col("open") - 1
    half_day, day = 720, 1440
    mean, spread = volume.rolling_mean(half_day).shift(1), volume.rolling_std(half_day).shift(1)
    z = (volume - mean) / spread
    flags = {
        "volume z-score over 12 h > 30, high 5 % over open": (z > 30) & (rise > 0.05),
        "volume z-score over 12 h > 30": z > 30,
        "volume over 100 times the mean of 20 bars": volume > 100 * volume.rolling_mean(20).shift(1),
        "high 10 % over the mean close of a day": pl.col("high") > 1.1 * pl.col("close").rolling_mean(day).shift(1),
    }
    marked = events.with_columns(flag.over(KEY).alias(name) for name, flag in flags.items())
    return {name: marked.filter(name).select(KEY, "minute") for name in flags}


def fit(bars: pl.DataFrame, rules: Rules) -> Rules:
    """Return rules with weights fitted to labelled bars by ridge logistic regression.

    Parameters
    ----------
    bars
        Bars from `scored`. Those from 2 minutes before to 1 after an announcement are positive, and each
        event counts once; those outside of hits and aftermath are negative. Only bars with a volume score
        above log 2 are used, because no other bar can be a spike.
    """
    known = bars.with_columns(trades_score=pl.coalesce("trades_score", "volume_score")).filter(
        pl.all_horizontal(pl.col(FACTORS).is_not_null()) & (pl.col("volume_score") > np.log(2))
    )
    minute = known["minute"].to_numpy()
    positive = (minute >= -2) & (minute <= 1)
    known = known.with_columns(positive=positive).filter(positive | (minute < EARLY) | (minute > AFTERMATH))
    weight = known.select(pl.when("positive").then(1 / pl.len().over(KEY, "positive")).otherwise(1.0)).to_series()
    x = known.select(FACTORS).to_numpy()
    centre, spread = x.mean(axis=0), x.std(axis=0) + 1e-12
    beta = _logistic((x - centre) / spread, known["positive"].to_numpy().astype(float), weight.to_numpy(), RIDGE)
    volume, trades, price = (float(value) for value in beta[1:] / spread)
    bias = float(beta[0] - (beta[1:] * centre / spread).sum())
    weights = rules.weights.model_copy(update={"price": price, "volume": volume, "trades": trades})
    return rules.model_copy(update={"weights": weights, "bias": bias})


def cross_validated(bars: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """Return the bars with the score each has under weights fitted on all other events."""
    parts = []
    for event in bars[KEY].unique(maintain_order=True):
        others, own = bars.filter(pl.col(KEY) != event), bars.filter(pl.col(KEY) == event)
        parts.append(own.with_columns(score=log_odds(fit(others, rules))))
    return pl.concat(parts)


def calibration(bars: pl.DataFrame) -> tuple[float, float]:
    """Return slope and shift that convert cross-validated scores to log-odds of a right alarm.

    Uses Platt scaling with its prior, which keeps few and well separated alarms from looking certain: J. Platt,
    Probabilistic outputs for support vector machines, 1999. There are too few events for a freer (isotonic) curve,
    which would be 0 below the gap between wrong and right alarms and 1 above it.
    """
    alarms = _alarms(bars)
    right = alarms["right"].to_numpy()
    positive, negative = int(right.sum()), int((~right).sum())
    target = np.where(right, (positive + 1) / (positive + 2), 1 / (negative + 2))
    beta = _logistic(alarms["score"].to_numpy()[:, None], target, np.ones(len(target)), 0.0)
    return float(beta[1]), float(beta[0])


def calibrated(unseen: pl.DataFrame) -> pl.DataFrame:
    """Return cross-validated bars with scores as log-odds, calibrated for each event by the alarms of the others."""
    parts = []
    for event in unseen[KEY].unique(maintain_order=True):
        slope, shift = calibration(unseen.filter(pl.col(KEY) != event))
        parts.append(unseen.filter(pl.col(KEY) == event).with_columns(pl.col("score") * slope + shift))
    return pl.concat(parts)


def reliability(bars: pl.DataFrame, edges: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.9)) -> dict[str, Any]:
    """Return how often alarms of each range of confidence are right.

    Alarms count down to a confidence of 0.7 %, far below any threshold, so that some are wrong; each counts with its
    highest confidence.

    Returns
    -------
    dict
        brier (mean squared error of the confidence), brier_of_base_rate (the same if the confidence were always the
        share of right alarms), and bins: from, to, confidence (mean), right (share), alarms (number), and right_from,
        right_to, the 90 % range of the share for this number of alarms (Wilson's interval).
    """
    alarms = _alarms(bars).with_columns(confidence=1 / (1 + (-pl.col("score")).exp()))
    bounds = (0.0, *edges, 1.0)
    bins = []
    for lowest, highest in pairwise(bounds):
        some = alarms.filter((pl.col("confidence") > lowest) & (pl.col("confidence") <= highest))
        if some.height:
            mean = some.select(pl.col("confidence", "right").mean()).row(0, named=True)
            least, most = _wilson(mean["right"], some.height)
            bounded = {"right_from": least, "right_to": most}
            bins.append({"from": lowest, "to": highest} | mean | {"alarms": some.height} | bounded)
    base = alarms["right"].mean()
    errors = alarms.select(
        brier=((pl.col("confidence") - pl.col("right")) ** 2).mean(),
        brier_of_base_rate=((base - pl.col("right").cast(pl.Float64)) ** 2).mean(),
    )
    return errors.row(0, named=True) | {"bins": bins}


def _wilson(share: float, count: int, z: float = 1.645) -> tuple[float, float]:
    """Return the confidence interval of a share observed in `count` cases: E. B. Wilson, 1927."""
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    reach = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return float(max(middle - reach, 0.0)), float(min(middle + reach, 1.0))


def curve(bars: pl.DataFrame, events: pl.DataFrame, thresholds: Sequence[float]) -> pl.DataFrame:
    """Return the outcome at each threshold of confidence."""
    rows = []
    for confidence in thresholds:
        alarms = bars.filter(pl.col("score") >= np.log(confidence / (1 - confidence)))
        rows.append({"confidence_min": confidence, **judge(alarms, events).as_dict()})
    return pl.DataFrame(rows)


def _alarms(bars: pl.DataFrame) -> pl.DataFrame:
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


def _logistic(x: Floats, y: Floats, weight: Floats, ridge: float) -> Floats:
    """Return intercept and coefficients of a weighted ridge logistic regression, by Newton's method."""
    design = np.column_stack([np.ones(len(x)), x])
    penalty = np.diag([0.0, *[2 * ridge] * x.shape[1]])
    beta = np.zeros(design.shape[1])
    for _ in range(100):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        gradient = design.T @ (weight * (p - y)) + penalty @ beta
        hessian = (design * (weight * p * (1 - p))[:, None]).T @ design + penalty + 1e-9 * np.eye(len(beta))
        step = np.linalg.solve(hessian, gradient)
        beta = beta - step * min(1.0, 5.0 / float(np.abs(step).max() + 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    return np.asarray(beta, dtype=np.float64)
