"""Masters of a few rows, and the real one."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from datetime import time as time_of_day
from typing import Any

import psycopg

from ingest.market.time import moment
from ingest.universe.instrument_master import load_master

MASTER = "instruments-NSE-20251223.json.gz"
SESSION = "session-20251215-open.frames.gz"
NOON = datetime(2025, 12, 23, 6, 30, tzinfo=UTC)


def row(expiry: date, symbol: str, lot: int) -> dict[str, Any]:
    ends = int(moment(expiry, datetime.max.time()).timestamp()) * 1000
    return {
        "instrument_key": "NSE_FO|1",
        "segment": "NSE_FO",
        "instrument_type": "FUT",
        "trading_symbol": symbol,
        "underlying_key": "NSE_INDEX|Nifty 50",
        "lot_size": lot,
        "tick_size": 5.0,
        "expiry": ends,
    }


def load(conn: psycopg.Connection[Any], day: date, *rows: dict[str, Any]) -> None:
    source = str(conn.execute("select count(*) from tickline.master_loads").fetchone())
    load_master(conn, json.dumps(rows).encode(), source, moment(day, time_of_day(6, 30)))


OPTION = {"instrument_type": "CE"}


def option(number: int) -> dict[str, Any]:
    return {
        "instrument_key": f"NSE_FO|{number + 2}",
        "trading_symbol": f"NIFTY {number + 1} CE 29 DEC 99",
        "strike_price": number + 1.0,
    }
