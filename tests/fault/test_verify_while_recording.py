"""`verify` beside a real `start` that records a real `simulate`: what has settled adds up at any moment."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from sql.database import Database
from tests.fault.harness import Command, Ingester, Market, committed, wait_until


def verify_beside(database: Database, home: Path, speed: str, runs: int) -> None:
    # Small segments, so that the keeper compresses them under the eyes of the reader.
    small = {"TICKLINE_JOURNAL_SEGMENT_BYTES_MAX": "3000000"}
    with (
        Market(home, "--generate", "--instruments", "100", "--speed", speed) as market,
        Ingester(home, market, database.url, **small) as ingester,
    ):
        for _ in range(runs):
            before = committed(database)
            wait_until(lambda: committed(database) != before)  # noqa: B023
            with Command(home, "verify", TICKLINE_HOME=str(home), TICKLINE_DATABASE_URL=database.url) as verify:
                assert verify.process.wait(timeout=120) == 0, verify.text()
                assert "it adds up" in verify.text()
        ingester.stop()


@pytest.mark.parametrize("speed", ["1", "60"])
def test_verify_while_recording_adds_up(database: Database, home: Path, speed: str) -> None:
    verify_beside(database, home, speed, 2)


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("speed", ["1", "60"])
def test_verify_while_recording_never_errs_in_fifty_runs(database: Database, home: Path, speed: str) -> None:
    verify_beside(database, home, speed, 50)


def test_stop_while_somebody_else_makes_bars_exits_0_and_the_next_refresh_makes_them(
    database: Database, home: Path
) -> None:
    with (
        Market(home, "--generate", "--instruments", "100", "--speed", "60") as market,
        Ingester(home, market, database.url) as ingester,
    ):
        wait_until(lambda: committed(database)[1] > 2**18)
        with database.connect(autocommit=True) as other:
            other.execute("select pg_advisory_lock(hashtextextended('tickline.refresh_bars', 0))")
            ingester.stop(signal.SIGTERM)
            assert "bars not refreshed" in ingester.text()
    refresh = Command(home, "db", "refresh", TICKLINE_HOME=str(home), TICKLINE_DATABASE_URL=database.url)
    assert refresh.process.wait(timeout=60) == 0, refresh.text()
    with database.connect(autocommit=True) as conn:
        assert conn.execute("select count(*) from tickline.touched_minutes").fetchone() == (0,)
        bars = conn.execute("select sum(volume) from bars_1m").fetchone()
        assert bars == conn.execute("select sum(volume) from ticks").fetchone()
