"""Indicators as Polars expressions: pure, lazy, one value per bar, without look-ahead.

Owns the formulas. Must not know where bars come from, or sessions and gaps: wrap an expression
in `.over("instrument_key")`, or over `analytics.factors.frame.RUN` so that no window spans a gap.

Every function takes expressions or column names and returns a Float64 expression of the same length, unless noted. A
row before the end of the warm-up is null, and so is a row with a null in its window. "TA-Lib" below means that the
values after the warm-up equal TA-Lib's; where conventions differ in the literature, TA-Lib's is used.
"""

from __future__ import annotations

import polars as pl

Column = pl.Expr | str
TINY = 1e-14  # TA-Lib's TA_EPSILON: values nearer to 0 count as 0


def _expr(column: Column) -> pl.Expr:
    """Return a column's expression in Float64."""
    return (pl.col(column) if isinstance(column, str) else column).cast(pl.Float64)


def _smoothed(x: pl.Expr, bars: int, alpha: float) -> pl.Expr:
    """Return exponential smoothing that starts with the mean of the first `bars` values that are not null."""
    count = x.is_not_null().cum_sum()
    seeded = pl.when(count == bars).then(x.rolling_mean(bars)).when(count > bars).then(x)
    return seeded.ewm_mean(alpha=alpha, adjust=False)


def sma(column: Column, bars: int) -> pl.Expr:
    """Return the simple moving average: the mean of the last `bars` values. Null for bars - 1 rows. TA-Lib SMA."""
    return _expr(column).rolling_mean(bars)


def ema(column: Column, bars: int) -> pl.Expr:
    """Return the exponential moving average, alpha = 2 / (bars + 1), started with the mean of the first `bars`.

    EMA = before + alpha * (value - before). Null for bars - 1 rows. TA-Lib EMA; a charting package that
    starts with the first price differs until that price has faded.
    """
    return _smoothed(_expr(column), bars, 2 / (bars + 1))


def wilder(column: Column, bars: int) -> pl.Expr:
    """Return Wilder's smoothing, alpha = 1 / bars, started with the mean of the first `bars`.

    Null for bars - 1 rows. Source: J. W. Wilder, New Concepts in Technical Trading Systems, 1978.
    """
    return _smoothed(_expr(column), bars, 1 / bars)


def rsi(column: Column, bars: int = 14) -> pl.Expr:
    """Return Wilder's relative strength index, 0 to 100: 100 * up / (up + down), both smoothed.

    Null for `bars` rows. 0 if nothing has moved, like TA-Lib RSI. Source: Wilder, 1978.
    """
    step = change(column)
    return strength(rise(step, bars), fall(step, bars))


def rise(step: Column, bars: int) -> pl.Expr:
    """Return the rising part of one-bar changes by Wilder's smoothing, in the column's unit: a part of `rsi`."""
    return wilder(_expr(step).clip(lower_bound=0), bars)


def fall(step: Column, bars: int) -> pl.Expr:
    """Return the falling part of one-bar changes by Wilder's smoothing, positive: a part of `rsi`."""
    return wilder((-_expr(step)).clip(lower_bound=0), bars)


def strength(up: Column, down: Column) -> pl.Expr:
    """Return 100 * up / (up + down), 0 where both are 0: the last step of `rsi`, after `rise` and `fall`."""
    rises, both = _expr(up), _expr(up) + _expr(down)
    return pl.when(both < TINY).then(0.0 * rises).otherwise(100 * rises / both)


def true_range(high: Column = "high", low: Column = "low", close: Column = "close") -> pl.Expr:
    """Return the range of the bar including the close before it, in rupees. Null for one row. TA-Lib TRANGE.

    max(high, close before) - min(low, close before). Source: Wilder, 1978.
    """
    before = _expr(close).shift(1)
    top = pl.max_horizontal(_expr(high), before)
    return pl.when(before.is_not_null()).then(top - pl.min_horizontal(_expr(low), before))


def atr(bars: int = 14, high: Column = "high", low: Column = "low", close: Column = "close") -> pl.Expr:
    """Return the average true range by Wilder's smoothing, in rupees. Null for `bars` rows. TA-Lib ATR.

    Source: Wilder, 1978.
    """
    return wilder(true_range(high, low, close), bars)


def roc(column: Column, bars: int) -> pl.Expr:
    """Return the rate of change over `bars`, in percent. Null for `bars` rows; 0 after a 0. TA-Lib ROC."""
    x = _expr(column)
    before = x.shift(bars)
    return pl.when(before == 0).then(0.0).otherwise((x / before - 1) * 100)


def momentum(column: Column, bars: int) -> pl.Expr:
    """Return the change over `bars`, in the column's unit. Null for `bars` rows. TA-Lib MOM."""
    return _expr(column).diff(bars)


def deviation(column: Column, bars: int) -> pl.Expr:
    """Return the standard deviation of the last `bars` values, of a population. Null for bars - 1 rows.

    TA-Lib STDDEV. A window of equal values gives exactly 0, whatever came before it.
    """
    x = _expr(column)
    flat = x.rolling_max(bars) == x.rolling_min(bars)
    return pl.when(flat).then(0.0).otherwise(x.rolling_std(bars, ddof=0))


