"""Measure the quantities of a bar that spike detection uses, and their usual values for the instrument. Pure.

Owns the quantities and their exponential averages, for a whole history and bar by bar: `factors` and
`LiveDetector.advance` give the same figures. All are independent of scale, so that one rule set fits
instruments of any price and size. What is measured over a window: `analytics.factors.windowed`. Must not know the
weights.

The move at the start of a session is compared only with the same minutes of earlier days.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from analytics.factors.excess import Excess, compared, is_judged, least_deviation, log_excess
from analytics.factors.trend import TREND_STATE, derived, smooth
from analytics.factors.windowed import Steps, local_day, quantities
from analytics.factors.windows import Windows
from analytics.schema import KEY

# Each quantity is compared with its own average: x is its value for the bar. Those of `WEIGHTED` have a scale of their
# own and are averaged exponentially: mean, square and count are the averages after the bar. Those of `CONTEXT` are
# ratios or shares already, which need no forgetting: sum, squares and count since the first bar.
WEIGHTED = ("volume", "trades", "move", "iv", "oi")
CONTEXT = ("burst", "day", "roc", "range", "trend", "rsi", "hedged", "gamma", "breadth")
QUANTITIES = (*WEIGHTED, *CONTEXT)
PARTS = dict.fromkeys(WEIGHTED, ("mean", "square", "count")) | dict.fromkeys(CONTEXT, ("sum", "squares", "count"))
AVERAGES = [f"{name}_{part}" for name, parts in PARTS.items() for part in parts]
STATE = [KEY, *AVERAGES, *TREND_STATE]
NONE = pl.lit(None, pl.Float64)
BREADTH_MIN = 10  # shares; of fewer, breadth is not known


def measured(
    bars: pl.LazyFrame, windows: Windows, minutes: int | None = None, *, has_context: bool = True
) -> pl.LazyFrame:
    """Add all quantities: `quantities`, and unless `has_context` is false the context of a bar.

    The context, `CONTEXT`: what the bars before say (`analytics.factors.trend`), breadth, and volume against the
    same time of earlier days.
    """
    found = quantities(bars, windows, minutes)
    return with_breadth(smooth(found).with_columns(derived())) if has_context else found


def with_breadth(bars: pl.LazyFrame) -> pl.LazyFrame:
    """Add breadth_x for indices: by how much more shares go its way than against it over the window, 0 to 1.

    All shares with a bar of the same minute count, from ten on. Null for other instruments, and if the column
    instrument_class is not there.
    """
    if "instrument_class" not in bars.collect_schema().names():
        return bars.with_columns(breadth_x=NONE)
    breadth = bars.filter(_is_share()).group_by("bucket").agg(_of_shares())
    joined = bars.join(breadth, on="bucket", how="left", maintain_order="left")
    return joined.with_columns(_breadth()).drop("_rise", "_shares")


def breadth_of_minute(known: set[str]) -> Steps:
    """Return the steps of `with_breadth` for bars of one minute."""
    return [_of_shares(), [_breadth()]] if "instrument_class" in known else [[NONE.alias("breadth_x")]]


def _is_share() -> pl.Expr:
    """Return whether a bar counts for breadth."""
    return (pl.col("instrument_class") == "equity") & pl.col("move_x").is_not_null()


def _of_shares() -> list[pl.Expr]:
    """Return by how much more shares rise than fall, and the number of shares."""
    rise = pl.col("window_return").filter(_is_share()).sign().mean()
    return [rise.alias("_rise"), _is_share().sum().alias("_shares")]


def _breadth() -> pl.Expr:
    """Return breadth_x, given the rise of shares."""
    direction = pl.when("rising").then(1.0).otherwise(-1.0)
    is_index = (pl.col("instrument_class") == "index") & pl.col("move_x").is_not_null()
    value = pl.when(is_index & (pl.col("_shares") >= BREADTH_MIN)).then(direction * pl.col("_rise"))
    return value.clip(lower_bound=0).alias("breadth_x")


def within(series: str, expr: pl.Expr, rows: int) -> pl.Expr:
    """Return an expression that looks `rows` rows back, null if those are not of the same series.

    `series` names a column whose equal values are contiguous. Same result as `over` it, but faster.
    """
    return pl.when(pl.col(series) == pl.col(series).shift(rows)).then(expr)


def samples(known: set[str]) -> dict[str, pl.Expr]:
    """Return the input of each average: volume of single bars, moves of windows within a session.

    Only for quantities whose columns are known.
    """
    good = pl.col("move_x").is_not_null()
    found = {
        "volume": pl.when(good).then(pl.col("volume").cast(pl.Float64)),
        "trades": pl.when(good).then(pl.col("trades").cast(pl.Float64)),
        "iv": pl.col("iv_x"),
        "oi": pl.col("oi_x"),
    }
    needed = {"hedged": "spot", "gamma": "chain_gamma", "breadth": "instrument_class"}
    plain = {
        name: pl.col(f"{name}_x") for name in CONTEXT if needed.get(name, f"{name}_x") in known and f"{name}_x" in known
    }
    moves = {"move": pl.when(~pl.col("session_start")).then(pl.col("move_x"))}
    return {name: sample for name, sample in found.items() if name in known} | moves | plain


def averages(bars: pl.LazyFrame, windows: Windows, wanted: Sequence[str] = QUANTITIES) -> pl.LazyFrame:
    """Add `AVERAGES` of the wanted quantities after each bar."""
    # A number for each instrument makes groups faster than its text.
    begins = (pl.col(KEY) != pl.col(KEY).shift(1)).fill_null(True)
    bars = bars.with_columns(_number=pl.col(KEY).rle_id(), _begins=begins)
    found = samples(set(bars.collect_schema().names()))

    def smooth_mean(sample: pl.Expr) -> pl.Expr:
        return sample.ewm_mean(span=windows.span_bars, adjust=True, ignore_nulls=True).over("_number").forward_fill()

    def counted(value: pl.Expr) -> pl.Expr:
        # The count over all rows less that before the instrument's first row: `over` takes three times as long, but
        # sums need it: differences of sums over all rows would hang on the rows of other instruments.
        total = value.is_not_null().cast(pl.Int64).cum_sum()
        return total - pl.when("_begins").then(total - value.is_not_null().cast(pl.Int64)).forward_fill()

    def summed(value: pl.Expr) -> pl.Expr:
        return value.fill_null(0.0).cum_sum().over("_number")

    columns: dict[str, pl.Expr] = {}
    for name in wanted:
        sample = found.get(name)
        parts = PARTS[name]
        if sample is None:
            columns |= {f"{name}_{part}": pl.lit(0, pl.Int64) if part == "count" else NONE for part in parts}
            continue
        columns[f"{name}_count"] = counted(sample)
        for part, value in zip(parts, (sample, sample * sample), strict=False):
            columns[f"{name}_{part}"] = summed(value) if name in CONTEXT else smooth_mean(value)
    bars = bars.with_columns(**columns).drop("_number", "_begins")
    # Filled forward across instruments, so unknown before the first sample of each.
    return bars.with_columns(
        pl.when(pl.col(f"{name}_count") > 0).then(pl.col(f"{name}_{part}")).alias(f"{name}_{part}")
        for name in WEIGHTED
        if name in found
        for part in ("mean", "square")
    )


def usual(bars: pl.LazyFrame, windows: Windows) -> pl.LazyFrame:
    """Add volume_usual and move_usual, the medians at the same time of earlier days, and day_x, volume_x over them.

    Null where too few days are known.
    """
    names = ("volume", "move")
    days = bars.select(local_day().n_unique()).collect().item()
    if days <= windows.usual_days_min:
        bars = bars.with_columns(pl.lit(None, pl.Float64).alias(f"{name}_usual") for name in names)
        return bars.with_columns(day_ratio())

    def median(name: str) -> pl.Expr:
        x = pl.col(f"{name}_x").rolling_median(windows.usual_days, min_samples=windows.usual_days_min).shift(1)
        return x.over(KEY, "_time").alias(f"{name}_usual")

    bars = bars.with_columns(_time=pl.col("bucket").dt.time()).with_columns(map(median, names)).drop("_time")
    return bars.with_columns(day_ratio())


def day_ratio() -> pl.Expr:
    """Return day_x: the volume over what is usual at this time of day."""
    ratio = pl.when(pl.col("volume_usual") > 0).then(pl.col("volume_x") / pl.col("volume_usual"))
    return ratio.alias("day_x")


def scores(bars: pl.LazyFrame, windows: Windows, wanted: Sequence[str] = QUANTITIES) -> pl.LazyFrame:
    """Add the scores, log(1 + z) of the excess over the average, from the averages *before* each bar.

    Returns
    -------
    polars.LazyFrame
        With NAME_score of each wanted quantity. Null: not known, as before the end of the warm-up, in a bar of quality
        gap or partial, or at the start of a session without enough earlier days. Volume and moves are first divided by
        how much larger than average they usually are at this time of day.
    """
    return bars.with_columns(score(name, windows) for name in QUANTITIES if name in wanted)


def score(name: str, windows: Windows) -> pl.Expr:
    """Return NAME_score of a quantity from its columns; see `scores`."""
    x, scale = compared([name])[name]
    count = pl.col(f"{name}_count")
    if name in CONTEXT:
        mean, square = pl.col(f"{name}_sum") / count, pl.col(f"{name}_squares") / count
    else:
        mean, square = pl.col(f"{name}_mean"), pl.col(f"{name}_square")
    excess = Excess(x, scale, mean, square, count, pl.lit(least_deviation(name, windows)))
    is_known = is_judged() & (count >= windows.warmup_bars)
    return pl.when(is_known).then(log_excess(excess, windows)).alias(f"{name}_score")


def factors(
    bars: pl.LazyFrame, windows: Windows, minutes: int | None = None, *, has_context: bool = True
) -> pl.LazyFrame:
    """Add quantities, the averages before each bar, and the scores; see the functions of these names."""
    return judged(measured(bars, windows, minutes, has_context=has_context), windows, has_context=has_context)


def judged(bars: pl.LazyFrame, windows: Windows, *, has_context: bool = True) -> pl.LazyFrame:
    """Add the usual values, the averages before each bar, and the scores to the result of `measured`."""
    wanted = QUANTITIES if has_context else WEIGHTED
    bars = averages(usual(bars, windows), windows, wanted)
    before = [name for name in AVERAGES if name.rsplit("_", 1)[0] in wanted]
    return scores(bars.with_columns(within(KEY, pl.col(before).shift(1), 1)), windows, wanted)
