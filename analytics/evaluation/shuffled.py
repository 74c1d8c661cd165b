"""The null of a detector that needs price and volume together: volume of another day. Pure.

Prices stay, so the market moves as it did; volume keeps its daily shape, but has nothing to do with these prices. What
a detector still finds is what it would find by chance.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from analytics.evaluation.history import DAY
from analytics.schema import KEY

TRADED = ("volume", "trades")


def minutes_shuffled(bars: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Return the bars, each with the volume of the same minute of another day, chosen minute by minute.

    Breaks up bursts of volume that last several minutes.
    """
    ordered = bars.with_columns(_row=pl.int_range(pl.len()), _time=pl.col("bucket").dt.time()).sort(KEY, "_time", DAY)
    groups = ordered.select(pl.struct(KEY, "_time").rle_id()).to_series().to_numpy()
    source = _rotated(groups, rng)
    named = [name for name in TRADED if name in bars.columns]
    return ordered.with_columns(ordered[name][source] for name in named).sort("_row").drop("_row", "_time")


def days_shuffled(bars: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Return the bars, each instrument's days with the whole volume of another day of it.

    Keeps bursts of volume as they were. A minute without a bar on the other day has none.
    """
    days = bars.select(KEY, DAY).unique().sort(KEY, DAY)
    source = _rotated(days.select(pl.col(KEY).rle_id()).to_series().to_numpy(), rng)
    named = [name for name in TRADED if name in bars.columns]
    pairs = days.with_columns(_from=days[DAY][source])
    given = bars.select(KEY, pl.col(DAY).alias("_from"), pl.col("bucket").dt.time().alias("_time"), *named)
    has_any = [pl.col(name).is_not_null().any().over(KEY) for name in named]
    return (
        bars.with_columns(pl.when(some).then(0).alias(f"_{name}") for name, some in zip(named, has_any, strict=True))
        .drop(named)
        .with_columns(_time=pl.col("bucket").dt.time())
        .join(pairs, on=[KEY, DAY], how="left", maintain_order="left")
        .join(given, on=[KEY, "_from", "_time"], how="left", maintain_order="left")
        .with_columns(pl.coalesce(name, f"_{name}").alias(name) for name in named)
        .select(bars.columns)
    )


def _rotated(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return for each row the row of its group that it takes from: rotated by a random number, never its own if it can.

    `groups` is sorted.
    """
    starts = np.flatnonzero(np.diff(groups, prepend=groups[:1] - 1)) if len(groups) else np.empty(0, np.int64)
    sizes = np.diff(np.append(starts, len(groups)))
    turns = np.where(sizes > 1, 1 + np.floor(rng.random(len(sizes)) * np.maximum(sizes - 1, 1)), 0).astype(np.int64)
    size, turn, start = (np.repeat(x, sizes) for x in (sizes, turns, starts))
    return np.asarray(start + (np.arange(len(groups)) - start + turn) % size)
