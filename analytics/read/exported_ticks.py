"""Read the ticks of days that the database has dropped, from their exported files.

Owns how such a file is found, and the error if it is absent. `analytics.read.export` writes the files.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path

import polars as pl

from ingest.errors import StoreError

log = logging.getLogger(__name__)


def with_exported(
    rows: pl.DataFrame,
    days: Sequence[tuple[date, str | None]],
    *,
    instrument_ids: Sequence[int],
    start: datetime | None,
    end: datetime | None,
) -> pl.DataFrame:
    """Add the ticks of dropped days to those of the database.

    Parameters
    ----------
    rows
        Rows of `sql/queries/read/ticks_of_instruments.sql`.
    days
        Rows of `sql/queries/shared/dropped_days.sql`.
    instrument_ids, start, end
        Instruments and half-open range of the request.

    Raises
    ------
    StoreError
        If a file is absent or cannot be read.
    """
    frames = [rows]
    for day, file in days:
        if file is None:
            log.warning("ticks dropped without an export, only bars are left day=%s", day)
            continue
        if not Path(file).is_file():
            raise StoreError(f"ticks of {day} are in {file!r}, which is absent: restore it, or read other days")
        asked = pl.col("instrument_id").is_in(list(instrument_ids))
        if start is not None:
            asked &= pl.col("ts") >= start
        if end is not None:
            asked &= pl.col("ts") < end
        try:
            frames.append(pl.scan_parquet(file).filter(asked).select(rows.columns).collect())
        except (pl.exceptions.PolarsError, OSError) as exc:
            raise StoreError(
                f"ticks of {day} in {file!r} cannot be read: {exc}: export is damaged, restore it"
            ) from exc
    return pl.concat(frames)
