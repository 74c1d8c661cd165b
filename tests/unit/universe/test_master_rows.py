"""The instrument master: an odd row costs itself; what is no list, or too large, is refused whole."""

from __future__ import annotations

import gzip
import json
from datetime import date
from io import BytesIO
from typing import Any

import pytest

from ingest.errors import FeedError
from ingest.universe.master_rows import NAMED_MAX, OddRows, read_master

GOOD = {"instrument_key": "NSE_FO|1", "segment": "NSE_FO", "trading_symbol": "NIFTY FUT 29 DEC 26", "lot_size": 75}
GOOD |= {"expiry": 1798568999000, "tick_size": 10.0, "instrument_type": "FUT"}
LAST = {"instrument_key": "NSE_EQ|INE009A01021", "trading_symbol": "INFY"}
ODD: dict[str, Any] = {
    "expiry_text": GOOD | {"expiry": "2026-12-29"},
    "expiry_far": GOOD | {"expiry": 1e30},
    "lot_nan_text": GOOD | {"lot_size": "nan"},
    "lot_nan": GOOD | {"lot_size": float("nan")},
    "lot_beyond_int4": GOOD | {"lot_size": 2**31},
    "lot_below_zero": GOOD | {"lot_size": -1},
    "name_nul": GOOD | {"name": "A\0B"},
    "name_surrogate": GOOD | {"name": "A\ud800B"},
    "name_long": GOOD | {"name": "A" * 10_000},
    "symbol_no_text": GOOD | {"trading_symbol": ["NIFTY"]},
    "no_key": {"segment": "NSE_FO"},
    "key_empty": GOOD | {"instrument_key": ""},
    "key_nul": GOOD | {"instrument_key": "NSE_FO|1\0"},
    "key_long": GOOD | {"instrument_key": "NSE_FO|" + "1" * 9_000},
    "key_number": GOOD | {"instrument_key": 1},
    "tick_huge": GOOD | {"tick_size": 1e300},
    "null": None,
    "text": "NSE_FO|1",
    "list": [GOOD],
    "nested": GOOD | {"name": [[[[]]]]},
}


def read(*rows: Any) -> tuple[list[str], OddRows]:
    odd = OddRows()
    file = BytesIO(gzip.compress(json.dumps(rows).encode()))
    return [row.instrument_key for row in read_master(file, odd)], odd


@pytest.mark.parametrize("row", ODD.values(), ids=ODD.keys())
def test_master_odd_row_is_left_out_and_named(row: Any) -> None:
    other = GOOD | {"instrument_key": "NSE_FO|2"}
    keys, odd = read(other, row, LAST)
    assert keys == ["NSE_FO|2", LAST["instrument_key"]]
    assert odd.count == len(odd.named) == 1
    assert "1 odd rows left out: " in str(odd) and "\0" not in str(odd) and len(str(odd)) < 300


QUOTED = json.dumps(GOOD | {"name": "12 PIPES"}).replace("12 PIPES", '12" PIPES')


@pytest.mark.parametrize(
    "row",
    [QUOTED, QUOTED[:-1], json.dumps(GOOD | {"name": "A" * 300_000}), json.dumps(GOOD).replace("}", ", [[[}")],
    ids=["quote", "quote, no end", "longer than a piece", "brackets"],
)
@pytest.mark.parametrize("at", [0, 1_000, 1_999, 2_000])
def test_master_row_whose_end_cannot_be_told_costs_itself(row: str, at: int) -> None:
    """From the next row that reads as one the list goes on; the row before it may go, too, and no more."""
    rows = [json.dumps(GOOD | {"instrument_key": f"NSE_FO|{number}"}) for number in range(2_000)]
    text = "[" + ", ".join([*rows[:at], row, *rows[at:]]) + "]"
    odd = OddRows()
    keys = [found.instrument_key for found in read_master(BytesIO(gzip.compress(text.encode())), odd)]
    assert len(keys) >= 1_999 and keys == [f"NSE_FO|{number}" for number in range(2_000) if f"NSE_FO|{number}" in keys]
    assert odd.count == 1 and odd.named[0].endswith(": not JSON")


def test_master_row_is_in_our_units() -> None:
    (row,) = read_master(BytesIO(json.dumps([GOOD | {"strike_price": 59400.0}]).encode()))
    assert (row.expiry, row.lot_size, row.tick_size, row.strike) == (date(2026, 12, 29), 75, 0.1, 59400.0)


def test_master_row_listed_twice_counts_once_and_the_first_odd_ones_are_named() -> None:
    rows = [GOOD | {"instrument_key": f"NSE_FO|{number}"} for number in range(20)]
    keys, odd = read(*rows, *rows[:10])
    assert (len(keys), odd.count, len(odd.named)) == (20, 10, NAMED_MAX)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b"not json",
        b"[" * 100_000,
        json.dumps([GOOD]).encode()[:-1],
        gzip.compress(json.dumps([GOOD] * 10).encode())[:-20],
        json.dumps([GOOD, {}, {}]).encode(),
        b'["' + b"a" * 2**17,
    ],
    ids=["empty", "no_rows", "object", "text", "deep", "cut", "cut_gzip", "most_odd", "endless_row"],
)
def test_master_that_is_no_list_is_refused(data: bytes) -> None:
    with pytest.raises(FeedError, match=r"instrument master is (damaged|not used): .*: fetch it again"):
        list(read_master(BytesIO(data)))


@pytest.mark.parametrize("piece_bytes", [1, 10, 2**16])
@pytest.mark.parametrize("behind", [b"", b"\n", b"\0" * 512, b"<html>", b"\x1f"])
def test_master_of_several_gzip_members_and_what_lies_behind_them(
    behind: bytes, piece_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.universe.master_rows.PIECE_BYTES", piece_bytes)
    rows = [LAST | {"instrument_key": f"NSE_EQ|{number}"} for number in range(100)]
    text = json.dumps(rows).encode()
    packed = gzip.compress(text[:999]) + gzip.compress(b"") + gzip.compress(text[999:])
    keys = [row.instrument_key for row in read_master(BytesIO(packed + behind))]
    assert keys == [row["instrument_key"] for row in rows]
    with pytest.raises(FeedError, match="damaged"):
        list(read_master(BytesIO(packed[:-1])))


def test_master_that_unpacks_to_more_than_the_limit_is_refused_before_it_is_in_memory() -> None:
    rows = [LAST | {"instrument_key": f"NSE_EQ|{number}"} for number in range(5_000)]
    packed = gzip.compress(json.dumps(rows).encode())
    with pytest.raises(FeedError, match="set TICKLINE_MASTER_UNPACKED_BYTES_MAX"):
        list(read_master(BytesIO(packed), unpacked_bytes_max=100_000))


@pytest.mark.parametrize("size", [1, 7, 100])
def test_master_is_the_same_in_whatever_pieces_it_is_read(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.universe.master_rows.PIECE_BYTES", size)
    keys, odd = read(LAST, ODD["expiry_text"], GOOD | {"instrument_key": "NSE_FO|2", "name": 'A"],[{\\'})
    assert keys == [LAST["instrument_key"], "NSE_FO|2"] and odd.keys == ["NSE_FO|1"]
