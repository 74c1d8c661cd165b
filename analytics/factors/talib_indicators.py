"""Indicators that TA-Lib computes, through the library polars-talib: recursive ones, and those of many parts.

Owns the way of unknown values into and out of TA-Lib, which knows none: rows with a null or NaN in an input are
skipped. They are null, and the other rows are as if they were not there. `analytics.factors.indicators` has the
windows that Polars computes itself, and all of these names as well.

Functions take expressions or column names of one instrument or run (`.over("instrument_key")`) and return Float64
expressions of the same length, null before the end of the warm-up. Prices are in rupees.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
import polars_talib as talib

Column = pl.Expr | str
EXPONENTIAL = 1  # TA-Lib's number of this kind of average


def known(column: Column) -> pl.Expr:
    """Return a column as Float64 in which NaN is null: what indicators mean by unknown."""
    return (pl.col(column) if isinstance(column, str) else column).cast(pl.Float64).fill_nan(None)


def skipping(make: Callable[..., pl.Expr], *columns: Column) -> pl.Expr:
    """Return what `make` computes of the rows in which all columns are known; the other rows are null."""
    inputs = [known(column) for column in columns]
    is_known = pl.all_horizontal(column.is_not_null() for column in inputs)
    place = pl.when(is_known).then(is_known.cum_sum().cast(pl.Int64) - 1)
    return make(*(column.filter(is_known) for column in inputs)).gather(place)


def single(make: Callable[..., pl.Expr], *columns: Column) -> pl.Expr:
    """Return the one result of `make` over known rows."""
    return skipping(make, *columns).fill_nan(None)


def fields(make: Callable[..., pl.Expr], names: tuple[str, ...], *columns: Column) -> tuple[pl.Expr, ...]:
    """Return some results of `make` over known rows, by TA-Lib's names for them."""
    found = skipping(make, *columns)
    return tuple(found.struct.field(name).cast(pl.Float64).fill_nan(None) for name in names)


def ema(column: Column, bars: int) -> pl.Expr:
    """Return the exponential moving average, alpha = 2 / (bars + 1), started with the mean of the first `bars`.

    EMA = before + alpha * (value - before). Null for bars - 1 known rows. TA-Lib EMA; a charting package that
    starts with the first price differs until that price has faded.
    """
    return single(lambda x: talib.ema(x, timeperiod=bars), column)


def wilder(column: Column, bars: int) -> pl.Expr:
    """Return Wilder's smoothing, alpha = 1 / bars, started with the mean of the first `bars`.

    Null for bars - 1 known rows. TA-Lib RMA. Source: J. W. Wilder, New Concepts in Technical Trading Systems, 1978.
    """
    return single(lambda x: talib.rma(x, timeperiod=bars), column)


def rsi(column: Column, bars: int = 14) -> pl.Expr:
    """Return Wilder's relative strength index, 0 to 100: 100 * up / (up + down), both smoothed.

    Null for `bars` known rows. 0 if nothing has moved. TA-Lib RSI. Source: Wilder, 1978.
    """
    return single(lambda x: talib.rsi(x, timeperiod=bars), column)


def atr(bars: int = 14, high: Column = "high", low: Column = "low", close: Column = "close") -> pl.Expr:
    """Return the average true range by Wilder's smoothing, in rupees. Null for `bars` known rows. TA-Lib ATR.

    Source: Wilder, 1978.
    """
    return single(lambda hi, lo, c: talib.atr(hi, lo, c, timeperiod=bars), high, low, close)


