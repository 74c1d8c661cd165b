"""What `tickline spikes evaluate` judges: files, or bars and labels of the database."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

BEFORE = timedelta(days=30)  # of history before the first label


def read_truth_file(file: Path) -> pl.DataFrame:
    """Return the planted spikes of a file."""
    from analytics.evaluation.planted_events.truth import read_truth
    from ingest.errors import ConfigError

    try:
        return read_truth(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as exc:
        raise ConfigError(f"file {str(file)!r} is not JSON: {exc}: give that of `tickline simulate --truth`") from exc


def read_files(names: tuple[str, ...], *, is_history: bool = False, zone: str = "UTC") -> pl.DataFrame:
    """Return the rows of files: of labelled events, or of plain bars, whose columns may have various names.

    Parameters
    ----------
    is_history
        All are plain bars, also if a file has labels.
    zone
        Of times of plain bars that have none.
    """
    import polars as pl

    from analytics.evaluation.history import with_usual_names
    from ingest.errors import ConfigError

    frames = {name: _read_file(name) for name in names}
    plain = [name for name, frame in frames.items() if is_history or "announced_at" not in frame.columns]
    if plain and len(plain) < len(frames):
        raise ConfigError(
            f"file {plain[0]!r} has no column 'announced_at', which others have: judge labelled events by themselves, "
            "or all files as plain bars with --history"
        )
    for name in plain:
        try:
            frames[name] = with_usual_names(frames[name], zone)
        except ConfigError as exc:
            raise ConfigError(f"file {name!r}: {exc}") from exc
    try:
        return pl.concat(list(frames.values()), how="diagonal_relaxed")
    except pl.exceptions.PolarsError as exc:
        raise ConfigError(
            f"files {', '.join(names)} have columns of different kinds: {str(exc).splitlines()[0]}: "
            "write each column alike in all files"
        ) from exc


def _read_file(name: str) -> pl.DataFrame:
    """Return the rows of one file."""
    import polars as pl

    from ingest.errors import ConfigError

    try:
        return pl.read_csv(name, try_parse_dates=True) if name.endswith(".csv") else pl.read_parquet(name)
    except (pl.exceptions.PolarsError, OSError) as exc:
        kind = "CSV" if name.endswith(".csv") else "Parquet"
        raise ConfigError(f"file {name!r} is not {kind}: {str(exc).splitlines()[0]}: name another") from exc


def labelled(start: datetime | None, end: datetime | None) -> tuple[tuple[str, ...], datetime | None, datetime | None]:
    """Return the instruments that have labels in a range, and what to read of them: before the first label a month."""
    from analytics.market_time import day_start
    from analytics.review.labels import labels
    from ingest.errors import ConfigError

    found = labels(start=start, end=end)
    if found.is_empty():
        raise ConfigError("nobody has labelled a signal of this range: use `tickline spikes label`")
    first, last = found["bucket"].min(), found["bucket"].max()
    assert isinstance(first, datetime) and isinstance(last, datetime)
    names = tuple(found["instrument_key"].unique(maintain_order=True))
    return names, start or day_start(first) - BEFORE, end or day_start(last) + timedelta(days=1)


def read_database(
    names: tuple[str, ...], start: datetime | None, end: datetime | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the minute bars of instruments with their class, and what people said of them."""

    from analytics.evaluation.classes import with_market
    from analytics.read.bars_and_ticks import bars
    from analytics.read.statement import select
    from ingest.database.connections import Database
    from ingest.database.settings import DatabaseSettings, load
    from ingest.errors import ConfigError

    if lost := [name for name in names if name.endswith((".parquet", ".csv"))]:
        raise ConfigError(f"file {lost[0]!r} does not exist: name a file, or KEYs of the database")
    with Database.open(load(DatabaseSettings)) as database:
        found = bars(names, start=start, end=end, database=database)
        terms = select(
            "select instrument_key, instrument_type, underlying_key, strike, expiry from instruments", database
        )
        labels = select(
            "select instrument_key, bucket, verdict from labels join instruments using (instrument_id)", database
        )
    if found.is_empty():
        raise ConfigError("these instruments have no bars in this range: choose another with --from and --to")
    return with_market(found, terms), labels
