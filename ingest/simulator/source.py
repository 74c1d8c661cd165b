"""Interface of a market that can be played. Knows no client and no clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from ingest.proto import upstox_feed_v3_pb2 as pb

# Segments of the vendor's `market_info`, as in its documentation.
SEGMENTS = (
    "NSE_EQ", "NSE_FO", "NSE_INDEX", "NSE_COM", "NCD_FO",
    "BSE_EQ", "BSE_FO", "BSE_INDEX", "BCD_FO", "MCX_FO", "MCX_INDEX",
)  # fmt: skip


class MinuteBar(NamedTuple):
    """The exact bar of one minute of one instrument."""

    instrument_key: str
    minute_ms: int  # start, epoch milliseconds
    open: float
    high: float
    low: float
    close: float
    volume: int


Instrument = dict[str, Any]  # one row of the instrument master, in the vendor's own fields


class MarketFrame(NamedTuple):
    """Updates that the market sends at the same time."""

    current_ms: int  # server time, epoch milliseconds
    feeds: dict[str, pb.Feed]  # instrument key -> its update, as complete as the source has it
    # The same as a serialised live_feed in mode full, if the source has it; None if it must be made.
    payload: bytes | None = None


class Source(Protocol):
    """A market that can be played from its beginning any number of times."""

    @property
    def title(self) -> str:
        """Name of the market for the user."""

    @property
    def keys(self) -> frozenset[str]:
        """Every instrument key that gets updates."""

    def instruments(self) -> Sequence[Instrument]:
        """Return the rows of the instrument master."""

    def opening(self) -> Sequence[MarketFrame]:
        """Return the first update of each key in their original frames, in order.

        It is the snapshot for a client that subscribed before the market begins.
        """

    def frames(self) -> Iterator[MarketFrame]:
        """Yield all frames from the beginning in order, the first updates among them."""

    def minute_bars(self, key: str) -> Sequence[MinuteBar]:
        """Return the exact bars of a key, in order, for all minutes completed in what `frames` has yielded."""

    def segment_status(self, current_ms: int) -> dict[str, int]:
        """Return the `MarketStatus` of each segment at a market time."""
