"""Bars of any interval by `bars()` in SQL: cell by cell those of the views and of Polars, whatever the session."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
from polars.testing import assert_frame_equal

import analytics
from analytics.schema import BARS, SOURCES
from ingest.database.connections import Database
from ingest.pipeline.replay import replay
from ingest.settings import settings
from tests.conftest import Template

INTERVALS = ("1m", "5m", "7m", "1h", "75m", "1d", "1w", "1mo")
MORE = ("2m", "3m", "15m", "30m", "125m")  # in the long run
SHARE, COMMODITY, CURRENCY, INDEX = "NSE_EQ|INE009A01021", "MCX_FO|440939", "NCD_FO|13194", "NSE_INDEX|Nifty 50"
MUHURAT, MUHURAT_OPENS = date(2025, 10, 21), datetime(2025, 10, 21, 8, 15, tzinfo=UTC)
FIRST = {  # the first minute with ticks, before the open of the session or at it
    (SHARE, date(2025, 10, 20)): "03:38",
    (SHARE, MUHURAT): "08:05",
    (SHARE, date(2025, 11, 3)): "04:02",  # recording began late: the exchange knows more of the day than the bars
    (COMMODITY, date(2025, 10, 20)): "03:30",
    (COMMODITY, MUHURAT): "12:00",
    (CURRENCY, date(2025, 10, 20)): "03:31",
    (INDEX, date(2025, 10, 20)): "03:45",
    (INDEX, date(2025, 11, 3)): "03:45",
}
# Minutes are chosen by their source before they are gathered, so that some intervals show it.
OF_SOURCES: list[Any] = [(interval, SOURCES[0]) for interval in INTERVALS]
OF_SOURCES += [(interval, source) for source in SOURCES[1:] for interval in ("1m", "7m", "75m", "1d", "1mo")]
OF_SOURCES += [pytest.param(interval, SOURCES[0], marks=pytest.mark.soak) for interval in MORE]
Connection = psycopg.Connection[Any]


@pytest.fixture(scope="module")
def sessions(template: Template) -> Iterator[Database]:
    """Odd days: auctions, a special session, gaps, commodities at night, a day that began late."""
    with template.fresh() as database, database.connect(autocommit=True) as conn:
        conn.execute(
            "insert into instruments (instrument_key, segment) "
            "select key, split_part(key, '|', 1) from unnest(%s::text[]) as key",
            ([SHARE, COMMODITY, CURRENCY, INDEX],),
        )
        conn.execute(
            "insert into tickline.special_sessions values (%s, 'NSE_EQ', %s), (%s, 'NSE_INDEX', %s)",
            (MUHURAT, MUHURAT_OPENS, MUHURAT, MUHURAT_OPENS),
        )
        rng = random.Random(5)
        for (key, day), first in FIRST.items():
            trade(conn, key, datetime.fromisoformat(f"{day} {first}+00:00"), rng)
        conn.execute("call tickline.refresh_bars('2025-10-20', '2025-11-03 05:00+00')")
        yield database


def trade(conn: Connection, key: str, begins: datetime, rng: random.Random) -> None:
    """Add four hours of ticks with holes, official bars of some minutes, and minutes that were not heard."""
    ticks, price, count = [], 1_000.0, 500
    for minute in range(240):
        at = begins + timedelta(minutes=minute)
        if rng.random() < 0.1:
            continue
        for second in sorted(rng.sample(range(60), rng.choice((1, 1, 2, 4)))):
            price += rng.choice((-0.5, 0.0, 0.5))
            step = None if key == INDEX else rng.choice((5, 10))
            count += step or 0
            ticks.append((at + timedelta(seconds=second), price, None if key == INDEX else count, step, rng.random()))
    conn.execute("select tickline.ensure_partitions(%s, %s)", (begins, begins))
    conn.cursor().executemany(
        "insert into ticks (ts, instrument_id, seq, traded, ltp, vtt, volume, oi, iv, day_open, day_high, day_low, "
        "received_at) select %s, instrument_id, %s, true, %s, %s, %s, %s, %s, 990, 1100, 900, now() "
        "from instruments where instrument_key = %s",
        [
            (at, seq, price, vtt, step, 7 * seq if chance < 0.8 else None, chance if chance < 0.7 else None, key)
            for seq, (at, price, vtt, step, chance) in enumerate(ticks)
        ],
    )
    conn.cursor().executemany(
        "insert into official_bars_1m (instrument_id, bucket, open, high, low, close, volume, oi, source) "
        "select instrument_id, %s, 1000, 1010, 995, 1001, %s, %s, %s from instruments where instrument_key = %s",
        [
            (
                begins + timedelta(minutes=m),
                rng.choice((None, 1)),
                rng.choice((None, 9)),
                rng.choice(("I1", "ohlc")),
                key,
            )
            for m in range(260)
            if rng.random() < 0.4
        ],
    )
    conn.cursor().executemany(
        "insert into unheard_minutes (instrument_id, bucket, quality) "
        "select instrument_id, %s, %s from instruments where instrument_key = %s",
        [
            (begins + timedelta(minutes=m), rng.choice(("gap", "partial")), key)
            for m in range(250)
            if rng.random() < 0.03
        ],
    )


def in_sql(database: Database, question: str, *parameters: Any) -> pl.DataFrame:
    """Return bars that SQL gives, as the frame that Polars gives."""
    columns = ", ".join(f"bar.{name}" for name in list(BARS)[1:])
    with database.connect() as conn:
        rows = conn.execute(
            f"select instrument_key, {columns} from {question} as bar join instruments using (instrument_id)",
            parameters,
        ).fetchall()
    frame = pl.DataFrame(
        rows, schema={name: pl.String() if dtype.is_(pl.Enum) else dtype for name, dtype in BARS.items()}, orient="row"
    )
    return frame.cast(dict(BARS)).sort("instrument_key", "bucket")  # type: ignore[arg-type]


KEYS = [COMMODITY, CURRENCY, INDEX, SHARE]


@pytest.mark.parametrize(("interval", "source"), OF_SOURCES)
def test_bars_in_sql_are_those_of_polars_cell_by_cell(sessions: Database, interval: str, source: Any) -> None:
    ours = in_sql(sessions, "bars(null::integer[], %s, source => %s)", interval, source)
    theirs = analytics.bars(KEYS, interval=interval, source=source, database=sessions)
    assert ours.height >= 4
    assert_frame_equal(ours, theirs, check_exact=True)


@pytest.mark.parametrize(
    "interval",
    ["1m", "7m", "75m", "1d", "1w", "1mo", *(pytest.param(one, marks=pytest.mark.soak) for one in MORE)],
)
def test_bars_of_a_range_are_whole_and_begin_in_it(sessions: Database, interval: str) -> None:
    all_of_them = in_sql(sessions, "bars(null::integer[], %s)", interval)
    for start, end in [
        (datetime(2025, 10, 20, 4, 1, 30, tzinfo=UTC), datetime(2025, 10, 21, 9, 0, tzinfo=UTC)),
        (datetime(2025, 10, 21, 8, 15, tzinfo=UTC), datetime(2025, 11, 4, tzinfo=UTC)),
        (datetime(2025, 10, 1, 3, 45, tzinfo=UTC), datetime(2025, 11, 1, 3, 45, tzinfo=UTC)),
    ]:
        ours = in_sql(sessions, "bars(array(select instrument_id from instruments), %s, %s, %s)", interval, start, end)
        assert_frame_equal(
            ours, analytics.bars(KEYS, interval=interval, start=start, end=end, database=sessions), check_exact=True
        )
        assert_frame_equal(ours, all_of_them.filter((pl.col("bucket") >= start) & (pl.col("bucket") < end)))


@pytest.mark.parametrize(("view", "interval"), [("best_bars_1m", "1m"), ("best_bars_5m", "5m")])
def test_views_have_the_same_bars(sessions: Database, view: str, interval: str) -> None:
    assert_frame_equal(
        in_sql(sessions, view), in_sql(sessions, "bars(null::integer[], %s)", interval), check_exact=True
    )


def test_bars_of_the_recorded_session_are_the_same_three_ways(database: Database, short_session: Path) -> None:
    asyncio.run(replay(settings(), database.url, [short_session]))
    with database.connect() as conn:
        keys = [key for (key,) in conn.execute("select instrument_key from instruments order by 1").fetchall()]
    for interval in ("1m", "5m", "75m", "1d", "1w"):
        ours = in_sql(database, "bars(null::integer[], %s)", interval)
        assert_frame_equal(ours, analytics.bars(keys, interval=interval, database=database), check_exact=True)
        if interval in ("1m", "5m"):
            assert_frame_equal(ours, in_sql(database, f"best_bars_{interval}"), check_exact=True)
        if interval == "1d":
            with database.connect() as conn:
                said = conn.execute(
                    "select instrument_key, open, high, low, volume from instruments join lateral "
                    "(select day_open as open, day_high as high, day_low as low, vtt as volume from ticks "
                    "where ticks.instrument_id = instruments.instrument_id and traded and day_open is not null "
                    "order by ts desc, seq desc limit 1) as said on true"
                ).fetchall()
            of_day = {row[0]: row for row in ours.select("instrument_key", "open", "high", "low", "volume").rows()}
            assert len(said) > 5
            assert [of_day[row[0]] for row in said] == said


def test_day_takes_what_the_exchange_said_of_it_also_after_its_ticks_were_dropped(sessions: Database) -> None:
    columns = "bucket, open, high, low, volume"
    question = f"select {columns} from bars(%s, '1d', '2025-11-03')"
    with sessions.connect(autocommit=True) as conn:
        before = conn.execute(question, (SHARE,)).fetchall()
        [(last_vtt,)] = conn.execute(
            "select max(vtt) from ticks join instruments using (instrument_id) "
            "where instrument_key = %s and ts >= '2025-11-03'",
            (SHARE,),
        ).fetchall()
        assert before == [(datetime(2025, 11, 3, 3, 45, tzinfo=UTC), 990.0, 1100.0, 900.0, last_vtt)]
        [(own_open,)] = conn.execute(
            "select open from best_bars_1m join instruments using (instrument_id) "
            "where instrument_key = %s and bucket >= '2025-11-03' order by bucket limit 1",
            (SHARE,),
        ).fetchall()
        assert own_open != 990.0
        with conn.transaction(force_rollback=True):
            conn.execute(
                "insert into tickline.active_instruments (instrument_id) select instrument_id from instruments"
            )
            conn.execute("call tickline.keep_official_days('2025-11-03')")
            conn.execute("delete from ticks where ts >= '2025-11-03'")
            assert conn.execute(question, (SHARE,)).fetchall() == before


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("bars('NSE_EQ|INE009A01021', '0m')", "interval '0m' is not a multiple of a minute"),
        ("bars('NSE_EQ|INE009A01021', '25h')", "interval '25h' is not a multiple of a minute"),
        ("bars('NSE_EQ|INE009A01021', '2w')", "interval '2w' is not a multiple of a minute"),
        ("bars('NSE_EQ|INE009A01021', source => 'mine')", "source 'mine' is none of"),
        ("bars('NOBODY')", "unknown instrument 'NOBODY' on "),
    ],
)
def test_wrong_question_is_answered_with_what_is_wrong(sessions: Database, question: str, said: str) -> None:
    with sessions.connect() as conn, pytest.raises(psycopg.Error) as raised:
        conn.execute(f"select * from {question}")
    assert str(raised.value).startswith(said)
