"""Bars of a history without labels, as the judge takes them. Pure.

Owns the columns that a file of bars must have, and days.
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from analytics.evaluation.classes import CLASS, CLASSES, class_of
from analytics.market_time import MARKET_OFFSET
from analytics.schema import KEY, TIME
from ingest.errors import ConfigError

COLUMNS = (KEY, "bucket", "open", "high", "low", "close")
OTHER_NAMES = {
    KEY: ("instrument", "symbol"),
    "bucket": ("datetime", "timestamp", "time"),
}  # as other programs write them
DAY = "day"  # market-local
EARLIER = "earlier_days"  # of the instrument, before the day of the bar
MINUTE = timedelta(minutes=1)


def read_history(frame: pl.DataFrame, *, as_index: bool = False, zone: str = "UTC") -> pl.DataFrame:
    """Return bars sorted by instrument and time, with their day, class and number of earlier days.

    Parameters
    ----------
    frame
        instrument_key (or instrument, symbol); bucket (or datetime, timestamp, time: start of the bar); open, high,
        low, close (rupees); volume, and what else is known.
    as_index
        Take the volume away, and judge everything as an index.
    zone
        Of times that have none.

    Raises
    ------
    ConfigError
        If a column is missing, a class is unknown, there is no bar, or an instrument has two bars of one time.
    """
    bars = with_usual_names(frame, zone).sort(KEY, "bucket")
    if as_index:
        gone = [name for name in ("volume", "trades", "oi", "iv", CLASS, "instrument_type") if name in bars.columns]
        bars = bars.drop(gone)
    if "volume" not in bars.columns:
        bars = bars.with_columns(volume=pl.lit(None, pl.Int64))
    if bars.is_empty():
        raise ConfigError("there are no bars: give a file or a range that has some")
    twice = bars.filter((pl.col("bucket") == pl.col("bucket").shift(1)) & (pl.col(KEY) == pl.col(KEY).shift(1)))
    if not twice.is_empty():
        key, at = twice.select(KEY, "bucket").row(0)
        raise ConfigError(f"instrument {key!r} has two bars of {at}: give each minute once")
    classes = class_of(bars)
    if strange := sorted(set(classes.values()) - {*CLASSES, "other"}):
        raise ConfigError(f"class {strange[0]!r} is not known: write one of {', '.join(CLASSES)}")
    return bars.with_columns(
        (pl.col("bucket") + MARKET_OFFSET).dt.date().alias(DAY),
        pl.col(KEY).replace_strict(classes, return_dtype=pl.String).alias(CLASS),
    ).with_columns((pl.col(DAY).rle_id().over(KEY)).cast(pl.Int64).alias(EARLIER))


def with_usual_names(frame: pl.DataFrame, zone: str = "UTC") -> pl.DataFrame:
    """Return bars of a file with the names of our columns, and times in UTC; see `read_history`.

    Raises
    ------
    ConfigError
        If a column is missing, or times are none.
    """
    for name, others in OTHER_NAMES.items():
        if name not in frame.columns and (there := [other for other in others if other in frame.columns]):
            frame = frame.rename({there[0]: name})
    if missing := [name for name in COLUMNS if name not in frame.columns]:
        instead = f" (or {', '.join(OTHER_NAMES[missing[0]])})" if missing[0] in OTHER_NAMES else ""
        raise ConfigError(
            f"column {missing[0]!r}{instead} is missing: a file of bars has {', '.join(COLUMNS)}, volume: rename it"
        )
    if not isinstance(kind := frame.schema["bucket"], pl.Datetime):
        raise ConfigError(f"column 'bucket' is {kind}, not a time: write the start of each bar as a time")
    bucket = pl.col("bucket")
    if kind.time_zone is None:
        bucket = bucket.dt.replace_time_zone(zone)
    return frame.with_columns(bucket.dt.convert_time_zone("UTC").cast(TIME))


def interval(bars: pl.DataFrame) -> timedelta:
    """Return the interval of bars: the smallest step between two of an instrument, or a minute."""
    step = bars.select(pl.col("bucket").diff().over(KEY).filter(pl.col("bucket").diff().over(KEY) > timedelta(0)).min())
    found = step.item()
    return found if isinstance(found, timedelta) else MINUTE
