"""Bars and ticks read into Polars, on both engines."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import psycopg
import pytest
from polars.testing import assert_frame_equal

import analytics
from analytics.schema import BARS, TICKS
from ingest.database.connections import Database
from ingest.errors import ConfigError, Retryable, SchemaError

INFY, FUTURE = "NSE_EQ|INE009A01021", "NSE_FO|49543"
DAY, NEXT_DAY = date(2025, 12, 15), date(2025, 12, 16)
OPEN = datetime(2025, 12, 15, 3, 45, tzinfo=UTC)
Connection = psycopg.Connection[Any]


@pytest.fixture
def market(conn: Connection) -> Connection:
    """Two instruments with three ticks a minute for ten minutes; the vendor's bars of the first four."""
    conn.execute(
        "insert into instruments (instrument_key, segment, name, trading_symbol, instrument_type, expiry) values "
        "(%s, 'NSE_FO', 'NIFTY', 'NIFTY FUT 30 DEC 25', 'FUT', '2025-12-30'), "
        "(%s, 'NSE_EQ', 'INFOSYS LIMITED', 'INFY', 'EQ', null)",
        (FUTURE, INFY),
    )
    for key, oi in ((FUTURE, 500), (INFY, None)):
        add_ticks(conn, key, [OPEN + timedelta(seconds=20 * n) for n in range(30)], oi=oi)
    conn.execute(
        "insert into official_bars_1m (instrument_id, bucket, open, high, low, close, volume, oi, source) "
        "select instrument_id, %s + n * interval '1 minute', 200 + n, 210, 190, 205, 1000, null, "
        "case n when 3 then 'intraday' else 'I1' end from instruments, generate_series(0, 3) as n",
        (OPEN,),
    )
    return conn


def add_ticks(conn: Connection, key: str, times: Iterable[datetime], oi: int | None = None) -> None:
    """Insert a trade of 5 units at 100, 101, ... at each of the times, in their order; greeks where there is OI."""
    rows = list(times)
    conn.execute("select tickline.ensure_partitions(%s, %s)", (min(rows), max(rows)))
    conn.cursor().executemany(
        "insert into ticks "
        "(ts, instrument_id, seq, traded, ltp, ltq, ltt, vtt, volume, oi, received_at, iv, delta, gamma) "
        "select %(ts)s, instrument_id, %(n)s, true, 100.0 + %(n)s, 1, %(ts)s, 5 * (%(n)s + 1), 5, %(oi)s, %(ts)s, "
        "%(iv)s::float8, %(iv)s::float8 / 2, %(iv)s::float8 / 4 "
        "from instruments where instrument_key = %(key)s",
        [{"ts": ts, "n": n, "oi": oi, "iv": oi and float(n), "key": key} for n, ts in enumerate(rows)],
    )


def test_bars_of_several_names_are_sorted_and_typed(market: Connection, database: Database) -> None:
    frame = analytics.bars(["nifty fut", "INFY", INFY], start=DAY, end=NEXT_DAY, database=database)
    assert frame.schema == pl.Schema(BARS)
    assert frame["instrument_key"].to_list() == [INFY] * 10 + [FUTURE] * 10
    assert frame["bucket"].to_list() == [OPEN + timedelta(minutes=n) for n in range(10)] * 2
    assert frame["source"].to_list() == (["official"] * 3 + ["backfill"] + ["ticks"] * 6) * 2
    assert frame.row(0, named=True) == {
        "instrument_key": INFY,
        "bucket": OPEN,
        "open": 200.0,
        "high": 210.0,
        "low": 190.0,
        "close": 205.0,
        "volume": 1000,
        "oi": None,
        "source": "official",
        "quality": "complete",
        "iv": None,
        "delta": None,
        "gamma": None,
    }


def test_bars_sources_are_what_they_say(market: Connection, database: Database) -> None:
    made = analytics.bars(FUTURE, source="ticks", database=database)
    assert made["source"].unique().to_list() == ["ticks"]
    assert made.row(4)[2:8] == (112.0, 114.0, 112.0, 114.0, 15, 500)
    assert made.row(4)[-3:] == (14.0, 7.0, 3.5)
    official = analytics.bars(FUTURE, source="official", database=database)
    assert official["source"].to_list() == ["official"] * 3 + ["backfill"]
    assert official.select("iv", "delta", "gamma").null_count().row(0) == (4, 4, 4)
    wide = analytics.bars(FUTURE, interval="75m", database=database)
    assert wide.select("iv", "delta", "gamma").rows() == [(29.0, 14.5, 7.25)]


