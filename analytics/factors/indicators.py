"""Indicators as Polars expressions: pure, lazy, one value per bar, without look-ahead.

Owns the formulas. Must not know where bars come from, or sessions and gaps: wrap an expression
in `.over("instrument_key")`, or over `analytics.factors.frame.RUN` so that no window spans a gap.

Every function takes expressions or column names and returns a Float64 expression of the same length, unless noted. A
row before the end of the warm-up is null. NaN is the same as null: unknown. A row with an unknown value in its window
is null; the recursive indicators, whose windows have no end, skip unknown rows (`analytics.factors.talib_indicators`).
"TA-Lib" below means that the values after the warm-up equal TA-Lib's; where conventions differ in the literature,
TA-Lib's is used.
"""

from __future__ import annotations

import polars as pl

from analytics.factors.talib_indicators import (
    Column,
    adx,
    atr,
    cci,
    ema,
    heikin_ashi,
    keltner,
    known,
    macd,
    mfi,
    minus_di,
    obv,
    plus_di,
    rsi,
    stochastic,
    supertrend,
    wilder,
    williams_r,
)

__all__ = [
    "absolute_deviation",
    "adx",
    "anchored_vwap",
    "atr",
    "bands",
    "bollinger",
    "build_up",
    "cci",
    "change",
    "delta_exposure",
    "deviation",
    "distance",
    "donchian",
    "ema",
    "gamma_exposure",
    "heikin_ashi",
    "keltner",
    "macd",
    "mfi",
    "minus_di",
    "momentum",
    "obv",
    "plus_di",
    "rank",
    "ratio",
    "relative_change",
    "robust_zscore",
    "roc",
    "rsi",
    "same_time_ratio",
    "sma",
    "stochastic",
    "supertrend",
    "true_range",
    "volume_ratio",
    "vwap",
    "wilder",
    "williams_r",
    "zscore",
]


def sma(column: Column, bars: int) -> pl.Expr:
    """Return the simple moving average: the mean of the last `bars` values. Null for bars - 1 rows. TA-Lib SMA."""
    return known(column).rolling_mean(bars)


def true_range(high: Column = "high", low: Column = "low", close: Column = "close") -> pl.Expr:
    """Return the range of the bar including the close before it, in rupees. Null for one row. TA-Lib TRANGE.

    max(high, close before) - min(low, close before). Source: Wilder, 1978.
    """
    before = known(close).shift(1)
    top = pl.max_horizontal(known(high), before)
    return pl.when(before.is_not_null()).then(top - pl.min_horizontal(known(low), before))


def roc(column: Column, bars: int) -> pl.Expr:
    """Return the rate of change over `bars`, in percent. Null for `bars` rows; 0 after a 0. TA-Lib ROC."""
    x = known(column)
    before = x.shift(bars)
    return pl.when(before == 0).then(0.0).otherwise((x / before - 1) * 100)


def momentum(column: Column, bars: int) -> pl.Expr:
    """Return the change over `bars`, in the column's unit. Null for `bars` rows. TA-Lib MOM."""
    return known(column).diff(bars)


def deviation(column: Column, bars: int) -> pl.Expr:
    """Return the standard deviation of the last `bars` values, of a population. Null for bars - 1 rows.

    TA-Lib STDDEV. A window of equal values gives exactly 0, whatever came before it.
    """
    x = known(column)
    flat = x.rolling_max(bars) == x.rolling_min(bars)
    return pl.when(flat).then(0.0).otherwise(x.rolling_std(bars, ddof=0))


def bollinger(column: Column, bars: int = 20, width: float = 2.0) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Return the lower band, the mean and the upper band: SMA and `width` population deviations on either side.

    Null for bars - 1 rows. TA-Lib BBANDS. Source: J. Bollinger, Bollinger on Bollinger Bands, 2001.
    """
    return bands(sma(column, bars), deviation(column, bars), width)


def bands(middle: Column, spread: Column, width: float = 2.0) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Return middle - width * spread, middle, middle + width * spread: the last step of `bollinger`."""
    reach = width * known(spread)
    return known(middle) - reach, known(middle), known(middle) + reach


def vwap(high: Column = "high", low: Column = "low", close: Column = "close", volume: Column = "volume") -> pl.Expr:
    """Return the volume-weighted mean of typical prices (high + low + close) / 3 since the first row.

    Use it over instrument and session. In rupees; null until there is volume. An unknown volume counts
    as 0. Source: Berkowitz, Logue and Noser, The total cost of transactions on the NYSE, 1988.
    """
    typical = (known(high) + known(low) + known(close)) / 3
    traded = pl.when(typical.is_not_null()).then(known(volume)).fill_null(0)
    total = traded.cum_sum()
    return pl.when(total > 0).then((typical * traded).fill_null(0).cum_sum() / total)


def anchored_vwap(
    anchor: Column,
    high: Column = "high",
    low: Column = "low",
    close: Column = "close",
    volume: Column = "volume",
) -> pl.Expr:
    """Return the volume-weighted mean of typical prices since the last row in which `anchor` is true, in rupees.

    Null before the first such row, and until there is volume. An unknown volume counts as 0, an unknown anchor as
    false. Use it over an instrument; `vwap` begins with each session. Source: B. Shannon, Anchored VWAP, 2023.
    """
    starts = (pl.col(anchor) if isinstance(anchor, str) else anchor).fill_null(False)
    typical = (known(high) + known(low) + known(close)) / 3
    traded = pl.when(typical.is_not_null()).then(known(volume)).fill_null(0)

    def since(x: pl.Expr) -> pl.Expr:
        total = x.cum_sum()
        return total - pl.when(starts).then(total - x).forward_fill()

    total = since(traded)
    return pl.when(total > 0).then(since((typical * traded).fill_null(0)) / total)


