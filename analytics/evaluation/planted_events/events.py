"""Events planted into a made-up day of bars, and their truth. Pure.

Owns what an event of each kind does to a day. Its size is in deviations of one usual minute of the instrument, so
that one scale fits all; the truth has the natural units too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from analytics.evaluation.classes import CLASS
from analytics.schema import KEY, TIME

Floats = npt.NDArray[np.float64]
KINDS = {
    "equity": ("price", "volume", "price+volume"),
    "index": ("price",),
    "future": ("price", "volume", "price+volume", "oi"),
    "option": ("price", "volume", "price+volume", "iv", "oi"),
}
TRUTH: dict[str, pl.DataType] = {
    KEY: pl.String(),
    CLASS: pl.String(),
    "bucket": TIME,  # the minute of the event
    "kind": pl.String(),
    "size": pl.Float64(),  # deviations of one usual minute; of volume the multiple
    "move": pl.Float64(),  # log of the price after over before
    "volume_multiple": pl.Float64(),
    "iv_points": pl.Float64(),  # percentage points of implied volatility
    "oi_change": pl.Float64(),  # fraction of the open interest
}


class Event(NamedTuple):
    """An event to plant: a position among the instruments, a minute after the open, kind, size, direction 1 or -1."""

    instrument: int
    minute: int
    kind: str
    size: float
    direction: int


@dataclass(slots=True)
class DayArrays:
    """One day of all instruments: rows are instruments, columns minutes; iv and oi are None where there are none."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats | None
    iv: Floats | None = None
    oi: Floats | None = None
    lot: int = 1

    def copy(self) -> DayArrays:
        """Return a day that can be changed."""
        copies: dict[str, Any] = {
            name: None if getattr(self, name) is None else getattr(self, name).copy()
            for name in ("open", "high", "low", "close", "volume", "iv", "oi")
        }
        return DayArrays(**copies, lot=self.lot)


def usual_minute(values: Floats) -> Floats:
    """Return the deviation of one minute's change of each row, from the median, which events hardly move."""
    return np.asarray(np.median(np.abs(np.diff(values, axis=1)), axis=1) / 0.6745)


def shift_price(day: DayArrays, row: int, minute: int, ratio: Floats | float) -> None:
    """Multiply the price of an instrument from within a minute on, by a number or by one for each minute left."""
    after = np.broadcast_to(np.asarray(ratio, dtype=np.float64), day.close[row, minute:].shape)
    for prices in (day.open, day.high, day.low):
        prices[row, minute + 1 :] *= after[1:]
    day.close[row, minute:] *= after
    day.high[row, minute] = max(day.high[row, minute], day.close[row, minute])
    day.low[row, minute] = min(day.low[row, minute], day.close[row, minute])


def plant(day: DayArrays, event: Event) -> dict[str, float]:
    """Plant a price, volume or open-interest event into a day; return what it did in natural units.

    An event of implied volatility is planted by whoever can price the option: see `market.Market`.
    """
    row, minute = event.instrument, event.minute
    did: dict[str, float] = {}
    if event.kind.startswith("price"):
        unit = usual_minute(np.log(day.close[row : row + 1]))[0]
        did["move"] = float(event.direction * event.size * unit)
        shift_price(day, row, minute, float(np.exp(did["move"])))
    if event.kind.endswith("volume") and day.volume is not None:
        day.volume[row, minute] = max(day.volume[row, minute], day.lot) * event.size
        did["volume_multiple"] = event.size
    if event.kind == "oi" and day.oi is not None:
        step = event.direction * event.size * usual_minute(day.oi[row : row + 1])[0]
        did["oi_change"] = float(step / day.oi[row, minute])
        day.oi[row, minute:] = np.maximum(day.oi[row, minute:] + step, 0)
    return did


def truth_of(rows: Sequence[dict[str, object]]) -> pl.DataFrame:
    """Return the truth of planted events, the columns of `TRUTH`."""
    return pl.DataFrame([{name: row.get(name) for name in TRUTH} for row in rows], schema=TRUTH)
