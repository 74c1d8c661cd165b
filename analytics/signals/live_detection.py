"""Detect spikes minute by minute, by continuing the figures of `factors` one minute at a time. Pure.

Owns the state of a live run: a row of each instrument with its averages and its last bars, the usual values at each
time of day, and when it fired. The cost of a minute depends on its own bars, however long the history is; the
signals are those that `analytics.signals.detection` finds in history and minutes together.
"""

from __future__ import annotations

from datetime import date, datetime

import polars as pl

from analytics.factors.factors import (
    AVERAGES,
    CONTEXT,
    QUANTITIES,
    STATE,
    averages,
    breadth_of_minute,
    day_ratio,
    measured,
    samples,
    score,
    scores,
    usual,
)
from analytics.factors.few_scores import FewScores
from analytics.factors.trend import TREND_STATE, continued_smooth, derived
from analytics.factors.windowed import RUN, Steps, computed, continued, kept, kept_columns
from analytics.factors.windows import Windows
from analytics.market_time import MARKET_ZONE
from analytics.schema import KEY
from analytics.signals.columns import SIGNALS
from analytics.signals.detection import fire, has_moved, instrument_class, weighing
from analytics.signals.earlier_days import Scored
from analytics.signals.events import EventBuilder, as_signals, with_events
from analytics.signals.rules import CLASSES, InstrumentClass, Rules

MINUTES = 1  # the interval of the bars
USUAL = ("volume_usual", "move_usual")
NO_USUAL = {KEY: pl.String(), **dict.fromkeys(USUAL, pl.Float64())}


class LiveDetector:
    """Find the spikes of one market day, minute by minute.

    Parameters
    ----------
    rules
        Rules of detection.
    history
        Minute bars with the columns of `analytics.schema.BARS`, sorted, of earlier days and of the completed
        minutes of the day.
    day
        The market-local day.

    Attributes
    ----------
    calibration
        Of the day, out of the days before it.
    found
        The signals of the day in the history: columns and dtypes of `columns.SIGNALS`.
    """

    def __init__(self, rules: Rules, history: pl.DataFrame, day: date) -> None:
        self.rules = rules
        windows = rules.windows
        averaged = averages(usual(measured(history.lazy(), windows, MINUTES), windows), windows)
        judged = scores(averaged.with_columns(pl.col(AVERAGES).shift(1).over(KEY)), windows)
        state, table, *plans = pl.collect_all(
            [
                averaged.group_by(KEY, maintain_order=True).last().select(STATE),
                _usual_before(averaged, day, windows),
                *Scored.plans(judged, rules, day),
            ]
        )
        self._columns = history.columns
        self._steps = _steps(windows, set(history.columns))
        self._moved = has_moved(rules)
        self._scores = FewScores(windows)
        self._weighing: dict[tuple[InstrumentClass, ...], tuple[list[pl.Expr], list[str]]] = {}
        before = kept(history, windows, MINUTES)
        self._state = state.join(before, on=KEY, how="left", maintain_order="left")
        self._judged: pl.DataFrame | None = None  # the last minute, not yet in the state
        self._usual = {key[0]: part.drop("at") for key, part in table.partition_by("at", as_dict=True).items()}
        scored = Scored.made(plans, rules, day)
        self.calibration = scored.calibration(rules)
        self._events = EventBuilder(rules)
        fired = fire(scored.candidates, rules, self.calibration)
        local_date = pl.col("bucket").dt.convert_time_zone(MARKET_ZONE.key).dt.date()
        self.found = with_events(fired, self._events).filter(local_date == day)
        self.until: datetime | None = None if history.is_empty() else history["bucket"].max()  # type: ignore[assignment]

    def advance(self, bars: pl.DataFrame) -> pl.DataFrame:
        """Take the bars of one minute, sorted by instrument; return its signals, in the same order: `columns.SIGNALS`.

        The leader of an earlier minute is returned again when another instrument has joined its event.

        Raises
        ------
        ValueError
            If the bars are of several minutes, or not later than the bars taken before.
        """
        if bars.is_empty():
            return pl.DataFrame(schema=SIGNALS)
        minute = bars["bucket"].min()
        assert isinstance(minute, datetime)
        if minute != bars["bucket"].max() or (self.until is not None and minute <= self.until):
            raise ValueError(f"bars of {minute} are not those of the next minute after {self.until}")
        self.carry_on()
        self.until = minute
        at = minute.astimezone(MARKET_ZONE).time()
        usual_now = self._usual.get(at, pl.DataFrame(schema=NO_USUAL))
        known = bars.lazy().select(self._columns)
        for other in (self._state, usual_now):
            known = known.join(other.lazy(), on=KEY, how="left", maintain_order="left")
        self._judged = computed(known, self._steps)
        # Few bars move enough to be candidates: only they need all scores.
        found = self._candidates(self._judged.filter(self._moved))
        return as_signals(self._events.add(fire(found, self.rules, self.calibration).to_dicts()))

    def _candidates(self, moved: pl.DataFrame) -> pl.DataFrame:
        """Return those of the bars that could fire."""
        scored = self._scores.of(moved)
        classes = tuple(sorted(moved["instrument_class"].unique().to_list()))
        if classes not in self._weighing:
            self._weighing[classes] = weighing(self.rules, set(scored.columns), classes or CLASSES)
        weighed, shown = self._weighing[classes]
        return computed(scored.lazy(), [weighed]).filter(pl.col("raw").is_not_null()).select(shown)

    def carry_on(self) -> None:
        """Bring the state up to the last minute; `advance` leaves it until asked, so that signals need not wait."""
        if self._judged is None:
            return
        windows = self.rules.windows
        columns = _carried_on(windows, set(self._judged.columns))
        moved = self._judged.select(KEY, *columns, *RUN, *kept_columns(windows, set(self._columns)))
        self._state = pl.concat([self._state.join(moved, on=KEY, how="anti"), moved.select(self._state.columns)])
        self._judged = None


