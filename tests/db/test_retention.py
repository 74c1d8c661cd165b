"""Days of ticks that go, and what must be true before they may: export, refresh, retention."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from polars.testing import assert_frame_equal

import analytics
from analytics.read import copy_reader, export
from analytics.read.export import days_to_export, export_day
from ingest.database import queries
from ingest.database.connections import Database
from ingest.database.operations.retention import DayReport, note_day, retain
from ingest.errors import ConfigError, Retryable, StoreError
from tests.conftest import Template

Connection = psycopg.Connection[Any]
FIRST, DAYS, TICKS = date(2025, 12, 15), 3, 1200
KEYS = ["NSE_EQ|A", "NSE_FO|B"]
BEFORE = FIRST + timedelta(days=DAYS)
BARS = {
    view: "select instrument_id, bucket, open, high, low, close, volume, ticks, trades, iv, delta, gamma "
    f"from {view} order by 1, 2"
    for view in ("bars_1m", "bars_5m", "best_bars_1m")
}


def midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def refresh(conn: Connection, first: date, last: date) -> None:
    conn.execute(queries.query("store/refresh_bars"), {"from_ts": midnight(first), "to_ts": midnight(last)})


def add_ticks(conn: Connection, day: date, *, count: int = TICKS, at: timedelta = timedelta(hours=4)) -> None:
    """A trade of each instrument every 3 seconds, from 09:30 IST."""
    start = midnight(day) + at
    conn.execute("select tickline.ensure_partitions(%s, %s)", (start, start))
    conn.execute(
        "insert into ticks (ts, instrument_id, seq, traded, ltp, vtt, volume, iv, delta, gamma, received_at) "
        "select %s + n * interval '3 s', instrument_id, n, true, 100 + n %% 7, n + 1, 1, n, n * 0.5, n * 0.25, now() "
        "from instruments, generate_series(0, %s) as n",
        (start, count - 1),
    )


def all_bars(conn: Connection) -> dict[str, list[tuple[Any, ...]]]:
    return {view: conn.execute(text).fetchall() for view, text in BARS.items()}


@pytest.fixture(scope="module")
def market_url(template: Template) -> Iterator[str]:
    """Two instruments, three days of ticks, the bars kept: made once, tests take copies of it."""
    with template.fresh() as database:
        with database.connect(autocommit=True) as conn:
            for key in KEYS:
                conn.execute("insert into instruments (instrument_key) values (%s)", (key,))
            for n in range(DAYS):
                add_ticks(conn, FIRST + timedelta(days=n))
            refresh(conn, FIRST, BEFORE)
        yield database.url


@pytest.fixture
def database(template: Template, market_url: str) -> Iterator[Database]:
    """A copy of it."""
    with template.fresh(source_url=market_url) as database:
        yield database


@pytest.fixture
def market(conn: Connection) -> Connection:
    """A connection to the copy."""
    return conn


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "archive"


def fates(reports: list[DayReport]) -> list[tuple[bool, int]]:
    return [(report.dropped, len(report.missing)) for report in reports]


def test_retain_day_without_export_refuses_and_says_the_remedy(market: Connection, database: Database) -> None:
    before = all_bars(market)
    reports = list(retain(database, BEFORE))
    assert fates(reports) == [(False, 1)] * DAYS
    assert "neither exported nor reconciled: run `tickline export --day 2025-12-15`" in reports[0].missing[0]
    assert market.execute("select count(*) from ticks").fetchone() == (DAYS * 2 * TICKS,)
    assert all_bars(market) == before


def test_retain_bars_not_kept_or_stale_refuses_until_refreshed(market: Connection, database: Database) -> None:
    fresh_day = FIRST + timedelta(days=DAYS)
    add_ticks(market, fresh_day)
    add_ticks(market, FIRST, count=5, at=timedelta(hours=4, seconds=1))  # late: behind the watermark
    note_day(market, [FIRST, fresh_day], reconciled_at=datetime.now(UTC))
    reports = {report.day: report for report in retain(database, fresh_day + timedelta(days=1))}
    # Two instruments: 60 minutes that are only computed; one minute and its five that miss the late ticks.
    assert reports[fresh_day].missing[0].startswith("120 of 120 bars")
    assert reports[FIRST].missing[0].startswith("4 of 120 bars")
    refresh(market, FIRST, fresh_day + timedelta(days=1))
    reports = {report.day: report for report in retain(database, fresh_day + timedelta(days=1))}
    assert reports[fresh_day].dropped and reports[FIRST].dropped


def test_retain_dropped_days_keep_their_bars_whoever_refreshes(
    market: Connection, database: Database, archive: Path
) -> None:
    before = all_bars(market)
    if database.engine == "timescale":  # as the policy leaves an old day
        market.execute("select compress_chunk(chunk) from show_chunks('ticks') as chunk")
    for day in days_to_export(database, BEFORE):
        export_day(day, archive, database)
    assert [report.dropped for report in retain(database, BEFORE - timedelta(days=1))] == [True, True]
    assert market.execute("select count(*), min(ts)::date from ticks").fetchone() == (
        2 * TICKS,
        BEFORE - timedelta(days=1),
    )
    assert all_bars(market) == before
    refresh(market, FIRST, BEFORE)
    assert all_bars(market) == before
    if database.engine == "timescale":
        for view in ("bars_1m", "bars_5m"):
            market.execute(f"call refresh_continuous_aggregate('{view}', null, null, force => true)")
        assert all_bars(market) == before
    # Late ticks of a dropped day make no bar of a rest, and are not dropped without a word.
    add_ticks(market, FIRST, count=3)
    refresh(market, FIRST, BEFORE)
    assert all_bars(market) == before
    assert "6 ticks came after the day was dropped" in next(retain(database, BEFORE)).missing[0]


def test_retain_dry_run_drops_nothing(market: Connection, database: Database) -> None:
    note_day(market, [FIRST], reconciled_at=datetime.now(UTC))
    assert fates(list(retain(database, BEFORE, dry_run=True))) == [(False, 0), (False, 1), (False, 1)]
    assert market.execute("select count(*) from ticks").fetchone() == (DAYS * 2 * TICKS,)


def test_retain_export_that_lacks_ticks_or_its_file_refuses(
    market: Connection, database: Database, archive: Path
) -> None:
    file, rows = export_day(FIRST, archive, database)
    assert rows == 2 * TICKS
    whole = file.read_bytes()
    file.write_bytes(whole[:-100])
    assert "has 0 of 2400 ticks" in next(retain(database, FIRST + timedelta(days=1))).missing[0]
    file.write_bytes(whole)
    add_ticks(market, FIRST, count=1, at=timedelta(hours=5))
    refresh(market, FIRST, BEFORE)
    assert "exported with 2400 of 2402 ticks" in next(retain(database, FIRST + timedelta(days=1))).missing[0]
    export_day(FIRST, archive, database)
    assert next(retain(database, FIRST + timedelta(days=1))).dropped


def test_ticks_of_a_dropped_day_are_read_from_its_file(market: Connection, database: Database, archive: Path) -> None:
    span: dict[str, Any] = {
        "start": midnight(FIRST) + timedelta(hours=4, minutes=30),
        "end": midnight(FIRST) + timedelta(days=1, hours=4, minutes=30),
    }
    whole, part = analytics.ticks(KEYS, database=database), analytics.ticks(KEYS[1], database=database, **span)
    bars = analytics.bars(KEYS, database=database)
    assert (whole.height, part.height) == (DAYS * 2 * TICKS, TICKS)
    file, _ = export_day(FIRST, archive, database)
    assert next(retain(database, BEFORE)).dropped
    assert_frame_equal(analytics.ticks(KEYS, database=database), whole)
    assert_frame_equal(analytics.ticks(KEYS[1], database=database, **span), part)
    assert_frame_equal(analytics.bars(KEYS, database=database), bars)
    # Whoever has no database reads the partitions.
    found = pl.scan_parquet(archive / "ticks", hive_partitioning=True).collect()
    assert found["date"].unique().to_list() == [FIRST]
    assert found["instrument_key"].unique(maintain_order=True).to_list() == KEYS
    with pytest.raises(ConfigError, match="day 2025-12-15 was dropped: its ticks are in"):
        export_day(FIRST, archive, database)
    file.unlink()
    with pytest.raises(StoreError, match="absent: restore it"):
        analytics.ticks(KEYS, database=database)
    assert analytics.ticks(KEYS, start=midnight(FIRST) + timedelta(days=1), database=database).height == 2 * 2 * TICKS


@pytest.mark.parametrize("engine", ["postgres"], indirect=True)
def test_retain_and_refresh_make_the_statistics_of_the_partitioned_table(
    market: Connection, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ingest.cli import group

    made = "select count(*) > 0 from pg_stats where tablename = 'ticks' and inherited"
    assert market.execute(made).fetchone() == (False,)
    list(retain(database, FIRST))
    assert market.execute(made).fetchone() == (True,)
    monkeypatch.setenv("TICKLINE_DATABASE_URL", database.url)
    assert CliRunner().invoke(group, ["db", "refresh"]).exit_code == 0


@pytest.mark.parametrize("compressed", [False, True])
def test_retain_behind_a_long_reader_stops_no_writer_and_drops_when_it_ends(
    market: Connection, database: Database, monkeypatch: pytest.MonkeyPatch, compressed: bool
) -> None:
    """A drop that waits for the reader in one go would keep the writer waiting for longer than it waits for a lock."""
    if compressed and database.engine != "timescale":
        pytest.skip("only TimescaleDB has a columnstore")
    if compressed:
        market.execute("select compress_chunk(chunk) from show_chunks('ticks') as chunk")
    monkeypatch.setattr("ingest.database.operations.retention.LOCK_SECONDS_MAX", 4.0)
    monkeypatch.setattr("ingest.database.operations.retention.LOCK_POLL_S", 0.2)
    note_day(market, [FIRST], reconciled_at=datetime.now(UTC))
    today, written = BEFORE + timedelta(days=5), 0
    with database.connect(application_name="notebook") as reader, ThreadPoolExecutor(1) as pool:
        reader.execute("select count(*) from ticks")
        dropping = pool.submit(lambda: list(retain(database, FIRST + timedelta(days=1))))
        with database.connect(autocommit=True) as writer:
            writer.execute("set lock_timeout = '2s'")
            while not dropping.done():
                add_ticks(writer, today, count=1, at=timedelta(hours=4, seconds=written))
                written += 1
                time.sleep(0.02)  # ticks need not come as fast as they can
        with pytest.raises(Retryable, match=r"2025-12-15 stay, because pid \d+ \(notebook, .* using ticks for"):
            dropping.result()
        assert written
    assert market.execute("select count(*) from ticks").fetchone() == (DAYS * 2 * TICKS + 2 * written,)
    assert fates(list(retain(database, FIRST + timedelta(days=1)))) == [(True, 0)]


def test_export_is_the_same_to_another_reader_and_in_row_groups(
    market: Connection, database: Database, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "ROW_GROUP_ROWS", 1000)
    monkeypatch.setattr(copy_reader, "BATCH_BYTES", 2**14)  # several frames
    written: list[int] = []
    file, rows = export_day(FIRST, archive, database, show=written.append)
    ours, theirs = pl.read_parquet(file), pq.ParquetFile(file)
    assert len(written) > 1
    assert ours.schema == export.COLUMNS and ours.height == rows == written[-1]
    assert theirs.read().to_pylist() == ours.to_dicts()
    assert ours.equals(ours.sort("instrument_id", "ts", "seq"))
    assert_frame_equal(
        ours.select(analytics.ticks(KEYS, database=database).columns),
        analytics.ticks(KEYS, end=midnight(FIRST + timedelta(days=1)), database=database),
    )
    assert max(theirs.metadata.row_group(n).num_rows for n in range(theirs.num_row_groups)) <= 1000
    assert [path.name for path in archive.rglob("*") if path.is_file()] == ["ticks.parquet"]


def test_export_onto_a_full_disk_says_so_and_leaves_no_file(
    market: Connection, database: Database, archive: Path
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(ConfigError, match=r"ticks.parquet' cannot be written: .*too large.*name another --folder"):
            export_day(FIRST, archive, database)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not archive.exists()


def test_export_day_that_fails_leaves_no_file(market: Connection, database: Database, archive: Path) -> None:
    with pytest.raises(ConfigError, match="day 2025-12-20 has no ticks"):
        export_day(date(2025, 12, 20), archive, database)
    market.execute("alter table ticks rename column vtt to vtt_gone")
    with pytest.raises(StoreError):
        export_day(FIRST, archive, database)
    assert not archive.exists()  # nor a folder
    assert market.execute("select count(*) from days").fetchone() == (0,)


def test_export_and_retain_commands_say_what_they_did(
    market: Connection, database: Database, archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ingest.cli import group

    monkeypatch.setenv("TICKLINE_DATABASE_URL", database.url)
    run = lambda *args: CliRunner().invoke(group, list(args))  # noqa: E731
    refused = run("db", "retain", "--format", "json")
    assert refused.exit_code == 1
    assert [report["dropped"] for report in json.loads(refused.stdout)] == [False] * DAYS
    exported = run("export", "--folder", str(archive))
    assert exported.exit_code == 0 and exported.stdout.count("2,400 ticks") == DAYS
    assert run("db", "refresh", "--day", str(FIRST)).exit_code == 0
    assert run("db", "retain").stdout.count("dropped") == DAYS
    assert market.execute("select count(*) from ticks").fetchone() == (0,)
