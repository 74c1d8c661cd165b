"""Measure a bar over its window: the last few bars of its run, or how many of them there are. Pure.

Owns runs and windows: for a whole history, whose earlier bars are rows before, and for the next minute of many
instruments, of which the last bars are kept as columns. The formulas are the same. Must not know averages.

A run is an uninterrupted sequence of bars: it ends at a bar of quality gap or partial or without a price, or after a
long time without a bar. At the start of a session the move is measured from the close before it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import polars as pl

from analytics.factors.trend import inputs
from analytics.factors.windows import Windows
from analytics.market_time import MARKET_OFFSET
from analytics.schema import KEY

_US = timedelta(microseconds=1)
BAD = ("gap", "partial")
SHIFTED_MAX = 10  # bars of a window whose mean is taken from shifted columns
PRIOR = ("bucket", "close", "_bad", "_day")  # of the bar before, whether or not of the same run
RUN = ("_overnight", "_anchor")  # whether a run began with a session, and the price before it
Back = Callable[[str, int], pl.Expr]  # a column, so many bars before
Steps = list[list[pl.Expr]]  # columns to add; each step needs only those of earlier steps


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

    def shifted(name: str, back: int) -> pl.Expr:
        return pl.col(name).shift(back)

    bars = _with_runs(bars, known, windows, minutes)
    for step in _of_bar(windows, known, shifted):
        bars = bars.with_columns(step)
    return bars.drop("^_.*$")


def kept(bars: pl.DataFrame, windows: Windows, minutes: int) -> pl.DataFrame:
    """Return what the next bar of each instrument needs of the last ones: `RUN` and earlier bars.

    Parameters
    ----------
    bars
        As of `quantities`, of any length.
    """
    known = set(bars.columns)
    last = bars.group_by(KEY, maintain_order=True).tail(windows.spike_bars + 1)
    lags = _lags(windows, known)
    return (
        _with_runs(last.lazy(), known, windows, minutes)
        .group_by(KEY, maintain_order=True)
        .agg(
            pl.col(*RUN).last(),
            *(_at(name, back, pl.col(name).shift(back - 1).last()) for name, back in lags),
        )
        .collect(engine="in-memory")
    )


def continued(windows: Windows, known: set[str], minutes: int) -> Steps:
    """Return the steps of `quantities` for one bar of each instrument that has what is `kept` of the bars before it.

    Parameters
    ----------
    known
        Names of the columns of bars.
    """
    starts, overnight, anchor = _starts(windows, pl.duration(minutes=minutes))

    def of_start(value: pl.Expr, name: str) -> pl.Expr:
        return pl.when("run_start").then(value).otherwise(pl.col(name)).alias(name)

    return [
        _flags(known),
        [starts.alias("run_start"), pl.lit(minutes, pl.Int64).alias("bar_minutes")],
        [
            pl.when("run_start").then(1).otherwise(pl.col("run_bars") + 1).cast(pl.Int64).alias("run_bars"),
            of_start(overnight.fill_null(False), "_overnight"),
            of_start(anchor, "_anchor"),
        ],
        *_of_bar(windows, known, _kept),
    ]


def kept_columns(windows: Windows, known: set[str]) -> list[pl.Expr]:
    """Return what is kept of the last bars once there is another."""
    return [
        _at(name, back, pl.col(name) if back == 1 else _kept(name, back - 1)) for name, back in _lags(windows, known)
    ]


def computed(frame: pl.LazyFrame, steps: Steps | None = None) -> pl.DataFrame:
    """Compute a frame of few rows, after adding columns step by step.

    The streaming engine, which is the default, takes twice as long for them; and looking for a better plan takes longer
    than it saves.
    """
    for step in steps or []:
        frame = frame.with_columns(step)
    return frame.collect(engine="in-memory", optimizations=pl.QueryOptFlags.none())


def local_day() -> pl.Expr:
    """Return the market-local day of a bar as a number; integers are ten times faster than a time zone."""
    return (pl.col("bucket").dt.epoch("us") + MARKET_OFFSET // _US) // (timedelta(days=1) // _US)


def _kept(name: str, back: int) -> pl.Expr:
    """Return a column of the bar so many bars before, where each bar has those as columns."""
    return pl.col(f"_{back}_{name}")


def _at(name: str, back: int, value: pl.Expr) -> pl.Expr:
    """Return a value as the column of the bar so many bars before."""
    return value.alias(f"_{back}_{name}")


def _lags(windows: Windows, known: set[str]) -> list[tuple[str, int]]:
    """Return which columns of which bars before a bar are needed of it."""
    bars = windows.spike_bars
    depth = dict.fromkeys((*PRIOR, "high", "low"), 1) | dict.fromkeys(("volume", "trades"), bars - 1)
    depth |= dict.fromkeys(("close", "iv", "oi", "delta", "spot", "chain_gamma"), bars)
    return [(name, back + 1) for name, most in depth.items() if name in known or name in PRIOR for back in range(most)]


def _flags(known: set[str]) -> list[pl.Expr]:
    """Return whether a bar is bad, and its day."""
    is_bad = ~pl.all_horizontal(pl.col("open", "high", "low", "close").cast(pl.Float64).is_finite().fill_null(False))
    if "quality" in known:
        is_bad |= pl.col("quality").cast(pl.String).is_in(BAD).fill_null(False)
    return [is_bad.alias("_bad"), local_day().alias("_day")]


def _starts(windows: Windows, interval: pl.Expr) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Return whether a run starts with a bar, whether a session does, and the price before the run."""
    bucket, close, bad, day = (_kept(name, 1) for name in PRIOR)
    step = pl.col("bucket") - bucket
    limit = windows.step_bars_max * interval
    starts = step.is_null() | (step > limit) | pl.col("_bad") | bad
    overnight = (day != pl.col("_day")) & (step > limit) & ~(pl.col("_bad") | bad)
    return starts, overnight, pl.when(overnight).then(close).otherwise(pl.col("open"))


