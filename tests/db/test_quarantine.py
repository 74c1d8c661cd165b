"""Quarantine: frames that were not understood are listed, and written once after a fix."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ingest.audit.journal_check import verify_stream
from ingest.audit.volume_check import verify_volumes
from ingest.cli import group
from ingest.database.connections import Database
from ingest.decode.frames import decode_all
from ingest.errors import DecodeError
from ingest.journal.folder import segments_of
from ingest.journal.reader import JournalReader
from ingest.journal.recording import read_recording
from ingest.journal.writer import JournalLimits, JournalWriter
from ingest.model.frames import Frames
from ingest.model.records import Record, RecordKind
from ingest.model.ticks import TICK_COLUMN_NAMES
from ingest.pipeline.replay import replay
from ingest.proto import upstox_feed_v3_pb2 as pb
from ingest.repair.quarantine import quarantined, replay_quarantined
from ingest.settings import settings
from ingest.store.writer import Writer
from tests.data import data_file

FRAMES = 600
REFUSED = range(300, 330)  # journal seqs that an old decoder does not understand
STRAY = 400  # a frame whose time is a year off
BROKEN = 500  # a frame that never parses


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    """A journal with a frame whose time is not its own, and one that does not parse."""
    folder = tmp_path / "journal" / "default" / "1"
    journal = JournalWriter(folder, collector="default", stream="1", next_seq=1, limits=JournalLimits())
    frames = read_recording(data_file("session-20251215-open.frames.gz"))
    for seq, frame in zip(range(1, FRAMES + 1), frames, strict=False):
        payload = frame.payload
        if seq == STRAY:
            message = pb.FeedResponse.FromString(payload)
            message.currentTs -= 365 * 86_400_000
            payload = message.SerializeToString()
        elif seq == BROKEN:
            payload = b"\xff not a frame"
        journal.append(RecordKind.FRAME, payload, frame.received_ms * 1000 + 789)
    journal.close()
    return folder


@pytest.fixture
def recorded(database: Database, stream: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Committed by a decoder that had a bug, which is mended now."""
    refused = {record.payload for record in records_of(stream) if record.seq in REFUSED}

    def buggy(payloads: list[bytes], **options: Any) -> Frames:
        wrong = {index: DecodeError("a bug") for index, payload in enumerate(payloads) if payload in refused}
        return decode_all(payloads, **options).without(wrong)

    with monkeypatch.context() as patch:
        patch.setattr("ingest.pipeline.consumer.decode_all", buggy)
        asyncio.run(replay(settings(), database.url, segments_of(stream)))
    return stream


def records_of(folder: Path) -> list[Record]:
    return JournalReader(lambda: segments_of(folder), follow=False).read(2**30)


def in_quarantine(database: Database) -> set[int]:
    with database.connect() as connection:
        return {frame.seq for frame in quarantined(connection)[0]}


def check(database: Database, folder: Path) -> None:
    with database.connect() as connection:
        report = verify_stream(connection, "default", folder)
        [day] = verify_volumes(connection)
    assert report.adds_up, report.problems
    assert day.adds_up, day.problems


def test_frames_of_a_bug_and_a_stray_are_quarantined_and_the_account_adds_up(
    database: Database, recorded: Path
) -> None:
    assert in_quarantine(database) == {*REFUSED, STRAY, BROKEN}
    check(database, recorded)


def test_quarantine_replayed_by_two_at_once_and_again_writes_each_frame_once(
    database: Database, recorded: Path, conn: Any
) -> None:
    before = conn.execute("select count(*), sum(volume) from ticks").fetchone()
    outcomes = []

    def run() -> None:
        with database.connect(autocommit=True) as connection:
            outcomes.append(replay_quarantined(connection, unknown_keys_max=10))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    run()
    assert len(outcomes) == 3
    assert sum(one.replayed for one in outcomes) == len(REFUSED)
    assert in_quarantine(database) == {STRAY, BROKEN}
    written = sum(one.ticks for one in outcomes)
    assert conn.execute("select count(*), sum(volume) from ticks").fetchone() == (before[0] + written, before[1])
    late = conn.execute(
        "select count(*), count(distinct seq), count(vtt), bool_or(traded), count(ltp) from ticks"
        " where seq between %s and %s",
        (REFUSED.start, REFUSED.stop - 1),
    ).fetchone()
    assert late == (written, len(REFUSED), 0, False, written)
    check(database, recorded)


