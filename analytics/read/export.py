"""Export a day of ticks as a Parquet file, which is smaller than the database and readable by any tool.

Owns the layout: FOLDER/ticks/date=YYYY-MM-DD/ticks.parquet, hive partitions by UTC day, which holds one
session. The columns are those of `analytics.schema.TICKS`, preceded by `instrument_id` and `expiry`
(a key is reused after its expiry). Rows are sorted by instrument_id, ts and seq, so that each
instrument is in few row groups. `analytics.ticks` reads the file once the day has been dropped.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import psycopg

from analytics.read.copy_reader import CopyReader
from analytics.schema import TICKS
from ingest.database.connections import Database, check_schema, connect
from ingest.database.operations.retention import note_day
from ingest.database.queries import query
from ingest.errors import ConfigError
from ingest.files import replaced

ROW_GROUP_ROWS = 200_000  # 40 MB in memory; an instrument with 20,000 ticks is in one or two groups
LEVEL, PART_LEVEL = 9, 1  # zstd levels: the file is kept for long, a part is read back at once
COLUMNS: dict[str, pl.DataType] = {"instrument_id": pl.Int32(), "expiry": pl.Date()} | TICKS


def days_to_export(database: Database, before: date) -> list[date]:
    """Return the UTC days before a day that have ticks and are not exported yet, oldest first."""
    with connect(database) as connection:
        check_schema(connection)
        found = connection.execute(query("shared/retainable_days"), {"before": before}).fetchall()
    return [day for day, _, exported_at, dropped_at, *_ in found if exported_at is None and dropped_at is None]


def ticks_of_day(database: Database, day: date) -> int:
    """Return how many ticks of a UTC day the database has; reads the day."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    span = {"start": start, "end": start + timedelta(days=1)}
    with connect(database.reader_url) as connection:
        row = connection.execute(query("read/count_ticks"), span).fetchone()
    return row[0] if row else 0


def export_day(
    day: date, folder: Path, database: Database, *, show: Callable[[int], None] = lambda _: None
) -> tuple[Path, int]:
    """Write the ticks of a UTC day to Parquet and record it in `days`; return the file and its number of rows.

    The file appears complete or not at all, and is synced before it is recorded. It replaces the file of an
    earlier export. Memory: a few row groups. Disk: twice the file while it is written.

    Parameters
    ----------
    folder
        Root of the partitions.
    show
        Called with the number of rows written so far.

    Raises
    ------
    ConfigError
        If the day has no ticks, was dropped, or the file cannot be written.
    StoreError
        If the database cannot be read.
    """
    file = (folder / "ticks" / f"date={day}" / "ticks.parquet").resolve()
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    with connect(database, autocommit=True) as connection:
        check_schema(connection)
        span = {"start": start, "end": start + timedelta(days=1)}
        if dropped := connection.execute(query("shared/dropped_days"), span).fetchall():
            raise ConfigError(f"day {day} was dropped: its ticks are in {dropped[0][1]!r}")
        names = _instruments(connection)
        text = psycopg.ClientCursor(connection).mogrify(query("read/ticks_of_day"), span)
        new_folders = [path for path in file.parents if not path.exists()]
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with replaced(file) as beside:
                rows = _write(beside, database, text, names, show)
                if not rows:
                    raise ConfigError(f"day {day} has no ticks: days are UTC, as 2025-12-15")
        except (OSError, pl.exceptions.PolarsError) as exc:  # Polars has its own error for a full disk
            raise ConfigError(
                f"file {str(file)!r} cannot be written: {getattr(exc, 'strerror', None) or exc}: name another --folder"
            ) from exc
        finally:
            with suppress(OSError):  # a folder that is not empty stays
                for path in new_folders:
                    path.rmdir()
        note_day(connection, [day], exported_at=datetime.now(UTC), exported_to=str(file), exported_ticks=rows)
    return file, rows


def _instruments(connection: psycopg.Connection[Any]) -> pl.DataFrame:
    """Return instrument_id, instrument_key and expiry."""
    return pl.DataFrame(
        connection.execute(query("read/instrument_identities")).fetchall(),
        schema={"instrument_id": pl.Int32, "instrument_key": pl.String, "expiry": pl.Date},
        orient="row",
    )


def _named(ticks: pl.DataFrame, names: pl.DataFrame) -> pl.DataFrame:
    """Add key and expiry of the instruments; the order of rows stays."""
    return ticks.join(names, on="instrument_id", how="left", maintain_order="left").select(
        pl.col(name).cast(dtype) for name, dtype in COLUMNS.items()
    )


def _write(file: Path, database: Database, text: str, names: pl.DataFrame, show: Callable[[int], None]) -> int:
    """Write the result of a query to a file in pieces, and sync it; return the number of rows; 0: no file is written.

    Polars writes a whole file at once. To keep memory small, each frame first goes to its own file, and Polars
    streams these into one. They lie in the root of the partitions, where readers of the ticks do not look.
    """
    rows = 0
    parts: list[Path] = []
    with TemporaryDirectory(prefix=".export.", dir=file.parents[2]) as folder:

        def write(ticks: pl.DataFrame) -> None:
            nonlocal rows
            parts.append(Path(folder, f"{len(parts)}.parquet"))
            _named(ticks, names).write_parquet(parts[-1], compression_level=PART_LEVEL)
            rows += ticks.height
            show(rows)

        with CopyReader(database.complete_reader_url()) as reader:
            reader.stream(text, write, ROW_GROUP_ROWS)
        if rows:
            pl.scan_parquet(parts).sink_parquet(file, compression_level=LEVEL, row_group_size=ROW_GROUP_ROWS)
            with file.open("rb") as written:
                os.fsync(written.fileno())
    return rows
