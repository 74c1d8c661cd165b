"""Labels: what a person says of a signal, or of a spike that no signal told.

Owns the table `labels`. A label belongs to an instrument and a minute, so it stays when rules change. Must not know how
spikes are found, nor how the detector is judged by labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal, get_args

import polars as pl
import psycopg

from analytics.market_time import MARKET_ZONE, market_day
from analytics.read.bars_and_ticks import Keys, day_of_names, open_database, typed_range
from analytics.schema import KEY, TIME
from ingest.database.connections import Database, check_schema, connect, translated
from ingest.database.queries import query
from ingest.database.resolve import resolve
from ingest.errors import ConfigError

Verdict = Literal["right", "wrong", "missed"]
VERDICTS: tuple[str, ...] = get_args(Verdict)
LABELS: dict[str, pl.DataType] = {
    KEY: pl.String(),
    "trading_symbol": pl.String(),
    "bucket": TIME,  # start of the minute of the signal, or of the spike that was missed
    "verdict": pl.Enum(VERDICTS),
    "note": pl.String(),  # null: nothing was said
    "labelled_at": TIME,
    "labelled_by": pl.String(),  # login of the database
}
NEAR = timedelta(minutes=60)  # how far from a minute signals are proposed
NEAR_MAX = 5  # fits on one line
TOLD_BEFORE, TOLD_AFTER = timedelta(minutes=10), timedelta(minutes=5)  # a signal this near to a spike tells it


@dataclass(frozen=True, slots=True)
class Labelled:
    """A label that was written or removed.

    Attributes
    ----------
    name
        Trading symbol, otherwise the instrument key.
    bucket
        Start of the minute.
    former
        The verdict that it replaces; of a removed label its own. None: there was none.
    near
        Signals that a spike labelled as missed is near to: it may be one of theirs.
    """

    name: str
    bucket: datetime
    former: str | None
    near: tuple[datetime, ...] = ()


def labels(
    keys: Keys | None = None,
    *,
    start: date | datetime | None = None,
    end: date | datetime | None = None,
    database: Database | str | None = None,
) -> pl.DataFrame:
    """Return what `tickline spikes label` said of signals and missed spikes.

    Parameters
    ----------
    keys
        As for `analytics.bars`; None: all instruments.
    start, end, database
        As for `analytics.bars`; the range is of the labelled minutes.

    Returns
    -------
    polars.DataFrame
        Columns and dtypes of `LABELS`, sorted by instrument_key and bucket: instrument_key, trading_symbol String;
        bucket Datetime("us", "UTC"), the start of the minute; verdict Enum (right, wrong, missed); note String;
        labelled_at Datetime("us", "UTC"); labelled_by String.

    Raises
    ------
    ConfigError
        If a name or a time is wrong.
    StoreError
        If the database cannot be read.
    """
    first, last = typed_range(start, end)
    with open_database(database) as opened, connect(opened.reader_url) as connection:
        check_schema(connection)
        ids = None
        if keys is not None:
            names = [keys] if isinstance(keys, str) else list(keys)
            ids = [one.instrument_id for one in resolve(connection, names, on=day_of_names(first, last))]
        found = label_rows(connection, ids, first, last)
    return pl.DataFrame([row[1:] for row in found], schema=LABELS, orient="row")


def label_rows(
    connection: psycopg.Connection[Any], ids: Sequence[int] | None, start: datetime | None, end: datetime | None
) -> list[tuple[Any, ...]]:
    """Return the rows of the query `review/labels`; None: of all instruments, without a bound."""
    parameters = {"instrument_ids": ids, "start": start or "-infinity", "end": end or "infinity"}
    with translated():
        return connection.execute(query("review/labels"), parameters).fetchall()


def set_label(
    connection: psycopg.Connection[Any], name: str, at: datetime, verdict: Verdict, note: str | None = None
) -> Labelled:
    """Label the signal, or the missed spike, of an instrument at a time; a former label is replaced.

    Raises
    ------
    ConfigError
        If the instrument is not known; if it has no signal in that minute, or for `missed` has one, or has no bar.
    StoreError
        If the database refuses, as to a login that only reads.
    """
    minute = _minute(connection, name, at)
    near = _near(connection, minute, "signals")
    if verdict == "missed":
        _check_missed(connection, minute, near)
    elif minute.bucket not in near:
        remedy = f"near ones are {_listed(near)}" if near else "label a spike that no signal told as missed"
        raise ConfigError(f"no signal of {minute.name!r} at {_shown(minute.bucket)!r}: {remedy}")
    with translated():
        row = connection.execute(
            query("review/write_label"), minute.parameters | {"verdict": verdict, "note": note}
        ).fetchone()
    assert row is not None
    tellers = [at for at in near if minute.bucket - TOLD_BEFORE <= at <= minute.bucket + TOLD_AFTER]
    return Labelled(minute.name, minute.bucket, row[0], tuple(tellers) if verdict == "missed" else ())


def remove_label(connection: psycopg.Connection[Any], name: str, at: datetime) -> Labelled:
    """Remove the label of an instrument at a time.

    Raises
    ------
    ConfigError
        If the instrument is not known or has no label in that minute.
    StoreError
        If the database refuses.
    """
    minute = _minute(connection, name, at)
    with translated():
        row = connection.execute(query("review/remove_label"), minute.parameters).fetchone()
    if row is None:
        near = _near(connection, minute, "labels")
        remedy = f"near ones are {_listed(near)}" if near else "`tickline spikes label --list` shows all labels"
        raise ConfigError(f"no label of {minute.name!r} at {_shown(minute.bucket)!r}: {remedy}")
    return Labelled(minute.name, minute.bucket, row[0])


@dataclass(frozen=True, slots=True)
class _Minute:
    """A minute of an instrument."""

    instrument_id: int
    name: str  # trading symbol, otherwise the key
    bucket: datetime

    @property
    def parameters(self) -> dict[str, Any]:
        """What a query asks for."""
        return {"instrument_id": self.instrument_id, "bucket": self.bucket}


def _minute(connection: psycopg.Connection[Any], name: str, at: datetime) -> _Minute:
    """Return the minute of a time, and what a name means on its day."""
    [found] = resolve(connection, [name], on=market_day(at))
    shown = found.trading_symbol or found.instrument_key
    return _Minute(found.instrument_id, shown, at.replace(second=0, microsecond=0))


def _check_missed(connection: psycopg.Connection[Any], minute: _Minute, signals: Sequence[datetime]) -> None:
    """Refuse to call a minute missed that a signal told, or that has no bar."""
    place = f"{minute.name!r} at {_shown(minute.bucket)!r}"
    if minute.bucket in signals:
        raise ConfigError(f"a signal told {place}: label it right or wrong")
    with translated():
        row = connection.execute(query("review/has_bar"), minute.parameters).fetchone()
    if row != (True,):
        raise ConfigError(f"no bar of {place}: give the minute in which the spike begins")


def _near(connection: psycopg.Connection[Any], minute: _Minute, kind: Literal["signals", "labels"]) -> list[datetime]:
    """Return the minutes near to one that have a signal, or a label; nearest first."""
    parameters = minute.parameters | {"of": kind, "within": NEAR, "most": NEAR_MAX}
    with translated():
        return [at for (at,) in connection.execute(query("review/near_minutes"), parameters)]


def _listed(times: Sequence[datetime]) -> str:
    return ", ".join(repr(_shown(at)) for at in times)


def _shown(at: datetime) -> str:
    """Return a minute as it is typed, in Indian time."""
    return f"{at.astimezone(MARKET_ZONE):%Y-%m-%d %H:%M}"
