"""Hours of one trading day, and the status its segments report. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, time, timedelta

from ingest.market.time import moment
from ingest.proto import upstox_feed_v3_pb2 as pb
from ingest.simulator.source import SEGMENTS

SATURDAY = 5
# A segment is reported closed once the feed has reported its last trades.
CLOSE_DELAY_MS = 2_000

_CASH = ("NSE_EQ", "NSE_INDEX", "BSE_EQ", "BSE_INDEX")


@dataclass(frozen=True, slots=True)
class TradingDay:
    """One trading day of NSE; times are Indian, in whole minutes.

    The defaults are those of NSE since 3 August 2026 (feed document, section 4), without the auctions.
    """

    day: date
    opens: time = time(9, 15)
    cash_closes: time = time(15, 30)
    derivatives_close: time = time(15, 40)

    @property
    def open_ms(self) -> int:
        """Return the start of trading, epoch milliseconds."""
        return self.at_ms(self.opens)

    @property
    def cash_close_ms(self) -> int:
        """Return the close of shares and indices, epoch milliseconds."""
        return self.at_ms(self.cash_closes)

    @property
    def close_ms(self) -> int:
        """Return the time after which nothing trades, epoch milliseconds."""
        return max(self.cash_close_ms, self.at_ms(self.derivatives_close))

    def at_ms(self, at: time) -> int:
        """Return a time of this day as epoch milliseconds."""
        return int(moment(self.day, at).timestamp()) * 1000

    def status(self, current_ms: int) -> dict[str, int]:
        """Return the `MarketStatus` of each segment."""
        if current_ms < self.open_ms:
            return dict.fromkeys(SEGMENTS, pb.PRE_OPEN_END)
        derivatives_close_ms = self.at_ms(self.derivatives_close)
        last_ms = current_ms - CLOSE_DELAY_MS
        return {
            segment: pb.NORMAL_OPEN
            if last_ms < (self.cash_close_ms if segment in _CASH else derivatives_close_ms)
            else pb.NORMAL_CLOSE
            for segment in SEGMENTS
        }


def latest_weekday(today: date, *, before: bool = False) -> date:
    """Return the latest weekday up to a date, or strictly `before` it."""
    today -= timedelta(days=before)
    return today - timedelta(days=max(0, today.weekday() - SATURDAY + 1))
