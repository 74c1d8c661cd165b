"""Own implied volatility and greeks of options, beside the vendor's: Black-76 on the forward of each expiry. Pure.

Owns which forward an option is measured by, and how long it has to live. The arithmetic is in
`analytics.factors.black76`. Must not know where bars come from.
"""

from __future__ import annotations

from datetime import time, timedelta

import numpy as np
import polars as pl

from analytics.factors import black76
from analytics.factors.chains import BARS_REMEDY, SPOT_BARS, TERMS_KINDS, UNDERLYING
from analytics.factors.checked_frames import Kind, checked
from analytics.market_time import MARKET_OFFSET
from analytics.schema import KEY

EXPIRES = time(15, 30)  # on the last day, Indian time: the close, in which index options are settled
RATE = 0.06  # a year, continuously compounded
PAIRS = 5  # of a call and a put that are nearest to the money give the forward, by their median
YEAR_S = 365 * 86_400
OPTION_TERMS: dict[str, Kind] = TERMS_KINDS | {"expiry": "date"}
TERMS_REMEDY = f"give {', '.join(OPTION_TERMS)} of the relation instruments"
MODEL = ("forward", "iv_model", "delta_model", "gamma_model", "theta_model", "vega_model")


def model(
    bars: pl.LazyFrame | pl.DataFrame, terms: pl.DataFrame, *, rate: float = RATE, minutes: int = 1
) -> pl.DataFrame:
    """Add the volatility that the price of each option implies, and its greeks.

    Parameters
    ----------
    bars
        Bars of options, and of the futures of their underlyings where there are any, as `analytics.bars` returns them.
    terms
        instrument_key, underlying_key, instrument_type (CE, PE or FUT), strike (rupees) and expiry (date) of the
        relation `instruments`.
    rate
        Continuously compounded yearly interest rate.
    minutes
        Interval of the bars: a close is the price at the end of its bar.

    Returns
    -------
    polars.DataFrame
        The rows of `bars` in their order, with Float64 columns: forward (rupees), iv_model (yearly, a fraction),
        delta_model, gamma_model (by a rupee of the spot), theta_model (rupees a day), vega_model (rupees a percentage
        point). All are null for what is no option.

        The forward of an underlying and expiry in a bar is the close of the future of that expiry; without one it is
        the median that put-call parity gives for up to five strikes nearest to the money of which both options
        have that bar. Without either, at a price without time value, and from 15:30 of the last day on: null.

    Raises
    ------
    ConfigError
        If an argument is not a frame, or a column is absent or of another kind.
    """
    named = checked(bars, SPOT_BARS, BARS_REMEDY).with_row_index("_row")
    expires = pl.col("expiry").cast(pl.Datetime("ms")).dt.offset_by(f"{EXPIRES.hour}h{EXPIRES.minute}m").dt.epoch("ms")
    contracts = (
        checked(terms, OPTION_TERMS, TERMS_REMEDY)
        .unique(KEY)
        # Numbers make joins and groups several times as fast as texts.
        .with_columns(_chain=pl.struct(UNDERLYING, "expiry").rank("dense"), strike=pl.col("strike").cast(pl.Float64))
        .select(
            KEY, "_chain", "instrument_type", "strike", _expires=expires - MARKET_OFFSET // timedelta(milliseconds=1)
        )
    )
    ends = pl.col("bucket").dt.epoch("ms") + minutes * 60_000
    priced = (
        named.select("_row", KEY, _ends=ends, close=pl.col("close").cast(pl.Float64))
        .join(contracts, on=KEY, maintain_order="left")
        .select(
            "_row",
            "_ends",
            "_chain",
            "close",
            "instrument_type",
            "strike",
            _years=(pl.col("_expires") - pl.col("_ends")) / (1000 * YEAR_S),
        )
        .collect()
        .lazy()
    )
    chain = ("_chain", "_ends")
    options = priced.filter(pl.col("instrument_type").is_in(["CE", "PE"]) & (pl.col("_years") > 0))
    futures = (
        priced.filter(pl.col("instrument_type") == "FUT")
        .group_by(chain)
        .agg(_future=pl.col("close").drop_nulls().last())
    )
    found = (
        options.join(futures, on=chain, how="left")
        .join(_parity(options, chain, rate), on=chain, how="left")
        .with_columns(forward=pl.coalesce("_future", "_parity"), _call=pl.col("instrument_type") == "CE")
        .select("_row", "close", "forward", "strike", "_years", "_call")
        .collect()
    )
    columns = (found[name].cast(pl.Float64).to_numpy() for name in ("close", "forward", "strike", "_years"))
    close, forward, strike, years = (np.nan_to_num(column, nan=np.nan) for column in columns)
    call = found["_call"].to_numpy()
    volatility = black76.implied_volatility(close, forward, strike, years, rate=rate, is_call=call)
    values = (forward, volatility, *black76.greeks(volatility, forward, strike, years, rate=rate, is_call=call))
    result = found.select("_row").with_columns(
        pl.Series(name, value).fill_nan(None) for name, value in zip(MODEL, values, strict=True)
    )
    return named.join(result.lazy(), on="_row", how="left", maintain_order="left").drop("_row").collect()


def _parity(options: pl.LazyFrame, chain: tuple[str, ...], rate: float) -> pl.LazyFrame:
    """Return the forward that put-call parity gives for each chain and bar: `_parity`, in rupees."""
    at = [*chain, "strike"]
    sides = [
        options.filter(pl.col("instrument_type") == kind)
        .group_by(at)
        .agg(pl.col("close").last().alias(kind), pl.col("_years").last())
        for kind in ("CE", "PE")
    ]
    pairs = sides[0].join(sides[1].drop("_years"), on=at).with_columns(_gap=pl.col("CE") - pl.col("PE"))
    forward = pl.col("strike") + pl.col("_gap") * (rate * pl.col("_years")).exp()
    nearest = forward.sort_by(pl.col("_gap").abs()).head(PAIRS)
    return pairs.filter(pl.col("_gap").is_not_null()).group_by(chain).agg(_parity=nearest.median())
