"""The vendor's instrument master: parse it (pure), load it into `instruments`.

Source: UPSTOX V3 instruments, one JSON array of objects, gzip. `tick_size` is in paise and
`expiry` is 23:59:59 IST of the expiry day in epoch milliseconds; here they become rupees and a
date. Keys are reused after expiry, so an instrument is (instrument_key, expiry).
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

import psycopg

from ingest.model import IST_OFFSET_MS
from sql import query
from sql.database import translate
from sql.errors import FeedError

IST = timedelta(milliseconds=IST_OFFSET_MS)
REBUILT_AT = time(6, 30)  # IST; the vendor makes the day's master at about 6:00
PAISE = 100


class MasterRow(NamedTuple):
    """One instrument of the master; quantities in units, prices in rupees."""

    instrument_key: str
    segment: str
    name: str | None
    trading_symbol: str | None
    underlying_key: str | None
    instrument_type: str | None
    expiry: date | None
    strike: float | None
    lot_size: int | None
    tick_size: float | None


def parse_master(data: bytes) -> list[dict[str, Any]]:
    """Unpack a master file, gzip or plain JSON.

    Raises
    ------
    FeedError
        If it is neither, or not an array of objects with keys.
    """
    try:
        rows = json.loads(gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data)
    except (OSError, EOFError, zlib.error, ValueError) as exc:
        raise FeedError(f"instrument master of {len(data)} bytes is damaged: {exc}: fetch it again") from exc
    if not isinstance(rows, list) or not all(isinstance(row, dict) and row.get("instrument_key") for row in rows):
        raise FeedError("instrument master is not an array of instruments: fetch it again")
    return rows


def master_rows(rows: Iterable[dict[str, Any]]) -> Iterator[MasterRow]:
    """Turn the vendor's rows into ours."""
    for row in rows:
        expiry_ms = row.get("expiry")
        expiry = (datetime.fromtimestamp(expiry_ms / 1000, UTC) + IST).date() if expiry_ms else None
        tick_size = row.get("tick_size")
        lot_size = row.get("lot_size")
        yield MasterRow(
            row["instrument_key"],
            row.get("segment") or row["instrument_key"].partition("|")[0],
            row.get("name"),
            row.get("trading_symbol"),
            row.get("underlying_key") or row.get("asset_key"),
            row.get("instrument_type"),
            expiry,
            row.get("strike_price") or None,
            int(lot_size) if lot_size else None,
            tick_size / PAISE if tick_size else None,
        )


def load_master(
    connection: psycopg.Connection[Any], data: bytes, source: str, loaded_at: datetime | None = None
) -> int:
    """Load a master file into `instruments` in one transaction; return how many rows it has.

    Parameters
    ----------
    connection
        In autocommit mode.
    data
        The file's bytes.
    source
        Where it came from, for `tickline.master_loads`.
    loaded_at
        When that was; None: now.
    """
    rows = list(master_rows(parse_master(data)))
    columns = ", ".join(MasterRow._fields)
    try:
        with connection.transaction():
            connection.execute(query("create_master_rows"))
            with connection.cursor().copy(f"copy master_rows ({columns}) from stdin") as copy:
                for row in rows:
                    copy.write_row(row)
            connection.execute("analyze master_rows")
            for step in ("adopt_instruments", "keep_instrument_terms", "merge_master_rows", "end_instruments"):
                connection.execute(query(step))
            connection.execute(query("note_master_load"), {"source": source, "rows": len(rows), "loaded_at": loaded_at})
    except psycopg.Error as exc:
        raise translate(exc) from exc
    return len(rows)


def loaded_at(connection: psycopg.Connection[Any]) -> datetime | None:
    """Return when a master was loaded last, from wherever; None: never."""
    row = connection.execute("select max(loaded_at) from tickline.master_loads").fetchone()
    return row[0] if row else None


def rebuilt_at(now: datetime) -> datetime:
    """Return since when the vendor's newest master can be had, aware UTC."""
    local = now.astimezone(UTC) + IST
    rebuilt = datetime.combine(local.date(), REBUILT_AT, UTC)
    return (rebuilt if local >= rebuilt else rebuilt - timedelta(days=1)) - IST


def is_fresh(connection: psycopg.Connection[Any], source: str, now: datetime) -> bool:
    """Whether the master of today, from this source, has been loaded."""
    row = connection.execute(query("newest_master_load"), {"source": source}).fetchone()
    return row is not None and row[0] >= rebuilt_at(now)
