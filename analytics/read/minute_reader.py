"""Read the best minute bars of many instruments for detection: of whole days, or of each minute as it completes.

Owns the connections kept open for it: opening one takes longer than reading a minute. The vendor's bars, ours
and the minutes not completely received are read in parallel and combined by `analytics.read.best_bars`; the view that
does the same takes several times as long. Must not know what the bars are used for.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import polars as pl
import psycopg

from analytics.read.best_bars import best_minutes
from analytics.read.copy_reader import CopyReader
from analytics.schema import BARS, KEY
from ingest.database.connections import Database, translated
from ingest.database.queries import query

OFFICIAL, OURS, UNHEARD = "read/bars_official_1m", "read/bars_ticks_1m", "read/unheard_of_instruments"


class MinuteReader:
    """Read best minute bars, all instruments or some.

    Parameters
    ----------
    connection
        For names, and to write parameters into queries.

    Raises
    ------
    StoreError
        If the database cannot be reached; so do all methods if it cannot be read.
    """

    def __init__(self, database: Database, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._names: dict[int, str] = {}
        self._reader = CopyReader(database.reader_url, connections=3)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._reader.close()

    @property
    def ids(self) -> list[int]:
        """The instrument_id of each instrument read so far."""
        return list(self._names)

    def read(self, start: datetime, end: datetime, ids: Sequence[int] | None = None) -> pl.DataFrame:
        """Return the bars of a range [start, end), of instruments by their instrument_id or of all.

        Returns
        -------
        polars.DataFrame
            Columns and dtypes of `analytics.schema.BARS`, sorted by instrument_key and bucket. A key that was used
            again within the range means its last instrument.
        """
        frames = self._fetch(start, end, dict.fromkeys((OFFICIAL, OURS, UNHEARD), None if ids is None else list(ids)))
        return self._named(best_minutes(frames[OFFICIAL], frames[OURS], frames[UNHEARD]))

    def read_next(self, start: datetime, end: datetime) -> pl.DataFrame:
        """Return the same for all that ticked in the range, and for instruments read before.

        The vendor's bars are indexed by instrument and slow to find otherwise: so they are read for known
        instruments, and once more for those that tick for the first time.
        """
        known = list(self._names)
        frames = self._fetch(start, end, {OFFICIAL: known, OURS: None, UNHEARD: None})
        if new := sorted(set(frames[OURS]["instrument_id"]) - set(known)):
            more = self._fetch(start, end, {OFFICIAL: new})
            frames[OFFICIAL] = pl.concat([frames[OFFICIAL], more[OFFICIAL]])
        return self._named(best_minutes(frames[OFFICIAL], frames[OURS], frames[UNHEARD]))

    def _fetch(self, start: datetime, end: datetime, wanted: dict[str, list[int] | None]) -> dict[str, pl.DataFrame]:
        """Return the results of queries, each read by its own connection, in parallel."""
        writer = psycopg.ClientCursor(self._connection)
        texts = [
            [writer.mogrify(query(name), {"instrument_ids": ids, "start": start, "end": end})]
            for name, ids in wanted.items()
        ]
        return {name: frame for name, [frame] in zip(wanted, self._reader.read(texts), strict=True)}

    def _named(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return bars with their instrument_key, sorted by it and bucket."""
        rows = rows.filter(pl.col("close").is_not_null())
        newest = rows.group_by("instrument_id").agg(pl.col("bucket").max().alias("newest"))
        if new := sorted(set(newest["instrument_id"]) - set(self._names)):
            with translated():
                found = self._connection.execute(query("read/instruments_by_id"), {"instrument_ids": new}).fetchall()
            self._names |= dict(found)
        schema = {"instrument_id": pl.Int32, KEY: pl.String}
        names = pl.DataFrame(list(self._names.items()), schema=schema, orient="row")
        # Numbers sort faster than keys.
        last = names.join(newest, on="instrument_id").sort(KEY, "newest", "instrument_id").unique(KEY, keep="last")
        numbered = last.sort(KEY).drop("newest").with_row_index("position")
        named = rows.join(numbered, on="instrument_id").sort("position", "bucket")
        return named.select(pl.col(name).cast(dtype) for name, dtype in BARS.items())
