"""The vendor's instrument master in the database: load it into `instruments`, and report its age.

Keys are reused after expiry, so an instrument is (instrument_key, expiry). `master_rows` knows the form of a list.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from datetime import datetime, time, timedelta
from io import BytesIO
from typing import Any, NamedTuple

import psycopg

from ingest.database.connections import translated
from ingest.database.queries import query
from ingest.database.resolve import KNOWN_WITHIN_DAYS
from ingest.market.shown_time import ist
from ingest.market.time import market_day, moment
from ingest.universe.master_rows import UNPACKED_BYTES_MAX, MasterRow, OddRows, read_master

log = logging.getLogger(__name__)

REBUILT_AT = time(6, 30)  # IST; the vendor makes the day's master at about 6:00
# A holiday moves an expiry by a day or two; a new expiry weekday chosen by the exchange moved it by five.
MOVED_WITHIN_DAYS = 7
SILENT_MS = 3_000  # between two statements that have nothing to wait for; as long as a lease allows


class MasterLoad(NamedTuple):
    """Result of a load: instruments, and the rows left out."""

    rows: int
    odd: OddRows


def load_master(
    connection: psycopg.Connection[Any],
    data: bytes | bytearray,
    source: str,
    loaded_at: datetime | None = None,
    *,
    unpacked_bytes_max: int = UNPACKED_BYTES_MAX,
) -> MasterLoad:
    """Load a master file into `instruments` in one transaction; return its number of rows.

    Parameters
    ----------
    connection
        In autocommit mode.
    data
        The file's bytes.
    source
        Source of the file, for `tickline.master_loads`.
    loaded_at
        Time of the load; None: now.
    unpacked_bytes_max
        Size limit of the master, bytes of JSON.

    Raises
    ------
    FeedError
        If it is not an instrument master; what was loaded before is kept.
    StoreError
        If the database refuses or is away.
    """
    columns = ", ".join(MasterRow._fields)
    odd, rows = OddRows(), 0
    found = read_master(BytesIO(data), odd, unpacked_bytes_max=unpacked_bytes_max)
    with translated(), connection.transaction():
        connection.execute(query("universe/create_master_rows"))
        with connection.cursor().copy(f"copy master_rows ({columns}) from stdin") as copy:
            for rows, row in enumerate(found, 1):  # noqa: B007  the count is used below
                copy.write_row(row)
        connection.execute("analyze master_rows")
        terms = {
            "known_at": _known_at(connection, loaded_at),
            "known_within_days": KNOWN_WITHIN_DAYS,
            "moved_within_days": MOVED_WITHIN_DAYS,
            "listed_keys": odd.keys,
        }
        connection.execute(query("store/end_if_silent"), {"silent_ms": SILENT_MS})
        connection.execute(query("store/lock_instruments"))
        for step in (
            "universe/adopt_instruments",
            "universe/move_expiries",
            "universe/keep_instrument_terms",
            "universe/merge_master_rows",
        ):
            connection.execute(query(step), terms)
        unnamed = connection.execute(query("universe/unnamed_instruments")).fetchone()
        connection.execute(query("universe/end_instruments"), terms)
        connection.execute(query("universe/note_master_load"), {"source": source, "rows": rows, "loaded_at": loaded_at})
    if unnamed is not None and unnamed[0]:
        log.warning(
            "ticks that were recorded long before this list keep their key for a name: it may have meant other "
            "contracts then instruments=%d first=%s: load the list of those days before such ticks",
            *unnamed,
        )
    return MasterLoad(rows, odd)


def _known_at(connection: psycopg.Connection[Any], loaded_at: datetime | None) -> datetime:
    """Return when a master was in force, as far as known: its load time, but not after its nearest expiry."""
    row = connection.execute(query("universe/master_known_at"), {"loaded_at": loaded_at}).fetchone()
    assert row is not None
    found: datetime = row[0]
    return found


def unnamed(connection: psycopg.Connection[Any], instrument_ids: Collection[int]) -> tuple[int, str]:
    """Return how many of these instruments no list has named, and the key of one."""
    given = {"instrument_ids": list(instrument_ids)}
    with translated():
        row = connection.execute(query("universe/unnamed_of_instruments"), given).fetchone()
    assert row is not None
    return int(row[0]), str(row[1])


def loaded_at(connection: psycopg.Connection[Any]) -> datetime | None:
    """Return when a master was last loaded, from any source; None: never."""
    row = connection.execute("select max(loaded_at) from tickline.master_loads").fetchone()
    return row[0] if row else None


def master_age(connection: psycopg.Connection[Any], now: datetime) -> str:
    """Return the age of the instrument master as text."""
    loaded = loaded_at(connection)
    if loaded is None:
        return "there is none yet"
    return f"the last one is of {ist(loaded)}, {(now - loaded).total_seconds() / 3600:.1f} hours ago"


def rebuilt_at(now: datetime) -> datetime:
    """Return since when the vendor's newest master has been available, aware UTC."""
    rebuilt = moment(market_day(now), REBUILT_AT)
    return rebuilt if now >= rebuilt else rebuilt - timedelta(days=1)


def is_fresh(connection: psycopg.Connection[Any], source: str, now: datetime) -> bool:
    """Return whether today's master from this source has been loaded."""
    row = connection.execute(query("universe/newest_master_load"), {"source": source}).fetchone()
    return row is not None and row[0] >= rebuilt_at(now)
