"""Data types of ticks: columns, limits and instrument references. Pure data."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NULL = float("nan")
PRICE_MAX = 1e9  # rupees
QUANTITY_MAX = 2**53


# The columns of `ticks` in table order, each with its PostgreSQL type. The writer's COPY,
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
# Zero means "not sent": the vendor leaves out zero fields, and none of these is ever zero on a market.
ZERO_IS_NULL = frozenset(
    {"ltp", "ltt", "atp", "bid", "ask", "iv", "oi", "day_open", "day_high", "day_low", "prev_close"}
)
DEPTH_LEVELS_MAX = 30  # of the order book, in mode full_d30
TICK_COLUMN_NAMES: tuple[str, ...] = tuple(name for name, _ in TICK_COLUMNS)
# The columns from oi to prev_close are contiguous: a frame may omit them, and then the last value still holds.
CARRIED = slice(TICK_COLUMN_NAMES.index("oi"), TICK_COLUMN_NAMES.index("received_at"))
CARRIED_NAMES: tuple[str, ...] = TICK_COLUMN_NAMES[CARRIED]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]


class InstrumentRef(NamedTuple):
    """The identity of an instrument, as the ingester needs it."""

    instrument_id: int
    instrument_key: str
    trading_symbol: str | None = None  # None: no list has named it
