"""Judge: whether an update is a trade or a quote, and what volume it carried. Pure, one update at a time.

Owns the reference of an instrument: the day, `ltt` and `vtt` of the last trade that counted. Its `vtt` is the
largest of that day, so that bars never sum to more than the exchange counted. An update is judged against it:

    update                                   row                       reference
    ---------------------------------------  ------------------------  ---------
    first ever, or of a new day after a      snapshot, vtt is a gap's  set
    break, trades of today in it
    last trade on an earlier day that we     quote                     set: what comes today counts from 0,
    know nothing of, or not all                                        what is told of that day is a quote
    no `vtt`, or no time of trade            quote                     kept: it is no reference,
                                                                       but the same vtt confirms it
    first of a new day, listened before      trade, volume = vtt       set
    vtt up, ltt not back                     trade, volume = step      moved
    vtt same                                 quote                     moved
    ltt back                                 quote, counted            kept
    vtt down, ltt not back                   quote, counted            kept
    third such in a row, a reset             trade, volume since the   moved
                                             first of them
    after a break, vtt up, same minute       trade, volume = step      moved
    after a break, vtt up, later minute      quote, step is the gap's  moved

A reset: the exchange's count begins again below. It is told by three updates in a row below the reference
whose `vtt` does not fall and whose `ltt` rises; one that repeats the `ltt` before it neither counts nor
breaks the row. One or two are a glitch, after which the feed goes on where it was.

The day is that of the trade: one of 23:59:59 that is told after midnight belongs to the day before.
An index, and every instrument in mode ltpc, has no `vtt`: there a trade is a change of `ltt` or
`ltp`, and its volume is NULL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ingest.market.time import DAY_MS, IST_OFFSET_MS, MINUTE_MS
from ingest.model.frames import Mode
from ingest.model.ticks import NULL

RESET_UPDATES = 3  # glitches of the feed have been seen in one update, and two could be one that is repeated


class Judgement(NamedTuple):
    """What an update was found to be."""

    traded: bool
    volume: float  # NaN where it is not known
    vtt: float
    backward: bool = False
    reset: bool = False  # the exchange's count began again
    gap_volume: int = 0  # traded during a break: not this row's
    gap_from_ms: int = 0  # the last trade before that break
    began: bool = False  # that break is the day until we began


@dataclass(slots=True)
class LastTrade:
    """What must be remembered of one instrument to judge its next update."""

    instrument_id: int
    is_index: bool
    mode: int = -1
    day: int = -1  # IST day number of the reference, -1 before the first update
    ltt_ms: int = 0  # before that day, or 0: nothing has traded on it
    vtt: int = 0  # 0: the same
    ltp: float = 0.0
    ltq: int = 0
    connected: bool = False  # an update has shown the reference since the connection was made
    lows: int = 0  # updates in a row that may become a reset
    low_from: int = 0  # vtt of the first of them
    low_vtt: int = 0  # and of the last
    low_ltt_ms: int = 0

    def judge(self, ltp: float, ltt_ms: int, vtt: int, today: int) -> Judgement:
        """Judge an update that has a last trade, and move the reference."""
        by_price = self.is_index or self.mode == Mode.LTPC
        if not ltt_ms:
            self.confirm(vtt)
            return Judgement(False, NULL, NULL) if by_price else Judgement(False, 0.0, self.vtt_on(today))
        day = (ltt_ms + IST_OFFSET_MS) // DAY_MS
        midnight_ms = day * DAY_MS - IST_OFFSET_MS
        was_connected = self.connected and self.day >= 0
        if by_price:
            return self._judge_by_price(ltp, ltt_ms, day, today, was_connected=was_connected)
        if day < today and not was_connected and (day > self.day or not vtt):
            # Nothing has traded today, and of the day of the last trade we do not know enough to count on.
            self._set(today, ltt_ms, 0)
            return Judgement(False, 0.0, NULL)
        if not vtt:
            return Judgement(False, 0.0, self.vtt_on(today))
        shown = vtt if day == today else NULL  # an older day's count is none of today's
        if day < self.day or (day == self.day and ltt_ms < self.ltt_ms):
            self.connected |= not self.vtt  # still nothing has traded
            return Judgement(False, 0.0, shown, backward=self.vtt > 0)
        if day > self.day and not was_connected:  # we began after today's first trade
            self._set(day, ltt_ms, vtt)
            return Judgement(False, NULL, vtt, gap_volume=vtt, gap_from_ms=midnight_ms, began=True)
        before_ms, before = (self.ltt_ms, self.vtt) if day == self.day else (0, 0)
        if vtt < before:
            return self._judge_low(ltt_ms, vtt, shown)
        self._set(day, ltt_ms, vtt)
        if vtt == before:
            return Judgement(False, 0.0, shown)
        if was_connected or ltt_ms // MINUTE_MS == before_ms // MINUTE_MS:
            return Judgement(True, vtt - before, vtt)
        if day < today:  # what an older day traded while we were away is not known to its last trade either
            self._set(today, ltt_ms, 0)
            return Judgement(False, NULL, NULL)
        return Judgement(False, NULL, vtt, gap_volume=vtt - before, gap_from_ms=max(before_ms, midnight_ms))

    def confirm(self, vtt: int) -> None:
        """Take an update that says nothing of when the last trade was: the same count means that it is the same."""
        if vtt and vtt == self.vtt:
            self.connected, self.lows = True, 0

    def vtt_on(self, today: int) -> float:
        """Return the count of a day as we know it; NaN where the reference is another day's."""
        return self.vtt or NULL if self.day == today else NULL

    def _judge_low(self, ltt_ms: int, vtt: int, shown: float) -> Judgement:
        """Judge a count below the reference: a glitch, or a reset when it goes on from there."""
        goes_on = self.lows > 0 and vtt >= self.low_vtt and ltt_ms >= self.low_ltt_ms
        if not goes_on:
            self.lows, self.low_from = 1, vtt
        elif ltt_ms > self.low_ltt_ms:
            self.lows += 1
        self.low_vtt, self.low_ltt_ms = vtt, ltt_ms
        if self.lows < RESET_UPDATES:
            return Judgement(False, 0.0, shown, backward=True)
        volume = vtt - self.low_from
        self._set(self.day, ltt_ms, vtt)
        return Judgement(volume > 0, volume, vtt if volume else shown, reset=True)

    def _judge_by_price(self, ltp: float, ltt_ms: int, day: int, today: int, *, was_connected: bool) -> Judgement:
        """Judge an instrument whose volume is not sent."""
        if ltt_ms < self.ltt_ms:
            return Judgement(False, NULL, NULL, backward=True)
        # A price that changes after its day, as at settlement, is no trade of that day.
        changed = ltt_ms != self.ltt_ms or (ltp != self.ltp and day == today)
        self._set(day, ltt_ms, self.vtt if day == self.day else 0)
        return Judgement(was_connected and changed, NULL, NULL)

    def _set(self, day: int, ltt_ms: int, vtt: int) -> None:
        """Make an update the reference."""
        self.day, self.ltt_ms, self.vtt = day, ltt_ms, vtt
        self.connected, self.lows = True, 0
