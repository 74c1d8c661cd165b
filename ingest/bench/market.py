"""The market of a bench: made-up ticks in frames like the real feed's, mode full, stored as a recording."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from ingest.journal.recording import write_recording
from ingest.market.time import IST
from ingest.model.frames import FrameType
from ingest.simulator.exchange.market import GeneratedMarket
from ingest.simulator.exchange.trading_day import TradingDay
from ingest.simulator.server.frame_bytes import entry, feed_response

ZONE = timezone(IST)
OPENS = datetime(2026, 1, 5, 9, 15, tzinfo=ZONE)  # a Monday; a fixed day gives the same ticks in every run
SESSION_S = 600.0  # of market time at most, unless a rate is given
RATE_OF_AN_INSTRUMENT = 1.0  # ticks a second, so that ticks in a row are of different keys
RATE_OF_AN_INSTRUMENT_MAX = 50.0  # the generator's finest grid is 10 ms
MORE = 1.2  # the generated market is longer than needed by this factor, and cut


@dataclass(frozen=True, slots=True)
class BenchMarket:
    """A recording and what it holds."""

    recording: Path
    keys: list[str]
    ticks: int
    frames: int

    @property
    def ticks_per_frame(self) -> float:
        """Mean number of ticks in a frame."""
        return self.ticks / self.frames


def make_market(
    recording: Path,
    *,
    ticks: int,
    instruments: int,
    frame_ticks: Sequence[int],
    rate: float | None = None,
    opens: datetime = OPENS,
) -> BenchMarket:
    """Write a made-up market as a recording.

    Parameters
    ----------
    recording
        File to write.
    ticks, instruments
        Their number. The market may have fewer ticks if its instruments are too quiet.
    frame_ticks
        Ticks of the first frame, of the next and so on, repeated; a frame with the next tick of a key that it
        already has is cut short. The recorded session has 3.3 on average.
    rate
        Ticks per second of market time, which a few instruments may not reach; None: at least one for each
        instrument, and the market lasts ten minutes or less.
    opens
        Start of the session, Indian time in whole minutes.
    """
    pace = min(
        rate or max(ticks / SESSION_S, RATE_OF_AN_INSTRUMENT * instruments), RATE_OF_AN_INSTRUMENT_MAX * instruments
    )
    minutes = math.ceil(ticks * MORE / pace / 60)
    opens = min(opens, opens.replace(hour=23, minute=59) - timedelta(minutes=minutes))  # all of it on one day
    closes = (opens + timedelta(minutes=minutes)).time()
    session = TradingDay(opens.date(), opens.time(), cash_closes=closes, derivatives_close=closes)
    market = GeneratedMarket(session, seed=1, instruments=instruments, rate=pace)
    made = 0

    def frames() -> Iterator[tuple[int, bytes]]:
        nonlocal made
        for current_ms, entries in _frames(market, ticks, frame_ticks):
            made += len(entries)
            yield current_ms, feed_response(FrameType.LIVE_FEED, current_ms, entries)

    count = write_recording(recording, frames())
    return BenchMarket(recording, sorted(market.keys), made, count)


def _frames(market: GeneratedMarket, ticks: int, frame_ticks: Sequence[int]) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the time and the entries of frames with as many ticks as asked for."""
    updates = ((frame.current_ms, key, feed) for frame in market.frames() for key, feed in frame.feeds.items())
    sizes = itertools.cycle(frame_ticks)
    size, frame, last_ms = next(sizes), dict[str, bytes](), 0
    for current_ms, key, feed in itertools.islice(updates, ticks):
        if len(frame) == size or key in frame:
            yield last_ms, list(frame.values())
            size, frame = next(sizes), {}
        frame[key], last_ms = entry(key, feed), current_ms
    if frame:
        yield last_ms, list(frame.values())
