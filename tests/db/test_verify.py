"""`verify`: it adds up when it does, and says where when it does not."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner

from ingest.audit.journal_check import verify_stream
from ingest.audit.report import StreamReport
from ingest.audit.volume_check import VolumeReport, verify_volumes
from ingest.cli import group
from ingest.database.connections import Database
from ingest.database.operations.retention import retain
from ingest.journal.folder import segment_name, segments_of
from ingest.journal.housekeeping import tidy
from ingest.journal.reader import JournalReader
from ingest.journal.recording import read_recording
from ingest.journal.writer import JournalLimits, JournalWriter
from ingest.model.records import RecordKind
from ingest.pipeline.replay import replay
from ingest.settings import settings
from tests.conftest import Template
from tests.data import data_file
from tests.db.made_journals import make_journal

FRAMES = 1_500


@pytest.fixture(scope="module")
def made_stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal of three segments, the second with a frame that does not parse: made once, tests take copies of it."""
    folder = make_journal(
        tmp_path_factory.mktemp("made") / "1", FRAMES, JournalLimits(segment_bytes_max=900_000, fsync_ms=10)
    )
    assert len(segments_of(folder)) >= 2
    return folder


@pytest.fixture
def stream(made_stream: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(made_stream, tmp_path / "journal" / "default" / "1"))


@pytest.fixture(scope="module")
def written_url(template: Template, made_stream: Path) -> Iterator[str]:
    """A database in which all of the journal is committed."""
    with template.fresh() as database:
        write(database, *segments_of(made_stream))
        yield database.url


@pytest.fixture
def database(template: Template, written_url: str) -> Iterator[Database]:
    """A copy of it."""
    with template.fresh(source_url=written_url) as database:
        yield database


@pytest.fixture
def bare(template: Template) -> Iterator[Database]:
    """A database in which nothing is committed."""
    with template.fresh() as database:
        yield database


def write(database: Database, *segments: Path) -> None:
    asyncio.run(replay(settings(), database.url, segments))


def verify(database: Database, folder: Path, **given: Any) -> StreamReport:
    with database.connect() as connection:
        return verify_stream(connection, "default", folder, **given)


def test_committed_journal_adds_up(database: Database, stream: Path) -> None:
    report = verify(database, stream)
    assert report.adds_up, report.problems
    assert (report.frames, report.committed, report.pending, report.quarantined) == (FRAMES + 1, FRAMES + 1, 0, 1)
    with database.connect() as connection:
        assert connection.execute("select count(*) from ticks").fetchone() == (report.ticks,)


def test_uncommitted_segment_is_pending_and_adds_up(bare: Database, stream: Path) -> None:
    first, *rest = segments_of(stream)
    write(bare, first)
    report = verify(bare, stream)
    assert report.adds_up, report.problems
    assert report.pending > 0
    assert report.committed + report.pending == FRAMES + 1
    write(bare, first, *rest)
    assert verify(bare, stream).pending == 0


def test_replay_of_the_segments_gives_the_same_ticks_elsewhere(bare: Database, template: Any, stream: Path) -> None:
    segments = segments_of(stream)
    for count in range(1, len(segments) + 1):  # as if it had been stopped after each
        write(bare, *segments[:count])
    every_column = (
        "select instrument_key, ticks.* from ticks join instruments using (instrument_id) order by 1, seq, ts"
    )
    with Database(template.create("elsewhere"), None) as other:
        write(other, *segments)
        with bare.connect() as one, other.connect() as two:
            ours, theirs = (conn.execute(every_column).fetchall() for conn in (one, two))
        instrument_id = 2
        assert [row[:instrument_id] + row[instrument_id + 1 :] for row in ours] == [
            row[:instrument_id] + row[instrument_id + 1 :] for row in theirs
        ]
    template.drop("elsewhere")


def test_day_selects_segments(database: Database, stream: Path) -> None:
    assert verify(database, stream, day=date(2025, 12, 15)).segments == len(segments_of(stream))
    assert verify(database, stream, day=date(2025, 12, 16)).segments == 0


def lose_a_tick(conn: psycopg.Connection[Any], _: Path) -> None:
    conn.execute(
        "delete from ticks where seq = 40 and instrument_id = (select min(instrument_id) from ticks where seq = 40)"
    )


def double_a_tick(conn: psycopg.Connection[Any], _: Path) -> None:
    conn.execute("insert into ticks select * from ticks where seq = 40 limit 1")


def lose_a_batch(conn: psycopg.Connection[Any], _: Path) -> None:
    conn.execute("delete from tickline.ledger where batch_id = (select min(batch_id) + 1 from tickline.ledger)")


