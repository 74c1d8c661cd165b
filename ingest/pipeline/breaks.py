"""Breaks: find the times when the feed was not received, from the journal's own records. Pure.

A break lasts from the last frame before it to the first frame after it, in the feed's own time
(`currentTs`), because bars use that time. A break shows itself by

- a new connection after an earlier one;
- a silence: a dense feed does not pause by itself. Density is the mean distance of the frames before
  the pause. When the feed has said that the market is closed, a silence is no break;
- a skip: when trades arrive late and then suddenly on time, the feed has left out those in between.
  The recorded session has three skips, of 38 to 94 s, near its close.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import IntEnum

from ingest.model.findings import Break
from ingest.model.records import Record, RecordKind

# These reasons are stored in `feed_gaps`, so their wording stays.
KILLED = "ended without a word"  # the process was killed, or the machine went down
STOPPED = "stopped"  # a user stopped it
SILENT = "silence of the feed"
SKIPPED = "feed was late and skipped"

# A silence is a break if it lasts at least SILENCE_MS and SILENCE_PACES times the mean distance of frames.
# The recorded session (350 ms between frames) has a pause of up to 11 s about every half hour.
SILENCE_MS = 15_000
SILENCE_PACES = 30
_PACE_FRAMES = 50  # the mean covers about this many frames
_LATE_TRADES = 10  # the feed is late after this many trades in a row with a delay of SILENCE_MS
_NORMAL_OPEN = 2  # MarketStatus


class Market(IntEnum):
    """State of the market, as the feed reports it."""

    UNKNOWN = 0  # no report, as in a recording without such frames
    OPEN = 1
    CLOSED = 2


@dataclass(slots=True)
class BreakDetector:
    """State of a stream between records that is needed to find breaks."""

    last_ms: int = 0  # time of the last frame; 0: none yet
    received_ms: int = 0  # our clock at its receipt
    pace_ms: float = 0.0  # mean distance of frames; 0: not known
    frames: int = 0  # frames since the last break
    trade_ms: int = 0  # time of the newest trade
    late: int = 0  # late trades in a row
    market: int = Market.UNKNOWN
    reason: str = ""  # reason of a disconnection recorded since the last frame; "": none
    connected: bool = False  # a new connection was made, and no frame has come since

    def take(
        self, record: Record, current_ms: int, trade_ms: int = 0, status: dict[str, int] | None = None
    ) -> Break | None:
        """Take the next record; return the break that ends with it, if any.

        Parameters
        ----------
        record
            The next record.
        current_ms
            Time of its frame, epoch ms; 0 for an event, and for a frame without a time.
        trade_ms
            Time of its newest trade, epoch ms; 0 without a trade, and for a snapshot, which may show old trades.
        status
            Market state in the frame: segment -> `MarketStatus`.
        """
        if record.kind == RecordKind.DISCONNECTED:
            # The first event has the reason; later ones until the next connection only say why connecting failed.
            self.reason = self.reason or str(json.loads(record.payload)["reason"])
        elif record.kind == RecordKind.CONNECTED:
            self.connected, self.late = True, 0
        if not current_ms:
            return None
        found = self._break_before(current_ms, trade_ms)
        step_ms = max(current_ms - self.last_ms, 0)
        if self.last_ms and found is None:
            self.frames += 1
            self.pace_ms += (step_ms - self.pace_ms) / min(self.frames, _PACE_FRAMES)
        elif found is not None:
            self.frames, self.pace_ms = 0, 0.0
        self.last_ms, self.received_ms = current_ms, record.received_us // 1000
        if trade_ms > self.trade_ms:
            self.late = self.late + 1 if current_ms - trade_ms >= SILENCE_MS else 0
            self.trade_ms = trade_ms
        self.reason, self.connected = "", False
        if status:
            self.market = Market.OPEN if _NORMAL_OPEN in status.values() else Market.CLOSED
        return found

    def _break_before(self, current_ms: int, trade_ms: int) -> Break | None:
        if not self.last_ms:
            return None
        if self.connected:
            return Break(self.last_ms, max(current_ms, self.last_ms), self.reason or KILLED)
        if current_ms - self.last_ms >= SILENCE_MS or self.market == Market.CLOSED:
            self.late = 0
        if self.late >= _LATE_TRADES and trade_ms - self.trade_ms >= SILENCE_MS:
            return Break(self.trade_ms, current_ms, SKIPPED)
        return Break(self.last_ms, current_ms, SILENT) if self._is_silence(current_ms) else None

    def _is_silence(self, current_ms: int) -> bool:
        """Tell whether the pause before this time is longer than a dense feed makes."""
        pause_ms = current_ms - self.last_ms
        dense = self.frames >= _PACE_FRAMES and pause_ms >= SILENCE_PACES * self.pace_ms
        return pause_ms >= SILENCE_MS and dense and self.market != Market.CLOSED

    def recall(self, last_ms: int, received_ms: int, trade_ms: int) -> None:
        """Take over the newest times of frames that the journal has lost, epoch ms."""
        self.received_ms = max(self.received_ms, received_ms)
        self.last_ms, self.trade_ms = max(self.last_ms, last_ms), max(self.trade_ms, trade_ms)

    def dump(self) -> dict[str, object]:
        """Return plain values for the checkpoint."""
        return asdict(self)
