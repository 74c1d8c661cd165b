"""Rows of the order book: what was sent, and nothing that is impossible."""

from __future__ import annotations

import numpy as np
import psycopg
from psycopg.adapt import PyFormat
from psycopg.types.numeric import Float8

from ingest.model.ticks import TICK_COLUMNS, Floats
from ingest.store.depth_rows import depth_rows, encode_depth

NAN = float("nan")


def ticks(count: int) -> Floats:
    rows = np.full((count, len(TICK_COLUMNS)), NAN)
    rows[:, 0], rows[:, 1], rows[:, 2] = np.arange(count) + 1e15, 7, np.arange(count) + 40
    return rows


def test_books_that_were_sent_have_a_row_each() -> None:
    book = np.array([[100.5, 10, 101.0, 20, 100.0, 30, 101.5, 40], [NAN] * 8, [99.0, 1, 99.5, 2, NAN, NAN, NAN, NAN]])
    expected = [
        [1e15, 7, 40, 100.5, 10, 101.0, 20, 100.0, 30, 101.5, 40],
        [1e15 + 2, 7, 42, 99.0, 1, 99.5, 2, NAN, NAN, NAN, NAN],
    ]
    np.testing.assert_array_equal(depth_rows(ticks(3), book), expected)


def test_side_that_is_empty_or_impossible_is_absent_and_a_book_without_sides_has_no_row() -> None:
    sides = [(0.0, 0), (-1.0, 5), (float("inf"), 5), (NAN, 5), (1e10, 5), (5.0, -1), (5.0, 2**60)]
    rows = depth_rows(ticks(len(sides)), np.array([[*side, 7.0, 3, *side, *side] for side in sides]))
    assert np.isnan(rows[:, 3:5]).all() and np.isnan(rows[:, 7:]).all()
    assert rows[:, 5:7].tolist() == [[7.0, 3]] * len(sides)
    assert depth_rows(ticks(2), np.array([[0.0, 0, NAN, 1], [-1.0, 2, 0.0, 0]])).shape == (0, 7)


def test_rows_without_a_book_are_none() -> None:
    assert depth_rows(ticks(2), np.full((2, 20), NAN)).shape == (0, 23)
    assert depth_rows(ticks(2), np.empty((2, 0))).shape == (0, 3)


def test_arrays_are_encoded_as_another_library_encodes_them() -> None:
    book = [100.5, 10, 101.0, 20, NAN, NAN, 101.5, 40, NAN, NAN, NAN, NAN]
    [block] = encode_depth(depth_rows(ticks(1), np.array([book])))
    adapt = psycopg.adapt.Transformer()
    for values in ([Float8(100.5), None], [Float8(101.0), Float8(101.5)]):
        dumped = adapt.get_dumper(values, PyFormat.BINARY).dump(values)
        assert dumped is not None and len(dumped).to_bytes(4, "big") + bytes(dumped) in block


def test_rows_with_the_same_sides_share_a_block() -> None:
    book = np.array([[1.0, 1, NAN, NAN], [1.0, 1, 2.0, 1], [3.0, 1, NAN, NAN]])
    assert len(list(encode_depth(depth_rows(ticks(3), book)))) == 2
