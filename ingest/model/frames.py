"""Data types of the feed: frames, updates and their modes. Pure data.

The feed document, sections 3 to 5, says what each field means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from ingest.errors import DecodeError
from ingest.model.ticks import CARRIED_NAMES, Floats, Integers, Mask

# A group of fields that a frame either has in full or not at all; None is "not sent".
Depth = tuple[float, int, float, int, float, float]  # bid, bid_qty, ask, ask_qty, tbq, tsq
Greeks = tuple[float, float, float, float, float]  # delta, gamma, theta, vega, rho
DayCandle = tuple[int, float, float, float]  # start (epoch ms), open, high, low


class FrameType(IntEnum):
    """`FeedResponse.type`; the numbers are the vendor's."""

    INITIAL_FEED = 0
    LIVE_FEED = 1
    MARKET_INFO = 2


class Mode(IntEnum):
    """`Feed.requestMode`; the numbers are the vendor's."""

    LTPC = 0
    FULL = 1
    OPTION_GREEKS = 2
    FULL_D30 = 3


# Spelling of the modes for users and in the vendor's subscription request.
MODE_NAMES: dict[str, Mode] = {
    "ltpc": Mode.LTPC,
    "option_greeks": Mode.OPTION_GREEKS,
    "full": Mode.FULL,
    "full_d30": Mode.FULL_D30,
}


class Update(NamedTuple):
    """One frame's update of one instrument, as sent: 0 is "zero or not sent"."""

    instrument_key: str
    mode: int
    ltp: float
    ltt_ms: int
    ltq: int
    prev_close: float
    vtt: int
    oi: float
    atp: float
    iv: float
    depth: Depth | None
    greeks: Greeks | None
    day_candle: DayCandle | None


class Candles(NamedTuple):
    """Candles of many updates as columns, as sent."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Integers


@dataclass(frozen=True, slots=True)
class Updates:
    """Many updates as columns, in order of arrival, as sent: 0 is "zero or not sent"."""

    keys: list[str]
    mode: Integers
    ltp: Floats
    ltt_ms: Integers
    ltq: Integers
    vtt: Integers
    has_depth: Mask
    has_greeks: Mask
    has_day_candle: Mask
    day_start_ms: Integers  # of the day candle
    minute_ms: Integers  # start of the minute of the last minute candle; 0: not sent
    minute_row: Integers  # row of that candle in `Frames.candles`
    carried: Floats  # shape (updates, 18), columns as `CARRIED_NAMES`; undefined for a group that was not sent
    book: Floats  # shape (updates, 4 * levels): bid, bid_qty, ask, ask_qty of each level read; NaN where not sent

    def __len__(self) -> int:
        return len(self.keys)

    def part(self, start: int, stop: int) -> Updates:
        """Return the updates from `start` to before `stop`, as views."""
        return Updates(*(getattr(self, name)[start:stop] for name in self.__slots__))

    def only(self, indices: Integers) -> Updates:
        """Return the updates at the given indices."""
        columns = (getattr(self, name)[indices] for name in self.__slots__[1:])
        return Updates([self.keys[index] for index in indices.tolist()], *columns)

    def one(self, index: int) -> Update:
        """Return a single update with plain values."""
        value = dict(zip(CARRIED_NAMES, self.carried[index].tolist(), strict=True))
        depth = (
            value["bid"], int(value["bid_qty"]), value["ask"], int(value["ask_qty"]), value["tbq"], value["tsq"],
        ) if self.has_depth[index] else None  # fmt: skip
        greeks = (value["delta"], value["gamma"], value["theta"], value["vega"], value["rho"])
        candle = (int(self.day_start_ms[index]), value["day_open"], value["day_high"], value["day_low"])
        return Update(
            self.keys[index], int(self.mode[index]), float(self.ltp[index]), int(self.ltt_ms[index]),
            int(self.ltq[index]), value["prev_close"], int(self.vtt[index]), value["oi"], value["atp"], value["iv"],
            depth, greeks if self.has_greeks[index] else None, candle if self.has_day_candle[index] else None,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Frames:
    """Decoded FeedResponses, in the order given."""

    type: Integers
    current_ms: Integers  # server time, epoch milliseconds
    ends: Integers  # shape (frames + 1,): frame i has the updates from ends[i] to before ends[i + 1]
    updates: Updates
    errors: dict[int, DecodeError]  # frames that do not parse, by index; they have no updates
    segment_status: dict[int, dict[str, int]]  # of market_info frames, by index: segment -> MarketStatus
    candles: Candles  # all candles decoded together with these frames

    def __len__(self) -> int:
        return len(self.type)

    def part(self, start: int, stop: int) -> Frames:
        """Return the frames from `start` to before `stop`; the columns are views."""
        if (start, stop) == (0, len(self)):
            return self
        ends = self.ends[start : stop + 1]
        return Frames(
            self.type[start:stop],
            self.current_ms[start:stop],
            ends - ends[0],
            self.updates.part(int(ends[0]), int(ends[-1])),
            {index - start: error for index, error in self.errors.items() if start <= index < stop},
            {index - start: status for index, status in self.segment_status.items() if start <= index < stop},
            self.candles,
        )

    def without(self, errors: Mapping[int, DecodeError]) -> Frames:
        """Return the frames without the updates of some of them; the errors of those are added."""
        sizes = np.diff(self.ends)
        kept = np.repeat(~np.isin(np.arange(len(self)), list(errors)), sizes)
        sizes[list(errors)] = 0
        return replace(
            self,
            ends=np.concatenate([[0], np.cumsum(sizes)]),
            updates=self.updates.only(np.flatnonzero(kept)),
            errors=self.errors | dict(errors),
            segment_status={index: status for index, status in self.segment_status.items() if index not in errors},
        )
