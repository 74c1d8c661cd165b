"""Rows of `depth`: the order books that came with tick rows, and their form in a binary COPY. Pure.

Source: PostgreSQL, `array_send`: dimensions, whether there are nulls, type of the elements, size and first index of the
dimension, elements with their lengths.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ingest.model.ticks import NULL, PRICE_MAX, QUANTITY_MAX, TICK_COLUMN_NAMES, Floats

DEPTH_COLUMN_NAMES = ("ts", "instrument_id", "seq", "bids", "bid_qtys", "asks", "ask_qtys")
_OF_TICK = [TICK_COLUMN_NAMES.index(name) for name in DEPTH_COLUMN_NAMES[:3]]
_POSTGRES_EPOCH_US = 946_684_800_000_000
_FLOAT8, _INT8 = (701, ">f8"), (20, ">i8")  # type's oid in the catalog, and its form
_ARRAYS = (_FLOAT8, _INT8, _FLOAT8, _INT8)  # of the values of a level, in order


def depth_rows(ticks: Floats, book: Floats) -> Floats:
    """Return the books that were sent with ticks.

    Parameters
    ----------
    ticks
        Shape (ticks, 28), columns as `TICK_COLUMNS`.
    book
        Shape (ticks, 4 * levels): bid, bid_qty, ask and ask_qty of each level, rupees and units; NaN: not sent.

    Returns
    -------
    Floats
        Shape (rows, 3 + 4 * levels): ts (epoch microseconds), instrument_id and seq, then the book. A side without a
        price, or with an impossible price or quantity, is NaN; a book without any side has no row.
    """
    sides = book.reshape(len(book), book.shape[1] // 4, 2, 2)
    with np.errstate(invalid="ignore"):
        prices, quantities = sides[..., 0], sides[..., 1]
        is_there = (prices > 0) & (prices <= PRICE_MAX) & (quantities >= 0) & (quantities <= QUANTITY_MAX)
    kept = np.flatnonzero(is_there.any(axis=(1, 2)))
    clean = np.where(is_there[kept][..., None], sides[kept], NULL)
    return np.hstack([ticks[kept][:, _OF_TICK], clean.reshape(len(kept), book.shape[1])])


def encode_depth(rows: Floats) -> Iterator[bytes]:
    """Encode rows of `depth_rows` as the body of a binary COPY, without header and trailer; see `encode_rows`.

    A book ends with its last level that has a side. Rows with the same sides present share one layout.
    """
    bids, asks = rows[:, 3::4], rows[:, 5::4]
    present = np.hstack([bids == bids, asks == asks])  # noqa: PLR0124  NaN is not equal to itself
    keys = np.packbits(present, axis=1)
    patterns: dict[bytes, list[int]] = {}
    for index, key in enumerate(map(bytes, keys)):
        patterns.setdefault(key, []).append(index)
    for key, indices in patterns.items():
        yield _encode_pattern(rows[indices], *_layout(key, bids.shape[1]))


def _encode_pattern(rows: Floats, template: NDArray[Any], fields: tuple[tuple[str, int], ...]) -> bytes:
    encoded = np.repeat(template, len(rows))
    encoded["ts"] = rows[:, 0].astype(np.int64) - _POSTGRES_EPOCH_US
    encoded["instrument_id"], encoded["seq"] = rows[:, 1], rows[:, 2]
    for name, column in fields:
        encoded[name] = rows[:, column]
    return encoded.tobytes()


@lru_cache(maxsize=4096)
def _layout(key: bytes, levels: int) -> tuple[NDArray[Any], tuple[tuple[str, int], ...]]:
    """Return a row with all that is not a value filled in, and its values: name and column of the rows."""
    present = np.unpackbits(np.frombuffer(key, np.uint8), count=2 * levels).reshape(2, levels).astype(bool)
    size = int(np.flatnonzero(present.any(axis=0)).max()) + 1
    parts: list[tuple[str, str, int | None]] = [("columns", ">i2", len(DEPTH_COLUMN_NAMES))]
    for name, form, length in (("ts", ">i8", 8), ("instrument_id", ">i4", 4), ("seq", ">i8", 8)):
        parts += [(f"{name}_length", ">i4", length), (name, form, None)]
    fields = []
    for array, (oid, form) in enumerate(_ARRAYS):
        side = present[array // 2, :size]
        header = (20 + 4 * size + 8 * int(side.sum()), 1, int(not side.all()), oid, size, 1)
        parts += [(f"array_{array}_{place}", ">i4", value) for place, value in enumerate(header)]
        for level in range(size):
            parts.append((f"length_{array}_{level}", ">i4", 8 if side[level] else -1))
            if side[level]:
                parts.append((f"value_{array}_{level}", form, None))
                fields.append((f"value_{array}_{level}", 3 + 4 * level + array))
    template = np.zeros(1, dtype=[(name, form) for name, form, _ in parts])
    for name, _, value in parts:
        if value is not None:
            template[name] = value
    return template, tuple(fields)
