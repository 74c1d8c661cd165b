"""Build bars of wider intervals from narrower ones, anchored at the open of the session.

Pure. Owns the definition of an interval, where its buckets begin, and how bars are combined. Must not
know where the bars came from.

The buckets of an interval begin at the open of each market-local day and every interval after it:
with 75 minutes at 09:15, 10:30, ..., with a day once, at the open. No such bucket spans two days. Trades
before the open (the auction) belong to the day's first bucket: their price is the day's
official open. Trades after the close are in the bucket of their time. Weeks and months are made of days and
begin at the usual open of their first day (Monday, the first).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import polars as pl

from analytics.market_time import EQUITY_OPEN, MARKET_OFFSET, OPENS, SpecialSession, day_start, market_day
from analytics.schema import BAR_SOURCE, BARS, TIME
from ingest.errors import ConfigError

DAY_MINUTES = 24 * 60
FIVE = 5  # minutes of the bars that the database keeps beside those of one
_US = timedelta(microseconds=1)
WEEK_MINUTES, MONTH_MINUTES = 7 * DAY_MINUTES, 31 * DAY_MINUTES  # a month is at most so long
_UNITS = {"m": 1, "h": 60, "d": DAY_MINUTES}
_PERIODS = {"1w": WEEK_MINUTES, "1mo": MONTH_MINUTES}


def interval_minutes(interval: str | int | timedelta) -> int:
    """Return an interval ("5m", "1h", "1d", "1w", "1mo", minutes, or a timedelta) in minutes.

    Raises
    ------
    ConfigError
        If it is not a multiple of a minute, from a minute to a day, nor a week or a month.

    Examples
    --------
    >>> interval_minutes("75m"), interval_minutes("1h"), interval_minutes(timedelta(days=1))
    (75, 60, 1440)
    """
    minutes: float = 0
    if isinstance(interval, timedelta):
        minutes = interval / timedelta(minutes=1)
    elif isinstance(interval, str):
        if period := _PERIODS.get(interval.strip().lower()):
            return period
        if found := re.fullmatch(r"(\d{1,6})([mhd])", interval.strip().lower(), re.ASCII):
            minutes = int(found[1]) * _UNITS[found[2]]
    elif isinstance(interval, int) and not isinstance(interval, bool):
        minutes = interval
    if not 1 <= minutes <= DAY_MINUTES or minutes != int(minutes):
        raise ConfigError(
            f"interval {interval!r} is not a multiple of a minute up to a day, a week or a month: "
            "write it as '1m', '15m', '75m', '1d', '1w' or '1mo'"
        )
    return int(minutes)


def five_minutes(bars: pl.DataFrame) -> pl.DataFrame:
    """Combine one-minute bars into five-minute ones, as the database keeps them: see `roll_up`.

    Trades before the open have bars of their own.
    """
    return _roll_up(bars.with_columns(pl.col("bucket").dt.truncate("5m")))


def roll_up(bars: pl.DataFrame, minutes: int, special: Sequence[SpecialSession] = ()) -> pl.DataFrame:
    """Combine bars into wider ones.

    Parameters
    ----------
    bars
        Columns and dtypes of `schema.BARS`, sorted by instrument_key and bucket, each bar inside
        one bucket of the result (one-minute bars always are). A row without a close is no bar, but its
        quality counts where there is another.
    minutes
        Width of the result, from 1 minute to a day.
    special
        Sessions that do not open at the usual time.

    Returns
    -------
    polars.DataFrame
        The same columns, dtypes and order of rows, at most one row per instrument and bucket, none
        where there was no bar. open is the first, close the last, volume the sum of those known
        (null only where none is), oi, iv, delta and gamma the last known. source is that of all its bars or 'mixed',
        quality the worst of them.
    """
    return _roll_up(bars.with_columns(bucket=_bucket(minutes, special)))


def with_official_days(bars: pl.DataFrame, official: pl.DataFrame) -> pl.DataFrame:
    """Give bars of days the exchange's own open, high, low and volume where the feed said them.

    Parameters
    ----------
    bars
        Bars of days, columns and dtypes of `schema.BARS`.
    official
        Columns instrument_key, begins (local midnight of the day), open, high, low, volume; one row per
        instrument and day. The larger volume is kept: theirs is that of the last trade received, and starts again
        at 0 when the exchange resets its count.
    """
    begins = (_local_midnight(pl.col("bucket")) - MARKET_OFFSET // _US).cast(TIME)
    return (
        bars.with_columns(begins=begins)
        .join(official, on=("instrument_key", "begins"), how="left", suffix="_official", maintain_order="left")
        .with_columns(
            pl.coalesce("open_official", "open").alias("open"),
            pl.max_horizontal("high", "high_official").alias("high"),
            pl.min_horizontal("low", "low_official").alias("low"),
            pl.max_horizontal("volume", "volume_official").alias("volume"),
        )
        .select(*BARS)
    )


def periods(bars: pl.DataFrame, minutes: int) -> pl.DataFrame:
    """Combine bars of days into bars of weeks (`WEEK_MINUTES`) or months (`MONTH_MINUTES`), see `roll_up`."""
    every = "1w" if minutes == WEEK_MINUTES else "1mo"
    local = pl.col("bucket").dt.offset_by(f"{MARKET_OFFSET // timedelta(minutes=1)}m")
    first = local.dt.truncate(every).cast(pl.Int64) - MARKET_OFFSET // _US + _session_open_us()
    return _roll_up(bars.with_columns(bucket=first.cast(TIME)))


def period_start(at: datetime, minutes: int) -> datetime:
    """Return the local midnight at which the day, week or month of an aware time begins, in UTC."""
    begins = day_start(at)
    day = market_day(at)
    if minutes == WEEK_MINUTES:
        return begins - timedelta(days=day.weekday())
    return begins - timedelta(days=day.day - 1) if minutes == MONTH_MINUTES else begins


def _roll_up(bars: pl.DataFrame) -> pl.DataFrame:
    """Combine the bars of each instrument and bucket."""
    sources = pl.col("source").filter(pl.col("close").is_not_null())
    return (
        bars.group_by("instrument_key", "bucket", maintain_order=True)
        .agg(
            pl.col("open").drop_nulls().first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").drop_nulls().last(),
            pl.when(pl.col("volume").count() > 0).then(pl.col("volume").sum()).alias("volume"),
            pl.col("oi").drop_nulls().last(),
            pl.when(sources.min() == sources.max())
            .then(sources.first())
            .otherwise(pl.lit("mixed", dtype=BAR_SOURCE))
            .alias("source"),
            pl.col("quality").max(),
            *(pl.col(name).drop_nulls().last() for name in ("iv", "delta", "gamma")),
        )
        .filter(pl.col("close").is_not_null())
        .select(*BARS)
    )


def read_range(start: datetime | None, end: datetime | None, minutes: int) -> tuple[datetime | None, datetime | None]:
    """Return the range of narrow bars that make up the wide buckets beginning in [start, end).

    The day's first bucket reaches back to midnight, and the last one beyond the end. Times are
    aware; the result is in UTC.
    """
    return (
        None if start is None else period_start(start, minutes),
        None if end is None else end.astimezone(UTC) + timedelta(minutes=minutes),
    )


def _bucket(minutes: int, special: Sequence[SpecialSession]) -> pl.Expr:
    """Return the start of the wide bucket that contains a bar's bucket."""
    # In integers: conversion through a time zone takes four times as long.
    local = pl.col("bucket").cast(pl.Int64) + MARKET_OFFSET // _US
    midnight = _local_midnight(pl.col("bucket"))
    opens_at = midnight + _session_open_us()
    for session in special:
        of_day = (pl.col("instrument_key").str.starts_with(f"{session.segment}|")) & (
            midnight == _epoch_us(day_start(session.opens_at)) + MARKET_OFFSET // _US
        )
        local_open = _epoch_us(session.opens_at) + MARKET_OFFSET // _US
        opens_at = pl.when(of_day).then(pl.lit(local_open, pl.Int64)).otherwise(opens_at)
    width = timedelta(minutes=minutes) // _US
    slot = ((local - opens_at) // width).clip(lower_bound=0)
    return (opens_at + slot * width - MARKET_OFFSET // _US).cast(TIME)


def _local_midnight(at: pl.Expr) -> pl.Expr:
    """Return the local midnight before times, in microseconds of local time."""
    local = at.cast(pl.Int64) + MARKET_OFFSET // _US
    return local - local % (timedelta(days=1) // _US)


def _epoch_us(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // _US


def _session_open_us() -> pl.Expr:
    """Return the usual open of an instrument's session after local midnight."""
    opens = pl.lit(EQUITY_OPEN // _US, pl.Int64)
    for segment, after_midnight in OPENS.items():
        is_of = pl.col("instrument_key").str.starts_with(f"{segment}|")
        opens = pl.when(is_of).then(pl.lit(after_midnight // _US, pl.Int64)).otherwise(opens)
    return opens