def damage_the_journal(_: psycopg.Connection[Any], folder: Path) -> None:
    path = segments_of(folder)[0]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def lose_a_segment(_: psycopg.Connection[Any], folder: Path) -> None:
    segments_of(folder)[1].unlink()


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (lose_a_tick, "missing"),
        (double_a_tick, "doubled"),
        (lose_a_batch, "ledger hole"),
        (damage_the_journal, "damage"),
        (lose_a_segment, "lost by the journal"),
    ],
)
def test_what_does_not_add_up_is_named(
    database: Database, stream: Path, spoil: Callable[[psycopg.Connection[Any], Path], None], kind: str
) -> None:
    with database.connect(autocommit=True) as conn:
        spoil(conn, stream)
    report = verify(database, stream)
    assert not report.adds_up
    assert kind in report.problem_counts, report.problems


LOST = 200  # frames that a power cut takes from the journal, about a minute


def cut_and_continue(folder: Path) -> tuple[int, int]:
    """Shorten the journal by its last records and go on behind them; return the seqs that are lost."""
    newest, seq = segments_of(folder)[-1], 2 + FRAMES  # the last record
    records = JournalReader(lambda: [newest], follow=False).read(2**30)
    os.truncate(newest, records[-LOST - 1].end_offset)
    journal = JournalWriter(folder, collector="default", stream="1", next_seq=seq + 1, limits=JournalLimits())
    frames = islice(read_recording(data_file("session-20251215-open.frames.gz")), FRAMES, FRAMES + 300)
    first = next(frames)
    journal.append(RecordKind.CONNECTED, b"{}", first.received_ms * 1000)
    for frame in (first, *frames):
        journal.append(RecordKind.FRAME, frame.payload, frame.received_ms * 1000)
    journal.close()
    return seq - LOST + 1, seq


def test_journal_shorter_than_the_ledger_is_named_and_no_volume_is_counted_twice(
    database: Database, stream: Path, conn: Any
) -> None:
    first, last = cut_and_continue(stream)
    lost = verify(database, stream)
    assert lost.problem_counts["lost by the journal"] == 1
    assert any(f"seq {first} to {last} are committed" in text for text in lost.problems), lost.problems
    (note,) = lost.notes
    assert f"after seq {first - 1}, received 2025-12-15" in note
    write(database, *segments_of(stream))
    assert conn.execute("select count(*) from ticks where seq between %s and %s", (first, last)).fetchone() != (0,)
    assert not {"missing", "doubled", "too many"} & {*verify(database, stream).problem_counts}
    [report] = volumes(database)
    assert report.adds_up, report.problems


def volumes(database: Database) -> list[VolumeReport]:
    with database.connect() as connection:
        return list(verify_volumes(connection))


def test_volumes_of_bars_and_gaps_are_what_the_exchange_counted(database: Database, stream: Path) -> None:
    [report] = volumes(database)
    assert (report.day, report.instruments, report.adds_up) == (date(2025, 12, 15), 8, True)
    assert report.bar_volume > 0
    assert report.bar_volume + report.gap_volume == report.day_volume


def test_volume_of_a_lost_gap_is_missed_and_named(database: Database, stream: Path, conn: Any) -> None:
    conn.execute("delete from feed_gaps where gap_id = (select max(gap_id) from feed_gaps where volume is not null)")
    [report] = volumes(database)
    assert (report.adds_up, report.differing, len(report.problems)) == (False, 1, 1)
    assert "in gaps" in report.problems[0]


def test_volumes_of_a_day_with_two_collectors_are_not_compared(database: Database, stream: Path, conn: Any) -> None:
    conn.execute(
        "insert into tickline.ledger (collector, segment, offset_start, offset_end, frames, ticks, first_ts, last_ts) "
        "values ('other', '1/x', 0, 1, 1, 1, '2025-12-15 05:00+00', '2025-12-15 05:00+00')"
    )
    [report] = volumes(database)
    assert (report.skipped, report.adds_up) == ("2 collectors recorded it", True)


