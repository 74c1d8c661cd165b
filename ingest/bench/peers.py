"""Peers: other ways from frames to committed rows, each as the documentation of its library shows it.

Each decodes every frame and inserts every update, with all fields it decodes, into a table of its own in the same
server. They have less to do than the ingester: frames come from memory instead of a socket, nothing is journalled,
judged or counted, no volume is computed, and the table has no index. Importing this module raises ConfigError if the
extra `bench` is not installed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg
import psycopg
from google.protobuf.json_format import MessageToDict
from psycopg import sql as psql
from sqlalchemy import BigInteger, DateTime, Double, Identity, Text, create_engine
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column
from sqlalchemy.types import TypeEngine

from ingest.errors import ConfigError
from ingest.journal.recording import read_recording
from ingest.market.time import utc_of_ms

try:
    import pyarrow as pa
    from adbc_driver_postgresql import dbapi as adbc
    from upstox_client.feeder.proto import MarketDataFeedV3_pb2 as vendor
except ModuleNotFoundError as exc:
    raise ConfigError(
        f"peers need the library {exc.name!r}, which is not installed: run `pip install 'tickline[bench]'`"
    ) from exc

if TYPE_CHECKING:
    from ingest.bench.processes import Bench

TABLE = "bench_peer"
BATCH_TICKS = 10_000  # of a COPY and its commit, as the ingester's
ATTRIBUTES = "vendor's protobuf class"
DICTS = "vendor's protobuf class and MessageToDict"

# Column -> PostgreSQL type, in the order of a row. There is no key: a table that is only written needs none.
COLUMNS: dict[str, str] = {
    "ts": "timestamptz", "received_at": "timestamptz", "instrument_key": "text",
    "ltp": "float8", "ltt": "timestamptz", "ltq": "int8", "cp": "float8",
    "atp": "float8", "vtt": "int8", "oi": "float8", "iv": "float8", "tbq": "float8", "tsq": "float8",
    "bid_qty": "int8", "bid": "float8", "ask_qty": "int8", "ask": "float8",
    "delta": "float8", "theta": "float8", "gamma": "float8", "vega": "float8", "rho": "float8",
    "day_open": "float8", "day_high": "float8", "day_low": "float8",
}  # fmt: skip
TickRow = tuple[Any, ...]
Insert = Callable[[Sequence[bytes]], int]  # decode frames, insert and commit their updates, return their number


class PeerRun(NamedTuple):
    """One run of a peer."""

    ticks: int
    seconds: float  # from the first frame in memory to the last commit
    client_cpu_s: float
    server_cpu_s: float


@dataclass(frozen=True, slots=True)
class Peer:
    """A way from frames to committed rows.

    Parameters
    ----------
    name, decoder
        What it uses.
    open
        Connects to a libpq URL and makes the table.
    batch_ticks
        About how many ticks `Insert` gets at a time; 0: one frame.
    """

    name: str
    decoder: str
    open: Callable[[str], AbstractContextManager[Insert]]
    batch_ticks: int = 0

    def run(self, bench: Bench, seconds_max: float) -> PeerRun:
        """Insert the frames of a bench's market into a new table, until all are in or the time is up."""
        payloads = [frame.payload for frame in read_recording(bench.market.recording)]
        size = max(1, round(self.batch_ticks / bench.market.ticks_per_frame))
        ticks = 0
        with self.open(bench.database.owner_url) as insert:  # makes its table
            server_s, client_s, began = bench.server_cpu_s(), time.process_time(), time.perf_counter()
            for start in range(0, len(payloads), size):
                ticks += insert(payloads[start : start + size])
                seconds = time.perf_counter() - began
                if seconds > seconds_max:
                    break
            client_s, server_s = time.process_time() - client_s, bench.server_cpu_s() - server_s
        return PeerRun(ticks, seconds, client_s, server_s)


