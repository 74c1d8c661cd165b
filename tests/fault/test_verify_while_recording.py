"""`verify` beside a real `start` that records a real `simulate`: what has settled adds up at any moment."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from ingest.database.connections import Database
from tests.fault.harness import (
    WITHIN_S,
    Command,
    Ingester,
    Market,
    Within,
    backlog_bytes,
    check_account,
    check_bars,
    committed,
    rows,
    wait_until,
)


def verify_beside(database: Database, home: Path, speed: str, runs: int, *, rate: str) -> None:
    # Small segments, so that the keeper compresses them under the eyes of the reader.
    small = {"TICKLINE_JOURNAL_SEGMENT_BYTES_MAX": "1000000"}
    with (
        Market(home, "--generate", "--instruments", "100", "--rate", rate, "--speed", speed) as market,
        Ingester(home, market, database.url, **small) as ingester,
    ):
        for _ in range(runs):
            before = committed(database)
            wait_until(lambda: committed(database) != before or "play ended" in market.text())  # noqa: B023
            with Command(home, "verify", TICKLINE_HOME=str(home), TICKLINE_DATABASE_URL=database.url) as verify:
                assert verify.process.wait(timeout=WITHIN_S) == 0, verify.text()
                assert "it adds up" in verify.text()
        ingester.stop()


@pytest.mark.parametrize(
    ("speed", "rate"), [("60", "50"), *(pytest.param(speed, "500", marks=pytest.mark.soak) for speed in ("1", "60"))]
)
def test_verify_while_recording_adds_up(database: Database, home: Path, speed: str, rate: str) -> None:
    verify_beside(database, home, speed, 2, rate=rate)


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("speed", ["1", "60"])
def test_verify_while_recording_never_errs_in_fifty_runs(database: Database, home: Path, speed: str) -> None:
    # What is verified grows from run to run: at the full rate the last ones would take minutes.
    verify_beside(database, home, speed, 50, rate="50")


@contextmanager
def bars_held(database: Database) -> Iterator[None]:
    """Somebody's lock holds the tables of bars; on TimescaleDB a refresh by hand waits for it, and ours is refused."""
    with ThreadPoolExecutor() as threads, database.connect(autocommit=True) as other, database.connect() as holder:
        if database.engine == "timescale":
            (kept,) = holder.execute(
                "select format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)"
                " from timescaledb_information.continuous_aggregates where view_name = 'bars_1m'"
            ).fetchall()[0]
            [(day,)] = holder.execute("select date_trunc('day', max(ts)) from ticks").fetchall()
            holder.execute(f"lock table {kept} in exclusive mode")
            refreshing = threads.submit(other.execute, "call refresh_continuous_aggregate('bars_1m', null, null)")
            waiting = "select 1 from pg_locks where not granted and pid = %s"
            wait_until(lambda: holder.execute(waiting, (other.info.backend_pid,)).fetchone())
            with database.connect(autocommit=True) as ours, pytest.raises(psycopg.errors.LockNotAvailable):
                ours.execute("call tickline.refresh_bars(%s, %s)", (day, day + timedelta(days=1)))
        else:
            holder.execute("lock table tickline.bars_1m_stored in exclusive mode")
            refreshing = threads.submit(lambda: None)
        yield
        holder.rollback()
        refreshing.result()


def test_stop_while_somebody_else_holds_the_bars_exits_0_and_the_next_refresh_makes_them(
    database: Database, home: Path, is_timed: bool, within: Within
) -> None:
    stop_s = 1 if is_timed else 3
    with (
        Market(home, "--generate", "--instruments", "100", "--rate", "50", "--speed", "60") as market,
        Ingester(home, market, database.url, TICKLINE_STOP_S=str(stop_s)) as ingester,
    ):
        wait_until(lambda: committed(database)[1] > 2**18)
        market.freeze()  # a busy machine has nothing left to commit
        wait_until(lambda: backlog_bytes(database, ingester.folder) == 0)
        with bars_held(database):
            noted = rows(database, "select minute from tickline.touched_minutes")  # nobody makes their bars meanwhile
            assert noted
            ingester.stop(signal.SIGTERM, within_s=within(3.0))
        assert f"bars not refreshed in time stop_s={stop_s}:" in ingester.text()
    check_account(database, ingester.folder)
    assert set(noted) <= set(rows(database, "select minute from tickline.touched_minutes"))
    refresh = Command(home, "db", "refresh", TICKLINE_HOME=str(home), TICKLINE_DATABASE_URL=database.url)
    assert refresh.process.wait(timeout=WITHIN_S) == 0, refresh.text()
    check_bars(database)
    assert rows(database, "select count(*) from tickline.touched_minutes") == [(0,)]