def bollinger(column: Column, bars: int = 20, width: float = 2.0) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Return the lower band, the mean and the upper band: SMA and `width` population deviations on either side.

    Null for bars - 1 rows. TA-Lib BBANDS. Source: J. Bollinger, Bollinger on Bollinger Bands, 2001.
    """
    return bands(sma(column, bars), deviation(column, bars), width)


def bands(middle: Column, spread: Column, width: float = 2.0) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    """Return middle - width * spread, middle, middle + width * spread: the last step of `bollinger`."""
    reach = width * _expr(spread)
    return _expr(middle) - reach, _expr(middle), _expr(middle) + reach


def vwap(high: Column = "high", low: Column = "low", close: Column = "close", volume: Column = "volume") -> pl.Expr:
    """Return the volume-weighted mean of typical prices (high + low + close) / 3 since the first row.

    Use it over instrument and session. In rupees; null until there is volume. An unknown volume counts
    as 0. Source: Berkowitz, Logue and Noser, The total cost of transactions on the NYSE, 1988.
    """
    traded = _expr(volume).fill_null(0)
    typical = (_expr(high) + _expr(low) + _expr(close)) / 3
    total = traded.cum_sum()
    return pl.when(total > 0).then((typical * traded).cum_sum() / total)


def volume_ratio(volume: Column = "volume", bars: int = 20) -> pl.Expr:
    """Return the volume over the mean of the `bars` before this bar. Null for `bars` rows.

    Null where that mean is 0.
    """
    return ratio(volume, sma(volume, bars).shift(1))


def ratio(column: Column, usual: Column) -> pl.Expr:
    """Return value / usual, null where usual is 0: the last step of the volume ratios."""
    return pl.when(_expr(usual) > 0).then(_expr(column) / _expr(usual))


def same_time_ratio(volume: Column = "volume", days: int = 5, days_min: int = 3) -> pl.Expr:
    """Return the volume over its median in the same minute of up to `days` earlier days.

    Use it over instrument and time of day. Null for `days_min` days, or where the median is 0.
    """
    return ratio(volume, _expr(volume).rolling_median(days, min_samples=days_min).shift(1))


def zscore(column: Column, bars: int) -> pl.Expr:
    """Return the distance from the mean of the `bars` before this bar, in their (population) deviations.

    Null for `bars` rows, and where those bars did not move.
    """
    return distance(column, sma(column, bars).shift(1), deviation(column, bars).shift(1))


def distance(column: Column, middle: Column, spread: Column) -> pl.Expr:
    """Return (value - middle) / spread, null where the spread is 0; used by the z-scores."""
    return pl.when(_expr(spread) > 0).then((_expr(column) - _expr(middle)) / _expr(spread))


def robust_zscore(column: Column, bars: int) -> pl.Expr:
    """Return the distance from the median of the `bars` before it, in 1.4826 median absolute deviations.

    Each deviation is from the median of the window that ends at its own bar, so that one pass is enough;
    a single outlier moves neither. Null for 2 * bars - 1 rows, and where the deviations are 0. Source: B. Iglewicz
    and D. Hoaglin, How to detect and handle outliers, 1993; 1.4826 makes the MAD the deviation of a normal.
    """
    x = _expr(column)
    middle = x.rolling_median(bars)
    return distance(x, middle.shift(1), absolute_deviation(x, middle, bars).shift(1))


def absolute_deviation(column: Column, middle: Column, bars: int) -> pl.Expr:
    """Return 1.4826 times the median of the last `bars` distances from `middle`: a part of `robust_zscore`.

    Null for bars - 1 rows of known distances.
    """
    return 1.4826 * (_expr(column) - _expr(middle)).abs().rolling_median(bars)


def change(column: Column, bars: int = 1) -> pl.Expr:
    """Return the change over `bars`, in the column's unit. Null for `bars` rows."""
    return _expr(column).diff(bars)


def relative_change(column: Column, bars: int = 1) -> pl.Expr:
    """Return the change over `bars` as a fraction of the value before. Null for `bars` rows, and after a 0."""
    x = _expr(column)
    before = x.shift(bars)
    return pl.when(before != 0).then(x / before - 1)


def build_up(price_change: Column, oi_change: Column) -> pl.Expr:
    """Classify a price move by open interest: long, short, covering or unwinding (String).

    long: price and oi rise; short: price falls, oi rises; covering: price rises, oi falls; unwinding: both
    fall. Null where either is unknown or did not change.
    """
    price, oi = _expr(price_change), _expr(oi_change)
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
    return _expr(delta) * _expr(oi)


def gamma_exposure(spot: Column, gamma: Column = "gamma", oi: Column = "oi") -> pl.Expr:
    """Return gamma * oi * spot^2 / 100: rupees of the underlying to trade when it moves by one percent.

    For a market maker long all calls and short all puts, use calls minus puts: `analytics.factors.chains`.
    Null where an input is null. Source: A. Barbon and A. Buraschi, Gamma fragility, 2021.
    """
    return _expr(gamma) * _expr(oi) * _expr(spot) ** 2 / 100
