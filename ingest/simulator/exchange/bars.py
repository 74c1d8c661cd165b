"""Bars and running totals of the generated market, from its every trade. Pure; prices are whole paise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

PAISE = 100  # in a rupee
# Rows of the exchange's state, in arrays with one column per instrument or trade; prices in paise.
LTP, LTT, LTQ, VTT, TURNOVER, OI, OPEN, HIGH, LOW = range(9)


class Bars:
    """The running bar of every instrument: of the day, or of a minute.

    Attributes
    ----------
    open, high, low, close, volume
        One value per instrument; meaningless where `trades` is 0.
    start_ms
        Start of the bar, epoch milliseconds.
    """

    def __init__(self, instruments: int) -> None:
        self.open, self.high, self.low, self.close, self.volume, self.trades, self.start_ms = np.zeros(
            (7, instruments), np.int64
        )

    def add(self, segments: Segments, price: Ints, quantity: Ints) -> None:
        """Add trades, which are sorted by instrument and time."""
        who, starts = segments.instruments, segments.starts
        if not len(who):
            return
        high, low = np.maximum.reduceat(price, starts), np.minimum.reduceat(price, starts)
        fresh = self.trades[who] == 0
        self.open[who] = np.where(fresh, price[starts], self.open[who])
        self.high[who] = np.where(fresh, high, np.maximum(high, self.high[who]))
        self.low[who] = np.where(fresh, low, np.minimum(low, self.low[who]))
        self.close[who] = price[segments.ends - 1]
        self.volume[who] += np.add.reduceat(quantity, starts)
        self.trades[who] += segments.ends - starts

    def overwrite(self, other: Bars, minute_ms: int) -> None:
        """Take the finished minute of the instruments that traded in it from `other`; then restart that bar."""
        traded = other.trades > 0
        for mine, theirs in zip(self._columns(), other._columns(), strict=True):
            mine[traded] = theirs[traded]
        self.start_ms[traded] = minute_ms
        other.volume[:] = 0
        other.trades[:] = 0

    def _columns(self) -> tuple[Ints, ...]:
        return self.open, self.high, self.low, self.close, self.volume, self.trades


class Segments(NamedTuple):
    """The rows of each instrument in an array sorted by instrument."""

    instruments: Ints  # those with rows
    starts: Ints
    ends: Ints

    @classmethod
    def of(cls, instrument: Ints) -> Segments:
        """Find the segments of a sorted array of instrument positions."""
        starts = np.flatnonzero(np.diff(instrument, prepend=-1))
        return cls(instrument[starts], starts, np.append(starts, len(instrument))[1:])


def running_total(instrument: Ints, value: Ints, before: Ints) -> Ints:
    """Sum `value` along each instrument's rows, starting from its total in `before`."""
    total = np.cumsum(value)
    segments = Segments.of(instrument)
    base = before[segments.instruments] - (total[segments.starts] - value[segments.starts])
    return np.asarray(total + np.repeat(base, segments.ends - segments.starts))


def running_max(instrument: Ints, value: Ints, before: Ints) -> Ints:
    """Return the highest value so far along each instrument's rows, starting from that in `before`.

    Each instrument's values are raised above all of those before it, so that one pass handles all.
    Values must stay below 2**40 in size.
    """
    lift = instrument << 41
    return np.asarray(np.maximum.accumulate(np.maximum(value, before[instrument]) + lift) - lift)
