"""How long the vendor's master takes into the database: `make bench`."""

from __future__ import annotations

import gzip
import json
import time
from typing import Any

import psycopg
import pytest

from ingest.universe.instrument_master import load_master
from tests.data import data_file

LOAD_S_MAX = 5.0
INSTRUMENTS = 77_709


@pytest.mark.bench
def test_master_of_an_exchange_is_loaded_within_seconds(conn: psycopg.Connection[Any], engine: str) -> None:
    data = data_file("instruments-NSE-20251223.json.gz").read_bytes()
    began = time.perf_counter()
    assert len(json.loads(gzip.decompress(data))) >= INSTRUMENTS
    read_s = time.perf_counter() - began
    began = time.perf_counter()
    assert load_master(conn, data, "file").rows == INSTRUMENTS
    load_s = time.perf_counter() - began
    print(f"\n{engine}: load {load_s:.2f} s, of it the JSON alone {read_s:.2f} s, ratio {read_s / load_s:.2f}")
    assert load_s < LOAD_S_MAX
