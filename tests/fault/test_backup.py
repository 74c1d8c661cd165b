"""A backup made while recording, restored elsewhere: the journal commits what came after it, once."""

from __future__ import annotations

from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from ingest.database.connections import Database
from ingest.journal.folder import segments_of
from tests.conftest import Template
from tests.engines import on_one_engine
from tests.fault.harness import (
    Command,
    Ingester,
    Market,
    check_account,
    check_bars,
    rows,
    stream_folder,
    ticks_of,
    wait_until,
)

LEDGER = (
    "select segment, max(offset_end), sum(frames), sum(ticks), sum(rejected) from tickline.ledger "
    "group by segment order by segment"
)
BARS = "select instrument_key, bars_5m.* from bars_5m join instruments using (instrument_id) order by 1, bucket"
JOBS = "select 1 from pg_extension where extname = 'timescaledb'"
JOBS_OF_TIMESCALE = (
    "select proc_name, hypertable_name, schedule_interval from timescaledb_information.jobs "
    "where job_id >= 1000 order by 1, 2"
)


def command(home: Path, database: Database, *arguments: str) -> str:
    """Run a command on a database to its good end; return what it said."""
    given = {"TICKLINE_HOME": str(home), "TICKLINE_DATABASE_URL": database.url}
    with Command(home, *arguments, **given) as ran:
        assert ran.process.wait(timeout=240) == 0, ran.text()[-2000:]
        return ran.text()


@pytest.mark.parametrize("engine", [pytest.param("postgres", marks=pytest.mark.soak), "timescale"], indirect=True)
def test_journal_commits_what_came_after_a_backup_and_doubles_nothing(
    database: Database, empty_database: Database, template: Template, home: Path
) -> None:
    file = home / "backup.dump"
    restored = Database(make_conninfo(empty_database.url, user=template.superuser), None)
    with Market(home, "--generate", "--instruments", "20", "--rate", "300", "--speed", "5") as market:
        with Ingester(home, market, database.url) as ingester:
            wait_until(lambda: rows(database, "select from ticks offset 1000 limit 1"))
            label = (
                "insert into labels (instrument_id, bucket, verdict) values (1, '2026-01-05', 'right') returning true"
            )
            assert rows(database, label) == [(True,)]
            command(home, database, "db", "backup", str(file))
            ((at_backup,),) = rows(database, "select count(*) from ticks")
            wait_until(lambda: rows(database, f"select from ticks offset {at_backup + 1000} limit 1"))
            ingester.stop()
        command(home, restored, "db", "restore", str(file))
        ((before,),) = rows(restored, "select count(*) from ticks")
        ticks, ledger, bars = ticks_of(database), rows(database, LEDGER), rows(database, BARS)
        assert 1000 <= before < len(ticks)
        # By a replay of the journal: all equal.
        said = command(home, restored, "replay", *map(str, segments_of(stream_folder(home))))
        assert "already in the ledger" in said
        assert ticks_of(restored) == ticks
        assert rows(restored, LEDGER) == ledger
        assert rows(restored, BARS) == bars
        assert rows(restored, "select * from labels") == rows(database, "select * from labels") != []
        if rows(database, JOBS):
            assert rows(restored, JOBS_OF_TIMESCALE) == rows(database, JOBS_OF_TIMESCALE)
        assert "it adds up" in command(home, restored, "verify")
        # Recording goes on there.
        with Ingester(home, market, restored.url) as ingester:
            wait_until(lambda: rows(restored, f"select from ticks offset {len(ticks) + 200} limit 1"))
            ingester.stop()
    assert check_account(restored, stream_folder(home)) > len(ticks)
    assert ticks_of(restored)[: len(ticks)] == ticks
    # The replay has made the five-minute bar in which recording goes on: it is completed, not forgotten.
    command(home, restored, "db", "refresh")
    check_bars(restored)
    assert "it adds up" in command(home, restored, "verify")


@on_one_engine
def test_start_on_a_restored_database_commits_the_rest_of_its_journal(
    database: Database, empty_database: Database, template: Template, home: Path
) -> None:
    file = home / "backup.dump"
    restored = Database(make_conninfo(empty_database.url, user=template.superuser), None)
    with Market(home, "--generate", "--instruments", "20", "--rate", "300", "--speed", "5") as market:
        with Ingester(home, market, database.url) as ingester:
            wait_until(lambda: rows(database, "select from ticks offset 500 limit 1"))
            command(home, database, "db", "backup", str(file))
            ((at_backup,),) = rows(database, "select count(*) from ticks")
            wait_until(lambda: rows(database, f"select from ticks offset {at_backup + 500} limit 1"))
            ingester.stop()
        command(home, restored, "db", "restore", str(file))
        ticks = ticks_of(database)
        with Ingester(home, market, restored.url) as ingester:
            wait_until(lambda: rows(restored, f"select from ticks offset {len(ticks) + 200} limit 1"))
            ingester.stop()
    assert check_account(restored, stream_folder(home)) > len(ticks)
    assert ticks_of(restored)[: len(ticks)] == ticks
    check_bars(restored)
