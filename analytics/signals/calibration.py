"""How rare a score is among a user's instruments, and from which one on a day has as many events as wanted. Pure.

Owns the reading of scores as confidence: of the alarms this rare, so many are events, if one instrument has
`Rules.events_per_day` of them. The rules assume how fast scores become rarer; earlier days of the same instruments
correct that, the more the more of them there are. The tail of the scores is read above a level that is reached often
enough to count (as in the method of peaks over a threshold), in steps from each of which on half as many alarms are
left; within a step, and beyond the last, it is taken as exponential.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp, inf, log

import numpy as np
import numpy.typing as npt
import polars as pl

from analytics.schema import KEY
from analytics.signals.rules import InstrumentClass, Rules

Floats = npt.NDArray[np.float64]

DOUBT = 10.0  # events that the assumption of the rules, and of a step what the one before says, counts as
OFTEN = 2.0  # alarms of an instrument and day: rarer scores are looked at
BEGINS = 0.5  # alarms of an instrument and day from which on a tail is read: below what the rules let fire
ENOUGH = 30  # peaks, to read a tail from


@dataclass(frozen=True, slots=True)
class Tail:
    """How rare weighted sums are: log-odds are a line that bends where the sums become rarer faster or more slowly.

    Attributes
    ----------
    levels
        Weighted sums from which on each slope holds, rising; the first slope also holds below the first.
    slopes
        Log-odds for each unit of the weighted sum; all positive.
    first
        Log-odds at the first level.
    """

    levels: tuple[float, ...]
    slopes: tuple[float, ...]
    first: float

    def log_odds(self, raw: Floats) -> Floats:
        """Return the log-odds of weighted sums."""
        levels, slopes = np.array(self.levels), np.array(self.slopes)
        heights = self.first + np.concatenate([[0.0], np.cumsum(np.diff(levels) * slopes[:-1])])
        at = np.maximum(np.searchsorted(levels, raw, side="right") - 1, 0)
        return np.asarray(heights[at] + slopes[at] * (raw - levels[at]))


@dataclass(frozen=True, slots=True)
class Calibration:
    """What earlier days say of the scores of a day.

    Attributes
    ----------
    tails
        Class -> what makes log-odds of the weighted sum; absent: the weighted sum itself.
    confidence_min
        From which confidence on there are about as many events a day as wanted; 0: the limit of the rules holds.
    days
        Number of days that were looked at.
    """

    tails: Mapping[InstrumentClass, Tail] = field(default_factory=dict)
    confidence_min: float = 0.0
    days: int = 0

    def log_odds(self, rows: pl.DataFrame) -> pl.Series:
        """Return the log-odds of rows: of the weighted sum, raw, by instrument_class.

        By NumPy: for the few rows of a minute, as many expressions as there are bends take two milliseconds.
        """
        raw = rows["raw"].to_numpy()
        found = np.array(raw, dtype=np.float64)
        for name, tail in self.tails.items():
            of_class = (rows["instrument_class"] == name).to_numpy()
            found[of_class] = tail.log_odds(raw[of_class])
        return pl.Series("score", found)


def calibrate(scored: pl.DataFrame, instrument_days: Mapping[str, int], days: int, rules: Rules) -> Calibration:
    """Return the calibration for the next day.

    Parameters
    ----------
    scored
        Bars of earlier days whose weighted sum is known: instrument_key, bucket, raw, instrument_class, event_key.
    instrument_days
        Class -> days that its instruments were judged, together.
    days
        Number of days.
    """
    if not days or scored.is_empty():
        return Calibration(days=days)
    tails = {}
    for (name,), part in scored.group_by("instrument_class"):
        own = part.sort(KEY, "bucket")
        found = _tail(_Clusters.of(own, KEY, "raw", rules.quiet_minutes), instrument_days.get(name, 0), rules)
        if found is not None:
            tails[name] = found
    calibration = Calibration(tails, days=days)
    if rules.signals_per_day is None:
        return calibration
    ranked = scored.with_columns(score=calibration.log_odds(scored)).sort("event_key", "bucket")
    events = _Clusters.of(ranked, "event_key", "score", rules.quiet_minutes)
    limit = _level_of(events, rules.signals_per_day * days)
    return Calibration(tails, 0.0 if limit == -inf else 1 / (1 + exp(-limit)), days)


def rarity_line(scored: pl.DataFrame, instrument_days: int, rules: Rules) -> tuple[float, float]:
    """Return slope and shift that make log-odds of a weighted sum of any scale, out of this history alone.

    Parameters
    ----------
    scored
        instrument_key, bucket and raw of the bars that could fire.
    """
    clusters = _Clusters.of(scored.sort(KEY, "bucket"), KEY, "raw", rules.quiet_minutes)
    level = clusters.level_of(max(instrument_days, ENOUGH))
    level = float(clusters.score.min()) if level == -inf else level
    peaks = clusters.peaks(level)
    slope = len(peaks) / max(float((peaks - level).sum()), 1e-9)
    return slope, log(rules.events_per_day * instrument_days / len(peaks)) - slope * level


@dataclass(frozen=True, slots=True)
class _Clusters:
    """Scores in order of series and time, from which alarms at any level can be counted."""

    series: np.ndarray
    minute: np.ndarray
    score: np.ndarray
    quiet: int

    @classmethod
    def of(cls, rows: pl.DataFrame, series: str, score: str, quiet: int) -> _Clusters:
        """Return the clusters of rows sorted by series and bucket."""
        return cls(
            rows[series].rle_id().to_numpy(),
            rows["bucket"].dt.epoch("s").to_numpy() // 60,
            rows[score].to_numpy(),
            quiet,
        )

    def above(self, level: float) -> _Clusters:
        """Return the clusters without the scores below a level."""
        is_over = self.score >= level
        return _Clusters(self.series[is_over], self.minute[is_over], self.score[is_over], self.quiet)

    def peaks(self, level: float) -> np.ndarray:
        """Return the highest score of each alarm: of the bars from a level on that are not quiet minutes apart."""
        is_over = self.score >= level
        if not is_over.any():
            return np.empty(0)
        series, minute, score = self.series[is_over], self.minute[is_over], self.score[is_over]
        begins = np.ones(len(score), dtype=bool)
        begins[1:] = (series[1:] != series[:-1]) | (minute[1:] - minute[:-1] > self.quiet)
        return np.maximum.reduceat(score, np.flatnonzero(begins))

    def level_of(self, count: float) -> float:
        """Return the lowest level at which there are at most so many alarms; -inf if there are never more."""
        low, high = float(self.score.min()), float(self.score.max())
        if len(self.peaks(low)) <= count:
            return -inf
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if len(self.peaks(middle)) > count else (low, middle)
        return high


def _tail(clusters: _Clusters, instrument_days: int, rules: Rules) -> Tail | None:
    """Return the tail of a class, or None if it was not judged."""
    if not instrument_days:
        return None
    # By the rules exp(-raw) * events_per_day alarms of an instrument and day are as high as raw.
    level = max(log(rules.events_per_day / OFTEN), clusters.level_of(instrument_days * BEGINS + ENOUGH))
    number = len(clusters.peaks(level))
    assumed = rules.events_per_day * exp(-level) * instrument_days
    counted = max(number, assumed)
    ratio = ((number + 0.1) / (assumed + 0.1)) ** (counted / (counted + DOUBT))
    rate = rules.events_per_day * exp(-level) * ratio
    levels, slopes = zip(*_steps(clusters.above(level), level), strict=True)
    return Tail(levels, slopes, log(rules.events_per_day / rate))


def _steps(clusters: _Clusters, level: float) -> list[tuple[float, float]]:
    """Return where each step of a tail begins, and its slope: by how much the log of the number of alarms falls.

    A slope is doubted in favour of that of the step before; of the first step, in favour of 1, as the rules assume.
    """
    steps, slope = [], 1.0
    while True:
        peaks = clusters.peaks(level)
        end = clusters.level_of(len(peaks) / 2) if len(peaks) >= 2 * DOUBT else inf
        end = end if end > level else inf
        within = float((np.minimum(peaks, end) - level).sum())
        slope = (int((peaks < end).sum()) + DOUBT) / (within + DOUBT / slope)
        steps.append((level, slope))
        if end == inf:
            return steps
        clusters, level = clusters.above(end), end


def _level_of(events: _Clusters, wanted: float) -> float:
    """Return the level from which on there are as many events as wanted, read from the tail where they are few."""
    level = events.level_of(max(1.5 * wanted, ENOUGH))
    peaks = events.peaks(level if level > -inf else float(events.score.min()))
    if len(peaks) <= wanted:
        return -inf
    lowest = level if level > -inf else float(events.score.min())
    mean_excess = float((peaks - lowest).mean())
    return lowest + mean_excess * log(len(peaks) / wanted)