@pytest.mark.parametrize("source", ["best", "ticks", "official"])
def test_bars_range_is_half_open_and_a_wide_bar_is_read_whole(
    market: Connection, database: Database, source: Any
) -> None:
    whole = {
        interval: analytics.bars(INFY, interval=interval, source=source, database=database)
        for interval in ("1m", "2m", "5m", "10m", "1d")
    }
    start, end = OPEN + timedelta(minutes=2), OPEN + timedelta(minutes=7)
    for interval, frame in whole.items():
        inside = frame.filter(pl.col("bucket") >= start, pl.col("bucket") < end)
        read = analytics.bars(INFY, interval=interval, start=start, end=end, source=source, database=database)
        assert_frame_equal(read, inside)
        assert read.height == {"1m": 5, "2m": 3, "5m": 1, "10m": 0, "1d": 0}[interval] or source == "official"
        assert frame["volume"].sum() == whole["1m"]["volume"].sum()


@pytest.mark.parametrize("source", ["best", "ticks", "official"])
def test_bars_five_minutes_equal_the_roll_up_of_one_minute(market: Connection, database: Database, source: Any) -> None:
    from analytics.read.intervals import roll_up

    minute = analytics.bars([INFY, FUTURE], source=source, database=database)
    five = analytics.bars([INFY, FUTURE], interval=5, source=source, database=database)
    assert_frame_equal(five, roll_up(minute, 5))


@pytest.fixture
def every_kind(market: Connection) -> Connection:
    """Minutes of each source and quality: single trades, the auction, breaks with and without a bar, no OI."""
    for key in (INFY, FUTURE):
        add_ticks(market, key, [OPEN + timedelta(minutes=n) for n in (-8, 20, 25)], oi=70)
    market.execute("insert into instruments (instrument_key, segment) values ('NSE_EQ|LATE', 'NSE_EQ')")
    add_ticks(market, "NSE_EQ|LATE", [OPEN + timedelta(hours=1, seconds=10 * n) for n in range(90)])
    market.execute(
        "insert into unheard_minutes (instrument_id, bucket, quality) "
        "select instrument_id, %s + n * interval '1 minute', case when n %% 4 = 0 then 'partial' else 'gap' end "
        "from instruments, unnest('{-8,1,5,8,12,16,20,60,62}'::int[]) as n where trading_symbol is not null or n > 50",
        (OPEN,),
    )
    market.execute(
        "insert into official_bars_1m (instrument_id, bucket, open, high, low, close, volume, oi, source) "
        "select instrument_id, %s + n * interval '1 minute', 1, 2, 0, 1, null, 9, 'historical' "
        "from instruments, unnest('{-7,30,61}'::int[]) as n",
        (OPEN,),
    )
    return market


@pytest.mark.parametrize("minutes", [1, 5])
def test_best_bars_are_those_of_the_view(every_kind: Connection, database: Database, minutes: int) -> None:
    view = every_kind.execute(
        "select instrument_key, bucket, open, high, low, close, volume, oi, source, quality, iv, delta, gamma "
        f"from best_bars_{minutes}m join instruments using (instrument_id) order by 1, 2"
    ).fetchall()
    frame = analytics.bars([INFY, FUTURE, "NSE_EQ|LATE"], interval=minutes, database=database)
    assert frame.rows() == view
    assert set(frame["quality"]) == {"complete", "auction", "thin", "partial", "gap"}
    assert set(frame["source"]) == {"backfill", "ticks", "official" if minutes == 1 else "mixed"}


@pytest.mark.parametrize("source", ["best", "ticks", "official"])
def test_bars_read_by_several_connections_are_the_same(
    every_kind: Connection, database: Database, monkeypatch: pytest.MonkeyPatch, source: Any
) -> None:
    keys = ["NSE_EQ|LATE", FUTURE, INFY]
    alone = {interval: analytics.bars(keys, interval=interval, source=source, database=database) for interval in (1, 5)}
    monkeypatch.setattr("analytics.read.bars_and_ticks.SHARE_INSTRUMENTS_MIN", 1)
    for interval, frame in alone.items():
        assert_frame_equal(analytics.bars(keys, interval=interval, source=source, database=database), frame)