def macd(column: Column = "close", fast: int = 12, slow: int = 26, signal: int = 9) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Return moving average convergence/divergence, its signal line and their difference, in the column's unit.

    EMA of `fast` minus EMA of `slow`, both started at the same row; the signal line is its EMA of `signal`. Null for
    slow + signal - 2 known rows. TA-Lib MACD. Source: G. Appel, Technical Analysis: Power Tools, 2005.
    """
    line, smoothed, histogram = fields(
        lambda x: talib.macd(x, fastperiod=fast, slowperiod=slow, signalperiod=signal),
        ("macd", "macdsignal", "macdhist"),
        column,
    )
    return line, smoothed, histogram


def obv(close: Column = "close", volume: Column = "volume") -> pl.Expr:
    """Return on-balance volume: volume added when the close rose, taken off when it fell, since the first row.

    In units. Null where the close or the volume is unknown. TA-Lib OBV, which begins with the first volume.
    Source: J. Granville, New Key to Stock Market Profits, 1963.
    """
    return single(talib.obv, close, volume)


def mfi(
    bars: int = 14, high: Column = "high", low: Column = "low", close: Column = "close", volume: Column = "volume"
) -> pl.Expr:
    """Return the money flow index, 0 to 100: the RSI's idea applied to typical price times volume.

    Null for `bars` known rows. TA-Lib MFI. Source: G. Quong and A. Soudack, Volume-weighted RSI: money flow, 1989.
    """
    return single(lambda hi, lo, c, v: talib.mfi(hi, lo, c, v, timeperiod=bars), high, low, close, volume)


def stochastic(
    bars: int = 14,
    slow: int = 3,
    signal: int = 3,
    *,
    high: Column = "high",
    low: Column = "low",
    close: Column = "close",
) -> tuple[pl.Expr, pl.Expr]:
    """Return %K and %D of the slow stochastic, 0 to 100: where the close is between lowest low and highest high.

    %K is the mean of `slow` raw values, %D the mean of `signal` of them. Null for bars + slow + signal - 3 known
    rows. TA-Lib STOCH. Source: G. Lane, Lane's Stochastics, 1984.
    """
    k, d = fields(
        lambda hi, lo, c: talib.stoch(hi, lo, c, fastk_period=bars, slowk_period=slow, slowd_period=signal),
        ("slowk", "slowd"),
        *(high, low, close),
    )
    return k, d


def adx(bars: int = 14, high: Column = "high", low: Column = "low", close: Column = "close") -> pl.Expr:
    """Return the average directional index, 0 to 100: how much of the range is trend, in either direction.

    Null for 2 * bars - 1 known rows. TA-Lib ADX. Source: Wilder, 1978.
    """
    return single(lambda hi, lo, c: talib.adx(hi, lo, c, timeperiod=bars), high, low, close)


def plus_di(bars: int = 14, high: Column = "high", low: Column = "low", close: Column = "close") -> pl.Expr:
    """Return the rising directional indicator, 0 to 100. Null for `bars` known rows. TA-Lib PLUS_DI. Wilder, 1978."""
    return single(lambda hi, lo, c: talib.plus_di(hi, lo, c, timeperiod=bars), high, low, close)


def minus_di(bars: int = 14, high: Column = "high", low: Column = "low", close: Column = "close") -> pl.Expr:
    """Return the falling directional indicator, 0 to 100. Null for `bars` known rows. TA-Lib MINUS_DI. Wilder, 1978."""
    return single(lambda hi, lo, c: talib.minus_di(hi, lo, c, timeperiod=bars), high, low, close)


def supertrend(
    bars: int = 10, width: float = 3.0, high: Column = "high", low: Column = "low", close: Column = "close"
) -> tuple[pl.Expr, pl.Expr]:
    """Return the Supertrend line in rupees, and whether it rises (Boolean): then the line is below the price.

    The line trails the mid of the bar by `width` average true ranges, and changes sides when the close crosses it.
    Null for `bars` known rows. TA-Lib SUPERTREND. Source: O. Seban.
    """
    line, trend = fields(
        lambda hi, lo, c: talib.supertrend(hi, lo, c, timeperiod=bars, multiplier=width),
        ("supertrend", "trend"),
        *(high, low, close),
    )
    return line, pl.when(line.is_not_null()).then(trend > 0)


def keltner(
    bars: int = 20,
    range_bars: int = 10,
    width: float = 2.0,
    *,
    high: Column = "high",
    low: Column = "low",
    close: Column = "close",
) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Return the lower Keltner channel, the middle and the upper one, in rupees: EMA and `width` ATRs on either side.

    Null for max(bars - 1, range_bars) known rows. TA-Lib KC. Source: L. Bradford Raschke's form of C. Keltner's, 1960.
    """
    lower, middle, upper = fields(
        lambda hi, lo, c: talib.kc(hi, lo, c, timeperiod=bars, atrperiod=range_bars, nbdev=width),
        ("lowerband", "middleband", "upperband"),
        *(high, low, close),
    )
    return lower, middle, upper


def cci(bars: int = 20, high: Column = "high", low: Column = "low", close: Column = "close") -> pl.Expr:
    """Return the commodity channel index: typical price from its mean, in 0.015 mean absolute deviations.

    Null for bars - 1 known rows; 0 where nothing has moved. TA-Lib CCI. Source: D. Lambert, 1980.
    """
    return single(lambda hi, lo, c: talib.cci(hi, lo, c, timeperiod=bars), high, low, close)


def williams_r(bars: int = 14, high: Column = "high", low: Column = "low", close: Column = "close") -> pl.Expr:
    """Return Williams' %R, -100 to 0: how far the close is below the highest high, as a part of the range.

    Null for bars - 1 known rows. TA-Lib WILLR. Source: L. Williams, 1973.
    """
    return single(lambda hi, lo, c: talib.willr(hi, lo, c, timeperiod=bars), high, low, close)


def heikin_ashi(
    open_: Column = "open", high: Column = "high", low: Column = "low", close: Column = "close"
) -> tuple[pl.Expr, pl.Expr, pl.Expr, pl.Expr]:
    """Return open, high, low and close of Heikin-Ashi candles, in rupees; no warm-up. TA-Lib HA.

    close is the mean of the four prices; open is the mean of the Heikin-Ashi open and close before, at first of open
    and close.
    """
    first, top, bottom, last = fields(talib.ha, ("haopen", "hahigh", "halow", "haclose"), open_, high, low, close)
    return first, top, bottom, last
