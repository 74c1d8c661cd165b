"""Bars out of hand-made ticks: the same answers on both engines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

import analytics
from ingest.database import queries
from ingest.database.connections import Database
from ingest.database.embedded import SUPERUSER

START = datetime(2025, 12, 15, 4, 0, tzinfo=UTC)
BARS = "select bucket, open, high, low, close, volume, oi, ticks, trades from {} where instrument_id = 1 order by 1"
Connection = psycopg.Connection[Any]


def at(seconds: float) -> datetime:
    """A time of the test day."""
    return START + timedelta(seconds=seconds)


def insert(conn: Connection, rows: list[tuple[Any, ...]], *, instrument_id: int = 1) -> None:
    """Insert ticks given as (seconds, seq, traded, ltp, vtt, volume[, oi])."""
    conn.execute("select tickline.ensure_partitions(%s, %s)", (at(rows[0][0]), at(rows[-1][0])))
    with (
        conn.cursor() as cursor,
        cursor.copy(
            "copy ticks (ts, instrument_id, seq, traded, ltp, vtt, volume, oi, received_at) from stdin"
        ) as copy,
    ):
        for seconds, seq, traded, ltp, vtt, volume, *oi in rows:
            ts = at(seconds)
            copy.write_row((ts, instrument_id, seq, traded, ltp, vtt, volume, oi[0] if oi else None, ts))


def refresh(conn: Connection, first: float, last: float) -> None:
    """Refresh the bars of a range of seconds."""
    conn.execute(queries.query("store/refresh_bars"), {"from_ts": at(first), "to_ts": at(last)})


def bars(conn: Connection, view: str = "bars_1m") -> list[tuple[Any, ...]]:
    """The bars of instrument 1, with the bucket in seconds."""
    return [((row[0] - START).total_seconds(), *row[1:]) for row in conn.execute(BARS.format(view)).fetchall()]


def watermark(conn: Connection, view: str) -> float:
    """The watermark in seconds of the test day."""
    row = conn.execute("select tickline.bar_watermark(%s)", (view,)).fetchone()
    assert row is not None
    return float((row[0] - START).total_seconds())


def trades(conn: Connection, minutes: int, *, instrument_id: int = 1) -> None:
    """Three trades a minute of 10 units each."""
    rows = [(i * 20.0, i, True, 100.0 + i % 7, i * 10 + 10, 10, i) for i in range(minutes * 3)]
    insert(conn, rows, instrument_id=instrument_id)


@pytest.fixture(params=["computed", "refreshed"])
def settle(request: pytest.FixtureRequest, conn: Connection) -> Any:
    """Look at the bars above the watermark and below it: they must be the same."""
    return (lambda: None) if request.param == "computed" else (lambda: refresh(conn, 0, 3600))


def test_bar_ohlc_is_of_traded_rows_by_time(conn: Connection, settle: Any) -> None:
    insert(
        conn,
        [
            (1, 1, False, 50.0, 100, 0),
            (10, 4, True, 101.0, 120, 20),
            (5, 9, True, 100.0, 100, 5),
            (30, 5, True, 99.0, 150, 30),
            (40, 6, False, 200.0, 150, 0, 77),
        ],
    )
    settle()
    assert bars(conn) == [(0, 100.0, 101.0, 99.0, 99.0, 55, 77, 5, 3)]


def test_bar_ties_of_ts_are_broken_by_seq(conn: Connection, settle: Any) -> None:
    insert(conn, [(5, 3, True, 103.0, 30, 10), (5, 1, True, 101.0, 10, 10), (5, 2, True, 102.0, 20, 10)])
    settle()
    assert bars(conn) == [(0, 101.0, 103.0, 101.0, 103.0, 30, None, 3, 3)]


def test_bar_bucket_is_half_open(conn: Connection, settle: Any) -> None:
    insert(conn, [(59.999, 1, True, 1.0, 10, 10), (60, 2, True, 2.0, 20, 10)])
    settle()
    assert [(bar[0], bar[1]) for bar in bars(conn)] == [(0, 1.0), (60, 2.0)]


def test_bar_minute_without_trade_is_none(conn: Connection, settle: Any) -> None:
    insert(conn, [(5, 1, True, 1.0, 10, 10), (65, 2, False, 1.0, 10, 0), (125, 3, True, 2.0, 20, 10)])
    settle()
    assert [bar[0] for bar in bars(conn)] == [0, 120]


def test_bar_volume_survives_duplicates_and_counts_skipped_trades(conn: Connection, settle: Any) -> None:
    insert(conn, [(5, 1, True, 1.0, 10, 10), (6, 2, True, 1.0, 500, 490), (6, 2, True, 1.0, 500, 490)])
    settle()
    assert bars(conn)[0][5] == 500


RESET = [
    (5, 1, True, 1.0, 1200, 100),
    (9, 2, False, 1.0, 35, 0),
    (12, 3, False, 1.0, 50, 0),
    (15, 4, True, 1.0, 70, 35),
]


@pytest.mark.parametrize(
    ("rows", "volume"),
    [
        (RESET, 135),  # the hull of its ranges is 1,165
        ([*RESET, (40, 5, True, 1.0, 1300, 1230)], 1365),  # and when it has passed the count before
        ([RESET[0], RESET[0], *RESET[1:], RESET[3]], 135),
        # Of two collectors: one was away for a while, and both saw the rest at other moments.
        (
            [
                (1, 1, True, 1.0, 10, 10),
                (2, 2, True, 1.0, 20, 10),
                (2, 9, True, 1.0, 15, 5),
                (3, 10, True, 1.0, 30, 15),
            ],
            30,
        ),
    ],
)
def test_bar_volume_is_what_was_traded_whatever_the_count_does(
    conn: Connection, settle: Any, rows: list[tuple[Any, ...]], volume: int
) -> None:
    insert(conn, rows)
    settle()
    assert [bars(conn, view)[0][5] for view in ("bars_1m", "bars_5m")] == [volume] * 2
    late = conn.execute(queries.query("database/bars_of_ticks"), {"start": at(0), "end": at(3600)}).fetchone()
    assert late is not None and late[3:] == (0, 0)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_bar_volume_does_not_depend_on_the_order_of_rows(conn: Connection, order: tuple[int, ...]) -> None:
    # One collector heard vtt 100 and 130, the other joined in between and saw 130 with a step of its own.
    rows = [(at(1), 100, 100), (at(2), 130, 30), (at(2), 130, 5)]
    times, counts, steps = zip(*(rows[index] for index in order), strict=True)
    volume = conn.execute("select tickline.counted_volume(%s, %s, %s)", [*map(list, (times, counts, steps))]).fetchone()
    assert volume == (130,)


def test_bar_of_late_ticks_behind_a_reset_counts_each_once(conn: Connection) -> None:
    insert(conn, RESET)
    refresh(conn, 0, 60)
    insert(conn, [(2, 0, True, 1.0, 1100, 60), (30, 5, True, 1.0, 90, 20)])
    refresh(conn, 0, 60)
    assert bars(conn)[0][5] == 60 + 100 + 35 + 20


def test_bar_volume_unknown_step_adds_none(conn: Connection, settle: Any) -> None:
    insert(conn, [(5, 1, True, 1.0, 5000, None), (6, 2, True, 1.0, 5010, 10), (70, 3, True, 1.0, 9000, None)])
    settle()
    assert [bar[5] for bar in bars(conn)] == [10, None]


def test_bar_of_an_index_has_no_volume(conn: Connection, settle: Any) -> None:
    insert(conn, [(5, 1, True, 26000.5, None, None), (7, 2, True, 26001.0, None, None)])
    settle()
    assert bars(conn) == [(0, 26000.5, 26001.0, 26000.5, 26001.0, None, None, 2, 2)]
    assert bars(conn, "bars_5m")[0][5] is None


def test_bar_volumes_sum_to_the_ticks(conn: Connection, settle: Any) -> None:
    trades(conn, 17)
    settle()
    total = conn.execute("select sum(volume)::bigint from ticks").fetchone()
    for view in ("bars_1m", "bars_5m", "best_bars_1m", "best_bars_5m"):
        assert conn.execute(f"select sum(volume)::bigint from {view}").fetchone() == total


GREEKS = "select extract(epoch from bucket - %s)::int, iv, delta, gamma from {} where instrument_id = 1 order by 1"


def greeks(conn: Connection, view: str) -> list[tuple[Any, ...]]:
    """Volatility and greeks of the bars of instrument 1, with the bucket in seconds."""
    return conn.execute(GREEKS.format(view), (START,)).fetchall()


def test_bar_greeks_are_the_last_that_are_known(conn: Connection, settle: Any) -> None:
    times = ((5, True), (20, False), (40, True), (70, True), (130, True))
    insert(conn, [(seconds, n, traded, 100.0, n * 10, 10) for n, (seconds, traded) in enumerate(times, 1)])
    # The trade at 40 s has no greeks, the quote before it has; of the last minute nothing is known.
    conn.execute(
        "update ticks set iv = 0.1 * seq, delta = -0.1 * seq, gamma = case when seq < 2 then 0.001 end "
        "where seq in (1, 2, 4)"
    )
    settle()
    expected = [(0, 0.2, -0.2, 0.001), (60, 0.4, -0.4, None), (120, None, None, None)]
    for view in ("bars_1m", "best_bars_1m"):
        assert greeks(conn, view) == expected
    for view in ("bars_5m", "best_bars_5m"):
        assert greeks(conn, view) == [(0, 0.4, -0.4, 0.001)]


def test_best_bars_greeks_are_ours_where_the_rest_is_official(conn: Connection, settle: Any) -> None:
    trades(conn, 2)
    conn.execute("update ticks set iv = 0.25, delta = 0.5, gamma = 0.001")
    settle()
    official(conn, 60, 1.0, "I1")
    official(conn, 120, 2.0, "I1")
    assert greeks(conn, "best_bars_1m") == [
        (0, 0.25, 0.5, 0.001),
        (60, 0.25, 0.5, 0.001),
        (120, None, None, None),
    ]
    assert greeks(conn, "best_bars_5m") == [(0, 0.25, 0.5, 0.001)]


def test_bar_day_extreme_that_moves_inside_the_minute_counts(conn: Connection, settle: Any) -> None:
    insert(conn, [(5, 1, True, 100.0, 10, 10), (35, 2, True, 101.0, 20, 10), (65, 3, True, 102.0, 30, 10)])
    conn.execute("update ticks set day_high = case seq when 1 then 105 else 110 end, day_low = 90")
    settle()
    assert [(bar[2], bar[3]) for bar in bars(conn)] == [(110.0, 100.0), (102.0, 102.0)]


def test_bars_parallel_plan_gives_the_same(conn: Connection) -> None:
    trades(conn, 30)
    serial = bars(conn), bars(conn, "bars_5m")
    for setting in ("parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size"):
        conn.execute(f"set {setting} = 0")
    conn.execute("set debug_parallel_query = on")
    assert (bars(conn), bars(conn, "bars_5m")) == serial


def test_bars_5m_are_the_roll_up_of_bars_1m(conn: Connection, settle: Any) -> None:
    trades(conn, 17)
    settle()
    rolled_up = conn.execute(
        "select date_bin('5 minutes', bucket, '2000-01-01'), (array_agg(open order by bucket))[1], max(high), "
        "min(low), (array_agg(close order by bucket desc))[1], sum(volume), (array_agg(oi order by bucket desc))[1], "
        "sum(ticks), sum(trades) from bars_1m group by 1 order by 1"
    ).fetchall()
    assert conn.execute(BARS.format("bars_5m")).fetchall() == rolled_up
    assert len(rolled_up) == 4


def test_refresh_late_row_becomes_visible(conn: Connection) -> None:
    trades(conn, 10)
    refresh(conn, 0, 600)
    before = bars(conn)
    insert(conn, [(70.5, 999, True, 500.0, 65, 1)])
    conn.execute("update ticks set iv = 0.3, delta = 0.4, gamma = 0.002 where seq = 999")
    assert bars(conn) == before
    assert greeks(conn, "bars_1m")[1] == (60, None, None, None)
    refresh(conn, 70, 71)
    assert greeks(conn, "bars_1m")[1] == (60, 0.3, 0.4, 0.002)
    assert greeks(conn, "bars_5m")[0] == (0, 0.3, 0.4, 0.002)
    assert bars(conn)[1][2] == 500.0
    assert bars(conn, "bars_5m")[0][2] == 500.0
    assert bars(conn)[2:] == before[2:]


def test_refresh_repeated_changes_nothing(conn: Connection) -> None:
    trades(conn, 12)
    computed = bars(conn), bars(conn, "bars_5m")
    for _ in range(3):
        refresh(conn, 0, 720)
        assert (bars(conn), bars(conn, "bars_5m")) == computed


def test_refresh_bar_whose_trades_are_gone_is_deleted(conn: Connection) -> None:
    trades(conn, 10)
    refresh(conn, 0, 600)
    conn.execute("delete from ticks where ts >= %s and ts < %s", (at(60), at(120)))
    refresh(conn, 60, 120)
    assert [bar[0] for bar in bars(conn)] == [0, *range(120, 600, 60)]
    assert bars(conn, "bars_5m")[0][7] == 12


def test_refresh_never_passes_its_end_into_a_forming_bucket(conn: Connection) -> None:
    trades(conn, 14)
    refresh(conn, 0, 12 * 60 + 30)
    assert watermark(conn, "bars_1m") == 12 * 60
    assert watermark(conn, "bars_5m") == 10 * 60
    insert(conn, [(12 * 60 + 40.5, 999, True, 500.0, 10000, 1)])
    assert max(bar[2] for bar in bars(conn)) == 500.0
    assert max(bar[2] for bar in bars(conn, "bars_5m")) == 500.0


def test_refresh_range_beyond_the_watermark_leaves_no_hole(conn: Connection) -> None:
    trades(conn, 20)
    refresh(conn, 0, 300)
    computed = bars(conn), bars(conn, "bars_5m")
    refresh(conn, 900, 1200)
    assert (bars(conn), bars(conn, "bars_5m")) == computed


def test_refresh_without_ticks_does_nothing(conn: Connection) -> None:
    refresh(conn, 0, 600)
    assert bars(conn) == []


def official(conn: Connection, seconds: float, price: float, source: str) -> None:
    """Insert an official bar of 7 units."""
    conn.execute(
        "insert into official_bars_1m (instrument_id, bucket, open, high, low, close, volume, source) "
        "values (1, %s, %s, %s, %s, %s, 7, %s)",
        (at(seconds), price, price, price, price, source),
    )


def test_best_bars_prefer_the_official_bar(conn: Connection, settle: Any) -> None:
    trades(conn, 4)
    settle()
    official(conn, 60, 1.0, "I1")
    official(conn, 120, 2.0, "historical")
    official(conn, 600, 3.0, "I1")
    found = conn.execute(
        "select extract(epoch from bucket - %s)::int, close, volume, oi, ticks, source, quality "
        "from best_bars_1m where instrument_id = 1 order by 1",
        (START,),
    ).fetchall()
    assert found == [
        (0, 102.0, 30, 2, 3, "ticks", "complete"),
        (60, 1.0, 7, 5, 3, "official", "complete"),
        (120, 2.0, 7, 8, 3, "backfill", "complete"),
        (180, 104.0, 30, 11, 3, "ticks", "complete"),
        (600, 3.0, 7, None, 0, "official", "complete"),
    ]
    rolled_up = conn.execute(
        "select open, high, low, close, volume, oi, ticks, source, quality from best_bars_5m order by bucket"
    ).fetchall()
    assert rolled_up == [
        (100.0, 104.0, 1.0, 104.0, 74, 11, 12, "mixed", "complete"),
        (3.0, 3.0, 3.0, 3.0, 7, None, 0, "official", "complete"),
    ]


def test_best_bars_single_trade_is_thin(conn: Connection) -> None:
    insert(conn, [(5, 1, True, 1.0, 10, 10)])
    assert conn.execute("select quality from best_bars_1m union all select quality from best_bars_5m").fetchall() == [
        ("thin",),
        ("thin",),
    ]


def unheard(conn: Connection, seconds: float, quality: str) -> None:
    conn.execute("insert into unheard_minutes values (1, %s, %s)", (at(seconds), quality))


def test_best_bars_say_what_was_not_heard_before_anything_else(conn: Connection) -> None:
    trades(conn, 4)
    official(conn, 60, 1.0, "I1")
    for seconds, quality in ((60, "gap"), (120, "partial"), (600, "gap")):
        unheard(conn, seconds, quality)
    found = conn.execute("select source, quality from best_bars_1m order by bucket").fetchall()
    assert found == [("ticks", "complete"), ("official", "gap"), ("ticks", "partial"), ("ticks", "complete")]
    # A minute that was not heard and has no bar makes none, but the five minutes that it is in are no better for it.
    assert conn.execute("select source, quality from best_bars_5m").fetchall() == [("mixed", "gap")]
    insert(conn, [(605 + 60, 99, True, 5.0, 1_000, 10), (606 + 60, 100, True, 5.0, 1_010, 10)])
    assert conn.execute("select quality from best_bars_5m order by bucket desc limit 1").fetchone() == ("gap",)


USUAL, MUHURAT = "2025-12-15", "2026-11-08"


@pytest.mark.parametrize(
    ("segment", "day", "minutes", "expected"),
    [
        ("NSE_FO", USUAL, ("08:59", "09:00", "09:14", "09:15"), ("thin", "auction", "auction", "thin")),
        ("MCX_FO", USUAL, ("08:59", "09:00", "09:05", "09:15"), ("thin", "thin", "thin", "thin")),
        (None, USUAL, ("09:05", "09:15"), ("auction", "thin")),
        (
            "NSE_EQ",
            MUHURAT,
            ("09:05", "17:44", "17:45", "17:59", "18:00"),
            ("thin", "thin", "auction", "auction", "thin"),
        ),
        ("NSE_FO", MUHURAT, ("09:05", "17:45"), ("auction", "thin")),  # of it nothing is known
    ],
)
def test_bars_before_the_open_are_of_the_auction_wherever_they_are_read(
    database: Database,
    conn: Connection,
    segment: str | None,
    day: str,
    minutes: tuple[str, ...],
    expected: tuple[str, ...],
) -> None:
    opens = {
        "segments": ["NSE_EQ", "NSE_EQ"],
        "days": [MUHURAT, USUAL],
        "opens_at": [f"{MUHURAT} 18:00+05:30", f"{USUAL} 09:15+05:30"],
    }
    conn.execute(queries.query("store/note_sessions"), opens)
    assert len(conn.execute("select from tickline.special_sessions").fetchall()) == 1
    key = f"{segment or 'NSE_EQ'}|1"
    conn.execute(
        "insert into instruments (instrument_id, instrument_key, segment) overriding system value values (1, %s, %s)",
        (key, segment),
    )
    conn.execute("select tickline.ensure_partitions(%s, %s)", (day, day))
    for seq, minute in enumerate(minutes):
        conn.execute(
            "insert into ticks (ts, instrument_id, seq, traded, ltp, vtt, volume, received_at) "
            "values (%s, 1, %s, true, 1, %s, 1, now())",
            (f"{day} {minute}+05:30", seq, seq + 1),
        )
    assert tuple(row[0] for row in conn.execute("select quality from best_bars_1m order by bucket")) == expected
    for source in ("best", "ticks"):
        assert tuple(analytics.bars(key, source=source, database=database)["quality"]) == expected
    conn.execute(
        "insert into official_bars_1m (instrument_id, bucket, open, high, low, close, volume, source) "
        "select 1, bucket, 1, 1, 1, 1, 1, 'I1' from bars_1m"
    )
    official = tuple(quality.replace("thin", "complete") for quality in expected)
    assert tuple(row[0] for row in conn.execute("select quality from best_bars_1m order by bucket")) == official
    for source in ("best", "official"):
        assert tuple(analytics.bars(key, source=source, database=database)["quality"]) == official


def test_best_bars_are_read_by_who_has_the_public_relations_only(database: Database, conn: Connection) -> None:
    conn.execute("select tickline.ensure_partitions('2025-12-15', '2025-12-15')")
    conn.execute(
        "insert into ticks (ts, instrument_id, seq, traded, ltp, vtt, volume, received_at) "
        "values ('2025-12-15 09:05+05:30', 1, 1, true, 1, 1, 1, now())"
    )
    reader = f"reader_{conn.info.dbname}"
    with psycopg.connect(make_conninfo(database.url, user=SUPERUSER), autocommit=True) as admin:
        admin.execute(f"create role {reader}")
        admin.execute(f"grant select on all tables in schema public to {reader}")
        admin.execute(f"set role {reader}")
        for view in ("best_bars_1m", "best_bars_5m"):
            assert admin.execute(f"select quality from {view}").fetchall() == [("auction",)]
        admin.execute("reset role")
        admin.execute(f"drop owned by {reader}")
        admin.execute(f"drop role {reader}")


def test_latest_ticks_has_one_per_active_instrument(conn: Connection) -> None:
    insert(conn, [(5, 1, True, 1.0, 10, 10), (9, 2, True, 2.0, 20, 10), (9, 3, False, 3.0, 20, 0)])
    insert(conn, [(4, 1, True, 7.0, 10, 10)], instrument_id=2)
    conn.execute("insert into tickline.active_instruments (instrument_id) values (1), (2), (3)")
    rows = conn.execute("select instrument_id, seq, ltp from latest_ticks order by 1").fetchall()
    assert rows == [(1, 3, 3.0), (2, 1, 7.0)]


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """All nodes of a plan."""
    return [plan, *(node for child in plan.get("Plans", []) for node in nodes(child))]


def rows_read(conn: Connection, view: str, first: datetime, last: datetime) -> int:
    """How many rows of tables a query of one instrument and a time range looks at."""
    row = conn.execute(
        f"explain (analyze, format json) select close from {view} "
        f"where instrument_id = 3 and bucket >= '{first}' and bucket < '{last}'"
    ).fetchone()
    assert row is not None
    leaves = [node for node in nodes(row[0][0]["Plan"]) if "Relation Name" in node]
    return int(
        sum((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"] for node in leaves)
    )


def test_bars_conditions_reach_the_tables(conn: Connection) -> None:
    days, instruments = 30, 20
    conn.execute("select tickline.ensure_partitions(%s, %s)", (START, START + timedelta(days=days)))
    conn.execute(
        "insert into ticks (ts, instrument_id, seq, traded, ltp, vtt, volume, received_at) "
        "select %s::timestamptz + d * interval '1 day' + m * interval '1 minute', i, m, true, 1, m, 1, now() "
        "from generate_series(0, %s) as d, generate_series(1, 20) as m, generate_series(1, %s) as i",
        (START, days - 1, instruments),
    )
    conn.execute(
        "insert into official_bars_1m select i, bucket, 1, 1, 1, 1, 1, null, 'I1', now() "
        "from generate_series(%s::timestamptz, %s, '1 hour') as bucket, generate_series(1, %s) as i",
        (START, START + timedelta(days=days), instruments),
    )
    refresh(conn, 0, days * 86_400)
    conn.execute("analyze")
    day = START + timedelta(days=9)
    for view in ("bars_1m", "bars_5m", "best_bars_1m", "best_bars_5m"):
        read = rows_read(conn, view, day, day + timedelta(minutes=30))
        # Of 12,000 ticks or bars, and 14,400 official bars: at most one chunk of one view and its indexes.
        assert read < 1000, view
