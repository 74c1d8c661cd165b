"""Labelled events with the bars around them, as evaluation and fitting take them.

Owns which bars belong to a label. Must not know how the detector is judged.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from analytics.market_time import day_start
from analytics.read.bars_and_ticks import open_database, typed_range
from analytics.read.minute_reader import MinuteReader
from analytics.review.labels import label_rows
from analytics.schema import BARS, KEY, TIME
from ingest.database.connections import Database, check_schema, connect

HISTORY = timedelta(days=10)  # of bars before the day of a label, as detection has: what is usual for the instrument
# The minutes in which an alarm is about the labelled one, as `evaluation.labelled` has them
BEFORE, AFTER = timedelta(minutes=5), timedelta(minutes=10)
EVENTS: dict[str, pl.DataType] = {
    "event": pl.String(),  # instrument_key and minute; keys have '|', by which rules know an exchange's instrument
    **{name: dtype for name, dtype in BARS.items() if name != KEY},
    "announced_at": TIME,  # start of the labelled minute
    "is_event": pl.Boolean(),  # right or missed: there was a spike; false: an alarm there is wrong
    "is_judged": pl.Boolean(),  # an alarm here is about the label; other bars are the history of the instrument
}


def labelled_events(
    *,
    start: date | datetime | None = None,
    end: date | datetime | None = None,
    history: timedelta = HISTORY,
    database: Database | str | None = None,
) -> pl.DataFrame:
    """Return the bars around each label.

    Parameters
    ----------
    start, end, database
        As for `analytics.bars`; the range is of the labelled minutes.
    history
        How much of the instrument's past before the day of a label.

    Returns
    -------
    polars.DataFrame
        Columns and dtypes of `EVENTS`, sorted by event and bucket, as `evaluation.labelled.read_events` takes them. Who
        counts hits must look at is_event and is_judged. A label whose bars are gone has no rows. The number of trades
        is not known.

    Raises
    ------
    ConfigError
        If a time is wrong.
    StoreError
        If the database cannot be read.
    """
    first, last = typed_range(start, end)
    frames = [pl.DataFrame(schema=EVENTS)]
    with open_database(database) as opened, connect(opened.reader_url) as connection:
        check_schema(connection)
        rows = label_rows(connection, None, first, last)
        if rows:
            with MinuteReader(opened, connection) as reader:
                frames += [_event(reader, row, history) for row in rows]
    return pl.concat(frames).sort("event", "bucket")


def _event(reader: MinuteReader, label: tuple[Any, ...], history: timedelta) -> pl.DataFrame:
    """Return the bars of one label."""
    instrument_id, key, _, bucket, verdict, *_ = label
    assert isinstance(bucket, datetime)
    day = day_start(bucket)
    bars = reader.read(day - history, bucket + AFTER + timedelta(minutes=1), [instrument_id])
    return bars.with_columns(
        event=pl.lit(f"{key} {bucket:%Y-%m-%dT%H:%M}Z"),
        announced_at=pl.lit(bucket, TIME),
        is_event=pl.lit(verdict != "wrong"),
        is_judged=pl.col("bucket") >= bucket - BEFORE,
    ).select(*EVENTS)
