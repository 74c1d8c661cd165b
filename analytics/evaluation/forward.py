"""What followed an alarm, against the same minute of other days: measures that need no label. Pure."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from analytics.evaluation.history import DAY
from analytics.schema import KEY

HORIZONS = (5, 15, 60)  # minutes after the bar that fired has ended
MEASURES = ("range", "volume")
RANGE_MIN = 1e-5  # of a price: a tenth of a basis point stands for no range at all
LARGE_OTHERS_MIN = 5  # matched minutes: with fewer, "above 9 of 10" means nothing


def after(bars: pl.DataFrame, step: timedelta) -> pl.DataFrame:
    """Return what followed each bar within its day.

    Parameters
    ----------
    bars
        From `history.read_history`.
    step
        Interval of the bars.

    Returns
    -------
    polars.DataFrame
        instrument_key, day, bucket, and for each horizon H: range_H (log of the range of prices, itself a log),
        volume_H (log of 1 + what was traded; null without volume) and move_H (log of the last close over the bar's
        close). Null where the day has less than H minutes left.
    """
    spans = bars.group_by(KEY, DAY).agg(first=pl.col("bucket").min(), last=pl.col("bucket").max())
    grid = spans.with_columns(pl.datetime_ranges("first", "last", interval=step).alias("bucket")).explode("bucket")
    known = ["high", "low", "close", "volume"]
    rows = (
        grid.join(bars.select(KEY, "bucket", *known), on=[KEY, "bucket"], how="left")
        .sort(KEY, "bucket")
        .with_columns(
            pl.col("close").forward_fill().over(KEY, DAY),
            pl.when(pl.col("volume").is_not_null().any().over(KEY, DAY)).then(pl.col("volume").fill_null(0)),
        )
    )
    minutes = step // timedelta(minutes=1)
    columns = []
    for horizon in HORIZONS:
        count = max(horizon // minutes, 1)
        high, low = (
            getattr(pl.col(name), f"rolling_{name_of}")(count, min_samples=1).shift(-count)
            for name, name_of in (("high", "max"), ("low", "min"))
        )
        volume = pl.col("volume").cast(pl.Float64).rolling_sum(count, min_samples=1).shift(-count)
        is_there = pl.col("close").shift(-count).is_not_null()
        columns += [
            pl.when(is_there.over(KEY, DAY)).then(_log_range(high, low).over(KEY, DAY)).alias(f"range_{horizon}"),
            pl.when(is_there.over(KEY, DAY)).then(volume.log1p().over(KEY, DAY)).alias(f"volume_{horizon}"),
            (pl.col("close").shift(-count) / pl.col("close")).log().over(KEY, DAY).alias(f"move_{horizon}"),
        ]
    names = [f"{measure}_{horizon}" for horizon in HORIZONS for measure in (*MEASURES, "move")]
    return rows.with_columns(columns).select(KEY, DAY, "bucket", *names)


def _log_range(high: pl.Expr, low: pl.Expr) -> pl.Expr:
    """Return the log of the range, so that a difference is a ratio."""
    return (high / low).log().clip(lower_bound=RANGE_MIN).log()


def against_matched(alarms: pl.DataFrame, followed: pl.DataFrame) -> pl.DataFrame:
    """Return the alarms with what followed them, less what follows the same minute of days without an alarm.

    Parameters
    ----------
    alarms
        instrument_key, bucket, day and rising of each onset.
    followed
        From `after`.

    Returns
    -------
    polars.DataFrame
        The alarms with others (number of matched minutes), and for each horizon H: range_H and volume_H (log of the
        ratio to the geometric mean of the matched minutes), large_H (the range is above that of 9 of 10 matched
        minutes; null with fewer than 5 of them) and right_H (the price went on in the direction of the alarm; null if
        it is where it was).
    """
    own = alarms.select(KEY, DAY, "bucket", "rising").with_row_index("alarm")
    own = own.with_columns(at=pl.col("bucket").dt.time())
    busy = own.select(KEY, DAY).unique()
    quiet = followed.with_columns(at=pl.col("bucket").dt.time()).join(
        own.select(KEY, "at").unique(), on=[KEY, "at"], how="semi"
    )
    quiet = quiet.join(busy, on=[KEY, DAY], how="anti").drop(DAY, "bucket")
    mine = own.join(followed, on=[KEY, DAY, "bucket"], how="left")
    measures = [f"{measure}_{horizon}" for horizon in HORIZONS for measure in MEASURES]
    beside = mine.select("alarm", KEY, "at", *measures).join(quiet, on=[KEY, "at"], suffix="_other")
    matched = beside.group_by("alarm").agg(
        pl.len().alias("others"),
        *((pl.col(name) - pl.col(f"{name}_other")).mean().alias(f"{name}_ratio") for name in measures),
        *(
            pl.when(pl.col(f"range_{horizon}_other").count() >= LARGE_OTHERS_MIN)
            .then(pl.col(f"range_{horizon}").first() > pl.col(f"range_{horizon}_other").quantile(0.9))
            .alias(f"large_{horizon}")
            for horizon in HORIZONS
        ),
    )
    right = [
        pl.when(pl.col(f"move_{horizon}") != 0)
        .then((pl.col(f"move_{horizon}") > 0) == pl.col("rising"))
        .alias(f"right_{horizon}")
        for horizon in HORIZONS
    ]
    return (
        mine.with_columns(right)
        .drop(measures)
        .join(matched, on="alarm", how="left", maintain_order="left")
        .rename({f"{name}_ratio": name for name in measures})
        .with_columns(pl.col("others").fill_null(0))
        .drop("alarm", "at", *(f"move_{horizon}" for horizon in HORIZONS))
    )
