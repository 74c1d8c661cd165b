"""Side tables have a limit for each day: what is beyond it is counted, and what was committed still adds up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from ingest.audit.journal_check import verify_stream
from ingest.audit.report import StreamReport
from ingest.audit.volume_check import verify_volumes
from ingest.cli import group
from ingest.database.connections import Database
from ingest.journal.folder import segments_of
from ingest.journal.writer import JournalLimits, JournalWriter
from ingest.model.records import RecordKind
from ingest.pipeline.replay import replay
from ingest.settings import Settings, settings
from ingest.store.side_limits import FRAME_ROW_BYTES
from tests.db.test_poisonous_keys import GOOD, START_MS, frame, strangers
from tests.engines import on_one_engine

FRAMES, EVERY = 60, 10  # of ten frames one is broken, one a day off, one has unlisted keys, one has no key
BROKEN, STRAY, UNLISTED, KEYLESS = 3, 5, 7, 8
KEPT = 2
BAD = b"\xff no frame"
STRANGERS = 4
SUMS = (
    "select sum(rejected), sum(quarantined), sum(coalesce(unlisted_updates, 0)), sum(coalesce(unlisted_frames, 0)) "
    "from tickline.ledger"
)
SIDE_ROWS = "select relation, kept, left_out from tickline.side_rows order by relation"


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    folder = tmp_path / "journal" / "default" / "1"
    journal = JournalWriter(folder, collector="default", stream="1", next_seq=1, limits=JournalLimits(fsync_ms=10))
    for number in range(FRAMES):
        at_ms = START_MS + number * 1000
        kinds = {
            BROKEN: BAD,
            STRAY: frame(at_ms + 86_400_000, GOOD),
            UNLISTED: frame(at_ms, GOOD, *strangers(1 + number, STRANGERS)),
            KEYLESS: frame(at_ms, GOOD, "INFY"),
        }
        journal.append(RecordKind.FRAME, kinds.get(number % EVERY, frame(at_ms, GOOD)), at_ms * 1000)
    journal.close()
    return folder


def limited(**given: Any) -> Settings:
    """Settings with room for two rejected rows, and two frames in quarantine, a day."""
    few: dict[str, Any] = {"rejected_rows_per_day_max": KEPT, "quarantine_bytes_per_day_max": 2 * FRAME_ROW_BYTES + 150}
    return settings(**({"unknown_keys_per_day_max": 1, "batch_rows_max": 7} | few | given))


def write(database: Database, folder: Path, **given: Any) -> None:
    asyncio.run(replay(limited(**given), database.url, segments_of(folder)))


def verify(database: Database, folder: Path) -> StreamReport:
    with database.connect() as connection:
        return verify_stream(connection, "default", folder)


def test_beyond_the_limit_rows_are_counted_and_add_up(
    database: Database, conn: psycopg.Connection[Any], stream: Path
) -> None:
    tens = FRAMES // EVERY
    for _ in range(2):  # a replay again adds nothing
        write(database, stream)
        assert conn.execute(SIDE_ROWS).fetchall() == [
            ("quarantined_frames", KEPT, 2 * tens - KEPT),
            ("rejected_ticks", KEPT, 2 * tens - KEPT),
        ]
    assert conn.execute("select count(*) from tickline.quarantined_frames").fetchone() == (KEPT,)
    ((listed_rows,),) = conn.execute("select count(*) from tickline.rejected_ticks").fetchall()
    assert listed_rows == KEPT
    ((rejected, quarantined, unlisted_updates, unlisted_frames),) = conn.execute(SUMS).fetchall()
    assert (rejected, quarantined) == (tens * (STRANGERS + 1), 2 * tens)
    assert unlisted_frames == 2 * tens - KEPT
    assert unlisted_updates == (tens - 1) * STRANGERS  # of a key that is none the frame itself tells
    report = verify(database, stream)
    assert report.adds_up, report.problems
    assert (report.committed, report.rejected, report.quarantined) == (FRAMES, rejected, quarantined)
    assert (report.unlisted_updates, report.unlisted_frames) == (unlisted_updates, unlisted_frames)
    assert any("only counted" in note for note in report.notes)
    assert conn.execute("select count(*) from ticks").fetchone() == (report.ticks,)
    with database.connect() as connection:
        [day] = verify_volumes(connection)
    assert day.adds_up, day.problems
    assert day.unlisted == unlisted_updates


def test_rows_are_those_of_a_replay_without_limits(
    database: Database, template: Any, conn: psycopg.Connection[Any], stream: Path
) -> None:
    ticks = (
        "select instrument_key, seq, ts, vtt, volume from ticks join instruments using (instrument_id) order by 1, 2"
    )
    write(database, stream, rejected_rows_per_day_max=0, quarantine_bytes_per_day_max=0)
    assert verify(database, stream).adds_up
    with template.fresh() as other:
        write(other, stream, rejected_rows_per_day_max=10**6, quarantine_bytes_per_day_max=2**30)
        assert verify(other, stream).notes == []
        with other.connect() as connection:
            assert connection.execute(ticks).fetchall() == conn.execute(ticks).fetchall()
            ((*counts, unlisted_updates, unlisted_frames),) = connection.execute(SUMS).fetchall()
        assert (unlisted_updates, unlisted_frames) == (0, 0)
        ((*limited_counts, _, _),) = conn.execute(SUMS).fetchall()
        assert counts == limited_counts


def lose_a_frame(conn: psycopg.Connection[Any]) -> None:
    conn.execute("delete from ticks where seq = 30")


def lose_two_frames(conn: psycopg.Connection[Any]) -> None:
    conn.execute("delete from ticks where seq in (51, 53)")


def double(conn: psycopg.Connection[Any]) -> None:
    conn.execute("insert into ticks select * from ticks where seq = 30")


@on_one_engine
@pytest.mark.parametrize("spoil", [lose_a_frame, lose_two_frames, double])
def test_fault_beside_what_is_only_counted_is_found(
    database: Database, conn: psycopg.Connection[Any], stream: Path, spoil: Callable[[Any], None]
) -> None:
    write(database, stream, rejected_rows_per_day_max=0, quarantine_bytes_per_day_max=0)
    spoil(conn)
    report = verify(database, stream)
    assert {"missing", "doubled", "too many"} & {*report.problem_counts}, report.notes


@on_one_engine
def test_commands_say_that_a_limit_was_reached(
    database: Database, stream: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(database, stream)
    monkeypatch.setenv("TICKLINE_DATABASE_URL", database.url)
    monkeypatch.setenv("TICKLINE_HOME", str(stream.parents[2]))
    verified = CliRunner().invoke(group, ["verify"])
    assert verified.exit_code == 0, verified.output
    assert "10 quarantined frames are only counted" in verified.stdout
    listed = CliRunner().invoke(group, ["quarantine", "list"])
    assert "10 more are only counted" in listed.stdout
