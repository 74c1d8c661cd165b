"""The report: signals of a range with outcomes, labels and figures.

Owns what is read for it. Must not know how it is shown.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import psycopg

from analytics.market_time import day_start, market_day
from analytics.read.minute_reader import MinuteReader
from analytics.review.labels import LABELS, label_rows
from analytics.review.summary import HORIZONS, best_and_worst, summary, with_moves
from analytics.schema import KEY, TIME
from analytics.signals.find import settle
from ingest.database.connections import Database, check_schema, translated
from ingest.database.queries import query
from ingest.errors import ConfigError

MEMBER: dict[str, pl.DataType] = {
    "instrument_id": pl.Int64(), KEY: pl.String(), "trading_symbol": pl.String(), "bucket": pl.String(),
    "direction": pl.String(), "confidence": pl.Float64(), "reasons": pl.String(),
}  # fmt: skip
STORED: dict[str, pl.DataType] = {
    "instrument_id": pl.Int64(),
    KEY: pl.String(),
    "trading_symbol": pl.String(),
    "class": pl.String(),  # equity, index, future, option
    "bucket": TIME,
    "rule_set": pl.String(),
    "direction": pl.String(),
    "confidence": pl.Float64(),
    "price": pl.Float64(),  # rupees
    "move": pl.Float64(),  # over the window of the signal, fraction
    "severity": pl.String(),
    "members": pl.List(pl.Struct(MEMBER)),
    "reasons": pl.String(),
    **{f"after_{horizon}m": pl.Float64() for horizon in HORIZONS},  # fraction that the price moved since
    "verdict": pl.String(),
    "note": pl.String(),
}
MINUTE, HOUR = timedelta(minutes=1), timedelta(minutes=60)
DRAWN_BEFORE, DRAWN_AFTER = timedelta(minutes=45), timedelta(minutes=75)


@dataclass(frozen=True, slots=True)
class Report:
    """Signals of a range.

    Attributes
    ----------
    start, end
        The half-open range.
    signals
        Columns of `STORED`, and moved_5m, moved_15m, moved_60m: the outcome in the direction of the signal.
    figures
        As `summary.summary` returns them.
    missed
        Labels of spikes that no signal told; columns of `labels.LABELS`.
    """

    start: datetime
    end: datetime
    signals: pl.DataFrame
    figures: pl.DataFrame
    missed: pl.DataFrame


def newest_range(database: Database, rule_set: str | None) -> tuple[datetime, datetime]:
    """Return the newest day that has signals, or today."""
    with closing(database.connect(autocommit=True)) as connection:
        check_schema(connection)
        newest = _rows(connection, "newest_signal", rule_set=rule_set)[0][0] or datetime.now(UTC)
    start = day_start(newest)
    return start, start + timedelta(days=1)


def read_report(database: Database, start: datetime, end: datetime, rule_set: str | None = None) -> Report:
    """Return the report of the signals whose minutes are in [start, end); outcomes that are known by now are stored.

    Raises
    ------
    ConfigError
        If no signal has the name of the rule set.
    StoreError
        If the database cannot be read.
    """
    with closing(database.connect(autocommit=True)) as connection:
        check_schema(connection)
        names = [name for (name,) in _rows(connection, "rule_sets")]
        if rule_set is not None and names and rule_set not in names:
            raise ConfigError(f"no signal has the rules {rule_set!r}: name {' or '.join(map(repr, names))}")
        settle(connection, start, _settled_until(connection))
        rows = _rows(connection, "signals", start=start, end=end, rule_set=rule_set)
        said = [row[1:] for row in label_rows(connection, None, start, end)]
    signals = with_moves(pl.DataFrame(rows, schema=STORED, orient="row"))
    missed = pl.DataFrame(said, schema=LABELS, orient="row").filter(pl.col("verdict") == "missed")
    return Report(start, end, signals, summary(signals), missed)


def with_bars(database: Database, report: Report, number: int) -> list[tuple[str, dict[str, Any], pl.DataFrame]]:
    """Return the best and the worst signals with the bars of the hour around them.

    Returns
    -------
    list of tuple
        "best" or "worst", the signal by column, and its bars of the same day: columns of `schema.BARS`.
    """
    found = []
    with closing(database.connect(autocommit=True)) as connection, MinuteReader(database, connection) as reader:
        for name, part in zip(("best", "worst"), best_and_worst(report.signals, number), strict=True):
            for signal in part.iter_rows(named=True):
                at, day = signal["bucket"], day_start(signal["bucket"])
                first, last = max(at - DRAWN_BEFORE, day), min(at + DRAWN_AFTER, day + timedelta(days=1))
                found.append((name, signal, reader.read(first, last, [signal["instrument_id"]])))
    return found


def _settled_until(connection: psycopg.Connection[Any]) -> datetime:
    """Return the end of the time of which all bars are there: the newest minute, or now if that is long over."""
    now = datetime.now(UTC)
    with translated():
        row = connection.execute(query("signals/newest_minute"), {"since": now - timedelta(days=7)}).fetchone()
    newest: datetime | None = row[0] if row is not None else None
    if newest is None or now - newest > HOUR + MINUTE or market_day(newest) < market_day(now):
        return now
    return newest + MINUTE


def _rows(connection: psycopg.Connection[Any], name: str, **parameters: Any) -> list[tuple[Any, ...]]:
    """Return the rows of a query of this room."""
    with translated():
        return connection.execute(query(f"review/{name}"), parameters).fetchall()