def _steps(windows: Windows, known: set[str]) -> Steps:
    """Return how the bars of a minute are judged that have the state and what is usual; made once, which takes long."""
    counts = [pl.col(f"{name}_count").fill_null(0) for name in QUANTITIES]
    return [
        *continued(windows, known, MINUTES),
        *continued_smooth(),
        [*derived(), day_ratio(), *counts],
        *breadth_of_minute(known),
        [score("move", windows), instrument_class(known).alias("instrument_class")],
    ]


def _carried_on(windows: Windows, known: set[str]) -> list[pl.Expr]:
    """Return the averages after a bar from those before it, equal to `ewm_mean(adjust=True)`."""
    alpha = 2 / (windows.span_bars + 1)
    columns = []
    for name, sample in samples(known).items():
        count = pl.col(f"{name}_count") + sample.is_not_null().cast(pl.Int64)
        if name in CONTEXT:
            columns.append(count.alias(f"{name}_count"))
            for part, x in (("sum", sample), ("squares", sample * sample)):
                columns.append((pl.col(f"{name}_{part}").fill_null(0.0) + x.fill_null(0.0)).alias(f"{name}_{part}"))
            continue
        share = alpha / (1 - (1 - alpha) ** count.cast(pl.Float64))
        columns.append(count.alias(f"{name}_count"))
        for part, x in (("mean", sample), ("square", sample * sample)):
            before = pl.col(f"{name}_{part}").fill_null(0.0)
            after = pl.when(sample.is_not_null()).then(before + (x - before) * share)
            columns.append(pl.coalesce(after, pl.col(f"{name}_{part}")).alias(f"{name}_{part}"))
    carried = {column.meta.output_name() for column in columns}
    return [*columns, *(pl.col(name) for name in (*AVERAGES, *TREND_STATE) if name not in carried)]


def _usual_before(frame: pl.LazyFrame, day: date, windows: Windows) -> pl.LazyFrame:
    """Return volume_usual and move_usual of each instrument by time of day, at: the medians of the last days."""
    local = pl.col("bucket").dt.convert_time_zone(MARKET_ZONE.key)
    days = frame.select(KEY, "volume_x", "move_x", day=local.dt.date(), at=local.dt.time())
    return (
        days.filter(pl.col("day") < day)
        .group_by(KEY, "at", maintain_order=True)
        .agg(
            pl.col(f"{name}_x").tail(windows.usual_days).drop_nulls().alias(f"{name}_usual")
            for name in ("volume", "move")
        )
        .with_columns(
            pl.when(pl.col(name).list.len() >= windows.usual_days_min).then(pl.col(name).list.median()).alias(name)
            for name in USUAL
        )
    )
