"""Compute all indicators of bars in one lazy frame, with the columns that spike detection needs. Pure.

Owns the scope of each window: a run of bars not interrupted by a gap, session break or long silence; a
session (VWAP); or the same time of earlier days. So no window spans a break, and every run warms up again.
Must not know where bars come from.
"""

from __future__ import annotations

import polars as pl
import polars_talib as talib

from analytics.factors import indicators as ta
from analytics.factors.checked_frames import PRICES, Kind, checked
from analytics.factors.factors import AVERAGES, judged, measured, within
from analytics.factors.trend import TREND_STATE
from analytics.factors.windowed import local_day
from analytics.factors.windows import Windows
from analytics.schema import KEY

RUN = "run"
REMEDY = "give the bars of analytics.bars(): instrument_key, bucket, open, high, low, close, and volume where known"
# Optional columns of bars.
KNOWN: dict[str, Kind] = {
    **dict.fromkeys(("volume", "oi", "trades", "iv", "delta", "gamma", "spot"), "number"),
    "quality": "text",
}
_SCRATCH = [
    name for name in (*AVERAGES, *TREND_STATE) if name not in ("volume_mean", "move_count")
]  # only the scores need them


# As TA-Lib takes them. An unknown volume counts as 0.
CLOSE = pl.col("close").cast(pl.Float64)
HIGH_LOW_CLOSE = (pl.col("high").cast(pl.Float64), pl.col("low").cast(pl.Float64), CLOSE)
VOLUME = pl.col("volume").cast(pl.Float64).fill_null(0)
IV_RANK_BARS, IV_RANK_BARS_MIN = 1_875, 375  # five sessions of minutes, and one


