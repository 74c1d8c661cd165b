"""Keys: every real one is taken, and nothing that the database or an index cannot hold."""

from __future__ import annotations

import gzip
import json

import pytest

from ingest.model.keys import NAME_CHARS_MAX, SHOWN_CHARS_MAX, is_key, shown
from tests.data import data_file

REAL = [
    "NSE_EQ|INE009A01021",
    "NSE_FO|53001",
    "NSE_INDEX|Nifty Next 50",
    "NSE_INDEX|HangSeng BeES-NAV",
    "NSE_INDEX|Nifty500 Qlty50",
    "BSE_INDEX|SENSEX",
    "BSE_EQ|INE002A01018",
    "BCD_FO|1234567",
    "MCX_FO|466583",
    "MCX_INDEX|MCXBULLDEX",
    "GLOBAL_INDEX|^GSPC",
    "GLOBAL_INDICATOR|USD/INR",
    "NSE_EQ|M&M",
    "NSE_COM|A",
]
POISONOUS = [
    "",
    "|",
    "INFY",
    "NSE_FO|",
    "|53001",
    "NSE_FO|53001\0",
    "NSE_FO|\0",
    "\0NSE_FO|53001",
    "NSE_FO|53001\n",
    "NSE_FO|53\t001",
    "NSE_FO|5300\x7f",
    "NSE_FO|53001|1",
    "nse_fo|53001",
    "NSE FO|53001",
    "N|1",
    "NSE_FO|₹",
    "NSE_FO|\u202e53001",
    "NSE_FO|" + "9" * (NAME_CHARS_MAX + 1),
    "NSE_FO|" + "9" * 9_000,
    "A" * 21 + "|1",
]


@pytest.mark.parametrize("key", REAL)
def test_real_key_is_one(key: str) -> None:
    assert is_key(key)


def test_every_key_of_the_vendors_list_is_one() -> None:
    rows = json.loads(gzip.decompress(data_file("instruments-NSE-20251223.json.gz").read_bytes()))
    assert [row["instrument_key"] for row in rows if not is_key(row["instrument_key"])] == []


@pytest.mark.parametrize("key", POISONOUS, ids=lambda key: ascii(key[:20]))
def test_poisonous_key_is_none_and_is_shown_in_a_form_that_can_be_stored(key: str) -> None:
    assert not is_key(key)
    assert shown(key).isprintable() and "\0" not in shown(key)
    assert len(shown(key)) <= SHOWN_CHARS_MAX + 30


def test_key_that_is_one_is_shown_as_it_is() -> None:
    assert [shown(key) for key in REAL] == REAL
