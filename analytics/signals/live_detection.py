"""Detect spikes minute by minute, by continuing the figures of `factors` one minute at a time. Pure.

Owns the state of a live run: the last bars of each instrument, its averages, the usual values at each
time of day, and when it fired. The cost of a minute depends on its own bars, however long the history is; the
signals are those that `analytics.signals.detection` finds in history and minutes together.
"""

from __future__ import annotations

from datetime import date, datetime, time

import polars as pl

from analytics.factors.factors import QUANTITIES, STATE, averages, quantities, samples, scores, usual
from analytics.factors.windows import Windows
from analytics.market_time import MARKET_ZONE
from analytics.schema import KEY, TIME
from analytics.signals.detection import SIGNALS, firing, is_onset, with_reasons
from analytics.signals.rules import Rules

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
    """

    def __init__(self, rules: Rules, history: pl.DataFrame, day: date) -> None:
        self.rules = rules
        windows = rules.windows
        measured = averages(quantities(history.lazy(), windows, MINUTES), windows)
        judged = scores(usual(measured, windows).with_columns(pl.col(STATE[1:]).shift(1).over(KEY)), windows)
        frame, past = pl.collect_all([measured, firing(judged, rules)])
        self._tail = history.group_by(KEY, maintain_order=True).tail(windows.spike_bars)
        self._state = frame.group_by(KEY, maintain_order=True).last().select(STATE)
        self._fired = past.group_by(KEY).agg(pl.col("bucket").last().cast(TIME).alias("fired"))
        self._usual = _usual_before(frame, day, windows)
        self.until: datetime | None = None if history.is_empty() else history["bucket"].max()  # type: ignore[assignment]

    def advance(self, bars: pl.DataFrame) -> pl.DataFrame:
        """Take the bars of one minute and return its signals: columns and dtypes of `detection.SIGNALS`.

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
        windows = self.rules.windows
        self.until = minute
        self._tail = pl.concat([self._tail, bars.select(self._tail.columns)]).sort(KEY, "bucket", maintain_order=True)
        measured = quantities(self._tail.lazy(), windows, MINUTES).filter(pl.col("bucket") == minute).collect()
        self._tail = self._tail.group_by(KEY, maintain_order=True).tail(windows.spike_bars)
        at = minute.astimezone(MARKET_ZONE).time()
        known = measured.join(self._state, on=KEY, how="left", maintain_order="left")
        known = known.join(
            self._usual.get(at, pl.DataFrame(schema=NO_USUAL)), on=KEY, how="left", maintain_order="left"
        )
        known = known.with_columns(pl.col(f"{name}_count").fill_null(0) for name in QUANTITIES)
        fired = firing(scores(known.lazy(), windows), self.rules).collect()
        moved = known.select(KEY, *_carried_on(windows, set(known.columns)))
        self._state = pl.concat([self._state.join(moved, on=KEY, how="anti"), moved.select(STATE)])
        fired = fired.join(self._fired, on=KEY, how="left", maintain_order="left")
        fired = fired.with_columns(onset=is_onset(pl.col("bucket") - pl.col("fired"), self.rules))
        self._fired = (
            pl.concat([self._fired, fired.select(KEY, fired="bucket")]).group_by(KEY).agg(pl.col("fired").max())
        )
        return with_reasons(fired)


def _carried_on(windows: Windows, known: set[str]) -> list[pl.Expr]:
    """Return the averages after a bar from those before it, equal to `ewm_mean(adjust=True)`."""
    alpha = 2 / (windows.span_bars + 1)
    columns = []
    for name, sample in samples(known).items():
        count = pl.col(f"{name}_count") + sample.is_not_null().cast(pl.Int64)
        share = alpha / (1 - (1 - alpha) ** count.cast(pl.Float64))
        columns.append(count.alias(f"{name}_count"))
        for part, x in (("mean", sample), ("square", sample**2)):
            before = pl.col(f"{name}_{part}").fill_null(0.0)
            after = pl.when(sample.is_not_null()).then(before + (x - before) * share)
            columns.append(pl.coalesce(after, pl.col(f"{name}_{part}")).alias(f"{name}_{part}"))
    carried = {column.meta.output_name() for column in columns}
    return [*columns, *(pl.col(name) for name in STATE[1:] if name not in carried)]


def _usual_before(frame: pl.DataFrame, day: date, windows: Windows) -> dict[time, pl.DataFrame]:
    """Return volume_usual and move_usual of each instrument by time of day: the medians of the last days."""
    local = pl.col("bucket").dt.convert_time_zone(MARKET_ZONE.key)
    days = frame.lazy().with_columns(day=local.dt.date(), at=local.dt.time())
    table = (
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
        .collect()
    )
    return {key[0]: part.drop("at") for key, part in table.partition_by("at", as_dict=True).items()}
