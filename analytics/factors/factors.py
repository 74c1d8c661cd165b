"""Measure the quantities of a bar that spike detection uses, and their usual values for the instrument. Pure.

Owns the quantities and their exponential averages, for a whole history and bar by bar: `factors` and
`LiveDetector.advance` give the same figures. All are independent of scale, so that one rule set fits
instruments of any price and size. Must not know the weights.

A spike is judged over the last few bars of a run. A run is an uninterrupted sequence of bars: it ends
at a bar of quality gap or partial or without a price, or after a long time without a bar. At the start of a session the
move is measured from the close before it, and compared only with the same minutes of earlier days.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import polars as pl

from analytics.factors.excess import Excess, compared, is_judged, least_deviation, log_excess
from analytics.factors.trend import TREND_STATE, derived, inputs, smooth
from analytics.factors.windows import Windows
from analytics.market_time import MARKET_OFFSET
from analytics.schema import KEY

_US = timedelta(microseconds=1)
BAD = ("gap", "partial")
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
SHIFTED_MAX = 10  # bars of a window whose mean is taken from shifted columns
BREADTH_MIN = 10  # shares; of fewer, breadth is not known


def quantities(bars: pl.LazyFrame, windows: Windows, minutes: int | None = None) -> pl.LazyFrame:
    """Add the quantities measured for each bar over its window.

    Parameters
    ----------
    bars
        instrument_key, bucket, open, high, low, close (rupees), and if known volume, trades, iv, oi, delta, spot
        (rupees), chain_gamma and quality; sorted by instrument_key and bucket.
    minutes
        Interval of the bars; None: the smallest step between bars.

    Returns
    -------
    polars.LazyFrame
        With bar_minutes (Int64, the interval), run (Int64, grows at each start of a run), run_start (Boolean), run_bars
        (Int64, bars of the run so far), session_start (Boolean, fewer bars than a window since a session began),
        window_bars (bars of the run in the window), window_return (fraction), rising (Boolean), and

        - volume_x, trades_x: mean of the window;
        - move_x: log of the high or the low over the price before the window, whichever is farther;
        - iv_x, oi_x: absolute change over the window; oi_rising (Boolean, null where it did not change);
        - hedged_x: absolute change of an option's price over the window that its delta at the start of the window
          and the move of the underlying do not explain, over the price before;
        - gamma_x: absolute change of the chain's gamma exposure over the window, and gamma_flips (Boolean);

        and NAME_in, what `analytics.factors.trend` smooths. All are null in a bar of quality gap or partial, or without
        a price.
    """
    known = set(bars.collect_schema().names())
    is_bad = ~pl.all_horizontal(pl.col("open", "high", "low", "close").cast(pl.Float64).is_finite().fill_null(False))
    if "quality" in known:
        is_bad |= pl.col("quality").cast(pl.String).is_in(BAD).fill_null(False)
    # What several columns need is a column, so that Polars need not look for it among hundreds of expressions.
    bars = bars.with_columns(_bad=is_bad, _day=local_day(), _follows=pl.col(KEY) == pl.col(KEY).shift(1))
    before = pl.when("_follows").then(pl.col("bucket", "close", "_bad", "_day").shift(1))
    bars = bars.with_columns(before.name.prefix("_prior"))
    step = pl.col("bucket") - pl.col("_priorbucket")
    interval = _interval() if minutes is None else pl.duration(minutes=minutes)
    limit = windows.step_bars_max * interval
    starts = step.is_null() | (step > limit) | pl.col("_bad") | pl.col("_prior_bad")
    overnight = (pl.col("_prior_day") != pl.col("_day")) & (step > limit) & ~(pl.col("_bad") | pl.col("_prior_bad"))
    anchor = pl.when(overnight).then(pl.col("_priorclose")).otherwise(pl.col("open"))
    bars = bars.with_columns(run_start=starts, bar_minutes=interval.dt.total_minutes(), _row=pl.int_range(pl.len()))

    def of_start(value: pl.Expr) -> pl.Expr:
        return pl.when("run_start").then(value).forward_fill()

    bars = bars.with_columns(
        run=pl.col("run_start").cum_sum().cast(pl.Int64),
        run_bars=pl.col("_row") - of_start(pl.col("_row")) + 1,
        _overnight=of_start(overnight.fill_null(False)),
        _anchor=of_start(anchor),
    )
    is_full = pl.col("run_bars") > windows.spike_bars
    within_run = pl.when(~pl.col("run_start"))
    bars = bars.with_columns(
        _good=~pl.col("_bad"),
        _full=is_full,
        _whole=is_full & ~pl.col("_bad"),
        _last=within_run.then(pl.col("_priorclose")),
        _high=within_run.then(pl.col("high").cast(pl.Float64).shift(1)),
        _low=within_run.then(pl.col("low").cast(pl.Float64).shift(1)),
    )
    volume = pl.col("volume") if "volume" in known else pl.lit(None, pl.Float64)
    smoothed = inputs(pl.col("_last"), pl.col("_high"), pl.col("_low"), volume)
    bars = bars.with_columns(*_windowed(windows.spike_bars, known), *smoothed)
    return bars.with_columns(_moves()).drop("^_.*$")


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
        return bars.with_columns(breadth_x=pl.lit(None, pl.Float64))
    shares = bars.filter((pl.col("instrument_class") == "equity") & pl.col("move_x").is_not_null())
    breadth = shares.group_by("bucket").agg(_rise=pl.col("window_return").sign().mean(), _shares=pl.len())
    joined = bars.join(breadth, on="bucket", how="left", maintain_order="left")
    direction = pl.when("rising").then(1.0).otherwise(-1.0)
    is_index = (pl.col("instrument_class") == "index") & pl.col("move_x").is_not_null()
    value = pl.when(is_index & (pl.col("_shares") >= BREADTH_MIN)).then(direction * pl.col("_rise"))
    return joined.with_columns(breadth_x=value.clip(lower_bound=0)).drop("_rise", "_shares")


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

    def mean(name: str) -> pl.Expr:
        if name not in known:
            return pl.lit(None, pl.Float64)
        value = pl.col(name).cast(pl.Float64)
        if bars > SHIFTED_MAX:
            return value.rolling_mean(bars, min_samples=1).over("run")
        # Of runs of few bars, as in a minute of all instruments, `over` takes three times as long.
        return pl.mean_horizontal([pl.when(pl.col("run_bars") > back).then(value.shift(back)) for back in range(bars)])

    def change(name: str) -> pl.Expr:
        return pl.col(name).cast(pl.Float64).diff(bars) if name in known else pl.lit(None, pl.Float64)

    return [
        pl.min_horizontal("run_bars", pl.lit(bars)).alias("window_bars"),
        (pl.col("_overnight") & (pl.col("run_bars") <= bars)).alias("session_start"),
        pl.coalesce(pl.when("_full").then(pl.col("close").shift(bars)), "_anchor").alias("_before"),
        *(pl.when("_good").then(mean(name)).alias(f"{name}_x") for name in ("volume", "trades")),
        *(pl.when("_whole").then(change(name).abs()).alias(f"{name}_x") for name in ("iv", "oi")),
        pl.when(pl.col("_whole") & (change("oi") != 0)).then(change("oi") > 0).alias("oi_rising"),
        *_of_options(bars, known),
    ]


def _of_options(bars: int, known: set[str]) -> list[pl.Expr]:
    """Return what delta and gamma say over the window."""
    hedged, gamma, flips = pl.lit(None, pl.Float64), pl.lit(None, pl.Float64), pl.lit(None, pl.Boolean)
    if {"delta", "spot"} <= known:
        close = pl.col("close").cast(pl.Float64)
        explained = pl.col("delta").shift(bars) * pl.col("spot").diff(bars)
        hedged = (close.diff(bars) - explained).abs() / close.shift(bars)
    if "chain_gamma" in known:
        exposure = pl.col("chain_gamma")
        gamma = exposure.diff(bars).abs()
        flips = exposure.sign() * exposure.shift(bars).sign() < 0
    found = {"hedged_x": hedged, "gamma_x": gamma, "gamma_flips": flips}
    return [pl.when("_whole").then(value).alias(name) for name, value in found.items()]


def _moves() -> list[pl.Expr]:
    """Return how far the price went from the price before the window, and whether it rose."""
    up, down = (pl.col("high") / pl.col("_before")).log(), (pl.col("_before") / pl.col("low")).log()
    return [
        pl.when("_good").then(pl.max_horizontal(up, down)).alias("move_x"),
        pl.when("_good").then((pl.col("close") - pl.col("_before")) / pl.col("_before")).alias("window_return"),
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
    excess = {name: x for name, x in compared(QUANTITIES).items() if name in wanted}
    return bars.with_columns(
        pl.when(is_judged() & (pl.col(f"{name}_count") >= windows.warmup_bars))
        .then(_score(name, x, scale, windows))
        .alias(f"{name}_score")
        for name, (x, scale) in excess.items()
    )


def _score(name: str, x: pl.Expr, scale: pl.Expr, windows: Windows) -> pl.Expr:
    """Return the score of a quantity from its columns."""
    count = pl.col(f"{name}_count")
    if name in CONTEXT:
        mean, square = pl.col(f"{name}_sum") / count, pl.col(f"{name}_squares") / count
    else:
        mean, square = pl.col(f"{name}_mean"), pl.col(f"{name}_square")
    return log_excess(Excess(x, scale, mean, square, count, pl.lit(least_deviation(name, windows))), windows)


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
