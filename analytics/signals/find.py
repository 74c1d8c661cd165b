"""Find spikes in the database's bars and store them as signals, for a day or minute by minute.

Owns reading bars for detection, the upsert, and following the newest minute. A day's signals depend
on its bars and on those of `history_days` before it, whether judged afterwards or live: every day
starts with the same history. Must not know how a spike is recognised.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import psycopg

from analytics.factors.factors import factors
from analytics.factors.market import TERMS, Market
from analytics.market_time import day_start, market_day
from analytics.read.minute_reader import MinuteReader
from analytics.schema import KEY
from analytics.signals.calibration import Calibration
from analytics.signals.columns import SIGNALS
from analytics.signals.detection import fire
from analytics.signals.earlier_days import Scored
from analytics.signals.events import EventBuilder, with_events
from analytics.signals.live_detection import MINUTES, LiveDetector
from analytics.signals.members import as_json, member_keys, named
from analytics.signals.rules import Rules
from ingest.database.connections import Database, check_schema, connect, translated
from ingest.database.queries import query
from ingest.database.resolve import resolve

log = logging.getLogger(__name__)

MINUTE = timedelta(minutes=1)
POLL_S = 0.5  # interval of checks for a new minute
SETTLE_S = 2.0  # after the first sign of a later minute: trades are reported up to this late
IDLE_S = 10.0  # a newest minute that has not grown for this long is over
NEW = 2 * MINUTE  # so many minutes are made of their ticks, of which there may be a million; more have stored bars
OUTCOME_DAYS = 7  # how many days back outcomes are still noted
FIGURES = ("move", "volume_ratio", "price_score", "volume_score", "trades_score", "iv_score", "oi_score")
Found = Callable[[pl.DataFrame], None]


@dataclass(frozen=True, slots=True)
class Scope:
    """Scope of detection: the rules, and the instruments by name; no names: all that have bars."""

    rules: Rules
    keys: tuple[str, ...] = ()


def find(database: Database, scope: Scope, start: datetime, end: datetime) -> Iterator[pl.DataFrame]:
    """Find and store the signals of the minutes in [start, end), market day by market day.

    Yields
    ------
    polars.DataFrame
        For each day that has bars: `columns.SIGNALS`, trading_symbol and is_new (not stored before).

    Raises
    ------
    ConfigError
        If a name is wrong.
    StoreError
        If the database cannot be read or written.
    """
    with _opened(database) as (connection, reading, reader):
        begin = day_start(start)
        while begin < end:
            until = min(begin + timedelta(days=1), end)
            bars = _day_with_history(reader, scope, _ids_of(reading, scope, market_day(begin)), begin, until)
            has_day = not bars.is_empty() and _last(bars) >= begin
            if has_day:
                found = _of_day(_market(reading, reader).history(bars, market_day(begin)), begin, scope.rules)
                yield store(connection, scope.rules, found.filter(pl.col("bucket") >= max(start, begin)))
            begin += timedelta(days=1)
            if has_day:
                # A running day is settled up to its last bar; a finished day as a whole.
                settle(connection, start, _last(bars) + MINUTE if until > datetime.now(UTC) else until)


def newest_day(database: Database) -> datetime:
    """Return the start of the newest market day with ticks, or of today if there are none."""
    with closing(connect(database.reader_url, autocommit=True)) as connection:
        check_schema(connection)
        return day_start(_rows(connection, "signals/newest_tick")[0][0] or datetime.now(UTC))


def empty_signals() -> pl.DataFrame:
    """Return no signals, with the columns that `find` yields."""
    return pl.DataFrame(schema=SIGNALS | {"trading_symbol": pl.String(), "is_new": pl.Boolean()})


def follow(database: Database, scope: Scope, found: Found, stop: Callable[[], bool]) -> None:
    """Find and store signals as minutes are completed, until stopped.

    A minute is over when a later one has begun and `SETTLE_S` have passed, or when it has not grown for
    `IDLE_S`. Begins with the whole newest day, so that spikes from before the start are found too;
    stored signals are not reported again.

    Parameters
    ----------
    found
        Called with the signals of each minute that has new ones, as `find` yields them, when they are stored.
    stop
        Asked at every poll.

    Raises
    ------
    ConfigError, StoreError
        As `find`.
    """
    with _opened(database) as (connection, reading, reader):
        minutes = _completed(reading, stop)
        watcher, day, ids, market = None, None, None, None
        for until in minutes:
            if watcher is None or market is None or market_day(until) != day:
                day = market_day(until)
                ids = _ids_of(reading, scope, day)
                history = _day_with_history(reader, scope, ids, day_start(until), until + MINUTE)
                market = _market(reading, reader)
                watcher = LiveDetector(scope.rules, market.history(history, day), day)
                _say(watcher.calibration, scope.rules)
                _report(store(connection, scope.rules, watcher.found), found)
            else:
                start = day_start(until) if watcher.until is None else watcher.until + MINUTE
                for minute in next_minutes(reader, ids, start, until + MINUTE):
                    if not market.keys.issuperset(minute[KEY]):
                        market = market.with_terms(_terms(reading, reader))
                    _report(store(connection, scope.rules, watcher.advance(market.minute(minute))), found)
                    watcher.carry_on()
            settle(connection, until - timedelta(days=OUTCOME_DAYS), until + MINUTE)


@contextmanager
def _opened(
    database: Database,
) -> Iterator[tuple[psycopg.Connection[Any], psycopg.Connection[Any], MinuteReader]]:
    """Open the connection that stores, the one that reads, and the reader of bars, both on the same server.

    What a replica has not replayed does not exist for either of them.
    """
    with (
        closing(database.connect(autocommit=True)) as connection,
        closing(connect(database.reader_url, autocommit=True)) as reading,
        MinuteReader(database, reading) as reader,
    ):
        check_schema(reading)
        yield connection, reading, reader


def store(connection: psycopg.Connection[Any], rules: Rules, fired: pl.DataFrame) -> pl.DataFrame:
    """Store the bars that begin a spike; return them with trading_symbol and is_new.

    A signal found again replaces the stored one. New signals are announced on the channel
    tickline_signals when their row is committed. A login that only reads stores none; all are new then.

    Parameters
    ----------
    fired
        Columns of `columns.SIGNALS`.

    Returns
    -------
    polars.DataFrame
        The rows with onset; members have their trading_symbol.
    """
    onsets = fired.filter("onset")
    empty = onsets.with_columns(trading_symbol=pl.lit(None, pl.String), is_new=pl.lit(False))
    if onsets.is_empty():
        return empty
    days = [market_day(bucket) for bucket in onsets["bucket"]]
    ids = _ids(connection, [*onsets[KEY], *member_keys(onsets)], max(days))
    onsets = named(onsets, {key: symbol for key, (_, symbol) in ids.items()})
    symbols = pl.Series([ids[key][1] for key in onsets[KEY]], dtype=pl.String)
    if not _may_store(connection):
        log.warning("signals are not stored, because this login only reads user=%s", connection.info.user)
        return onsets.with_columns(trading_symbol=symbols, is_new=pl.lit(True))
    reasons = [
        json.dumps({"text": row["reasons"]} | {name: row[name] for name in FIGURES if row[name] is not None})
        for row in onsets.iter_rows(named=True)
    ]
    with translated():
        rows = connection.execute(
            query("signals/write_signals"),
            {
                "rule_set": rules.name,
                "instrument_ids": [ids[key][0] for key in onsets[KEY]],
                "buckets": onsets["bucket"].to_list(),
                "directions": onsets["direction"].to_list(),
                "confidences": onsets["confidence"].to_list(),
                "scores": onsets["score"].to_list(),
                "prices": onsets["close"].to_list(),
                "reasons": reasons,
                "severities": onsets["severity"].cast(pl.String).to_list(),
                "members": as_json(onsets, {key: one for key, (one, _) in ids.items()}),
            },
        ).fetchall()
    new = set(rows)
    return onsets.with_columns(
        trading_symbol=symbols,
        is_new=pl.Series([(ids[key][0], at) in new for key, at in onsets.select(KEY, "bucket").iter_rows()]),
    )


def settle(connection: psycopg.Connection[Any], since: datetime, until: datetime) -> None:
    """Store the outcome of the signals since a time, if this login may; `until` is the end of the available bars."""
    if not _may_store(connection):
        return
    with translated():
        connection.execute(query("signals/settle_signals"), {"since": since, "until": until})


def _of_day(bars: pl.DataFrame, begin: datetime, rules: Rules) -> pl.DataFrame:
    """Return the signals of the market day that begins then, out of its bars and those of the days before it."""
    scored = Scored.of(factors(bars.lazy(), rules.windows, MINUTES), rules, market_day(begin))
    calibration = scored.calibration(rules)
    _say(calibration, rules)
    fired = with_events(fire(scored.candidates, rules, calibration), EventBuilder(rules))
    return fired.filter(pl.col("bucket") >= begin)


def _say(calibration: Calibration, rules: Rules) -> None:
    """Log from which confidence on a day's bars fire."""
    limit = max(rules.confidence_min, calibration.confidence_min)
    log.info("signals calibrated days=%d confidence_from=%.2f", calibration.days, limit)


