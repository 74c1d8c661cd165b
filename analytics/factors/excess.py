"""The formula of a score: how far a quantity is above its own average, in standard deviations. Pure.

Owns what is compared with the average, and the doubt of short histories. Must not know how many bars there are, nor in
which columns the averages are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from analytics.factors.windows import Windows


def compared(quantities: Sequence[str]) -> dict[str, tuple[pl.Expr, pl.Expr]]:
    """Return of each quantity what is compared with its average, and by which factor its excess is larger."""
    busy, one = _ratio("volume"), pl.lit(1.0)
    own = {
        "volume": (pl.col("volume_x") / busy, pl.col("window_bars").sqrt()),
        "trades": (pl.col("trades_x") / busy, pl.col("window_bars").sqrt()),
        "move": (pl.col("move_x") / _ratio("move"), one),
    }
    return {name: own.get(name, (pl.col(f"{name}_x"), one)) for name in quantities}


def is_judged() -> pl.Expr:
    """Return whether a bar has scores: at the start of a session only with enough earlier days."""
    return ~pl.col("session_start") | pl.col("move_usual").is_not_null()


def _ratio(name: str) -> pl.Expr:
    """Return the ratio of usual at this time of day to the average, at least 1."""
    ratio = pl.col(f"{name}_usual") / pl.col(f"{name}_mean")
    return pl.when(ratio > 1).then(ratio).otherwise(1.0)


def least_deviation(name: str, windows: Windows) -> float:
    """Return the smallest deviation assumed for a quantity."""
    return windows.iv_deviation_min if name == "iv" else 0.0


class Excess(NamedTuple):
    """What a score is made of: the averages before the bar, and the smallest deviation assumed."""

    x: pl.Expr
    scale: pl.Expr
    mean: pl.Expr
    square: pl.Expr
    number: pl.Expr
    least: pl.Expr


def log_excess(of: Excess, windows: Windows) -> pl.Expr:
    """Return log(1 + z) of a quantity, 0 below the average; null if it never varied."""
    variance = of.square - of.mean * of.mean
    # A variance is a difference of two averages: a smaller fraction of them is only rounding.
    varied = variance > 1e-12 * of.square
    known = of.number / (of.number + windows.doubt_bars)
    z = (of.x - of.mean) / pl.max_horizontal(variance.sqrt(), of.least) * of.scale * known
    return pl.when(varied | (of.least > 0)).then(z.clip(lower_bound=0).log1p())
