"""Combine the bars of options into option chains: price of the underlying, and exposures. Pure.

Owns how options are grouped; the relation `instruments` says which option belongs to which underlying. Must not know
where bars come from.
"""

from __future__ import annotations

import polars as pl

from analytics.factors import indicators as ta
from analytics.factors.checked_frames import Kind, checked
from analytics.schema import KEY

UNDERLYING = "underlying_key"
TERMS = (KEY, UNDERLYING, "instrument_type", "strike")  # columns of the relation instruments
SPOT_BARS: dict[str, Kind] = {KEY: "text", "bucket": "time", "close": "number"}
CHAIN_BARS: dict[str, Kind] = SPOT_BARS | dict.fromkeys(("oi", "delta", "gamma", "spot"), "number")
TERMS_KINDS: dict[str, Kind] = {KEY: "text", UNDERLYING: "text", "instrument_type": "text", "strike": "number"}
BARS_REMEDY = "give the bars of analytics.bars()"
CHAIN_REMEDY = "give the result of analytics.factors.chains.with_spot() for the bars of analytics.bars()"
TERMS_REMEDY = f"give {', '.join(TERMS)} of the relation instruments"


def with_spot(bars: pl.LazyFrame | pl.DataFrame, terms: pl.DataFrame) -> pl.LazyFrame:
    """Add the price of the underlying, so that `analytics.factors.frame.features` can compute gamma exposure.

    Parameters
    ----------
    bars
        Bars of options and of their underlyings together, as `analytics.bars` returns them.
    terms
        instrument_key and underlying_key of the options, from the relation `instruments`.

    Returns
    -------
    polars.LazyFrame
        The rows of `bars` in their order, with spot (rupees): the close of the underlying's bar of the same minute,
        or of its last bar before. Null before the underlying's first bar, and without an underlying.
    """
    lazy = checked(bars, SPOT_BARS, BARS_REMEDY)
    of_options = checked(terms, {name: TERMS_KINDS[name] for name in TERMS[:2]}, TERMS_REMEDY)
    spots = lazy.select(pl.col(KEY).alias(UNDERLYING), "bucket", pl.col("close").alias("spot")).sort("bucket")
    named = lazy.with_row_index("_row").join(of_options.select(KEY, UNDERLYING), on=KEY, how="left")
    joined = named.sort("bucket").join_asof(spots, on="bucket", by=UNDERLYING, check_sortedness=False)
    return joined.sort("_row").drop("_row", UNDERLYING)


def exposures(bars: pl.LazyFrame | pl.DataFrame, terms: pl.DataFrame) -> pl.LazyFrame:
    """Return the combined exposure of all options of an underlying, and its changes.

    Parameters
    ----------
    bars
        Bars of options: instrument_key, bucket, close, oi (units), delta, gamma, spot (rupees; from `with_spot`).
    terms
        `TERMS` of the options, with CE or PE in instrument_type.

    Returns
    -------
    polars.LazyFrame
        One row for each underlying_key and bucket with options, sorted by both: options (number of options with a
        bar so far that day), delta_exposure (units of the underlying), gamma_exposure (rupees per percent; calls
        minus puts, which assumes market makers long calls and short puts), put_call_oi (oi of puts over oi of
        calls), gamma_strike (strike with the most gamma, which tends to hold prices), and relative to the bar
        before delta_exposure_change and gamma_flips (Boolean: gamma_exposure changed its sign).
        An option without a bar in the minute counts with its last bar of the day; unknown greeks are ignored.

    Raises
    ------
    ConfigError
        If an argument is not a frame, or a column is absent or of another kind.
    """
    of_options = checked(terms, TERMS_KINDS, TERMS_REMEDY).select(TERMS)
    lazy = checked(bars, CHAIN_BARS, CHAIN_REMEDY).join(of_options, on=KEY)
    lazy = lazy.filter(pl.col("instrument_type").is_in(["CE", "PE"]))
    is_call = pl.col("instrument_type") == "CE"
    gamma = ta.gamma_exposure("spot")
    steps = _filled(lazy).with_columns(
        _delta=ta.delta_exposure(), _gamma=pl.when(is_call).then(gamma).otherwise(-gamma), _size=gamma
    )
    oi = pl.col("oi").cast(pl.Float64)
    chain = (
        steps.group_by(UNDERLYING, "bucket")
        .agg(
            options=pl.len(),
            delta_exposure=pl.col("_delta").sum(),
            gamma_exposure=pl.col("_gamma").sum(),
            put_call_oi=ta.ratio(oi.filter(~is_call).sum(), oi.filter(is_call).sum()),
            gamma_strike=pl.col("strike").sort_by(pl.col("_size").sum().over("strike"), descending=True).first(),
        )
        .sort(UNDERLYING, "bucket")
    )
    sign = pl.col("gamma_exposure").sign()
    return chain.with_columns(
        delta_exposure_change=ta.change("delta_exposure").over(UNDERLYING),
        gamma_flips=(sign * sign.shift(1) < 0).over(UNDERLYING),
    )


def _filled(options: pl.LazyFrame) -> pl.LazyFrame:
    """Return a row of each option for each bucket of its underlying, filled from its last bar of the day."""
    day = pl.col("bucket").dt.convert_time_zone("Asia/Kolkata").dt.date()
    times = options.select(UNDERLYING, "bucket").unique()
    names = options.select(KEY, UNDERLYING, "instrument_type", "strike").unique()
    grid = times.join(names, on=UNDERLYING).join(
        options.select(KEY, "bucket", "oi", "delta", "gamma", "spot"), on=[KEY, "bucket"], how="left"
    )
    known = pl.col("oi", "delta", "gamma", "spot").forward_fill().over(KEY, day)
    return grid.sort(KEY, "bucket").with_columns(known).filter(pl.col("oi").is_not_null())
