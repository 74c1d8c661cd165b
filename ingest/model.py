"""The nouns of the ingester: tick columns, frames, updates. Pure data, no behaviour."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

# The columns of `ticks` in table order, with the PostgreSQL type of each. The writer's COPY,
# the row buffer and the schema test all read this one list.
TICK_COLUMNS: tuple[tuple[str, str], ...] = (
    ("ts", "timestamptz"),
    ("instrument_id", "int4"),
    ("seq", "int8"),
    ("traded", "bool"),
    ("ltp", "float8"),
    ("ltq", "int8"),
    ("ltt", "timestamptz"),
    ("vtt", "int8"),
    ("volume", "int8"),
    ("oi", "int8"),
    ("atp", "float8"),
    ("tbq", "float8"),
    ("tsq", "float8"),
    ("bid", "float8"),
    ("bid_qty", "int8"),
    ("ask", "float8"),
    ("ask_qty", "int8"),
    ("iv", "float8"),
    ("delta", "float8"),
    ("gamma", "float8"),
    ("theta", "float8"),
    ("vega", "float8"),
    ("rho", "float8"),
    ("day_open", "float8"),
    ("day_high", "float8"),
    ("day_low", "float8"),
    ("prev_close", "float8"),
    ("received_at", "timestamptz"),
)
TICK_COLUMN_NAMES: tuple[str, ...] = tuple(name for name, _ in TICK_COLUMNS)


class FrameType(IntEnum):
    """`FeedResponse.type`; the numbers are the vendor's."""

    INITIAL_FEED = 0
    LIVE_FEED = 1
    MARKET_INFO = 2


class Mode(IntEnum):
    """`Feed.requestMode`; the numbers are the vendor's."""

    LTPC = 0
    FULL = 1
    OPTION_GREEKS = 2
    FULL_D30 = 3


# How a user and the vendor's subscription request spell the modes.
MODE_NAMES: dict[str, Mode] = {
    "ltpc": Mode.LTPC,
    "option_greeks": Mode.OPTION_GREEKS,
    "full": Mode.FULL,
    "full_d30": Mode.FULL_D30,
}

# One group of fields that a frame either holds whole or not at all; None is "not sent".
Depth = tuple[float, int, float, int, float, float]  # bid, bid_qty, ask, ask_qty, tbq, tsq
Greeks = tuple[float, float, float, float, float]  # delta, gamma, theta, vega, rho
DayCandle = tuple[int, float, float, float]  # start (epoch ms), open, high, low


class Update(NamedTuple):
    """What one frame says of one instrument, as sent: 0 is "zero or not sent"."""

    instrument_key: str
    mode: int
    ltp: float
    ltt_ms: int
    ltq: int
    prev_close: float
    vtt: int
    oi: float
    atp: float
    iv: float
    depth: Depth | None
    greeks: Greeks | None
    day_candle: DayCandle | None


class Frame(NamedTuple):
    """One decoded FeedResponse."""

    type: int
    current_ms: int  # server time, epoch milliseconds
    updates: list[Update]
    segment_status: dict[str, int]  # market_info only: segment -> MarketStatus


class RecordKind(IntEnum):
    """What a journal record holds."""

    FRAME = 1  # payload: the bytes of one websocket message
    CONNECTED = 2  # payload: JSON, the connection's facts
    SUBSCRIBED = 3  # payload: JSON, mode and keys
    UNSUBSCRIBED = 4  # payload: JSON, keys
    DISCONNECTED = 5  # payload: JSON, code and reason


class Record(NamedTuple):
    """One record of a journal segment or recording."""

    kind: int
    seq: int  # number of the record in its collector's journal, from 1, never reused
    received_us: int  # our clock, epoch microseconds
    payload: bytes
    end_offset: int  # bytes of the segment up to and including this record


class InstrumentRef(NamedTuple):
    """What the ingester needs to know of an instrument."""

    instrument_id: int
    instrument_key: str
