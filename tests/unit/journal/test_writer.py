"""The journal's writer on a disk that is full, reserved, broken or gone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import deque
from pathlib import Path

import pytest

from ingest.errors import ConfigError, JournalError
from ingest.journal import writer as journal_writer
from ingest.journal.folder import segments_of
from ingest.journal.format import PAYLOAD_BYTES_MAX
from ingest.journal.writer import NewRecord
from ingest.model.records import RecordKind
from ingest.settings import settings
from tests.unit.journal.journals import T0_US, fill, read_all, writer


def test_append_on_a_full_disk_says_so_and_leaves_whole_records(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    code = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
from pathlib import Path
from ingest.journal.writer import JournalLimits
from ingest.journal.writer import JournalWriter
from ingest.errors import JournalError
journal = JournalWriter(
    Path({str(tmp_path)!r}), collector="c", stream="1", next_seq=1, limits=JournalLimits(10**9, fsync_ms=0)
)
for number in range(100):
    try:
        journal.append(1, b"x" * 300, {T0_US})
    except JournalError as exc:
        print(number, exc)
        break
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    number, _, text = ran.stdout.partition(" ")
    assert "cannot write journal" in text
    assert len(read_all(tmp_path)) == int(number)


def test_group_that_the_disk_takes_in_part_keeps_the_whole_records_that_a_reader_may_have_seen(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    journal = writer(tmp_path, fsync_ms=0)
    journal.append(RecordKind.FRAME, b"first", T0_US)
    queue = deque(NewRecord(RecordKind.FRAME, bytes([number]) * 300, T0_US) for number in range(5))
    [segment] = segments_of(tmp_path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (segment.stat().st_size + 800, hard))
    try:
        with pytest.raises(JournalError, match="cannot write journal"):
            journal.append_all(queue)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    taken = [record.payload for record in read_all(tmp_path)]
    assert taken == [b"first", bytes([0]) * 300, bytes([1]) * 300]
    assert [record.payload for record in queue] == [bytes([number]) * 300 for number in (2, 3, 4)]
    journal.append_all(queue)
    journal.close()
    assert [record.seq for record in read_all(tmp_path)] == [1, 2, 3, 4, 5, 6]


def test_closed_writer_cannot_begin_a_segment_that_exists(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    with pytest.raises(JournalError, match="cannot begin journal segment"):
        fill(tmp_path, 1)


def test_quota_refuses_to_write_and_writes_again_when_there_is_room(tmp_path: Path) -> None:
    journal = writer(tmp_path, quota_bytes=20_000, segment_bytes_max=5_000)
    journal.append(RecordKind.FRAME, b"x" * 30_000, T0_US)
    journal._until_check = 0  # as after ROOM_CHECK_BYTES
    for _ in range(2):
        with pytest.raises(JournalError, match="TICKLINE_JOURNAL_QUOTA_BYTES"):
            journal.append(RecordKind.FRAME, b"y", T0_US)
    segments_of(tmp_path)[0].unlink()
    assert journal.append(RecordKind.FRAME, b"z", T0_US) == 2
    journal.close()


def test_reserve_of_the_disk_is_left_alone(tmp_path: Path) -> None:
    journal = writer(tmp_path, free_bytes_min=2**60)
    with pytest.raises(JournalError, match="TICKLINE_JOURNAL_FREE_BYTES_MIN"):
        journal.append(RecordKind.FRAME, b"x", T0_US)
    journal.close()


def test_deleted_folder_is_noticed_and_the_journal_goes_on_in_a_new_one(tmp_path: Path) -> None:
    folder = tmp_path / "1"
    journal = writer(folder)
    journal.append(RecordKind.FRAME, b"a", T0_US)
    shutil.rmtree(folder)
    assert journal.append(RecordKind.FRAME, b"b", T0_US) == 2
    journal.close()
    assert [(record.seq, record.payload) for record in read_all(folder)] == [(2, b"b")]


@pytest.mark.parametrize("name", ["fsync", "ftruncate", "open", "write"])
def test_error_of_the_disk_is_the_journals_and_passes(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = writer(tmp_path, segment_bytes_max=200)
    journal.append(RecordKind.FRAME, b"x" * 150, T0_US)

    def fail(*_: object, **__: object) -> int:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(journal_writer.os, name, fail)
        if name == "ftruncate":  # after a write that failed
            patch.setattr(journal_writer.os, "write", fail)
        for _ in range(3):
            with pytest.raises(JournalError, match="Input/output error"):
                journal.append(RecordKind.FRAME, b"y" * 150, T0_US)
    assert journal.append(RecordKind.FRAME, b"z", T0_US) == 2
    journal.close()
    assert [record.payload[:1] for record in read_all(tmp_path)] == [b"x", b"z"]


def test_look_at_a_disk_that_is_gone_is_the_journals_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = writer(tmp_path, free_bytes_min=1)

    def fail(_: object) -> None:
        raise OSError(6, "No such device or address")

    with monkeypatch.context() as patch:
        patch.setattr(journal_writer.shutil, "disk_usage", fail)
        with pytest.raises(JournalError, match="No such device"):
            journal.append(RecordKind.FRAME, b"x", T0_US)
    assert journal.append(RecordKind.FRAME, b"x", T0_US) == 1
    journal.close()


def test_frames_larger_than_the_journal_holds_are_refused_at_start() -> None:
    assert settings(frame_bytes_max=PAYLOAD_BYTES_MAX).frame_bytes_max == PAYLOAD_BYTES_MAX
    with pytest.raises(ConfigError, match="TICKLINE_FRAME_BYTES_MAX"):
        settings(frame_bytes_max=PAYLOAD_BYTES_MAX + 1)
