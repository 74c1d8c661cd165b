"""Columns of bars and ticks in Polars: names, order and dtypes.

Owns the form of the frames that the reader returns. Must not know where they come from. Prices are
in rupees, quantities in units (not lots), times UTC with microseconds. Null means "none" or
"not known", never 0.
"""

from __future__ import annotations

from typing import Literal, get_args

import polars as pl

KEY = "instrument_key"


Source = Literal["best", "ticks", "official"]
SOURCES: tuple[str, ...] = get_args(Source)  # choices of a caller; the column `source` says where a bar came from

TIME = pl.Datetime("us", "UTC")
# Origin of a bar: the feed's own minute bar, REST, our ticks, or more than one of these.
BAR_SOURCE = pl.Enum(["official", "backfill", "ticks", "mixed"])
# Ordered from good to bad, so that the worst of several is their maximum. complete: nothing is missing;
# auction: contains the volume of the opening auction; thin: made from a single trade; partial: recording
# began or stopped inside the bar; gap: the feed was not received for a part of it.
QUALITY = pl.Enum(["complete", "auction", "thin", "partial", "gap"])

# The command `bars` writes the columns in this order and programs rely on it, so new columns go last.
BARS: dict[str, pl.DataType] = {
    "instrument_key": pl.String(),
    "bucket": TIME,  # start of the bar, which is half-open [bucket, bucket + interval)
    "open": pl.Float64(),
    "high": pl.Float64(),
    "low": pl.Float64(),
    "close": pl.Float64(),
    "volume": pl.Int64(),  # traded in the bar; null for an index
    "oi": pl.Int64(),  # open interest at the end; derivatives only
    "source": BAR_SOURCE,
    "quality": QUALITY,
    "iv": pl.Float64(),  # last value in the bar, from our ticks; options only, like the greeks
    "delta": pl.Float64(),
    "gamma": pl.Float64(),
}

# The exchange's own figures of days, from `sql/queries/read/official_days.sql`.
OFFICIAL_DAYS: dict[str, pl.DataType] = {
    KEY: pl.String(),
    "begins": TIME,  # local midnight
    "open": pl.Float64(),
    "high": pl.Float64(),
    "low": pl.Float64(),
    "volume": pl.Int64(),
}

DEPTH: dict[str, pl.DataType] = {
    KEY: pl.String(),
    "ts": TIME,  # as that of the update in TICKS, like seq
    "seq": pl.Int64(),
    "level": pl.Int16(),  # 1: the best
    "bid": pl.Float64(),
    "bid_qty": pl.Int64(),
    "ask": pl.Float64(),
    "ask_qty": pl.Int64(),
}

TICKS: dict[str, pl.DataType] = {
    "instrument_key": pl.String(),
    "ts": TIME,  # time of the trade if there is one, otherwise the exchange's clock in the frame
    "seq": pl.Int64(),  # order of arrival, breaks ties of ts
    "traded": pl.Boolean(),  # the update reports a trade, not only a quote
    "ltp": pl.Float64(),
    "ltq": pl.Int64(),
    "ltt": TIME,
    "vtt": pl.Int64(),  # volume traded today
    "volume": pl.Int64(),  # volume traded since the previous update
    "oi": pl.Int64(),
    "atp": pl.Float64(),
    "tbq": pl.Float64(),
    "tsq": pl.Float64(),
    "bid": pl.Float64(),
    "bid_qty": pl.Int64(),
    "ask": pl.Float64(),
    "ask_qty": pl.Int64(),
    "iv": pl.Float64(),  # options only, like the greeks
    "delta": pl.Float64(),
    "gamma": pl.Float64(),
    "theta": pl.Float64(),
    "vega": pl.Float64(),
    "rho": pl.Float64(),
    "day_open": pl.Float64(),
    "day_high": pl.Float64(),
    "day_low": pl.Float64(),
    "prev_close": pl.Float64(),
    "received_at": TIME,  # our clock
}
