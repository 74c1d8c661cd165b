"""A recorded market: play a `.frames.gz` file or a journal segment. Knows files, not clients."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from google.protobuf.message import DecodeError

from ingest.errors import ConfigError, CorruptionError, JournalError
from ingest.journal.sources import frames_of
from ingest.proto import upstox_feed_v3_pb2 as pb
from ingest.simulator.source import SEGMENTS, Instrument, MarketFrame, MinuteBar

# By the end of the segment name; a contract's key does not show its type.
_INSTRUMENT_TYPES = {"EQ": "EQ", "INDEX": "INDEX"}


class RecordedMarket:
    """Play a recording as it was received.

    Reads the file once at the start, for the keys and their first updates: a recording has no snapshots, so the first
    update of a key serves as one. Then reads it again while it plays, never the whole file into memory. Plays a
    damaged file up to the damage, and keeps the damage in `error`.

    Parameters
    ----------
    path
        The recording, or the segment.
    instruments_file
        The vendor's instrument master (JSON array, gzip) to serve; None: a minimal row for each key.

    Raises
    ------
    JournalError
        If the recording cannot be read or has no update.
    ConfigError
        If the instruments file does not exist.
    """

    def __init__(self, path: Path, *, instruments_file: Path | None = None) -> None:
        if instruments_file is not None and not instruments_file.is_file():
            raise ConfigError(f"no instruments file {str(instruments_file)!r}: give the vendor's NSE.json.gz")
        self.path = path
        self.instruments_file = instruments_file
        self.error: CorruptionError | None = None
        self.updates = 0
        self._opening: list[MarketFrame] = []
        self._minutes: dict[str, dict[int, MinuteBar]] | None = None  # read on first request
        seen: set[str] = set()
        for frame in self.frames():
            self.updates += len(frame.feeds)
            if first := {key: feed for key, feed in frame.feeds.items() if key not in seen}:
                seen.update(first)
                self._opening.append(MarketFrame(frame.current_ms, first))
        if not seen:
            raise self.error or JournalError(f"recording {path.name!r} has no update to play: give another")
        self.keys = frozenset(seen)

    @property
    def title(self) -> str:
        """Name of the market for the user."""
        return f"recording {self.path.name}: {self.updates} updates of {len(self.keys)} instruments"

    def instruments(self) -> Sequence[Instrument]:
        """Return all rows of the instruments file, or a minimal row for each recorded key.

        Raises
        ------
        ConfigError
            If the instruments file is not the vendor's.
        """
        if self.instruments_file is None:
            return [_bare_instrument(key) for key in sorted(self.keys)]
        try:
            with gzip.open(self.instruments_file, "rt", encoding="utf-8") as stream:
                rows = json.load(stream)
        except (OSError, EOFError, ValueError) as exc:
            raise ConfigError(
                f"cannot read instruments file {str(self.instruments_file)!r}: {exc}: give the vendor's NSE.json.gz"
            ) from exc
        if not isinstance(rows, list):
            raise ConfigError(
                f"instruments file {str(self.instruments_file)!r} is not a JSON array: give the vendor's NSE.json.gz"
            )
        return rows

    def opening(self) -> Sequence[MarketFrame]:
        """Return the first update of each key, in their original frames."""
        return self._opening

    def frames(self) -> Iterator[MarketFrame]:
        """Yield the recorded frames in order, without `market_info`, which the player generates."""
        try:
            for payload in frames_of(self.path):
                try:
                    message = pb.FeedResponse.FromString(payload)
                except DecodeError:
                    continue  # a journal also keeps invalid frames
                if message.type == pb.market_info:
                    continue
                feeds = dict(message.feeds)
                ready = message.type == pb.live_feed and all(feed.requestMode == pb.full_d5 for feed in feeds.values())
                yield MarketFrame(message.currentTs, feeds, payload if ready else None)
        except CorruptionError as exc:
            self.error = exc

    def minute_bars(self, key: str) -> Sequence[MinuteBar]:
        """Return all bars of a key in the recording, in order of time."""
        if self._minutes is None:
            self._minutes = {}
            for frame in self.frames():
                for name, feed in frame.feeds.items():
                    bars = self._minutes.setdefault(name, {})
                    full = feed.fullFeed
                    for bar in (full.marketFF if full.HasField("marketFF") else full.indexFF).marketOHLC.ohlc:
                        if bar.interval == "I1" and bar.ts not in bars:
                            bars[bar.ts] = MinuteBar(name, bar.ts, bar.open, bar.high, bar.low, bar.close, bar.vol)
        return sorted(self._minutes.get(key, {}).values())

    def segment_status(self, current_ms: int) -> dict[str, int]:
        """Return "open" for every segment, because a recording has no status."""
        return dict.fromkeys(SEGMENTS, pb.NORMAL_OPEN)


def _bare_instrument(key: str) -> Instrument:
    segment, _, name = key.partition("|")
    row: Instrument = {
        "segment": segment,
        "name": name,
        "exchange": segment.partition("_")[0],
        "instrument_key": key,
        "exchange_token": name,
        "trading_symbol": name,
    }
    if kind := _INSTRUMENT_TYPES.get(segment.partition("_")[2]):
        row["instrument_type"] = kind
    return row
