"""What own weights are fitted to: which bars were followed by more than usual, and what people said of them. Pure.

Owns the target. A bar is positive if the range of the next 15 minutes is above that of nine in ten of the same minutes
of other days. A label outweighs many minutes: a right or missed one makes the bars around it positive, a wrong one
negative.
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from analytics.evaluation.forward import after
from analytics.evaluation.history import DAY, interval
from analytics.schema import KEY

HORIZON = 15  # minutes
LARGE = 0.9
LABEL_WEIGHT = 20.0
AROUND = timedelta(minutes=2)  # of a label, both ways


def with_target(
    scored: pl.DataFrame, bars: pl.DataFrame, usual_days: pl.Series, labels: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Return scored bars with target (Boolean) and weight; those whose next minutes are not known are left out.

    Parameters
    ----------
    scored
        instrument_key, bucket and day of bars that could fire.
    bars
        From `history.read_history`: the same days and their bars.
    usual_days
        The market days that say what is usual.
    labels
        instrument_key, bucket and verdict (right, wrong, missed).
    """
    followed = after(bars, interval(bars)).select(KEY, DAY, "bucket", followed=f"range_{HORIZON}")
    followed = followed.with_columns(at=pl.col("bucket").dt.time())
    usual = followed.filter(pl.col(DAY).is_in(usual_days.implode())).group_by(KEY, "at")
    limits = usual.agg(limit=pl.col("followed").quantile(LARGE))
    known = (
        scored.join(followed, on=[KEY, DAY, "bucket"], how="inner", maintain_order="left")
        .join(limits, on=[KEY, "at"], how="inner", maintain_order="left")
        .filter(pl.col("followed").is_not_null() & pl.col("limit").is_not_null())
        .with_columns(target=pl.col("followed") > pl.col("limit"), weight=pl.lit(1.0))
        .drop("followed", "limit", "at")
    )
    return known if labels is None or labels.is_empty() else _with_labels(known, labels)


def _with_labels(known: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Return bars of which those near a label have its verdict and weight."""
    said = labels.select(KEY, "verdict", told=pl.col("bucket")).sort("told")
    nearest = known.with_row_index("_row").sort("bucket").join_asof(
        said, left_on="bucket", right_on="told", by=KEY, strategy="nearest", tolerance=AROUND, check_sortedness=False
    )  # fmt: skip
    is_told = pl.col("verdict").is_not_null()
    return (
        nearest.sort("_row")
        .with_columns(
            target=pl.when(is_told).then(pl.col("verdict") != "wrong").otherwise("target"),
            weight=pl.when(is_told).then(LABEL_WEIGHT).otherwise("weight"),
        )
        .drop("_row", "verdict", "told")
    )
