"""All indicators of bars in one lazy frame, with what spike detection needs. Pure.

Owns which windows go over what: a run of bars that no gap, session break or long silence interrupts, a
session (VWAP), or the same time of earlier days. So no window spans a break, and every run warms up anew.
Must not know where bars come from.
"""

from __future__ import annotations

import polars as pl

from analytics import indicators as ta
from analytics.factors import KEY, STATE, averages, quantities, scores, usual
from analytics.rules import Windows
from analytics.session import MARKET_ZONE

RUN = "run"


def features(bars: pl.LazyFrame | pl.DataFrame, windows: Windows | None = None) -> pl.LazyFrame:
    """Return bars with all indicators and the scores of spike detection.

    Parameters
    ----------
    bars
        Sorted by instrument_key and bucket, as `analytics.bars` returns them: instrument_key, bucket,
        open, high, low, close; and where known volume, oi, trades, quality, iv, delta, gamma, spot (the
        price of the underlying). A bar of quality gap or partial has no indicators and ends the run.
    windows
        Of spike detection; None: those of the default rules.

    Returns
    -------
    polars.LazyFrame
        The columns of `bars`; run; all Float64 unless said: sma_N and ema_N (20, 50, 200), rsi_14,
        true_range, atr_14, roc_10, momentum_10, bollinger_lower, bollinger_middle, bollinger_upper, vwap,
        volume_ratio_20, volume_ratio_same_time, volume_zscore_20, close_zscore_20, close_robust_zscore_20;
        and where their inputs are there iv_change, oi_change, build_up (String), delta_exposure,
        gamma_exposure; and what `analytics.factors.factors` adds. A row before the end of a
        warm-up is null. The rows of a bar of bad quality are null in all of these.
    """
    windows = windows or Windows()
    lazy = bars.lazy()
    known = set(lazy.collect_schema().names())
    measured = quantities(lazy, windows)
    good = pl.col("move_x").is_not_null()
    over_run = {name: expr.over(RUN) for name, expr in (_of_prices() | _of_derivatives(known)).items()}
    day = pl.col("bucket").dt.convert_time_zone(MARKET_ZONE.key).dt.date()
    measured = measured.with_columns(
        pl.when(good).then(expr).alias(name) for name, expr in (over_run | {"vwap": ta.vwap().over(KEY, day)}).items()
    )
    judged = usual(averages(measured, windows), windows)
    same_time = pl.when(pl.col("volume_usual") > 0).then(pl.col("volume_x") / pl.col("volume_usual"))
    judged = judged.with_columns(pl.col(STATE[1:]).shift(1).over(KEY), volume_ratio_same_time=same_time)
    return scores(judged, windows)


def _of_prices() -> dict[str, pl.Expr]:
    """Return the indicators of price and volume by name."""
    lower, middle, upper = ta.bollinger("close")
    return {
        **{f"sma_{bars}": ta.sma("close", bars) for bars in (20, 50, 200)},
        **{f"ema_{bars}": ta.ema("close", bars) for bars in (20, 50, 200)},
        "rsi_14": ta.rsi("close", 14),
        "true_range": ta.true_range(),
        "atr_14": ta.atr(14),
        "roc_10": ta.roc("close", 10),
        "momentum_10": ta.momentum("close", 10),
        "bollinger_lower": lower,
        "bollinger_middle": middle,
        "bollinger_upper": upper,
        "volume_ratio_20": ta.volume_ratio(bars=20),
        "volume_zscore_20": ta.zscore("volume", 20),
        "close_zscore_20": ta.zscore("close", 20),
        "close_robust_zscore_20": ta.robust_zscore("close", 20),
    }


def _of_derivatives(known: set[str]) -> dict[str, pl.Expr]:
    """Return the indicators whose inputs are there."""
    found: dict[str, pl.Expr] = {}
    if "iv" in known:
        found["iv_change"] = ta.change("iv")
    if "oi" in known:
        found["oi_change"] = ta.change("oi")
        found["build_up"] = ta.build_up(ta.change("close"), ta.change("oi"))
    if {"delta", "oi"} <= known:
        found["delta_exposure"] = ta.delta_exposure()
    if {"gamma", "oi", "spot"} <= known:
        found["gamma_exposure"] = ta.gamma_exposure("spot")
    return found
