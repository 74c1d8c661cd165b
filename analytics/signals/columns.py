"""Columns of signals in Polars: names, order and dtypes."""

from __future__ import annotations

import polars as pl

from analytics.schema import KEY, TIME
from analytics.signals.members import EVENT
from analytics.signals.rules import CLASSES

CLASS = pl.Enum(CLASSES)
DIRECTION = pl.Enum(["up", "down"])
SIGNALS: dict[str, pl.DataType] = {
    KEY: pl.String(),
    "bucket": TIME,  # start of the bar that fired
    "direction": DIRECTION,
    "confidence": pl.Float64(),  # 0 to 1
    "score": pl.Float64(),  # log-odds
    "close": pl.Float64(),  # close of the bar, rupees
    "move": pl.Float64(),  # over the window, fraction, negative when falling
    "volume_ratio": pl.Float64(),  # volume of the window over the average; null if volume is not known
    "price_score": pl.Float64(),
    "volume_score": pl.Float64(),
    "trades_score": pl.Float64(),
    "iv_score": pl.Float64(),
    "oi_score": pl.Float64(),
    "onset": pl.Boolean(),  # the bar begins an event: nothing of its underlying fired in the quiet minutes before
    "reasons": pl.String(),
    "instrument_class": CLASS,
    "event_key": pl.String(),  # the underlying's key, or the instrument's own: what fires together is one event
    **EVENT,  # members of an onset: the other instruments of the event so far, the first bar of each
}
