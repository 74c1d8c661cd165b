"""Measure the quantities of a bar that spike detection uses, and their usual values for the instrument. Pure.

Owns the quantities and their exponential averages, for a whole history and bar by bar: `factors` and
`LiveDetector.advance` give the same figures. All are independent of scale, so that one rule set fits
instruments of any price and size. Must not know the weights.

A spike is judged over the last few bars of a run. A run is an uninterrupted sequence of bars: it ends
at a bar of quality gap or partial or without a price, or after a long time without a bar. At the start of a session the
move is measured from the close before it, and compared only with the same minutes of earlier days.
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from analytics.factors.windows import Windows
from analytics.market_time import MARKET_OFFSET
from analytics.schema import KEY

_US = timedelta(microseconds=1)
BAD = ("gap", "partial")
# Each quantity is compared with its own average: x is its value for the bar, and mean, square and count
# are the averages after the bar.
QUANTITIES = ("volume", "trades", "move", "iv", "oi")
STATE = [KEY, *(f"{name}_{part}" for name in QUANTITIES for part in ("mean", "square", "count"))]


def quantities(bars: pl.LazyFrame, windows: Windows, minutes: int | None = None) -> pl.LazyFrame:
    """Add the quantities measured for each bar.

    Parameters
    ----------
    bars
        instrument_key, bucket, open, high, low, close (rupees), and if known volume, trades, iv, oi and
        quality; sorted by instrument_key and bucket.
    minutes
        Interval of the bars; None: the smallest step between bars.

    Returns
    -------
    polars.LazyFrame
        With run (Int64, grows at each start of a run), session_start (Boolean, fewer bars than a window
        since a session began), window_bars (bars of the run in the window), rising (Boolean), and
        volume_x, trades_x (mean of the window), move_x (log of the high or the low over the price
        before the window, whichever is farther), iv_x, oi_x (absolute change over the window), and oi_rising
        (Boolean, null where it did not change). All are null in a bar of quality gap or partial, or without a price.
    """
    known = set(bars.collect_schema().names())
    is_bad = ~pl.all_horizontal(pl.col("open", "high", "low", "close").cast(pl.Float64).is_finite().fill_null(False))
    if "quality" in known:
        is_bad |= pl.col("quality").cast(pl.String).is_in(BAD).fill_null(False)
    bars = bars.with_columns(_bad=is_bad, _day=local_day())
    before = within(KEY, pl.col("bucket", "close", "_bad", "_day").shift(1), 1)
    bars = bars.with_columns(before.name.prefix("_prior"))
    step = pl.col("bucket") - pl.col("_priorbucket")
    limit = windows.step_bars_max * (_interval() if minutes is None else pl.duration(minutes=minutes))
    starts = step.is_null() | (step > limit) | pl.col("_bad") | pl.col("_prior_bad")
    overnight = (pl.col("_prior_day") != pl.col("_day")) & (step > limit) & ~(pl.col("_bad") | pl.col("_prior_bad"))
    anchor = pl.when(overnight).then(pl.col("_priorclose")).otherwise(pl.col("open"))
    bars = bars.with_columns(_starts=starts, _row=pl.int_range(pl.len()))

    def of_start(value: pl.Expr) -> pl.Expr:
        return pl.when("_starts").then(value).forward_fill()

    bars = bars.with_columns(
        run=pl.col("_starts").cum_sum().cast(pl.Int64),
        _position=pl.col("_row") - of_start(pl.col("_row")) + 1,
        _overnight=of_start(overnight.fill_null(False)),
        _anchor=of_start(anchor),
    )
    return bars.with_columns(_windowed(windows.spike_bars, known)).with_columns(_moves()).drop("^_.*$")


def within(series: str, expr: pl.Expr, rows: int) -> pl.Expr:
    """Return an expression that looks `rows` rows back, null if those are not of the same series.

    `series` names a column whose equal values are contiguous. Same result as `over` it, but faster.
    """
    return pl.when(pl.col(series) == pl.col(series).shift(rows)).then(expr)


def local_day() -> pl.Expr:
    """Return the market-local day of a bar as a number; integers are ten times faster than a time zone."""
    return (pl.col("bucket").dt.epoch("us") + MARKET_OFFSET // _US) // (timedelta(days=1) // _US)


def _interval() -> pl.Expr:
    """Return the interval of the bars: the smallest step between them, or a minute if there is none."""
    step = (pl.col("bucket") - pl.col("_priorbucket")).filter(pl.col("_priorbucket").is_not_null())
    return step.min().fill_null(pl.duration(minutes=1))


def _windowed(bars: int, known: set[str]) -> list[pl.Expr]:
    """Return the quantities over the window, which never reaches back before the start of the run."""
    position = pl.col("_position")

    def mean(name: str) -> pl.Expr:
        if name not in known:
            return pl.lit(None, pl.Float64)
        return pl.col(name).cast(pl.Float64).rolling_mean(bars, min_samples=1).over("run")

    def change(name: str) -> pl.Expr:
        if name not in known:
            return pl.lit(None, pl.Float64)
        return within("run", pl.col(name).cast(pl.Float64).diff(bars), bars)

    before = within("run", pl.col("close").shift(bars), bars)
    good = ~pl.col("_bad")
    return [
        pl.min_horizontal(position, pl.lit(bars)).alias("window_bars"),
        (pl.col("_overnight") & (position <= bars)).alias("session_start"),
        pl.coalesce(before, pl.col("_anchor")).alias("_before"),
        *(pl.when(good).then(mean(name)).alias(f"{name}_x") for name in ("volume", "trades")),
        *(pl.when(good).then(change(name).abs()).alias(f"{name}_x") for name in ("iv", "oi")),
        pl.when(good & (change("oi") != 0)).then(change("oi") > 0).alias("oi_rising"),
    ]


def _moves() -> list[pl.Expr]:
    """Return how far the price went from the price before the window, and whether it rose."""
    up, down = (pl.col("high") / pl.col("_before")).log(), (pl.col("_before") / pl.col("low")).log()
    return [
        pl.when(~pl.col("_bad")).then(pl.max_horizontal(up, down)).alias("move_x"),
        (up >= down).alias("rising"),
    ]


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
    moves = {"move": pl.when(~pl.col("session_start")).then(pl.col("move_x"))}
    return {name: sample for name, sample in found.items() if name in known} | moves


def averages(bars: pl.LazyFrame, windows: Windows) -> pl.LazyFrame:
    """Add the averages after each bar: NAME_mean, NAME_square (of the square) and NAME_count of each quantity."""
    # A number for each instrument makes groups faster than its text.
    bars = bars.with_columns(_number=pl.col(KEY).rle_id())
    found = samples(set(bars.collect_schema().names()))

    def smooth(sample: pl.Expr) -> pl.Expr:
        return sample.ewm_mean(span=windows.span_bars, adjust=True, ignore_nulls=True).forward_fill().over("_number")

    unknown = {"mean": pl.lit(None, pl.Float64), "square": pl.lit(None, pl.Float64), "count": pl.lit(0, pl.Int64)}
    known = {
        name: {
            "mean": smooth(sample),
            "square": smooth(sample**2),
            "count": sample.is_not_null().cum_sum().over("_number").cast(pl.Int64),
        }
        for name, sample in found.items()
    }
    parts = {name: known.get(name, unknown) for name in QUANTITIES}
    return bars.with_columns(
        expr.alias(f"{name}_{part}") for name, exprs in parts.items() for part, expr in exprs.items()
    ).drop("_number")


def usual(bars: pl.LazyFrame, windows: Windows) -> pl.LazyFrame:
    """Add volume_usual and move_usual: the medians at the same time of earlier days, null where too few are known."""
    names = ("volume", "move")
    days = bars.select(local_day().n_unique()).collect().item()
    if days <= windows.usual_days_min:
        return bars.with_columns(pl.lit(None, pl.Float64).alias(f"{name}_usual") for name in names)

    def median(name: str) -> pl.Expr:
        x = pl.col(f"{name}_x").rolling_median(windows.usual_days, min_samples=windows.usual_days_min).shift(1)
        return x.over(KEY, "_time").alias(f"{name}_usual")

    return bars.with_columns(_time=pl.col("bucket").dt.time()).with_columns(map(median, names)).drop("_time")


def scores(bars: pl.LazyFrame, windows: Windows) -> pl.LazyFrame:
    """Add the scores, log(1 + z) of the excess over the average, from the averages *before* each bar.

    Returns
    -------
    polars.LazyFrame
        With volume_score, trades_score, move_score, iv_score and oi_score. Null: not known, as before the end
        of the warm-up, in a bar of quality gap or partial, or at the start of a session without enough earlier
        days. Volume and moves are first divided by how much larger than average they usually are at this time of day.
    """
    busy = _ratio("volume")
    excess = {
        "volume": (pl.col("volume_x") / busy, pl.col("window_bars").sqrt()),
        "trades": (pl.col("trades_x") / busy, pl.col("window_bars").sqrt()),
        "move": (pl.col("move_x") / _ratio("move"), pl.lit(1.0)),
        "iv": (pl.col("iv_x"), pl.lit(1.0)),
        "oi": (pl.col("oi_x"), pl.lit(1.0)),
    }
    judged = ~pl.col("session_start") | pl.col("move_usual").is_not_null()
    return bars.with_columns(
        pl.when(judged & (pl.col(f"{name}_count") >= windows.warmup_bars))
        .then(_score(name, x, scale, windows))
        .alias(f"{name}_score")
        for name, (x, scale) in excess.items()
    )


def _ratio(name: str) -> pl.Expr:
    """Return the ratio of usual at this time of day to the average, at least 1."""
    ratio = pl.col(f"{name}_usual") / pl.col(f"{name}_mean")
    return pl.when(ratio > 1).then(ratio).otherwise(1.0)


def _score(name: str, x: pl.Expr, scale: pl.Expr, windows: Windows) -> pl.Expr:
    """Return log(1 + z) of a quantity, 0 below the average; null if it never varied."""
    mean = pl.col(f"{name}_mean")
    variance = pl.col(f"{name}_square") - mean**2
    least = windows.iv_deviation_min if name == "iv" else 0.0
    # A variance is a difference of two averages: a smaller fraction of them is only rounding.
    varied = variance > 1e-12 * pl.col(f"{name}_square")
    known = pl.col(f"{name}_count") / (pl.col(f"{name}_count") + windows.doubt_bars)
    z = (x - mean) / pl.max_horizontal(variance.sqrt(), pl.lit(least)) * scale * known
    return pl.when(varied | (pl.lit(least) > 0)).then(z.clip(lower_bound=0).log1p())


def factors(bars: pl.LazyFrame, windows: Windows, minutes: int | None = None) -> pl.LazyFrame:
    """Add quantities, the averages before each bar, and the scores; see the functions of these names."""
    bars = usual(averages(quantities(bars, windows, minutes), windows), windows)
    return scores(bars.with_columns(within(KEY, pl.col(STATE[1:]).shift(1), 1)), windows)
