"""Compute all indicators of bars in one lazy frame, with the columns that spike detection needs. Pure.

Owns the scope of each window: a run of bars not interrupted by a gap, session break or long silence; a
session (VWAP); or the same time of earlier days. So no window spans a break, and every run warms up again.
Must not know where bars come from.
"""

from __future__ import annotations

import polars as pl

from analytics.factors import indicators as ta
from analytics.factors.checked_frames import PRICES, Kind, checked
from analytics.factors.factors import STATE, averages, local_day, quantities, scores, usual, within
from analytics.factors.windows import Windows
from analytics.schema import KEY

RUN = "run"
REMEDY = "give the bars of analytics.bars(): instrument_key, bucket, open, high, low, close, and volume where known"
# Optional columns of bars.
KNOWN: dict[str, Kind] = {
    **dict.fromkeys(("volume", "oi", "trades", "iv", "delta", "gamma", "spot"), "number"),
    "quality": "text",
}
_SCRATCH = [name for name in STATE[1:] if name != "volume_mean"]  # only the scores need them


def features(bars: pl.LazyFrame | pl.DataFrame, windows: Windows | None = None) -> pl.LazyFrame:
    """Return bars with all indicators and the scores of spike detection.

    Parameters
    ----------
    bars
        Sorted by instrument_key and bucket, as `analytics.bars` returns them: instrument_key, bucket,
        open, high, low, close; and if known volume, oi, trades, quality, iv, delta, gamma, spot (the
        price of the underlying). A bar of quality gap or partial has no indicators and ends the run.
    windows
        Windows of spike detection; None: those of the default rules.

    Returns
    -------
    polars.LazyFrame
        The columns of `bars`; run; and as Float64 unless noted: sma_N and ema_N (20, 50, 200), rsi_14,
        true_range, atr_14, roc_10, momentum_10, bollinger_lower, bollinger_middle, bollinger_upper, vwap,
        volume_ratio_20, volume_ratio_same_time, volume_zscore_20, close_zscore_20, close_robust_zscore_20;
        if their inputs are there iv_change, oi_change, build_up (String), delta_exposure,
        delta_exposure_change, gamma_exposure (of a chain: `analytics.factors.chains`); and the columns that
        `analytics.factors.factors.factors` adds, of its averages only volume_mean. Rows before the end of a
        warm-up are null. All these columns are null for a bar of bad quality.

    Raises
    ------
    ConfigError
        If `bars` is not a frame, or a column is absent or of another kind.
    """
    windows = windows or Windows()
    lazy = checked(bars, PRICES, REMEDY, known=KNOWN)
    known = set(lazy.collect_schema().names())
    if "volume" not in known:
        lazy = lazy.with_columns(volume=pl.lit(None, pl.Int64))
    measured = quantities(lazy, windows)
    for step in _steps(known):
        measured = measured.with_columns(**step)
    measured = measured.drop("^_.*$")
    judged = usual(averages(measured, windows), windows)
    judged = judged.with_columns(
        within(KEY, pl.col(STATE[1:]).shift(1), 1), volume_ratio_same_time=ta.ratio("volume_x", "volume_usual")
    )
    return scores(judged, windows).drop(_SCRATCH)


def _steps(known: set[str]) -> list[dict[str, pl.Expr]]:
    """Return the indicators and their inputs, in steps: each needs only columns of earlier steps.

    Recursive or cumulative values are computed over each run separately. Exact values over a fixed number of
    bars are computed over all rows at once, and null if the run is shorter. A window of a window
    inside one `over` would give the same, but Polars takes four times as long.
    """
    over_runs = {
        **{f"sma_{bars}": ta.sma("close", bars) for bars in (20, 50, 200)},
        **{f"ema_{bars}": ta.ema("close", bars) for bars in (20, 50, 200)},
        "_spread": ta.deviation("close", 20),
        "_volume": ta.sma("volume", 20),
        "_volume_spread": ta.deviation("volume", 20),
    }
    bars_back = {
        "true_range": (ta.true_range(), 1),
        "roc_10": (ta.roc("close", 10), 10),
        "momentum_10": (ta.momentum("close", 10), 10),
        "_step": (ta.change("close"), 1),
        **{f"{name}_change": (ta.change(name), 1) for name in ("iv", "oi") if name in known},
    }
    smoothed = {
        "_rise": ta.rise("_step", 14),
        "_fall": ta.fall("_step", 14),
        "atr_14": ta.wilder("true_range", 14),
    }
    return [
        # Windows over all rows regardless of runs: values that cross a run are masked where they are used.
        {"_median": pl.col("close").rolling_median(20)},
        {"_robust_spread": ta.absolute_deviation("close", "_median", 20)},
        {"_session": _session()} | {name: within(RUN, expr, reach) for name, (expr, reach) in bars_back.items()},
        {name: expr.over(RUN) for name, expr in (over_runs | smoothed).items()} | {"vwap": ta.vwap().over("_session")},
        _bar_by_bar(known),
    ]


def _session() -> pl.Expr:
    """Return a number for each instrument's day."""
    key, day = pl.col(KEY), local_day()
    return ((key != key.shift(1)) | (day != day.shift(1))).fill_null(True).cum_sum()


def _bar_by_bar(known: set[str]) -> dict[str, pl.Expr]:
    """Return the indicators computed from columns of the same bar, and from windows that ended before it."""
    lower, middle, upper = ta.bands("sma_20", "_spread")
    volume, close = ("_volume", "_volume_spread"), ("sma_20", "_spread")
    found = {
        "rsi_14": ta.strength("_rise", "_fall"),
        "bollinger_lower": lower,
        "bollinger_middle": middle,
        "bollinger_upper": upper,
        "volume_ratio_20": within(RUN, ta.ratio("volume", pl.col("_volume").shift(1)), 1),
        "volume_zscore_20": within(RUN, ta.distance("volume", *(pl.col(name).shift(1) for name in volume)), 1),
        "close_robust_zscore_20": within(
            RUN, ta.distance("close", *(pl.col(name).shift(1) for name in ("_median", "_robust_spread"))), 39
        ),
        "close_zscore_20": within(RUN, ta.distance("close", *(pl.col(name).shift(1) for name in close)), 1),
    }
    if "oi" in known:
        found["build_up"] = ta.build_up("_step", "oi_change")
    exposures = {}
    if {"delta", "oi"} <= known:
        exposures["delta_exposure"] = ta.delta_exposure()
        exposures["delta_exposure_change"] = within(RUN, ta.change(ta.delta_exposure()), 1)
    if {"gamma", "oi", "spot"} <= known:
        exposures["gamma_exposure"] = ta.gamma_exposure("spot")
    good = pl.col("move_x").is_not_null()
    return found | {name: pl.when(good).then(expr) for name, expr in ({"vwap": pl.col("vwap")} | exposures).items()}