def donchian(bars: int = 20, high: Column = "high", low: Column = "low") -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Return the lowest low of the last `bars`, the middle and the highest high, in rupees. Null for bars - 1 rows.

    TA-Lib DONCHIAN. Source: R. Donchian, 1960.
    """
    lower, upper = known(low).rolling_min(bars), known(high).rolling_max(bars)
    return lower, (lower + upper) / 2, upper


def rank(column: Column, bars: int, bars_min: int | None = None) -> pl.Expr:
    """Return where a value is between the lowest and the highest of the last `bars`, 0 to 100: IV rank of volatility.

    Null for bars_min - 1 known rows (`bars` if None), where the value is unknown, and where nothing has moved.
    """
    x = known(column)
    low = x.rolling_min(bars, min_samples=bars_min)
    return 100 * distance(x, low, x.rolling_max(bars, min_samples=bars_min) - low)


def volume_ratio(volume: Column = "volume", bars: int = 20) -> pl.Expr:
    """Return the volume over the mean of the `bars` before this bar. Null for `bars` rows.

    Null where that mean is 0.
    """
    return ratio(volume, sma(volume, bars).shift(1))


def ratio(column: Column, usual: Column) -> pl.Expr:
    """Return value / usual, null where usual is 0: the last step of the volume ratios."""
    return pl.when(known(usual) > 0).then(known(column) / known(usual))


def same_time_ratio(volume: Column = "volume", days: int = 5, days_min: int = 3) -> pl.Expr:
    """Return the volume over its median in the same minute of up to `days` earlier days.

    Use it over instrument and time of day. Null for `days_min` days, or where the median is 0.
    """
    return ratio(volume, known(volume).rolling_median(days, min_samples=days_min).shift(1))


def zscore(column: Column, bars: int) -> pl.Expr:
    """Return the distance from the mean of the `bars` before this bar, in their (population) deviations.

    Null for `bars` rows, and where those bars did not move.
    """
    return distance(column, sma(column, bars).shift(1), deviation(column, bars).shift(1))


def distance(column: Column, middle: Column, spread: Column) -> pl.Expr:
    """Return (value - middle) / spread, null where the spread is 0; used by the z-scores."""
    return pl.when(known(spread) > 0).then((known(column) - known(middle)) / known(spread))


def robust_zscore(column: Column, bars: int) -> pl.Expr:
    """Return the distance from the median of the `bars` before it, in 1.4826 median absolute deviations.

    Each deviation is from the median of the window that ends at its own bar, so that one pass is enough;
    a single outlier moves neither. Null for 2 * bars - 1 rows, and where the deviations are 0. Source: B. Iglewicz
    and D. Hoaglin, How to detect and handle outliers, 1993; 1.4826 makes the MAD the deviation of a normal.
    """
    x = known(column)
    middle = x.rolling_median(bars)
    return distance(x, middle.shift(1), absolute_deviation(x, middle, bars).shift(1))


def absolute_deviation(column: Column, middle: Column, bars: int) -> pl.Expr:
    """Return 1.4826 times the median of the last `bars` distances from `middle`: a part of `robust_zscore`.

    Null for bars - 1 rows of known distances.
    """
    return 1.4826 * (known(column) - known(middle)).abs().rolling_median(bars)


def change(column: Column, bars: int = 1) -> pl.Expr:
    """Return the change over `bars`, in the column's unit. Null for `bars` rows."""
    return known(column).diff(bars)


def relative_change(column: Column, bars: int = 1) -> pl.Expr:
    """Return the change over `bars` as a fraction of the value before. Null for `bars` rows, and after a 0."""
    x = known(column)
    before = x.shift(bars)
    return pl.when(before != 0).then(x / before - 1)


def build_up(price_change: Column, oi_change: Column) -> pl.Expr:
    """Classify a price move by open interest: long, short, covering or unwinding (String).

    long: price and oi rise; short: price falls, oi rises; covering: price rises, oi falls; unwinding: both
    fall. Null where either is unknown or did not change.
    """
    price, oi = known(price_change), known(oi_change)
    return (
        pl.when((price > 0) & (oi > 0))
        .then(pl.lit("long"))
        .when((price < 0) & (oi > 0))
        .then(pl.lit("short"))
        .when((price > 0) & (oi < 0))
        .then(pl.lit("covering"))
        .when((price < 0) & (oi < 0))
        .then(pl.lit("unwinding"))
    )


def delta_exposure(delta: Column = "delta", oi: Column = "oi") -> pl.Expr:
    """Return delta * oi: units of the underlying that the open contracts equal. Null where an input is null."""
    return known(delta) * known(oi)


def gamma_exposure(spot: Column, gamma: Column = "gamma", oi: Column = "oi") -> pl.Expr:
    """Return gamma * oi * spot^2 / 100: rupees of the underlying to trade when it moves by one percent.

    For a market maker long all calls and short all puts, use calls minus puts: `analytics.factors.chains`.
    Null where an input is null. Source: A. Barbon and A. Buraschi, Gamma fragility, 2021.
    """
    return known(gamma) * known(oi) * known(spot) ** 2 / 100
