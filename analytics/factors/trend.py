"""Smoothed figures of a run of bars: true range, relative strength, directional movement, averages. Pure.

Owns the recursions of J. Welles Wilder (1978) as spike detection needs them: for a whole history and continued bar by
bar with the same result. The figures of each run start from its first bar, and are not used before `WARMUP_BARS`.
For indicators to look at, see `analytics.factors.indicators`.
"""

from __future__ import annotations

import polars as pl

WILDER = 1 / 14
WARMUP_BARS = 14  # bars of the run before trend, relative strength and range are known
# Weight of the newest value. The averages of the close, fast and slow, have spans of 9 and 50 bars, busy 20 of volume.
INPUTS = {
    "tr": WILDER,
    "change": WILDER,
    "changes": WILDER,
    "plus": WILDER,
    "minus": WILDER,
    "fast": 2 / 10,
    "slow": 2 / 51,
    "busy": 2 / 21,
}
SMOOTHED = (*INPUTS, "dx")  # state after a bar
BEFORE = ("tr", "busy")  # the state before a bar is needed too
TREND_STATE = (*(f"{name}_smooth" for name in SMOOTHED), "run_bars")


def inputs(before: pl.Expr, high_before: pl.Expr, low_before: pl.Expr, volume: pl.Expr) -> list[pl.Expr]:
    """Return the values that are smoothed, NAME_in, given the close, high and low of the bar before in the run.

    True range, change of the close, its size, and directional movements as fractions of the close before (of the
    close in the first bar); the close, and the volume. Null in a bar without a price.
    """
    high, low, close = (pl.col(name).cast(pl.Float64) for name in ("high", "low", "close"))
    up, down = high - high_before, low_before - low
    change = close / before - 1
    true_range = pl.max_horizontal(high, before) - pl.min_horizontal(low, before)
    found = {
        "tr": true_range / pl.coalesce(before, close),
        "change": change,
        "changes": change.abs(),
        "plus": pl.when((up > down) & (up > 0)).then(up).when(up.is_not_null()).then(0.0) / before,
        "minus": pl.when((down > up) & (down > 0)).then(down).when(down.is_not_null()).then(0.0) / before,
        **dict.fromkeys(("fast", "slow"), close),
        "busy": volume.cast(pl.Float64),
    }
    return [pl.when("_good").then(value).alias(f"{name}_in") for name, value in found.items()]


def smooth(bars: pl.LazyFrame) -> pl.LazyFrame:
    """Add `TREND_STATE` after each bar (run_bars is there already), and `BEFORE`, of the bar before in the run."""

    def smoothed(name: str, weight: float) -> pl.Expr:
        return pl.col(f"{name}_in").ewm_mean(alpha=weight, adjust=False, ignore_nulls=True).over("run")

    bars = bars.with_columns(smoothed(name, weight).alias(f"{name}_smooth") for name, weight in INPUTS.items())
    bars = bars.with_columns(dx_in=_directional_index()).with_columns(dx_smooth=smoothed("dx", WILDER))
    before = pl.when(pl.col("run_bars") > 1)
    return bars.with_columns(before.then(pl.col(f"{name}_smooth").shift(1)).alias(f"{name}_before") for name in BEFORE)


def continued_smooth() -> list[list[pl.Expr]]:
    """Return the steps that do the same for one bar of each instrument, which has `TREND_STATE` of the bar before.

    But run_bars are those of the bar, and run_start says whether it begins a run.
    """
    begins = pl.col("run_start")

    def moved(name: str, weight: float) -> pl.Expr:
        new, old = pl.col(f"{name}_in"), pl.col(f"{name}_smooth")
        return pl.when(begins | old.is_null()).then(new).otherwise(old + weight * (new - old)).alias(f"{name}_smooth")

    before = [pl.when(~begins).then(pl.col(f"{name}_smooth")).alias(f"{name}_before") for name in BEFORE]
    return [
        [*before, *(moved(name, weight) for name, weight in INPUTS.items())],
        [_directional_index().alias("dx_in")],
        [moved("dx", WILDER)],
    ]


def derived() -> list[pl.Expr]:
    """Return the quantities made of smoothed figures; all but the first two in the direction of the move, at least 0.

    burst_x: volume over its average of the 20 bars before (exponential); range_x: true range over the average true
    range before; roc_x: return over the window in average true ranges; trend_x: average directional index
    (0 to 1) times how far close, fast and slow average are stacked (0, 0.5, 1); rsi_x: relative strength, from 0 in
    the middle (50) to 1.
    """
    known = (pl.col("run_bars") > WARMUP_BARS) & pl.col("move_x").is_not_null()
    direction = pl.when("rising").then(1.0).otherwise(-1.0)
    fast, slow = pl.col("fast_smooth"), pl.col("slow_smooth")
    stacked = ((pl.col("close") - fast).sign() + (fast - slow).sign()) / 2
    ranges = pl.when(pl.col("tr_before") > 0)
    strength = pl.when(pl.col("changes_smooth") > 0).then(pl.col("change_smooth") / pl.col("changes_smooth"))
    found = {
        "burst_x": pl.when(pl.col("busy_before") > 0).then(pl.col("busy_in") / pl.col("busy_before")),
        "range_x": ranges.then(pl.col("tr_in") / pl.col("tr_before")),
        "roc_x": ranges.then((direction * pl.col("window_return")).clip(lower_bound=0) / pl.col("tr_before")),
        "trend_x": (direction * stacked).clip(lower_bound=0) * pl.col("dx_smooth"),
        "rsi_x": (direction * strength.otherwise(0.0)).clip(lower_bound=0),
    }
    return [pl.when(known).then(value).alias(name) for name, value in found.items()]


def _directional_index() -> pl.Expr:
    """Return the directional index, 0 to 1."""
    plus, minus = pl.col("plus_smooth"), pl.col("minus_smooth")
    return pl.when(plus + minus > 0).then((plus - minus).abs() / (plus + minus)).when(plus.is_not_null()).then(0.0)
