"""Bars out of hand-made ticks: the same answers on both engines."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import permutations
from typing import Any

import pytest

from ingest.database import queries
from tests.db.bar_rows import BARS, START, Connection, at, bars, insert, refresh, trades


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
    days, instruments = 12, 20
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
        # Of 4,800 ticks or bars, and 5,780 official bars: at most one chunk of one view and its indexes.
        assert read < 1000, view