def test_bars_before_the_open_are_in_the_first_wide_bucket(market: Connection, database: Database) -> None:
    conn = market
    conn.execute("insert into instruments (instrument_key, segment) values ('NSE_EQ|NEW', 'NSE_EQ')")
    add_ticks(conn, "NSE_EQ|NEW", [OPEN - timedelta(minutes=8), OPEN, OPEN + timedelta(minutes=75)])
    minute = analytics.bars("NSE_EQ|NEW", source="ticks", database=database)
    assert minute["bucket"].to_list() == [OPEN - timedelta(minutes=8), OPEN, OPEN + timedelta(minutes=75)]
    assert minute["quality"].to_list() == ["auction", "thin", "thin"]
    wide = analytics.bars("NSE_EQ|NEW", interval="75m", start=OPEN, end=NEXT_DAY, source="ticks", database=database)
    assert wide["bucket"].to_list() == [OPEN, OPEN + timedelta(minutes=75)]
    assert wide.select("open", "close", "volume").rows() == [(100.0, 101.0, 10), (102.0, 102.0, 5)]


def test_bars_outside_of_data_are_an_empty_typed_frame(market: Connection, database: Database) -> None:
    for interval in ("1m", "15m"):
        frame = analytics.bars(INFY, interval=interval, start=NEXT_DAY, database=database)
        assert_frame_equal(frame, pl.DataFrame(schema=BARS))
    assert_frame_equal(analytics.ticks(INFY, end=DAY, database=database), pl.DataFrame(schema=TICKS))


def test_ticks_have_all_columns_in_order_of_time(market: Connection, database: Database) -> None:
    with market.cursor() as cursor:
        columns = [column.name for column in cursor.execute("select * from ticks limit 0").description or ()]
    assert list(TICKS)[1:] == [name for name in columns if name != "instrument_id"]
    # Another tick of the same time: seq breaks the tie.
    add_ticks(market, INFY, [OPEN])
    frame = analytics.ticks([FUTURE, INFY], start=OPEN, end=OPEN + timedelta(seconds=40), database=database)
    assert frame.schema == pl.Schema(TICKS)
    assert frame.select("instrument_key", "seq", "oi").rows() == [
        (INFY, 0, None),
        (INFY, 0, None),
        (INFY, 1, None),
        (FUTURE, 0, 500),
        (FUTURE, 1, 500),
    ]
    assert frame["delta"].to_list() == [None, None, None, 0.0, 0.5]
    assert frame["theta"].is_null().all()


def test_reader_takes_a_url_and_the_settings(
    market: Connection, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = analytics.bars(INFY, database=database)
    assert_frame_equal(analytics.bars(INFY, database=database.url), read)
    monkeypatch.setenv("TICKLINE_DATABASE_URL", database.url)
    assert_frame_equal(analytics.bars(INFY), read)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"keys": "INFI"}, "unknown instrument 'INFI' on 2025-12-15: near matches are 'INFY'"),
        ({"keys": []}, "no instruments are given"),
        ({"interval": "90s"}, "interval '90s' is not a multiple of a minute"),
        ({"source": "exchange"}, "source 'exchange' is none of"),
        ({"start": OPEN.replace(tzinfo=None)}, "start '2025-12-15T03:45:00' has no time zone: add tzinfo"),
        ({"end": "2025-12-15"}, "end '2025-12-15' is not a time: pass a date"),
        ({"end": DAY}, "end '2025-12-15' is not after start '2025-12-15'"),
    ],
)
def test_bars_wrong_argument_is_said_in_a_line(
    market: Connection, database: Database, arguments: dict[str, Any], message: str
) -> None:
    given = {"keys": INFY, "start": DAY, "database": database} | arguments
    with pytest.raises(ConfigError, match=message) as error:
        analytics.bars(given.pop("keys"), **given)
    assert "\n" not in str(error.value)


def test_bars_without_schema_name_the_remedy(empty_database: Database) -> None:
    with pytest.raises(SchemaError, match="db upgrade"):
        analytics.bars(INFY, database=empty_database)


def test_bars_without_server_are_retryable(tmp_path: Any) -> None:
    with pytest.raises(Retryable, match="cannot be reached"):
        analytics.bars(INFY, database=f"postgresql:///tickline?host={tmp_path}")