def _market(connection: psycopg.Connection[Any], reader: MinuteReader) -> Market:
    """Return what is known of the instruments read so far."""
    return Market(_terms(connection, reader))


def _terms(connection: psycopg.Connection[Any], reader: MinuteReader) -> pl.DataFrame:
    """Return the terms of the instruments read so far."""
    rows = _rows(connection, "signals/terms", instrument_ids=reader.ids)
    return pl.DataFrame(rows, schema=TERMS, orient="row", strict=False)


def _may_store(connection: psycopg.Connection[Any]) -> bool:
    """Return whether this login may change signals."""
    return _rows(connection, "signals/may_store") == [(True,)]


def _last(bars: pl.DataFrame) -> datetime:
    """Return the newest minute."""
    newest = bars["bucket"].max()
    assert isinstance(newest, datetime)
    return newest


def _report(stored: pl.DataFrame, found: Found) -> None:
    """Pass on new signals."""
    new = stored.filter("is_new")
    if not new.is_empty():
        found(new)


def _day_with_history(
    reader: MinuteReader, scope: Scope, ids: list[int] | None, begin: datetime, until: datetime
) -> pl.DataFrame:
    """Return the bars of a day up to a time, and those of the days before it."""
    return reader.read(begin - timedelta(days=scope.rules.history_days), until, ids)


