"""No room for the journal: it is said, nothing is lost that was received, and it goes on by itself."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from ingest.database.connections import Database
from ingest.journal.folder import segments_of
from tests.conftest import Template
from tests.engines import on_one_engine
from tests.fault.disks import small_disk
from tests.fault.harness import (
    Ingester,
    Market,
    Within,
    backlog_bytes,
    check_account,
    check_ticks,
    rows,
    stream_folder,
    wait_until,
)

MIB = 2**20
FULL = "ERROR ingest.feed.connection journal cannot be written"
AGAIN = "journal can be written again"


@pytest.fixture
def market(home: Path) -> Iterator[Market]:
    with Market(home, "--generate", "--instruments", "400", "--rate", "4000") as market:
        yield market


@pytest.fixture
def journal_disk(home: Path) -> Iterator[Path]:
    """The journal's folder on a file system of 4 MiB."""
    with small_disk(home / "journal", 4) as why_not:
        if why_not:
            pytest.skip(why_not)
        yield home / "journal"


def journal_bytes(ingester: Ingester) -> int:
    size = 0
    for path in segments_of(ingester.folder):
        with suppress(FileNotFoundError):  # committed, compressed and gone meanwhile
            size += path.stat().st_size
    return size


def recover(ingester: Ingester, database: Database) -> None:
    """Wait until it has gone on by itself and has caught up; stop it."""
    ingester.wait_for(AGAIN)
    ingester.wait_for("connection=2 ")  # the old one was dropped, because it was not read
    full = journal_bytes(ingester)
    wait_until(lambda: journal_bytes(ingester) > full + MIB // 4)
    ingester.stop()
    assert backlog_bytes(database, ingester.folder) == 0


def check(database: Database, template: Template, home: Path) -> None:
    """All that the journal took is in the database, each once."""
    assert check_account(database, stream_folder(home)) == check_ticks(database, template, home) > 0


@on_one_engine
def test_full_file_system_is_said_and_recording_goes_on_when_there_is_room(
    database: Database, template: Template, home: Path, market: Market, journal_disk: Path
) -> None:
    ballast = journal_disk / "ballast"
    ballast.write_bytes(bytes(3 * MIB))
    with Ingester(home, market, database.url) as ingester:
        ingester.wait_for(FULL)
        assert "no space left on device" in ingester.text().lower()
        wait_until(lambda: backlog_bytes(database, ingester.folder) == 0)  # what was received is written
        ballast.unlink()
        recover(ingester, database)
    check(database, template, home)


@pytest.mark.soak  # no other path of the code than a full file system, for those who may not mount one
def test_file_size_limit_is_said_and_recording_goes_on_when_it_is_raised(
    database: Database, template: Template, home: Path, market: Market
) -> None:
    """As a quota of the user on the disk: the write fails half way through a record."""
    with Ingester(home, market, database.url) as ingester:
        pid = ingester.process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (MIB + 12_345, hard))
        ingester.wait_for(FULL)
        wait_until(lambda: backlog_bytes(database, ingester.folder) == 0)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
        recover(ingester, database)
    check(database, template, home)


@on_one_engine
def test_reserve_of_the_disk_is_kept_free(database: Database, home: Path, market: Market, within: Within) -> None:
    with Ingester(home, market, database.url, TICKLINE_JOURNAL_FREE_BYTES_MIN=str(2**60)) as ingester:
        ingester.wait_for(FULL)
        assert "TICKLINE_JOURNAL_FREE_BYTES_MIN" in ingester.text()
        ingester.stop(within_s=within(5.0))  # the disk is still full, and no deadline comes to help
    assert rows(database, "select count(*) from ticks") == [(0,)]


@on_one_engine
def test_quota_stops_the_feed_and_committed_segments_make_room(
    database: Database, template: Template, home: Path, market: Market
) -> None:
    """The journal is as large as it may be; what is committed goes, what is not stays."""
    limits = {"TICKLINE_JOURNAL_QUOTA_BYTES": str(6 * MIB), "TICKLINE_JOURNAL_SEGMENT_BYTES_MAX": str(MIB)}
    with Ingester(home, market, database.url, **limits) as ingester:
        ingester.wait_for(FULL)
        assert "TICKLINE_JOURNAL_QUOTA_BYTES" in ingester.text()
        ingester.wait_for(AGAIN, within_s=90)
        assert "journal segment compressed" in ingester.text()
        recover(ingester, database)
    assert rows(database, "select count(*), count(distinct (instrument_id, seq)) from ticks") == rows(
        database, "select sum(ticks), sum(ticks) from tickline.ledger"
    )