def features(
    bars: pl.LazyFrame | pl.DataFrame, windows: Windows | None = None, *, extended: bool = False
) -> pl.LazyFrame:
    """Return bars with all indicators and the scores of spike detection.

    Parameters
    ----------
    bars
        Sorted by instrument_key and bucket, as `analytics.bars` returns them: instrument_key, bucket,
        open, high, low, close; and if known volume, oi, trades, quality, iv, delta, gamma, spot (the
        price of the underlying). A bar of quality gap or partial, or with an unknown price (null or NaN), has no
        indicators and ends the run.
    windows
        Windows of spike detection; None: those of the default rules.
    extended
        Also the context of a bar that the commands judge by (`analytics.factors.factors.CONTEXT`), and the indicators
        that spike detection does not look at; they take as long again.

    Returns
    -------
    polars.LazyFrame
        The columns of `bars`; run; and as Float64 unless noted: sma_N and ema_N (20, 50, 200), rsi_14,
        true_range, atr_14, roc_10, momentum_10, bollinger_lower, bollinger_middle, bollinger_upper, vwap,
        volume_ratio_20, volume_ratio_same_time, volume_zscore_20, close_zscore_20, close_robust_zscore_20;
        if their inputs are there iv_change, oi_change, build_up (String), delta_exposure,
        delta_exposure_change, gamma_exposure (of a chain: `analytics.factors.chains`); and the columns that
        `analytics.factors.factors.factors` adds without its context, of its averages only volume_mean and move_count
        (bars with a move before this one).
        With `extended` also the context, NAME_x and NAME_score of `analytics.factors.factors.CONTEXT`; macd,
        macd_signal, macd_histogram, obv (from the start of the run), mfi_14, stochastic_k and stochastic_d (14, 3, 3),
        adx_14, plus_di_14, minus_di_14, supertrend (10, 3) and supertrend_rising (Boolean), keltner_lower,
        keltner_middle and keltner_upper (20, 10, 2), donchian_lower, donchian_middle and donchian_upper (20), cci_20,
        williams_r_14, heikin_open, heikin_high, heikin_low, heikin_close, and iv_rank if iv is there (of the last 1,875
        bars of the instrument, from 375 on). Rows before the end of a warm-up are null. All these columns are null
        for a bar of bad quality.

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
    found = measured(lazy, windows, has_context=extended)
    for step in _steps(known, extended=extended):
        found = found.with_columns(**step)
    found = judged(found.drop("^_.*$"), windows, has_context=extended).drop(_SCRATCH, "^.*_in$", strict=False)
    return found.with_columns(volume_ratio_same_time="day_x")


def _steps(known: set[str], *, extended: bool) -> list[dict[str, pl.Expr]]:
    """Return the indicators and their inputs, in steps: each needs only columns of earlier steps.

    Recursive or cumulative values are computed over each run separately. Exact values over a fixed number of
    bars are computed over all rows at once, and null if the run is shorter. A window of a window
    inside one `over` would give the same, but Polars takes four times as long. A run has no unknown price, so TA-Lib
    takes its columns as they are: no row must be skipped.
    """
    over_runs = {
        **{f"sma_{bars}": ta.sma("close", bars) for bars in (20, 50, 200)},
        **{f"ema_{bars}": talib.ema(CLOSE, timeperiod=bars) for bars in (20, 50, 200)},
        "rsi_14": talib.rsi(CLOSE, timeperiod=14),
        "atr_14": talib.atr(*HIGH_LOW_CLOSE, timeperiod=14),
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
    steps = [
        # Windows over all rows regardless of runs: values that cross a run are masked where they are used.
        {"_median": pl.col("close").rolling_median(20)},
        {"_robust_spread": ta.absolute_deviation("close", "_median", 20)},
        {"_session": _session()} | {name: within(RUN, expr, reach) for name, (expr, reach) in bars_back.items()},
        {name: expr.over(RUN).fill_nan(None) for name, expr in over_runs.items()}
        | {"vwap": ta.vwap().over("_session")},
        _bar_by_bar(known),
    ]
    return [*steps, *_extended(known)] if extended else steps


def _extended(known: set[str]) -> list[dict[str, pl.Expr]]:
    """Return the indicators beyond those that spike detection looks at, in steps."""
    prices = HIGH_LOW_CLOSE
    single = {
        "mfi_14": talib.mfi(*prices, VOLUME, timeperiod=14),
        "obv": talib.obv(CLOSE, VOLUME),
        "adx_14": talib.adx(*prices, timeperiod=14),
        "plus_di_14": talib.plus_di(*prices, timeperiod=14),
        "minus_di_14": talib.minus_di(*prices, timeperiod=14),
        "cci_20": talib.cci(*prices, timeperiod=20),
        "williams_r_14": talib.willr(*prices, timeperiod=14),
    }
    several = {
        "macd": (talib.macd(CLOSE), {"macd": "macd", "macdsignal": "macd_signal", "macdhist": "macd_histogram"}),
        "stochastic": (talib.stoch(*prices, fastk_period=14), {"slowk": "stochastic_k", "slowd": "stochastic_d"}),
        "supertrend": (talib.supertrend(*prices, timeperiod=10, multiplier=3.0), {"supertrend": "supertrend"}),
        "keltner": (talib.kc(*prices, timeperiod=20, atrperiod=10, nbdev=2.0), _bands_named("keltner")),
        "donchian": (talib.donchian(*prices[:2], timeperiod=20), _bands_named("donchian")),
        "heikin": (
            talib.ha(pl.col("open").cast(pl.Float64), *prices),
            {f"ha{price}": f"heikin_{price}" for price in ("open", "high", "low", "close")},
        ),
    }
    of_runs = {name: expr.over(RUN).fill_nan(None) for name, expr in single.items()}
    parts = {
        new: pl.col(f"_{name}").struct.field(old).cast(pl.Float64).fill_nan(None)
        for name, (_, names) in several.items()
        for old, new in names.items()
    }
    parts["supertrend_rising"] = pl.when(parts["supertrend"].is_not_null()).then(
        pl.col("_supertrend").struct.field("trend") > 0
    )
    if "iv" in known:
        parts["iv_rank"] = ta.rank("iv", IV_RANK_BARS, IV_RANK_BARS_MIN).over(KEY)
    good, traded = pl.col("move_x").is_not_null(), pl.col("volume").is_not_null()
    shown = {name: pl.col(name) for name in single} | parts
    masks = {"obv": good & traded, "mfi_14": good & traded}
    return [
        of_runs | {f"_{name}": expr.over(RUN) for name, (expr, _) in several.items()},
        {name: pl.when(masks.get(name, good)).then(expr) for name, expr in shown.items()},
    ]


def _bands_named(name: str) -> dict[str, str]:
    """Return TA-Lib's names of a channel, and ours."""
    return {f"{band}band": f"{name}_{band}" for band in ("lower", "middle", "upper")}


def _session() -> pl.Expr:
    """Return a number for each instrument's day."""
    key, day = pl.col(KEY), local_day()
    return ((key != key.shift(1)) | (day != day.shift(1))).fill_null(True).cum_sum()


def _bar_by_bar(known: set[str]) -> dict[str, pl.Expr]:
    """Return the indicators computed from columns of the same bar, and from windows that ended before it."""
    lower, middle, upper = ta.bands("sma_20", "_spread")
    volume, close = ("_volume", "_volume_spread"), ("sma_20", "_spread")
    found = {
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