def _with_runs(bars: pl.LazyFrame, known: set[str], windows: Windows, minutes: int | None) -> pl.LazyFrame:
    """Add to bars, in rows one after the other, `PRIOR` of the bar before and what run they are of."""
    # What several columns need is a column, so that Polars need not look for it among hundreds of expressions.
    bars = bars.with_columns(*_flags(known), _follows=pl.col(KEY) == pl.col(KEY).shift(1))
    before = pl.when("_follows").then(pl.col(*PRIOR).shift(1))
    bars = bars.with_columns(before.name.prefix("_1_"))
    interval = _interval() if minutes is None else pl.duration(minutes=minutes)
    starts, overnight, anchor = _starts(windows, interval)
    bars = bars.with_columns(run_start=starts, bar_minutes=interval.dt.total_minutes(), _row=pl.int_range(pl.len()))

    def of_start(value: pl.Expr) -> pl.Expr:
        return pl.when("run_start").then(value).forward_fill()

    return bars.with_columns(
        run=pl.col("run_start").cum_sum().cast(pl.Int64),
        run_bars=pl.col("_row") - of_start(pl.col("_row")) + 1,
        _overnight=of_start(overnight.fill_null(False)),
        _anchor=of_start(anchor),
    )


def _interval() -> pl.Expr:
    """Return the interval of the bars: the smallest step between them, or a minute if there is none."""
    before = _kept("bucket", 1)
    return (pl.col("bucket") - before).filter(before.is_not_null()).min().fill_null(pl.duration(minutes=1))


def _of_bar(windows: Windows, known: set[str], back: Back) -> Steps:
    """Return the steps that measure a bar of which the run is known."""
    is_full = pl.col("run_bars") > windows.spike_bars
    within_run = pl.when(~pl.col("run_start"))
    volume = pl.col("volume") if "volume" in known else pl.lit(None, pl.Float64)
    return [
        [
            (~pl.col("_bad")).alias("_good"),
            is_full.alias("_full"),
            (is_full & ~pl.col("_bad")).alias("_whole"),
            within_run.then(_kept("close", 1)).alias("_last"),
            within_run.then(back("high", 1).cast(pl.Float64)).alias("_high"),
            within_run.then(back("low", 1).cast(pl.Float64)).alias("_low"),
        ],
        [
            *_windowed(windows.spike_bars, known, back),
            *inputs(pl.col("_last"), pl.col("_high"), pl.col("_low"), volume),
        ],
        _moves(),
    ]


def _windowed(bars: int, known: set[str], back: Back) -> list[pl.Expr]:
    """Return the quantities over the window, which never reaches back before the start of the run."""

    def mean(name: str) -> pl.Expr:
        if name not in known:
            return pl.lit(None, pl.Float64)
        value = pl.col(name).cast(pl.Float64)
        if bars > SHIFTED_MAX and back is not _kept:
            return value.rolling_mean(bars, min_samples=1).over("run")
        # Of short windows, `over` takes longer.
        before = [pl.when(pl.col("run_bars") > at).then(back(name, at).cast(pl.Float64)) for at in range(1, bars)]
        return pl.mean_horizontal(value, *before)

    def change(name: str) -> pl.Expr:
        return _change(name, bars, back) if name in known else pl.lit(None, pl.Float64)

    return [
        pl.min_horizontal("run_bars", pl.lit(bars)).alias("window_bars"),
        (pl.col("_overnight") & (pl.col("run_bars") <= bars)).alias("session_start"),
        pl.coalesce(pl.when("_full").then(back("close", bars)), "_anchor").alias("_before"),
        *(pl.when("_good").then(mean(name)).alias(f"{name}_x") for name in ("volume", "trades")),
        *(pl.when("_whole").then(change(name).abs()).alias(f"{name}_x") for name in ("iv", "oi")),
        pl.when(pl.col("_whole") & (change("oi") != 0)).then(change("oi") > 0).alias("oi_rising"),
        *_of_options(bars, known, back),
    ]


def _change(name: str, bars: int, back: Back) -> pl.Expr:
    """Return by how much a column has changed in so many bars."""
    return pl.col(name).cast(pl.Float64) - back(name, bars).cast(pl.Float64)


def _of_options(bars: int, known: set[str], back: Back) -> list[pl.Expr]:
    """Return what delta and gamma say over the window."""
    hedged, gamma, flips = pl.lit(None, pl.Float64), pl.lit(None, pl.Float64), pl.lit(None, pl.Boolean)
    if {"delta", "spot"} <= known:
        explained = back("delta", bars) * _change("spot", bars, back)
        hedged = (_change("close", bars, back) - explained).abs() / back("close", bars).cast(pl.Float64)
    if "chain_gamma" in known:
        exposure = pl.col("chain_gamma")
        gamma = _change("chain_gamma", bars, back).abs()
        flips = exposure.sign() * back("chain_gamma", bars).sign() < 0
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
