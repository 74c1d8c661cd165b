"""Decide whether an update is a trade or a quote, and what volume it carried. Pure, one update at a time.

Owns the reference of an instrument: day, `ltt` and `vtt` of the last trade that counted. Its `vtt` is the largest
of that day, so that bars never sum to more than the exchange counted. Updates are judged against the reference:

    update                                   row                       reference
    ---------------------------------------  ------------------------  ---------
    first ever, or first of a new day after  snapshot, vtt is a gap's  set
    a break, with trades of today
    last trade on an earlier day of which    quote                     set: today's count starts from 0,
    we know nothing, or not everything                                 updates of that day are quotes
    no `vtt`, or no time of trade            quote                     kept: it cannot be a reference,
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

Reset: the exchange's count restarts at a lower value. It is recognised by three updates in a row below the
reference whose `vtt` does not fall and whose `ltt` rises; an update that repeats the previous `ltt` neither counts
nor interrupts the row. One or two are a glitch, after which the feed continues where it was.

The day is that of the trade: a trade of 23:59:59 that arrives after midnight belongs to the day before.
An index, and every instrument in mode ltpc, has no `vtt`: there a change of `ltt` or `ltp` is a trade,
and its volume is NULL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ingest.market.time import MINUTE_MS, day_number, day_start_ms
from ingest.model.frames import Mode
from ingest.model.ticks import NULL

RESET_UPDATES = 3  # glitches of one update have been seen in the feed, and two may be one that was repeated


class Judgement(NamedTuple):
    """Result of judging an update."""

    traded: bool
    volume: float  # NaN if unknown
    vtt: float
    backward: bool = False
    reset: bool = False  # the exchange's count restarted
    gap_volume: int = 0  # traded during a break; not part of this row
    gap_from_ms: int = 0  # last trade before that break
    began: bool = False  # that break is the part of the day before we began


@dataclass(slots=True)
class LastTrade:
    """State of one instrument that is needed to judge its next update."""

    instrument_id: int
    is_index: bool
    mode: int = -1
    day: int = -1  # IST day number of the reference, -1 before the first update
    ltt_ms: int = 0  # may be before that day; 0: nothing has traded on it
    vtt: int = 0  # 0: nothing has traded on that day
    ltp: float = 0.0
    ltq: int = 0
    connected: bool = False  # an update has confirmed the reference since the connection was made
    lows: int = 0  # updates in a row that may become a reset
    low_from: int = 0  # vtt of the first of them
    low_vtt: int = 0  # vtt of the last of them
    low_ltt_ms: int = 0

    def judge(self, ltp: float, ltt_ms: int, vtt: int, today: int) -> Judgement:
        """Judge an update that has a last trade, and move the reference."""
        by_price = self.is_index or self.mode == Mode.LTPC
        if not ltt_ms and by_price:  # whatever stands in its `vtt` is no count: it confirms nothing
            return Judgement(False, NULL, NULL)
        if not ltt_ms:
            self.confirm(vtt)
            return Judgement(False, 0.0, self.vtt_on(today))
        day = day_number(ltt_ms)
        was_connected = self.connected and self.day >= 0
        if by_price:
            return self._judge_by_price(ltp, ltt_ms, day, today, was_connected=was_connected)
        if day < today and not was_connected and (day > self.day or not vtt):
            # Nothing has traded today, and we do not know enough about the day of the last trade to count on from it.
            self._set(today, ltt_ms, 0)
            return Judgement(False, 0.0, NULL)
        if not vtt:
            return Judgement(False, 0.0, self.vtt_on(today))
        shown = vtt if day == today else NULL  # the count of an older day is not today's
        if day < self.day or (day == self.day and ltt_ms < self.ltt_ms):
            self.connected |= not self.vtt  # still no trade
            return Judgement(False, 0.0, shown, backward=self.vtt > 0)
        if day > self.day and not was_connected:  # we began after today's first trade
            self._set(day, ltt_ms, vtt)
            return Judgement(False, NULL, vtt, gap_volume=vtt, gap_from_ms=day_start_ms(day), began=True)
        before_ms, before = (self.ltt_ms, self.vtt) if day == self.day else (0, 0)
        if vtt < before:
            return self._judge_low(ltt_ms, vtt, shown)
        self._set(day, ltt_ms, vtt)
        if vtt == before:
            return Judgement(False, 0.0, shown)
        if was_connected or ltt_ms // MINUTE_MS == before_ms // MINUTE_MS:
            return Judgement(True, vtt - before, vtt)
        if day < today:  # an older day's trades during our absence are not known up to its last trade either
            self._set(today, ltt_ms, 0)
            return Judgement(False, NULL, NULL)
        return Judgement(False, NULL, vtt, gap_volume=vtt - before, gap_from_ms=max(before_ms, day_start_ms(day)))

    def confirm(self, vtt: int) -> None:
        """Take an update without a time of trade: the same `vtt` confirms the reference."""
        if vtt and vtt == self.vtt:
            self.connected, self.lows = True, 0

    def vtt_on(self, today: int) -> float:
        """Return the known count of a day; NaN if the reference is of another day."""
        return self.vtt or NULL if self.day == today else NULL

    def _judge_low(self, ltt_ms: int, vtt: int, shown: float) -> Judgement:
        """Judge a count below the reference: a glitch, or a reset if it continues from there."""
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
        """Judge an instrument for which no volume is sent."""
        if ltt_ms < self.ltt_ms:
            return Judgement(False, NULL, NULL, backward=True)
        # A price change after the trade's day, as at settlement, is not a trade of that day.
        changed = ltt_ms != self.ltt_ms or (ltp != self.ltp and day == today)
        self._set(day, ltt_ms, self.vtt if day == self.day else 0)
        return Judgement(was_connected and changed, NULL, NULL)

    def _set(self, day: int, ltt_ms: int, vtt: int) -> None:
        """Make an update the reference."""
        self.day, self.ltt_ms, self.vtt = day, ltt_ms, vtt
        self.connected, self.lows = True, 0