def by_attributes(payload: bytes, moment: Callable[[int], Any] = utc_of_ms) -> Iterator[TickRow]:
    """Decode a frame by the attributes of its message; `moment` makes a time of epoch milliseconds."""
    message = vendor.FeedResponse.FromString(payload)
    ts, received = moment(message.currentTs), moment(time.time_ns() // 1_000_000)
    for key, feed in message.feeds.items():
        full = feed.fullFeed
        if full.HasField("indexFF"):
            market = full.indexFF
            of_market: TickRow = (None,) * 15
        else:
            market = full.marketFF
            levels, greeks = market.marketLevel.bidAskQuote, market.optionGreeks
            best: Any = levels[0] if levels else None
            of_market = (
                market.atp, market.vtt, market.oi, market.iv, market.tbq, market.tsq,
                *((best.bidQ, best.bidP, best.askQ, best.askP) if best is not None else (None,) * 4),
                greeks.delta, greeks.theta, greeks.gamma, greeks.vega, greeks.rho,
            )  # fmt: skip
        last = market.ltpc
        day: Any = next((candle for candle in market.marketOHLC.ohlc if candle.interval == "1d"), None)
        yield (
            ts, received, key, last.ltp, moment(last.ltt) if last.ltt else None, last.ltq, last.cp, *of_market,
            *((day.open, day.high, day.low) if day is not None else (None,) * 3),
        )  # fmt: skip


def by_dicts(payload: bytes) -> Iterator[TickRow]:
    """Decode a frame as the vendor's streamer does, into dicts, in which an int64 is a text."""
    message = MessageToDict(vendor.FeedResponse.FromString(payload))
    ts, received = utc_of_ms(int(message["currentTs"])), datetime.now(UTC)

    def whole(part: dict[str, Any], name: str) -> int | None:
        return int(part[name]) if name in part else None

    for key, feed in message["feeds"].items():
        full = feed["fullFeed"]
        market = full.get("marketFF") or full.get("indexFF") or {}
        last, greeks = market.get("ltpc", {}), market.get("optionGreeks", {})
        best: dict[str, Any] = next(iter(market.get("marketLevel", {}).get("bidAskQuote", [])), {})
        candles = market.get("marketOHLC", {}).get("ohlc", [])
        day: dict[str, Any] = next((candle for candle in candles if candle.get("interval") == "1d"), {})
        yield (
            ts, received, key,
            last.get("ltp"), utc_of_ms(int(last["ltt"])) if "ltt" in last else None, whole(last, "ltq"), last.get("cp"),
            market.get("atp"), whole(market, "vtt"), market.get("oi"), market.get("iv"),
            market.get("tbq"), market.get("tsq"),
            whole(best, "bidQ"), best.get("bidP"), whole(best, "askQ"), best.get("askP"),
            *(greeks.get(name) for name in ("delta", "theta", "gamma", "vega", "rho")),
            *(day.get(name) for name in ("open", "high", "low")),
        )  # fmt: skip


def rows_of_frames(payloads: Iterable[bytes], moment: Callable[[int], Any] = utc_of_ms) -> list[TickRow]:
    """Decode frames by attributes into rows."""
    return [row for payload in payloads for row in by_attributes(payload, moment)]


def make_table(connection: psycopg.Connection[Any]) -> None:
    """Make the peers' table, empty. Commits are durable: `synchronous_commit` is on unless someone turns it off."""
    connection.execute(f"drop table if exists {TABLE}")
    fields = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    connection.execute(f"create table {TABLE} ({fields})")
    connection.commit()


@contextmanager
def _with_table(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url) as connection:
        make_table(connection)
        yield connection


@contextmanager
def open_executemany(url: str) -> Iterator[Insert]:
    """Psycopg, "executemany": one for each frame, and a commit."""
    statement = psql.SQL("insert into {} values ({})").format(
        psql.Identifier(TABLE), psql.SQL(", ").join(psql.Placeholder() * len(COLUMNS))
    )
    with _with_table(url) as connection:

        def insert(payloads: Sequence[bytes]) -> int:
            rows = [row for payload in payloads for row in by_dicts(payload)]
            connection.cursor().executemany(statement, rows)
            connection.commit()
            return len(rows)

        yield insert


class Base(DeclarativeBase):
    """Declarative base of the ORM's peer."""


_TYPES: dict[str, TypeEngine[Any]] = {
    "timestamptz": DateTime(timezone=True),
    "text": Text(),
    "float8": Double(),
    "int8": BigInteger(),
}
Tick = type(
    "Tick",
    (Base,),
    {"__tablename__": TABLE, "id": mapped_column(BigInteger, Identity(), primary_key=True)}
    | {name: mapped_column(_TYPES[kind], nullable=True) for name, kind in COLUMNS.items()},
)


@contextmanager
def open_orm(url: str) -> Iterator[Insert]:
    """SQLAlchemy, "ORM quick start": an object, `Session.add` and a commit for each tick."""
    engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url))
    Base.metadata.drop_all(engine)
    Base.metadata.create_all(engine)  # the ORM needs a primary key, so this table has one
    with Session(engine) as session:

        def insert(payloads: Sequence[bytes]) -> int:
            rows = rows_of_frames(payloads)
            for row in rows:
                session.add(Tick(**dict(zip(COLUMNS, row, strict=True))))
                session.commit()
            return len(rows)

        yield insert
    engine.dispose()


