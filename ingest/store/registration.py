"""Registration: give each instrument key an instrument id before its rows are written."""

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
    """Return the instruments that keys mean on a day; create instruments for unknown keys.

    Parameters
    ----------
    connection
        Connection in autocommit mode.
    keys
        Instrument keys in order of arrival. If too many are unknown, the first ones become instruments.
    day
        Market-local day.
    unknown_max
        How many keys that were never in an instrument master may become instruments on one day. The answer
        leaves out keys beyond this limit.
    """
    parameters = {
        "instrument_keys": list(keys),
        "day": day,
        "known_within_days": KNOWN_WITHIN_DAYS,
        "unknown_max": unknown_max,
    }
    rows = connection.execute(query("store/register_instruments"), parameters).fetchall()
    return [InstrumentRef(*row) for row in rows]