def test_frame_that_is_being_written_is_no_damage(
    bare: Database, stream: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As beside an ingester: the newest segment is committed in part, and ends inside of a record."""
    monkeypatch.setattr("ingest.store.ledger_row.ROW_BATCHES_MAX", 1)
    asyncio.run(replay(settings(batch_rows_max=300), bare.url, segments_of(stream)))
    newest = segments_of(stream)[-1]
    with bare.connect(autocommit=True) as conn:
        conn.execute("delete from tickline.ledger where batch_id = (select max(batch_id) from tickline.ledger)")
        conn.execute("delete from ticks where seq > (select max(last_seq) from tickline.ledger)")
        (in_newest,) = conn.execute(
            "select count(*) from tickline.ledger where segment = %s", (f"1/{segment_name(newest)}",)
        ).fetchone()
    assert in_newest > 0
    whole = newest.read_bytes()
    for cut in (1, 20, 60):
        newest.write_bytes(whole[:-cut])
        report = verify(bare, stream)
        assert report.adds_up, report.problems
        assert (report.frames, report.pending > 0) == (FRAMES, True)
        assert any("no whole record" in note for note in report.notes)


def test_segment_that_is_compressed_between_look_up_and_opening_is_read(database: Database, stream: Path) -> None:
    compressed: list[str] = []

    def compress(name: str) -> None:  # the keeper of an ingester, after the list of segments was made
        if not compressed:
            compressed.append(name)
            tidy(stream, None, keep_days=10_000, quota_bytes=0, now=datetime.now(UTC))

    report = verify(database, stream, show=compress)
    assert report.adds_up, report.problems
    assert report.frames == FRAMES + 1
    assert segments_of(stream)[0].suffix == ".zst"


def test_segment_that_is_deleted_meanwhile_is_said_and_not_missed(database: Database, stream: Path) -> None:
    oldest = segments_of(stream)[0]
    report = verify(database, stream, show=lambda name: oldest.unlink(missing_ok=True))
    assert report.adds_up, report.problems
    assert any("deleted while" in note for note in report.notes)


def test_bars_that_wait_to_be_made_are_judged_by_their_ticks(database: Database, stream: Path, conn: Any) -> None:
    """A tick of a minute whose bar is kept, and was not made again yet."""
    (ts,) = conn.execute("select ts from ticks where volume > 0 order by ts offset 50 limit 1").fetchone()
    conn.execute("select tickline.touch_minutes(array[%s::timestamptz])", (ts,))
    conn.execute(
        "with last as (select instrument_id, max(vtt) as vtt from ticks where volume > 0 group by 1 limit 1) "
        "insert into ticks (ts, instrument_id, seq, traded, ltp, vtt, volume, received_at) "
        "select %s, instrument_id, 10000000, true, 100, vtt + 5, 5, now() from last",
        (ts,),
    )
    [report] = volumes(database)
    assert report.adds_up, report.problems
    assert report.unsettled == 1
    conn.execute("delete from tickline.touched_minutes")
    [report] = volumes(database)
    assert not report.adds_up


def test_bars_of_a_replay_are_all_kept(database: Database, stream: Path) -> None:
    [report] = retain(database, date(2025, 12, 16), dry_run=True)
    assert [text for text in report.missing if "bars" in text] == []


def test_nothing_there_is_not_said_to_add_up(bare: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKLINE_DATABASE_URL", bare.url)
    monkeypatch.setenv("TICKLINE_HOME", str(tmp_path))
    for arguments in ([], ["--day", "2025-12-16"]):
        done = CliRunner().invoke(group, ["verify", *arguments])
        assert (done.exit_code, done.stdout) == (1, "")
        assert "nothing to verify" in done.stderr


def test_segment_of_another_journal_is_said_to_be_of_one(bare: Database, stream: Path, tmp_path: Path) -> None:
    last = FRAMES + 2
    for next_seq, said in ((last - 5, f"seq {last - 5} follows {last}"), (last + 9, f"seq {last + 1} to {last + 8} ")):
        limits = JournalLimits(segment_bytes_max=900_000, fsync_ms=10)
        other = JournalWriter(tmp_path / "other", collector="default", stream="1", next_seq=next_seq, limits=limits)
        other.append(RecordKind.CONNECTED, b"{}", 1_765_771_374_000_000)
        other.close()
        segment = tmp_path / "other" / f"{other.segment}.journal"
        copied = stream / segment.name
        copied.write_bytes(segment.read_bytes())
        assert any(said in text for text in verify(bare, stream).problems), verify(bare, stream).problems
        copied.unlink()


def test_segment_that_was_renamed_is_known_by_its_header(bare: Database, stream: Path, tmp_path: Path) -> None:
    """Known by its name, it stood before or behind all others, and what came after was never committed."""
    first, *rest = segments_of(stream)
    renamed = tmp_path / "zz day one.journal"
    renamed.write_bytes(first.read_bytes())
    write(bare, renamed)
    assert verify(bare, stream).committed > 0
    write(bare, *rest)
    write(bare, *segments_of(stream))
    report = verify(bare, stream)
    assert report.adds_up and report.pending == 0, report.problems
