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
AT_MS = 2**42  # more milliseconds than until the year 2100: a chain and a bar are one number, which groups are fast by
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
    given = checked(bars, SPOT_BARS, BARS_REMEDY).collect()
    expires = pl.col("expiry").cast(pl.Datetime("ms")).dt.offset_by(f"{EXPIRES.hour}h{EXPIRES.minute}m").dt.epoch("ms")
    kind = pl.col("instrument_type")
    contracts = (
        checked(terms, OPTION_TERMS, TERMS_REMEDY)
        .unique(KEY)
        # Numbers make joins and groups several times as fast as texts.
        .select(
            KEY,
            _chain=pl.struct(UNDERLYING, "expiry").rank("dense").cast(pl.Int64),
            _call=pl.when(kind.is_in(["CE", "PE"])).then(kind == "CE"),
            _is_future=kind == "FUT",
            _strike=pl.col("strike").cast(pl.Float64),
            _expires=expires - MARKET_OFFSET // timedelta(milliseconds=1),
        )
    )
    left = pl.col("_expires") - pl.col("_ends")
    priced = (
        given.lazy()
        .select(KEY, _ends=pl.col("bucket").dt.epoch("ms") + minutes * 60_000, _close=pl.col("close").cast(pl.Float64))
        .join(contracts, on=KEY, how="left", maintain_order="left")
        .select(
            "_close",
            "_strike",
            "_is_future",
            _call=pl.when(left > 0).then("_call"),
            _years=left / (1000 * YEAR_S),
            _at=pl.col("_chain") * AT_MS + pl.col("_ends"),
        )
        .collect()
        .lazy()
    )
    is_option = pl.col("_call").is_not_null()
    found = (
        priced.join(_forwards(priced, rate), on="_at", how="left", maintain_order="left")
        .select(
            pl.when(is_option).then(name).alias(name) for name in ("_close", "forward", "_strike", "_years", "_call")
        )
        .collect()
    )
    close, forward, strike, years = (
        found[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in found.columns[:4]
    )
    call = found["_call"].fill_null(False).to_numpy()
    volatility = black76.implied_volatility(close, forward, strike, years, rate=rate, is_call=call)
    values = (forward, volatility, *black76.greeks(volatility, forward, strike, years, rate=rate, is_call=call))
    return given.with_columns(pl.Series(name, value).fill_nan(None) for name, value in zip(MODEL, values, strict=True))


def _forwards(priced: pl.LazyFrame, rate: float) -> pl.LazyFrame:
    """Return the forward of each chain in each bar, `_at`: of the future, or else by parity."""
    futures = priced.filter("_is_future").group_by("_at").agg(_future=pl.col("_close").drop_nulls().last())
    both = futures.join(_parity(priced, rate), on="_at", how="full", coalesce=True)
    return both.select("_at", forward=pl.coalesce("_future", "_parity"))


def _parity(priced: pl.LazyFrame, rate: float) -> pl.LazyFrame:
    """Return the forward that put-call parity gives for each chain in each bar, `_at`: `_parity`, in rupees."""
    of = ["_at", "_strike"]
    calls, puts = (
        priced.filter(pl.col("_call") == is_call).group_by(of).agg(pl.col("_close").last(), pl.col("_years").last())
        for is_call in (True, False)
    )
    pairs = calls.join(puts.drop("_years"), on=of, suffix="_put").with_columns(
        _gap=pl.col("_close") - pl.col("_close_put")
    )
    forward = pl.col("_strike") + pl.col("_gap") * (rate * pl.col("_years")).exp()
    nearest = forward.sort_by(pl.col("_gap").abs()).head(PAIRS)
    return pairs.filter(pl.col("_gap").is_not_null()).group_by("_at").agg(_parity=nearest.median())
