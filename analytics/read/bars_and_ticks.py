"""Read bars and ticks from the database into Polars.

Owns what is read: names to instruments, the queries of `sql/queries/`, and the frame the caller gets. Must not know
an engine, nor how the rows were written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import polars as pl
import psycopg

from analytics.market_time import SpecialSession, market_day, moment
from analytics.read.best_bars import best_minutes, official_bars, tick_bars
from analytics.read.copy_reader import CopyReader
from analytics.read.exported_ticks import with_exported
from analytics.read.intervals import (
    DAY_MINUTES,
    FIVE,
    five_minutes,
    interval_minutes,
    periods,
    read_range,
    roll_up,
    with_official_days,
)
from analytics.schema import BARS, DEPTH, OFFICIAL_DAYS, SOURCES, TICKS, Source
from ingest.database.connections import Database, check_schema, connect
from ingest.database.queries import query
from ingest.database.resolve import Instrument, resolve
from ingest.database.settings import DatabaseSettings, load
from ingest.errors import ConfigError

Keys = str | Sequence[str]
# Minutes of the bars that the database keeps, by source, widest first: a wider interval is built
# from the widest that divides it, with a fifth of the rows.
_KEPT_MINUTES: dict[str, tuple[int, ...]] = {"best": (1,), "ticks": (5, 1), "official": (1,)}
# A read of many instruments is divided over connections, each with a server process that uses one core. More
# connections gain nothing on 2 cores and little on 8.
CONNECTIONS_MAX = 4
SHARES_MAX = 8  # the columns of one share are built while another is read
SHARE_INSTRUMENTS_MIN = 100  # fewer are read before another connection is open


@dataclass(frozen=True, slots=True)
class _Plan:
    """What to read, all with queries of `sql/queries/`.

    Attributes
    ----------
    queries
        Queries with many rows: numbers and times.
    combine
        Builds one frame from their results, in order, the rows of `few`, and instrument_ids.
    start, end
        The range; None: no bound.
    schema
        Columns of the frame.
    time, ties
        Sort order of one instrument's rows: a time, and columns that break ties within a second of it.
    few
        Queries with few rows, of any type.
    """

    queries: tuple[str, ...]
    combine: Callable[..., pl.DataFrame]
    start: datetime | None
    end: datetime | None
    schema: Mapping[str, pl.DataType]
    time: str = "bucket"
    ties: tuple[str, ...] = ()
    few: tuple[str, ...] = ()

    @property
    def range(self) -> dict[str, Any]:
        """The range as query parameters."""
        return {"start": self.start or "-infinity", "end": self.end or "infinity"}


def _bars_plan(source: str, minutes: int, start: datetime | None, end: datetime | None) -> _Plan:
    """Return the plan for bars that the database keeps, `minutes` wide."""
    unheard, ours, official = "read/unheard_of_instruments", f"read/bars_ticks_{minutes}m", "read/bars_official_1m"
    if source == "best":
        return _Plan((official, ours, unheard), _plainly(best_minutes), start, end, BARS)
    if source == "ticks":
        combine = _plainly(partial(tick_bars, minutes=minutes))
        return _Plan((ours, unheard), combine, start, end, BARS)
    return _Plan((official,), _plainly(official_bars), start, end, BARS)


def _plainly(combine: Callable[..., pl.DataFrame]) -> Callable[..., pl.DataFrame]:
    """Adapt a combine function that does not need the instrument_ids."""
    return lambda *frames, **_: combine(*frames)


def bars(
    keys: Keys,
    *,
    interval: str | int | timedelta = "1m",
    start: date | datetime | None = None,
    end: date | datetime | None = None,
    source: Source = "best",
    database: Database | str | None = None,
) -> pl.DataFrame:
    """Return the bars of instruments.

    Parameters
    ----------
    keys
        Instrument keys or names ("NSE_FO|53001", "INFY", "NIFTY FUT"), one or several; see
        `ingest.database.resolve.resolve`. Names are resolved for the day of `start`, otherwise of
        `end`, otherwise for today.
    interval
        Any multiple of a minute up to a day: "1m", "75m", "1h", "1d", minutes, or a timedelta; "1w", "1mo".
        Buckets begin at the open of the session; see `analytics.read.intervals`. Trades before the
        open have bars of their own in the intervals that the database keeps (1m, 5m), and are part of
        the day's first bar in all others. A day takes the exchange's own open, high, low and volume
        where the feed said them.
    start, end
        Half-open range [start, end) of the buckets; a bar that begins in it is read whole. Aware
        datetimes; a date means its midnight in India. None: no bound.
    source
        "best": the exchange's own bar if there is one, otherwise ours; "ticks": ours, made from
        ticks; "official": only the exchange's.
    database
        An open database, a libpq URL, or None: that of the settings (`TICKLINE_DATABASE_URL`, otherwise
        the embedded server, which each call starts and stops unless something else keeps it running).

    Returns
    -------
    polars.DataFrame
        Columns and dtypes of `analytics.schema.BARS`, sorted by instrument_key and bucket: instrument_key
        String; bucket Datetime("us", "UTC"), the bar's start; open, high, low, close Float64 in
        rupees; volume, oi Int64 in units, null if unknown; source, quality Enum; iv, delta, gamma
        Float64, the bar's last values from our ticks, null for instruments other than options. An
        instrument without bars has no rows.

    Raises
    ------
    ConfigError
        If a name, an interval, a source or a time is wrong.
    StoreError
        If the database cannot be read.

    Examples
    --------
    >>> from datetime import date
    >>> frame = bars("NSE_EQ|INE009A01021", interval="75m", start=date(2025, 12, 15), end=date(2025, 12, 16))
    >>> frame.columns[7:]
    ['oi', 'source', 'quality', 'iv', 'delta', 'gamma']
    """
    minutes = interval_minutes(interval)
    if source not in SOURCES:
        raise ConfigError(f"source {source!r} is none of {SOURCES}")
    first, last = typed_range(start, end)
    kept = next((width for width in _KEPT_MINUTES[source] if minutes % width == 0), 1)
    # A wide bar that begins in the range also needs rows before the open and after the end.
    read_first, read_last = (first, last) if minutes == kept else read_range(first, last, minutes)
    plan = _bars_plan(source, kept, read_first, read_last)
    with open_database(database) as opened:
        frame = _read(opened, keys, day_of_names(first, last), plan)
        special = [] if minutes in {kept, FIVE} else _special_sessions(opened, plan)
        days = None
        if minutes >= DAY_MINUTES:
            of_days = _Plan(
                ("read/official_days",), _plainly(lambda rows: rows), read_first, read_last, OFFICIAL_DAYS, "begins"
            )
            days = _read(opened, keys, day_of_names(first, last), of_days)
    if minutes == kept:
        return frame.filter(pl.col("close").is_not_null())
    wide = five_minutes(frame) if minutes == FIVE else roll_up(frame, min(minutes, DAY_MINUTES), special)
    if days is not None:
        wide = with_official_days(wide, days)
    if minutes > DAY_MINUTES:
        wide = periods(wide, minutes)
    if first is not None:
        wide = wide.filter(pl.col("bucket") >= first)
    return wide if last is None else wide.filter(pl.col("bucket") < last)


def ticks(
    keys: Keys,
    *,
    start: date | datetime | None = None,
    end: date | datetime | None = None,
    database: Database | str | None = None,
) -> pl.DataFrame:
    """Return the ticks of instruments: one row per update.

    Parameters
    ----------
    keys, database
        As for `bars`.
    start, end
        Half-open range [start, end) of `ts`, as for `bars`. Days dropped from the database are read
        from their files (`tickline export`). A tick takes 200 bytes of memory, and
        a busy instrument has 100,000 per day.

    Returns
    -------
    polars.DataFrame
        Columns and dtypes of `analytics.schema.TICKS`, which has their units, sorted by instrument_key, ts and
        seq (order of arrival).

    Raises
    ------
    ConfigError
        If a name or a time is wrong.
    StoreError
        If the database cannot be read.

    Examples
    --------
    >>> from datetime import date
    >>> frame = ticks("NSE_EQ|INE009A01021", start=date(2025, 12, 15), end=date(2025, 12, 16))
    >>> frame.columns[:4]
    ['instrument_key', 'ts', 'seq', 'traded']
    """
    first, last = typed_range(start, end)
    combine = partial(with_exported, start=first, end=last)
    plan = _Plan(
        ("read/ticks_of_instruments",), combine, first, last, TICKS, "ts", ("ts", "seq"), ("shared/dropped_days",)
    )
    return _read(database, keys, day_of_names(first, last), plan)


def depth(
    keys: Keys,
    *,
    start: date | datetime | None = None,
    end: date | datetime | None = None,
    database: Database | str | None = None,
) -> pl.DataFrame:
    """Return the levels of the order books of instruments, as far as `TICKLINE_DEPTH` kept them.

    Parameters
    ----------
    keys, start, end, database
        As for `ticks`. Depth is not exported: a day that was dropped has none.

    Returns
    -------
    polars.DataFrame
        Columns and dtypes of `analytics.schema.DEPTH`, sorted by instrument_key, ts, seq and level: one row per level
        of an update that brought a book; bid, ask in rupees, bid_qty, ask_qty in units, null for a side that is empty.

    Raises
    ------
    ConfigError
        If a name or a time is wrong.
    StoreError
        If the database cannot be read.
    """
    first, last = typed_range(start, end)
    order = ("ts", "seq", "level")
    plan = _Plan(("read/depth_of_instruments",), _plainly(lambda rows: rows), first, last, DEPTH, "ts", order)
    return _read(database, keys, day_of_names(first, last), plan)


def keys_of(names: Keys, *, start: datetime | None, end: datetime | None, database: Database) -> list[tuple[str, str]]:
    """Return each name with the instrument_key that it means in a range, as `bars` and `ticks` take it."""
    given = [names] if isinstance(names, str) else list(names)
    with connect(database.reader_url) as connection:
        instruments = resolve(connection, given, on=day_of_names(start, end))
    return [(name, one.instrument_key) for name, one in zip(given, instruments, strict=True)]


def typed_range(start: date | datetime | None, end: date | datetime | None) -> tuple[datetime | None, datetime | None]:
    """Return a caller's range as aware UTC."""
    first, last = moment(start, "start"), moment(end, "end")
    if first is not None and last is not None and first >= last:
        raise ConfigError(
            f"end {str(end)!r} is not after start {str(start)!r}: the range does not include its end, "
            "so a day ends with the next day"
        )
    return first, last


