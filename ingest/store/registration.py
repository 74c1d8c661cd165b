"""Instrument keys of ticks, registered as instruments: each key has an id before its rows are written."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

import psycopg

from ingest.database.queries import query
from ingest.database.resolve import KNOWN_WITHIN_DAYS
from ingest.model.ticks import InstrumentRef


def register(
    connection: psycopg.Connection[Any], keys: Sequence[str], day: date, *, unknown_max: int
) -> list[InstrumentRef]:
    """Return the instruments that keys mean on a day; unknown keys get rows of their own.

    Parameters
    ----------
    connection
        In autocommit mode.
    keys
        In order of arrival: the first have the room that the day has.
    day
        Market-local.
    unknown_max
        So many keys that no list has ever had become instruments on a day. A key that is not in the answer is none.
    """
    parameters = {
        "instrument_keys": list(keys),
        "day": day,
        "known_within_days": KNOWN_WITHIN_DAYS,
        "unknown_max": unknown_max,
    }
    rows = connection.execute(query("store/register_instruments"), parameters).fetchall()
    return [InstrumentRef(*row) for row in rows]