@contextmanager
def open_write_row(url: str) -> Iterator[Insert]:
    """Psycopg, "Copying row-by-row", binary with `set_types`."""
    statement = psql.SQL("copy {} from stdin (format binary)").format(psql.Identifier(TABLE))
    with _with_table(url) as connection:

        def insert(payloads: Sequence[bytes]) -> int:
            rows = rows_of_frames(payloads)
            with connection.cursor().copy(statement) as copy:
                copy.set_types(list(COLUMNS.values()))
                for row in rows:
                    copy.write_row(row)
            connection.commit()
            return len(rows)

        yield insert


@contextmanager
def open_asyncpg(url: str) -> Iterator[Insert]:
    """Asyncpg, `copy_records_to_table`, which is a transaction of its own."""
    with _with_table(url) as libpq:
        at = libpq.info  # asyncpg does not know all parameters of a libpq URL
        where = {"host": at.host, "port": at.port, "user": at.user, "database": at.dbname}
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(**where))

        def insert(payloads: Sequence[bytes]) -> int:
            rows = rows_of_frames(payloads)
            runner.run(connection.copy_records_to_table(TABLE, records=rows))
            return len(rows)

        yield insert
        runner.run(connection.close())


@contextmanager
def open_adbc(url: str) -> Iterator[Insert]:
    """ADBC, "Ingesting data": `adbc_ingest` of an Arrow table."""
    with _with_table(url):
        pass
    kinds = {"timestamptz": pa.timestamp("us", tz="UTC"), "text": pa.string(), "float8": pa.float64()}
    schema = pa.schema([(name, kinds.get(kind, pa.int64())) for name, kind in COLUMNS.items()])
    with closing(adbc.connect(url)) as connection, closing(connection.cursor()) as cursor:

        def insert(payloads: Sequence[bytes]) -> int:
            columns = zip(*rows_of_frames(payloads, lambda ms: ms * 1000), strict=True)
            arrays = [pa.array(values, kind) for values, kind in zip(columns, schema.types, strict=True)]
            table = pa.table(arrays, schema=schema)
            cursor.adbc_ingest(TABLE, table, mode="append")
            connection.commit()
            return int(table.num_rows)

        yield insert


PEERS: dict[str, Peer] = {
    "sdk executemany": Peer("psycopg executemany, a commit a frame", DICTS, open_executemany),
    "orm": Peer("SQLAlchemy ORM, a commit a tick", ATTRIBUTES, open_orm),
    "write_row": Peer("psycopg COPY write_row, binary", ATTRIBUTES, open_write_row, BATCH_TICKS),
    "asyncpg": Peer("asyncpg copy_records_to_table", ATTRIBUTES, open_asyncpg, BATCH_TICKS),
    "adbc": Peer("ADBC adbc_ingest from Arrow", ATTRIBUTES, open_adbc, BATCH_TICKS),
}