def _ids_of(connection: psycopg.Connection[Any], scope: Scope, day: date) -> list[int] | None:
    """Return the instrument_ids to judge; None: all."""
    if not scope.keys:
        return None
    return sorted({one.instrument_id for one in resolve(connection, list(scope.keys), on=day)})


def next_minutes(
    reader: MinuteReader, ids: Sequence[int] | None, start: datetime, end: datetime
) -> Iterator[pl.DataFrame]:
    """Yield the bars of each minute in a range that has some, in order; those of a minute are sorted by instrument."""
    # Parted once: looking through all bars for each minute takes the square of the minutes after a long absence.
    bars = reader.read(start, end, ids, is_new=end - start <= NEW)
    minutes = bars.partition_by("bucket", maintain_order=True)
    yield from sorted(minutes, key=lambda bars: bars["bucket"][0])


def _completed(connection: psycopg.Connection[Any], stop: Callable[[], bool]) -> Iterator[datetime]:
    """Yield the newest completed minute, whenever there is another."""
    given: datetime | None = None
    seen: tuple[Any, ...] | None = None
    since: datetime | None = None
    changed = 0.0
    begun: list[tuple[datetime, float]] = []  # minutes not yet settled, and when each was first seen
    while not stop():
        if since is None:
            # Quotes continue after the last trade: the last bar may be long before the last tick.
            newest_tick = _rows(connection, "signals/newest_tick")[0][0]
            since = None if newest_tick is None else day_start(newest_tick)
        rows = [] if since is None else _rows(connection, "signals/newest_minute", since=since)
        clock = time.monotonic()
        if rows and rows[0] != seen:
            changed, seen, since = clock, rows[0], rows[0][0]
            if not begun or begun[-1][0] != since:
                begun.append((since, clock))
        over = None
        if seen is not None and clock - changed >= IDLE_S:
            over = seen[0]
        elif settled := [minute for minute, first in begun if clock - first >= SETTLE_S]:
            over = settled[-1] - MINUTE
            begun = begun[len(settled) - 1 :]
        if over is not None and (given is None or over > given):
            given = over
            yield over
        else:
            time.sleep(POLL_S)


def _ids(connection: psycopg.Connection[Any], keys: list[str], day: date) -> dict[str, tuple[int, str | None]]:
    """Return instrument_id and trading_symbol by key."""
    found = resolve(connection, sorted(set(keys)), on=day)
    return {one.instrument_key: (one.instrument_id, one.trading_symbol) for one in found}


def _rows(connection: psycopg.Connection[Any], name: str, **parameters: Any) -> list[tuple[Any, ...]]:
    """Return the rows of a query."""
    with translated():
        return connection.execute(query(name), parameters).fetchall()
