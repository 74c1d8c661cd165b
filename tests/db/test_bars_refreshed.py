"""Bars that are kept: late rows, repeated refreshes, and the end of what may be kept; the same on both engines."""

from __future__ import annotations

from tests.db.bar_rows import Connection, at, bars, greeks, insert, refresh, trades, watermark


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