@contextmanager
def open_database(database: Database | str | None) -> Iterator[Database]:
    """Open the caller's database, and close it unless it was already open."""
    if isinstance(database, Database):
        yield database
        return
    with Database(database, None) if database is not None else Database.open(load(DatabaseSettings)) as opened:
        yield opened


def day_of_names(start: datetime | None, end: datetime | None) -> date:
    """Return the market-local day for which names are resolved."""
    return market_day(start or (end and end - timedelta(microseconds=1)) or datetime.now(UTC))


def _read(database: Database | str | None, keys: Keys, day: date, plan: _Plan) -> pl.DataFrame:
    """Read the rows of instruments, sorted by instrument_key, then as in the plan."""
    with open_database(database) as opened:
        with connect(opened.reader_url) as connection:
            check_schema(connection)
            instruments = _resolve(connection, keys, day)
            few = [connection.execute(query(name), plan.range).fetchall() for name in plan.few]
            shares = _shares(instruments)
            writer = psycopg.ClientCursor(connection)
            whole = plan.range | {"from_id": None, "below_id": None}
            asked = [whole | {"instrument_ids": [one.instrument_id for one in share]} for share in shares]
            texts = [[writer.mogrify(query(name), parameters) for name in plan.queries] for parameters in asked]

        def arranged(place: int, frames: list[pl.DataFrame]) -> pl.DataFrame:
            rows = plan.combine(*frames, *few, instrument_ids=asked[place]["instrument_ids"])
            return _arranged(rows, shares[place], plan)

        with CopyReader(opened.reader_url, min(CONNECTIONS_MAX, len(shares))) as reader:
            return pl.concat(reader.make(texts, arranged))


