"""Judge: whether an update is a trade or a quote, and what volume it carried. Pure, one update at a time.

Owns the reference of an instrument: the last state that counted, its day, `ltt` and `vtt`. An
update is judged against it:

    update                                  row                       reference
    --------------------------------------  ------------------------  ---------
    first ever, trades of today in it       snapshot, vtt is a gap's  set
    last trade on an earlier day, or none   quote                     day opens with vtt 0
    vtt up, ltt not back                    trade, volume = step      moved
    vtt same                                quote                     moved
    ltt back                                quote, counted            kept
    vtt down, ltt not back                  quote, counted            moved (a correction)
    after a break, vtt up, same minute      trade, volume = step      moved
    after a break, vtt up, later minute     quote, step is the gap's  moved

An index, and every instrument in mode ltpc, has no `vtt`: there a trade is a change of `ltt` or
`ltp`, and its volume is NULL.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ingest.batch import NULL
from ingest.model import DAY_MS, IST_OFFSET_MS, Mode

MINUTE_MS = 60_000


class Judgement(NamedTuple):
    """What an update was found to be."""

    traded: bool
    volume: float  # NaN where it is not known
    vtt: float
    opens_day: bool = False  # the day's figures begin anew
    backward: bool = False
    gap_volume: int = 0  # traded during a break: not this row's
    gap_from_ms: int = 0  # the last trade before that break


@dataclass(slots=True)
class Reference:
    """What must be remembered of one instrument to judge its next update."""

    instrument_id: int
    is_index: bool
    mode: int = -1
    day: int = -1  # IST day number of the reference, -1 before the first update
    ltt_ms: int = 0
    vtt: int = 0
    ltp: float = 0.0
    ltq: int = 0
    connected: bool = False  # an update has come since the connection was made

    def judge(self, ltp: float, ltt_ms: int, vtt: int, today: int) -> Judgement:
        """Judge an update that has a last trade, and move the reference."""
        day = (ltt_ms + IST_OFFSET_MS) // DAY_MS if ltt_ms else -1
        first_ever = self.day < 0
        if day != today and not (self.day == today and self.ltt_ms):
            # Nothing has traded today: the day opens with nothing, and vtt is an older day's.
            self._open_day(today)
            self.connected = True
            return Judgement(False, NULL if self.is_index else 0.0, NULL, opens_day=True)
        if self.is_index or self.mode == Mode.LTPC:
            return self._judge_by_price(ltp, ltt_ms, today, first_ever)
        was_connected, self.connected = self.connected, True
        if not vtt:  # not sent
            return Judgement(False, 0.0, self.vtt or NULL)
        opens_day = self.day != today
        if opens_day:
            self._open_day(today)
            if not was_connected:  # we began after today's first trade
                self.ltt_ms, self.vtt = ltt_ms, vtt
                midnight_ms = today * DAY_MS - IST_OFFSET_MS
                return Judgement(False, NULL, vtt, opens_day, gap_volume=vtt, gap_from_ms=midnight_ms)
        if ltt_ms < self.ltt_ms:
            # From before today's first trade: its volume is an older day's, and no bar of today may see it.
            return Judgement(False, 0.0, vtt if day == today else NULL, opens_day, backward=True)
        step = vtt - self.vtt
        same_minute = ltt_ms // MINUTE_MS == self.ltt_ms // MINUTE_MS
        started_ms, self.ltt_ms, self.vtt = self.ltt_ms, ltt_ms, vtt
        if step <= 0:
            return Judgement(False, 0.0, vtt, opens_day, backward=step < 0)
        if was_connected or same_minute:
            return Judgement(True, step, vtt, opens_day)
        return Judgement(False, NULL, vtt, opens_day, gap_volume=step, gap_from_ms=started_ms)

    def _judge_by_price(self, ltp: float, ltt_ms: int, today: int, first_ever: bool) -> Judgement:
        """Judge an instrument whose volume is not sent."""
        was_connected, self.connected = self.connected and not first_ever, True
        if self.day == today and ltt_ms < self.ltt_ms:
            return Judgement(False, NULL, NULL, backward=True)
        changed = ltt_ms != self.ltt_ms or ltp != self.ltp
        opens_day = self.day != today
        if opens_day:
            self._open_day(today)
        self.ltt_ms = ltt_ms
        return Judgement(was_connected and changed, NULL, NULL, opens_day)

    def _open_day(self, today: int) -> None:
        """Begin a day: its volume counts from 0."""
        self.day, self.ltt_ms, self.vtt = today, 0, 0
