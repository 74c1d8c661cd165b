"""Expected: what a journal must become, record by record and row by row. Slow, plain, without numpy.

Rows and volumes are the oracle's. Here is what follows from them: when which instrument was not heard, and bars.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ingest.model.records import RecordKind
from ingest.model.ticks import TICK_COLUMN_NAMES, InstrumentRef
from tests.unit import decode_oracle, oracle

MINUTE_US = 60_000_000
NORMAL_OPEN = 2
Row = dict[str, Any]  # of `ticks`, None for NULL, times in epoch microseconds
ZERO_IS_NULL = {"ltp", "ltt", "oi", "atp", "bid", "ask", "iv", "prev_close", "day_open", "day_high", "day_low"}


@dataclass
class Expected:
    """What became of the records so far; instruments by their key."""

    normaliser: oracle.Normaliser = field(default_factory=oracle.Normaliser)
    made: oracle.Rows = field(default_factory=oracle.Rows)
    breaks: list[tuple[int, int, str]] = field(default_factory=list)  # started, ended (ms), why
    unheard: dict[tuple[str, int], str] = field(default_factory=dict)  # (key, minute in ms) -> quality
    keys: list[str] = field(default_factory=list)  # instrument_id - 1 -> key
    lost_ms: dict[str, int | None] = field(default_factory=dict)  # keys that are not listened to, and since when
    last_ms: int = 0
    reason: str = ""
    is_new: bool = False  # a connection that has brought nothing yet
    frames: int = 0  # since the last break
    pace_ms: float = 0.0  # their mean distance, over about fifty
    is_closed: bool = False

    def take(self, seq: int, kind: RecordKind, payload: bytes) -> None:
        """Take a record."""
        if kind == RecordKind.FRAME:
            self._take_frame(seq, decode_oracle.decode(payload))
        elif kind == RecordKind.CONNECTED:
            self.is_new = True
            self._interrupt()
        elif kind == RecordKind.DISCONNECTED:
            self.reason = json.loads(payload)["reason"]
        elif kind == RecordKind.UNSUBSCRIBED:
            for key in set(json.loads(payload)["instrument_keys"]) & set(self.keys):
                if key not in self.lost_ms:
                    self._mark(key, self.last_ms, self.last_ms, "partial")
                    self.lost_ms[key] = None  # on purpose
                self.normaliser.interrupt([key])

    def _interrupt(self) -> None:
        """Nobody listens from the last frame on: the next update of each instrument is a snapshot."""
        for key in self.keys:
            self.lost_ms.setdefault(key, self.last_ms)
        self.normaliser.interrupt()

    def _listen(self, frame: decode_oracle.Frame) -> None:
        """Note a frame, and the break before it: of a connection, or of a feed that was dense and then silent."""
        pause_ms = frame.current_ms - self.last_ms
        dense = self.frames >= 50 and pause_ms >= 30 * self.pace_ms
        if self.last_ms and self.is_new:
            self.breaks.append((self.last_ms, frame.current_ms, self.reason))
            self.frames, self.pace_ms = 0, 0.0
        elif self.last_ms and pause_ms >= 15_000 and dense and not self.is_closed:
            self.breaks.append((self.last_ms, frame.current_ms, "silence of the feed"))
            self._interrupt()
            self.frames, self.pace_ms = 0, 0.0
        elif self.last_ms:
            self.frames += 1
            self.pace_ms += (pause_ms - self.pace_ms) / min(self.frames, 50)
        if frame.segment_status:
            self.is_closed = NORMAL_OPEN not in frame.segment_status.values()
        self.is_new, self.reason, self.last_ms = False, "", frame.current_ms

    def _take_frame(self, seq: int, frame: decode_oracle.Frame) -> None:
        self._listen(frame)
        for key in self.normaliser.unknown(frame):
            self.keys.append(key)
            self.normaliser.learn([InstrumentRef(len(self.keys), key)])
            self.lost_ms[key] = None
        before = len(self.made.made)
        self.normaliser.apply(frame, seq=seq, received_us=frame.current_ms * 1000, out=self.made)
        for row in self.made.made[before:]:
            key = self.keys[int(row[1]) - 1]
            if key in self.lost_ms:
                since_ms = self.lost_ms.pop(key)
                quality = "partial" if since_ms is None else "gap"
                self._mark(key, frame.current_ms if since_ms is None else since_ms, frame.current_ms, quality)

    def _mark(self, key: str, started_ms: int, ended_ms: int, quality: str) -> None:
        """Mark the first minute of a time and its last three."""
        first, last = (ms // 60_000 * 60_000 for ms in (started_ms, ended_ms))
        for minute in {first, *(last - n * 60_000 for n in range(3) if last - n * 60_000 > started_ms)}:
            if self.unheard.get((key, minute)) != "gap":
                self.unheard[key, minute] = quality

    def rows(self) -> list[Row]:
        """Return the rows of `ticks`, with the key."""
        return [self._row(values) for values in self.made.made]

    def _row(self, values: tuple[float, ...]) -> Row:
        row: Row = dict(zip(TICK_COLUMN_NAMES, values, strict=True))
        row = {
            name: None if math.isnan(value) or (name in ZERO_IS_NULL and not value) else value
            for name, value in row.items()
        }
        return row | {"key": self.keys[int(values[1]) - 1], "traded": bool(row["traded"])}


def bars_of(rows: Iterable[Row], minutes: int) -> dict[tuple[str, int], Row]:
    """Return the bars of rows by key and start, epoch microseconds: bars of five minutes are made of those of one."""
    found: dict[tuple[str, int], list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["ts"], row["seq"])):
        found.setdefault((row["key"], int(row["ts"]) // MINUTE_US * MINUTE_US), []).append(row)
    bars = {at: bar for at, of_minute in found.items() if (bar := _bar(of_minute))}
    if minutes == 1:
        return bars
    wide: dict[tuple[str, int], list[Row]] = {}
    for (key, minute), bar in sorted(bars.items()):
        wide.setdefault((key, minute // (minutes * MINUTE_US) * minutes * MINUTE_US), []).append(bar)
    return {at: _together(of_bar) for at, of_bar in wide.items()}


def _bar(rows: list[Row]) -> Row | None:
    """The bar of a minute, of its rows in order; None where nothing was traded."""
    trades = [row for row in rows if row["traded"]]
    if not trades:
        return None
    prices = [row["ltp"] for row in trades]
    highs, lows = ([row[name] for row in rows if row[name] is not None] for name in ("day_high", "day_low"))
    steps = [row["volume"] for row in trades if row["volume"] is not None]
    return {
        "open": prices[0],
        "high": max(prices + (highs if len(set(highs)) > 1 else [])),
        "low": min(prices + (lows if len(set(lows)) > 1 else [])),
        "close": prices[-1],
        "volume": sum(steps) if steps else None,
        "oi": _last(rows, "oi"),
        "ticks": len(rows),
        "trades": len(trades),
        "iv": _last(rows, "iv"),
        "delta": _last(rows, "delta"),
        "gamma": _last(rows, "gamma"),
    }


def _together(bars: list[Row]) -> Row:
    """Bars in order as one."""
    steps = [bar["volume"] for bar in bars if bar["volume"] is not None]
    return {
        "open": bars[0]["open"],
        "high": max(bar["high"] for bar in bars),
        "low": min(bar["low"] for bar in bars),
        "close": bars[-1]["close"],
        "volume": sum(steps) if steps else None,
        "ticks": sum(bar["ticks"] for bar in bars),
        "trades": sum(bar["trades"] for bar in bars),
        **{name: _last(bars, name) for name in ("oi", "iv", "delta", "gamma")},
    }


def _last(rows: list[Row], name: str) -> Any:
    """The last value that is known."""
    return next((row[name] for row in reversed(rows) if row[name] is not None), None)
