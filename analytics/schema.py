"""The columns of bars and ticks in Polars: names, order and dtypes.

Owns what the frames of the reader look like. Must not know where they come from. Prices are
rupees, quantities are units (not lots), times are UTC with microseconds. Null is "has none" or
"not known", never 0.
"""

from __future__ import annotations

from typing import Literal, get_args

import polars as pl

KEY = "instrument_key"


Source = Literal["best", "ticks", "official"]
SOURCES: tuple[str, ...] = get_args(Source)  # what can be asked for; the column says where a bar came from

TIME = pl.Datetime("us", "UTC")
# Where a bar came from: the feed's own minute bar, REST, our ticks, or more than one of these.
BAR_SOURCE = pl.Enum(["official", "backfill", "ticks", "mixed"])
# From good to bad, so that the worst of several is their maximum. complete: all is there; auction:
# holds the volume of the opening auction; thin: made from a single trade; partial: we began or
# stopped inside; gap: we were not listening for a part of it.
QUALITY = pl.Enum(["complete", "auction", "thin", "partial", "gap"])

# The command `bars` writes them in this order: programs count on it, so a new one comes last.
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
    "iv": pl.Float64(),  # the last of the bar, of our ticks; options only, as are the greeks
    "delta": pl.Float64(),
    "gamma": pl.Float64(),
}

TICKS: dict[str, pl.DataType] = {
    "instrument_key": pl.String(),
    "ts": TIME,  # of the trade if there is one, otherwise the exchange's clock of the frame
    "seq": pl.Int64(),  # order of arrival, breaks ties of ts
    "traded": pl.Boolean(),  # the update reports a trade, not only a quote
    "ltp": pl.Float64(),
    "ltq": pl.Int64(),
    "ltt": TIME,
    "vtt": pl.Int64(),  # traded today
    "volume": pl.Int64(),  # traded since the previous update
    "oi": pl.Int64(),
    "atp": pl.Float64(),
    "tbq": pl.Float64(),
    "tsq": pl.Float64(),
    "bid": pl.Float64(),
    "bid_qty": pl.Int64(),
    "ask": pl.Float64(),
    "ask_qty": pl.Int64(),
    "iv": pl.Float64(),  # options only, as are the greeks
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
