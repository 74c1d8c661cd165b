"""Updates of one instrument, and a normaliser that is fed with them."""

from __future__ import annotations

import math
from typing import Any

from ingest.model.frames import FrameType, Mode, Update
from ingest.model.ticks import TICK_COLUMN_NAMES, InstrumentRef
from ingest.normalise.normaliser import Normaliser
from ingest.store.copy_format import nullify
from ingest.store.row_buffer import RowBuffer
from tests.unit.decode_oracle import Frame
from tests.unit.oracle import frames_of

KEY = "NSE_FO|60166"
INDEX = "NSE_INDEX|Nifty 50"
OPEN_MS = 1_765_770_300_000  # 15 Dec 2025 09:15 IST
DEPTH = (99.0, 10, 101.0, 20, 1000.0, 2000.0)
GREEKS = (0.5, 0.1, -2.0, 3.0, 4.0)


def update(key: str = KEY, **fields: Any) -> Update:
    base = Update(key, Mode.FULL, 100.0, OPEN_MS, 5, 98.0, 0, 0.0, 0.0, 0.0, DEPTH, None, None)
    return base._replace(**fields)


class Stream:
    """A normaliser fed update by update."""

    def __init__(self) -> None:
        self.normaliser = Normaliser()
        self.normaliser.learn([InstrumentRef(1, KEY), InstrumentRef(2, INDEX)])
        self.seq = 0

    def __call__(self, given: Update, current_ms: int | None = None) -> dict[str, float] | None:
        self.seq += 1
        rows = RowBuffer(4)
        current_ms = given.ltt_ms + 200 if current_ms is None else current_ms
        frame = Frame(FrameType.LIVE_FEED, current_ms, [given], {})
        rows.extend(self.normaliser.apply(frames_of([frame]), seq=self.seq, received_us=current_ms * 1000))
        values = rows.values()
        nullify(values)
        return dict(zip(TICK_COLUMN_NAMES, values[0].tolist(), strict=True)) if rows.rows else None


# The volume that the first update of a day, after its first trade, shows.
BEGAN = (1, OPEN_MS - 555 * 60_000, OPEN_MS, 500, True)


def null(value: float) -> bool:
    return math.isnan(value)


def volumes(stream: Stream, *counts: int, from_s: int = 1, step_ms: int = 1000) -> list[float]:
    """The volumes of updates that show these counts, a second apart."""
    times = (OPEN_MS + from_s * 1000 + n * step_ms for n in range(len(counts)))
    return [stream(update(vtt=vtt, ltt_ms=ms))["volume"] for vtt, ms in zip(counts, times, strict=True)]
