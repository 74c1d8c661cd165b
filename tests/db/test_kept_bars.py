"""Bars that are left behind by no run: while somebody writes the newest form, then they are kept too."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import numpy as np
import psycopg
import pytest
from click.testing import CliRunner

from ingest.cli import group
from ingest.database.connections import Database
from ingest.database.operations.retention import retain
from ingest.database.pool import run_with_pool
from ingest.store.bar_refresh import refresh_bars, refresh_touched, touching
from ingest.store.writer import Writer
from tests.conftest import Template
from tests.fault.harness import wait_until

Connection = psycopg.Connection[Any]
DAY = date(2025, 12, 15)
OPEN = datetime(2025, 12, 15, 3, 45, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class Trades:
    """Trades of one instrument in the database, one unit each, as a writer commits them."""

    def __init__(self, conn: Connection) -> None:
        self.conn, self.count = conn, 0
        conn.execute("select tickline.ensure_partitions(%s, %s)", (OPEN, OPEN))

    def add(self, *times: datetime) -> None:
        with self.conn.transaction():
            for at in times:
                self.count += 1
                self.conn.execute(
                    "insert into ticks (ts, instrument_id, seq, traded, ltp, vtt, volume, received_at)"
                    " values (%(at)s, 1, %(n)s, true, 100, %(n)s, 1, %(at)s)",
                    {"at": at, "n": self.count},
                )
            self.conn.execute(*touching(np.array([at.timestamp() * 1e6 for at in times])))

    @property
    def are_in_all_bars(self) -> bool:
        sums = [
            self.conn.execute(f"select sum(volume)::int8 from {view}").fetchall() for view in ("bars_1m", "bars_5m")
        ]
        return sums == [[(self.count,)]] * 2

    @property
    def minutes_left(self) -> list[int]:
        rows = self.conn.execute("select minute from tickline.touched_minutes order by minute").fetchall()
        return [(row[0] - OPEN) // MINUTE for row in rows]


@pytest.fixture
def trades(conn: Connection) -> Trades:
    return Trades(conn)


@pytest.fixture
def writer(database: Database) -> Iterator[Writer]:
    with Writer(database.url, "live") as writer:
        yield writer


def leave(writer: Writer, conn: Connection) -> None:
    """Close it, and wait until the server has noticed."""
    writer.close()
    held = """
        select from pg_locks
        where locktype = 'advisory' and classid = 7469
            and database = (select oid from pg_database where datname = current_database())
    """
    wait_until(lambda: conn.execute(held).fetchone() is None)


def not_kept(database: Database) -> list[str]:
    [report] = retain(database, DAY + timedelta(days=1), dry_run=True)
    return [text for text in report.missing if "bars" in text]


def test_bars_that_form_stay_noted_and_are_kept_when_nobody_writes(
    database: Database, trades: Trades, writer: Writer
) -> None:
    trades.add(*(OPEN + n * MINUTE for n in range(8)))
    for _ in range(2):  # what is noted still is not made twice
        run_with_pool(database.url, refresh_touched)
        assert trades.minutes_left == [7]
        assert trades.are_in_all_bars
    assert "3 of 8 bars not kept" in not_kept(database)[0]
    leave(writer, trades.conn)
    run_with_pool(database.url, refresh_touched)
    assert trades.minutes_left == [] and not_kept(database) == []
    assert trades.are_in_all_bars


def test_restart_in_the_same_minute_shows_each_trade_at_once(database: Database, trades: Trades) -> None:
    for second in range(3):
        with Writer(database.url, "live") as writer:
            for microsecond in range(2):
                trades.add(OPEN + 6 * MINUTE + timedelta(seconds=second, microseconds=microsecond))
                assert trades.are_in_all_bars
                run_with_pool(database.url, refresh_touched)
                assert trades.are_in_all_bars
            leave(writer, trades.conn)
    assert trades.minutes_left == [6]


def test_replay_of_an_old_day_leaves_what_forms_to_form(database: Database, trades: Trades, writer: Writer) -> None:
    newest = OPEN + 6 * MINUTE
    trades.add(OPEN, newest)
    run_with_pool(database.url, partial(refresh_touched, ended="recording"))
    trades.add(newest + timedelta(seconds=1))
    assert trades.are_in_all_bars
    run_with_pool(database.url, partial(refresh_touched, ended="live"))
    assert trades.minutes_left == [] and not_kept(database) == []


@pytest.mark.parametrize("command", [("db", "retain", "--dry-run"), ("db", "refresh")], ids=["retain", "refresh"])
def test_bars_that_a_killed_run_left_are_made_by_the_next_command(
    database: Database, trades: Trades, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKLINE_DATABASE_URL", database.url)
    trades.add(*(OPEN + n * MINUTE for n in range(8)))
    done = CliRunner().invoke(group, list(command))
    assert "not kept" not in done.output
    assert trades.minutes_left == [] and not_kept(database) == []


def test_refresh_of_the_day_that_is_recorded_leaves_what_forms_to_form(
    database: Database, trades: Trades, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKLINE_DATABASE_URL", database.url)
    trades.add(*(OPEN + n * MINUTE for n in range(8)))
    assert CliRunner().invoke(group, ["db", "refresh", "--day", str(DAY)]).exit_code == 0
    trades.add(OPEN + 7 * MINUTE + timedelta(seconds=1))
    assert trades.are_in_all_bars
    shown: list[tuple[int, int]] = []
    day = OPEN.replace(hour=0, minute=0)
    refresh_day = partial(refresh_bars, start=day, end=day + timedelta(days=1), show=lambda *done: shown.append(done))
    run_with_pool(database.url, refresh_day)
    assert shown == [(hour, OPEN.hour + 1) for hour in range(OPEN.hour + 1)]
    assert trades.are_in_all_bars


@pytest.mark.parametrize("engine", ["postgres"], indirect=True)  # the other's refresh is many transactions
def test_refresh_that_a_deadlock_ends_is_tried_again(database: Database, template: Template, trades: Trades) -> None:
    """As with the columnstore policy, which takes its locks in another order."""
    trades.add(*(OPEN + n * MINUTE for n in range(8)))
    row = "select from tickline.bar_watermarks where bars = %s for update"
    waiting = """
        select 1 from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock' and application_name = 'tickline pool'
    """
    with ThreadPoolExecutor() as threads, database.connect(user=template.superuser) as holder:
        holder.execute("set deadlock_timeout = '10min'")  # the refresh finds it, and is ended
        holder.execute(row, ("bars_5m",))
        refreshing = threads.submit(run_with_pool, database.url, refresh_touched)
        wait_until(lambda: trades.conn.execute(waiting).fetchone())
        holder.execute(row, ("bars_1m",))
        holder.rollback()
        refreshing.result()
    assert trades.minutes_left == [] and not_kept(database) == []
