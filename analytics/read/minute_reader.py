"""Read the best minute bars of many instruments for detection: of whole days, or of each minute as it completes.

Owns the connections kept open for it: opening one takes longer than reading a minute. The vendor's bars, ours
and the minutes not completely received are read in parallel and combined by `analytics.read.best_bars`; the view that
does the same takes several times as long. Ours are read in two halves: the query makes bars of the newest minutes out
of ticks, and for that the server looks into the index once for each instrument. Must not know what the bars are used
for.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import polars as pl
import psycopg

from analytics.read.best_bars import best_minutes
from analytics.read.copy_reader import CopyReader, Shaped
from analytics.schema import BARS, KEY
from ingest.database.connections import Database, translated
from ingest.database.queries import query

OFFICIAL, TICKS, UNHEARD = "read/bars_official_1m", "read/bars_ticks_1m", "read/unheard_of_instruments"
NEW_TICKS = "read/bars_of_new_ticks"
HALVED_FROM = 200  # instruments: of fewer, planning another query takes longer than half of them
NAMES = {"instrument_id": pl.Int32(), KEY: pl.String()}


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
        self._names = pl.DataFrame(schema=NAMES | {"position": pl.UInt32()})
        self._used_again = False  # whether several instruments have the same key
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
        return self._names["instrument_id"].to_list()

    def read(
        self, start: datetime, end: datetime, ids: Sequence[int] | None = None, *, is_new: bool = False
    ) -> pl.DataFrame:
        """Return the bars of a range [start, end), of instruments by their instrument_id or of all.

        Parameters
        ----------
        is_new
            The range is a minute or two of which all ticks are there, so that ours need not be looked for among stored
            bars: the same result, sooner.

        Returns
        -------
        polars.DataFrame
            Columns and dtypes of `analytics.schema.BARS`, sorted by instrument_key and bucket. A key that was used
            again within the range means its last instrument.
        """
        writer = psycopg.ClientCursor(self._connection)
        given = {"instrument_ids": None if ids is None else list(ids), "start": start, "end": end}
        shares = [given | share for share in _shares(self.ids if ids is None else ids)]
        ours = NEW_TICKS if is_new else TICKS
        halves = [Shaped(writer.mogrify(query(ours), share), ours) for share in shares]
        others = [Shaped(writer.mogrify(query(name), given), name) for name in (OFFICIAL, UNHEARD)]
        *ticks, [official, unheard] = self._reader.read([*([half] for half in halves), others])
        return self._named(best_minutes(official, pl.concat([frame for [frame] in ticks]), unheard))

    def _named(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return bars with their instrument_key, sorted by it and bucket."""
        rows = rows.filter(pl.col("close").is_not_null())
        seen = rows["instrument_id"].unique()
        if new := seen.filter(~seen.is_in(self._names["instrument_id"].implode())).to_list():
            with translated():
                found = self._connection.execute(query("read/instruments_by_id"), {"instrument_ids": new}).fetchall()
            names = pl.concat([self._names.select(*NAMES), pl.DataFrame(found, NAMES, orient="row")])
            # Numbers sort faster than keys; instruments of the same key have the same.
            self._names = names.with_columns(position=pl.col(KEY).rank("dense"))
            self._used_again = self._names["position"].is_duplicated().any()
        named = rows.lazy().join(self._names.lazy(), on="instrument_id").sort("position", "bucket", "instrument_id")
        if self._used_again:
            last = pl.col("instrument_id").last().over("position")
            named = named.filter(pl.col("instrument_id") == last)
        plan = named.select(pl.col(name).cast(dtype) for name, dtype in BARS.items())
        # Of the rows of a minute, looking for a better plan takes longer than it saves.
        return plan.collect(engine="in-memory", optimizations=pl.QueryOptFlags.none())


def _shares(ids: Sequence[int]) -> list[dict[str, int | None]]:
    """Return bounds that part all instruments into halves of the same number of these; no bounds if they are few."""
    if len(ids) < HALVED_FROM:
        return [{"from_id": None, "below_id": None}]
    middle = sorted(ids)[len(ids) // 2]
    return [{"from_id": None, "below_id": middle}, {"from_id": middle, "below_id": None}]