def test_state_taken_from_the_table_is_not_that_of_a_late_row(database: Database, recorded: Path, conn: Any) -> None:
    """What a journal has lost is judged by the last row with a volume count."""
    replay_quarantined(conn, unknown_keys_max=10)
    with Writer(database.url, "default") as writer:
        instruments, rows = writer.ledger.recall("1", REFUSED.start - 20, REFUSED.stop - 1)
    vtt = dict(zip((ref.instrument_id for ref in instruments), rows[:, TICK_COLUMN_NAMES.index("vtt")], strict=True))
    counted = conn.execute(
        "select instrument_id, max(vtt) from ticks where seq between %s and %s group by 1 having count(vtt) > 0",
        (REFUSED.start - 20, REFUSED.stop - 1),
    ).fetchall()
    assert len(counted) > 1
    assert {id_: vtt[id_] for id_, _ in counted} == dict(counted)


def test_state_taken_from_the_table_is_not_that_of_a_glitch(database: Database, recorded: Path, conn: Any) -> None:
    """Of an update whose count is below the day's largest later ones are not judged by."""
    span = (REFUSED.start - 20, REFUSED.start - 1)
    [[largest, instrument_id]] = conn.execute(
        "select max(vtt), instrument_id from ticks where seq between %s and %s group by 2 order by 1 desc limit 1", span
    ).fetchall()
    conn.execute(
        "insert into ticks (ts, instrument_id, seq, traded, ltp, ltt, vtt, volume, received_at) "
        "select max(ts), instrument_id, max(seq), false, 1, max(ltt) + interval '1 second', 7, 0, now() "
        "from ticks where seq between %s and %s and instrument_id = %s group by 2",
        (*span, instrument_id),
    )
    with Writer(database.url, "default") as writer:
        instruments, rows = writer.ledger.recall("1", *span)
    vtt = dict(zip((ref.instrument_id for ref in instruments), rows[:, TICK_COLUMN_NAMES.index("vtt")], strict=True))
    assert vtt[instrument_id] == largest


def test_replayed_frame_has_its_own_times(database: Database, recorded: Path, conn: Any) -> None:
    replay_quarantined(conn, unknown_keys_max=10)
    record = records_of(recorded)[REFUSED.start - 1]
    found = conn.execute(
        "select distinct (extract(epoch from ts) * 1000)::int8, (extract(epoch from received_at) * 1000000)::int8"
        " from ticks where seq = %s",
        (REFUSED.start,),
    ).fetchall()
    assert found == [(pb.FeedResponse.FromString(record.payload).currentTs, record.received_us)]


def test_quarantine_commands_list_and_replay(
    database: Database, recorded: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setenv("TICKLINE_DATABASE_URL", database.url)
    monkeypatch.setenv("TICKLINE_HOME", str(home))
    run = CliRunner()
    listed = run.invoke(group, ["quarantine", "list", "--limit", "3"])
    assert listed.exit_code == 0, listed.output
    assert f"default 1/20251215-000000000000001 seq {REFUSED.start}" in listed.output
    assert f"{len(REFUSED) + 2} frames in quarantine; showing the oldest 3" in listed.output
    as_json = json.loads(run.invoke(group, ["quarantine", "list", "--format", "json"]).stdout)
    assert {frame["seq"] for frame in as_json} == {*REFUSED, STRAY, BROKEN}
    replayed = run.invoke(group, ["quarantine", "replay"])
    assert f"{len(REFUSED)} frames replayed" in replayed.output
    assert "2 frames stay in quarantine" in replayed.output
    assert "0 frames replayed" in run.invoke(group, ["quarantine", "replay"]).output
