"""Batch: rows in their buffer, and their encoding read back as PostgreSQL would read it."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.model.ticks import NULL, TICK_COLUMN_NAMES, TICK_COLUMNS
from ingest.store.copy_format import (
    BLOCK_ROWS,
    compiled,
    encode_by_column,
    encode_rows,
    nullify,
    nullify_by_column,
)
from ingest.store.row_buffer import RowBuffer

COLUMNS = len(TICK_COLUMNS)
FORMATS = {"timestamptz": ">q", "int8": ">q", "int4": ">i", "float8": ">d", "bool": ">?"}
EPOCH_2000_US = 946_684_800_000_000


def read_copy(encoded: bytes) -> Iterator[list[float]]:
    """Rows of a binary COPY, as float64 with NaN for NULL."""
    place = 0
    while place < len(encoded):
        (columns,) = struct.unpack_from(">h", encoded, place)
        place += 2
        assert columns == COLUMNS
        row = []
        for _, kind in TICK_COLUMNS:
            (length,) = struct.unpack_from(">i", encoded, place)
            place += 4
            if length < 0:
                row.append(NULL)
                continue
            assert length == struct.calcsize(FORMATS[kind])
            (value,) = struct.unpack_from(FORMATS[kind], encoded, place)
            place += length
            row.append(float(value + EPOCH_2000_US if kind == "timestamptz" else value))
        yield row


def rows_of(count: int) -> np.ndarray:
    return np.arange(count * COLUMNS, dtype=np.float64).reshape(count, COLUMNS) % 2


def in_order(rows: list[list[float]]) -> list[str]:
    return sorted(map(repr, rows))


def test_row_buffer_keeps_rows_in_order_until_it_is_full() -> None:
    buffer = RowBuffer(5)
    assert buffer.has_room(5)
    buffer.extend(rows_of(2))
    buffer.extend(rows_of(3))
    assert not buffer.has_room(1)
    np.testing.assert_array_equal(buffer.values(), np.concatenate([rows_of(2), rows_of(3)]))


def test_row_buffer_grows_for_one_frame_only_while_it_is_empty() -> None:
    buffer = RowBuffer(2)
    assert buffer.has_room(3)
    buffer.extend(rows_of(1))
    assert not buffer.has_room(3)
    assert buffer.rows_max == 3


def test_nullify_takes_infinities_and_zeros_that_mean_not_sent() -> None:
    values = np.zeros((1, COLUMNS))
    values[0, TICK_COLUMN_NAMES.index("delta")] = np.inf
    nullify(values)
    null = {name for name, value in zip(TICK_COLUMN_NAMES, values[0], strict=True) if np.isnan(value)}
    assert null == {
        "ltp", "ltt", "atp", "bid", "ask", "iv", "oi", "day_open", "day_high", "day_low", "prev_close", "delta",
    }  # fmt: skip


@given(st.lists(st.integers(0, 2**COLUMNS - 1), max_size=20))
def test_encode_rows_with_any_columns_absent_reads_back(present: list[int]) -> None:
    values = rows_of(len(present))
    for row, pattern in enumerate(present):
        values[row, [not pattern >> column & 1 for column in range(COLUMNS)]] = NULL
    encoded = b"".join(encode_rows(values))
    assert in_order(list(read_copy(encoded))) == in_order(values.tolist())


numbers = st.floats() | st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0**53 - 1, float("inf"), float("-inf"), NULL])


@pytest.mark.skipif(compiled is None, reason="the compiled form is not installed")
@given(st.lists(st.lists(numbers, min_size=COLUMNS, max_size=COLUMNS), min_size=1, max_size=4))
def test_compiled_form_changes_and_encodes_each_row_as_the_columns_do(given_rows: list[list[float]]) -> None:
    one, two = np.array(given_rows), np.array(given_rows)
    nullify(one)
    nullify_by_column(two)
    np.testing.assert_array_equal(one, two)
    whole = np.array([kind in {"timestamptz", "int8", "int4"} for _, kind in TICK_COLUMNS])
    one[:, whole] = np.clip(np.trunc(one[:, whole]), -(2.0**31), 2.0**31 - 1)  # what fits into each of these types
    one[:, TICK_COLUMN_NAMES.index("traded")] = one[:, TICK_COLUMN_NAMES.index("traded")] != 0
    assert compiled.encode(one) == b"".join(encode_by_column(row.reshape(1, -1)) for row in one)


@pytest.mark.skipif(compiled is None, reason="the compiled form is not installed")
def test_compiled_form_refuses_what_are_no_rows() -> None:
    for values in (np.zeros((2, COLUMNS - 1)), np.zeros((2, COLUMNS), np.int64)):
        with pytest.raises(ValueError, match="no rows of 28 columns"):
            compiled.encode(values)


def test_encode_rows_beyond_a_block_writes_each_row_once() -> None:
    values = rows_of(BLOCK_ROWS * 2 + 1)
    values[:, TICK_COLUMN_NAMES.index("seq")] = np.arange(len(values))
    blocks = list(encode_rows(values))
    assert len(blocks) == 3
    assert in_order(list(read_copy(b"".join(blocks)))) == in_order(values.tolist())


def test_encode_rows_keeps_the_largest_whole_numbers_and_times() -> None:
    values = rows_of(1)
    values[0, TICK_COLUMN_NAMES.index("vtt")] = 2**53 - 1
    values[0, TICK_COLUMN_NAMES.index("ts")] = 4_102_444_800_000_001
    (row,) = read_copy(b"".join(encode_rows(values)))
    assert row == values[0].tolist()