def _special_sessions(database: Database, plan: _Plan) -> list[SpecialSession]:
    """Return the sessions in a plan's range that do not open at the usual time."""
    with connect(database.reader_url) as connection:
        return [SpecialSession(*row) for row in connection.execute(query("read/special_sessions"), plan.range)]


def _shares(instruments: Sequence[Instrument]) -> list[Sequence[Instrument]]:
    """Divide instruments into shares, keeping their order."""
    count = min(SHARES_MAX, -(-len(instruments) // SHARE_INSTRUMENTS_MIN))
    bounds = [len(instruments) * n // count for n in range(count + 1)]
    return [instruments[first:last] for first, last in pairwise(bounds)]


def _arranged(rows: pl.DataFrame, instruments: Sequence[Instrument], plan: _Plan) -> pl.DataFrame:
    """Add the keys of the instruments, and sort by them and as in the plan."""
    # One instrument's rows share one key: joined here, the key is not sent with every row.
    names = pl.DataFrame(
        [(found.instrument_id, found.instrument_key) for found in instruments],
        schema={"instrument_id": pl.Int32, "instrument_key": pl.String},
        orient="row",
    ).with_row_index("position")
    # One number sorts twice as fast as two columns.
    seconds = pl.col(plan.time).cast(pl.Int64) // 1_000_000
    return (
        rows.join(names, on="instrument_id")
        .sort(pl.col("position").cast(pl.Int64) * 2**40 + seconds, *plan.ties)
        .select(pl.col(name).cast(dtype) for name, dtype in plan.schema.items())
    )


def _resolve(connection: psycopg.Connection[Any], keys: Keys, day: date) -> list[Instrument]:
    """Return the instruments of the keys, each once, in the order of instrument_key."""
    names = [keys] if isinstance(keys, str) else list(keys)
    if not names:
        raise ConfigError("no instruments are given: pass an instrument key or a name, as 'INFY'")
    found = {instrument.instrument_id: instrument for instrument in resolve(connection, names, on=day)}
    return sorted(found.values(), key=lambda instrument: (instrument.instrument_key, instrument.instrument_id))
