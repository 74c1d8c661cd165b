"""Listening: when we heard the feed and when not, from the journal's own records. Pure.

A break lasts from the last frame before it to the first frame after it, in the feed's own time
(`currentTs`), for that is the time that bars have. It is told by

- a connection that follows another;
- a silence: a feed that was dense does not pause of itself. What dense means is measured, the mean
  distance of the frames before. A market that is closed is silent for a good reason, if the feed has
  said that it is closed;
- a skip: a feed whose trades come late and then all at once in time has left out those between. The
  recorded session has three, of 38 to 94 s, near its close.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import IntEnum

from ingest.model.findings import Break
from ingest.model.records import Record, RecordKind

KILLED = "ended without a word"  # the process was killed, or the machine went down
STOPPED = "stopped"  # somebody asked for it
SILENT = "silence of the feed"
SKIPPED = "feed was late and skipped"

# A silence is a break from this length on, if it is also so many times the mean distance of frames.
# On the recorded session (350 ms between frames) pauses up to 11 s come once in half an hour.
SILENCE_MS = 15_000
SILENCE_PACES = 30
_PACE_FRAMES = 50  # the mean goes over about so many frames
_LATE_TRADES = 10  # so many in a row that come later than SILENCE_MS, and the feed is late
_NORMAL_OPEN = 2  # MarketStatus


class Market(IntEnum):
    """What the feed has said of the market."""

    UNKNOWN = 0  # nothing, as in a recording without such frames
    OPEN = 1
    CLOSED = 2


@dataclass(slots=True)
class BreakDetector:
    """What must be remembered of a stream between records."""

    last_ms: int = 0  # time of the last frame; 0: none yet
    received_ms: int = 0  # our clock at its receipt
    pace_ms: float = 0.0  # mean distance of frames; 0: not known
    frames: int = 0  # since the last break
    trade_ms: int = 0  # the newest trade of all
    late: int = 0  # trades in a row that came late
    market: int = Market.UNKNOWN
    reason: str = ""  # of the disconnection that was recorded since the last frame; "": none was
    connected: bool = False  # anew, and no frame has come since

    def take(
        self, record: Record, current_ms: int, trade_ms: int = 0, status: dict[str, int] | None = None
    ) -> Break | None:
        """Note a record; the first frame after a break tells the break.

        Parameters
        ----------
        record
            The next one.
        current_ms
            Time of its frame; 0 for an event, and for a frame that has none.
        trade_ms
            Its newest trade; 0 for a snapshot, which may show old ones, and where there is none.
        status
            What the frame says of the market: segment to `MarketStatus`.
        """
        if record.kind == RecordKind.DISCONNECTED:
            # The first says why; what is noted until the next connection says what kept us from it.
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
        """Whether the feed had paused for longer before this time than a dense feed does."""
        pause_ms = current_ms - self.last_ms
        dense = self.frames >= _PACE_FRAMES and pause_ms >= SILENCE_PACES * self.pace_ms
        return pause_ms >= SILENCE_MS and dense and self.market != Market.CLOSED

    def recall(self, last_ms: int, received_ms: int, trade_ms: int) -> None:
        """Note how far frames went that the journal has lost."""
        self.received_ms = max(self.received_ms, received_ms)
        self.last_ms, self.trade_ms = max(self.last_ms, last_ms), max(self.trade_ms, trade_ms)

    def dump(self) -> dict[str, object]:
        """Return plain values for the checkpoint."""
        return asdict(self)
