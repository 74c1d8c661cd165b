"""The journal's files: rotation, recovery, following, exclusive use."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path

import google_crc32c
import pytest

from ingest.errors import VersionError
from ingest.journal.folder import JournalLock, recover, segment_name, segments_of
from ingest.journal.format import SegmentHeader, encode_segment_header
from ingest.journal.housekeeping import tidy
from ingest.journal.reader import JournalReader
from ingest.model.records import Position, RecordKind, order_of
from tests.unit.journal.journals import DAY_US, T0_US, fill, keeping, read_all, writer


def test_journal_rotates_by_size_and_reads_back_in_order(tmp_path: Path) -> None:
    payloads = fill(tmp_path, 200)
    assert len(segments_of(tmp_path)) == 3
    records = read_all(tmp_path)
    assert [record.payload for record in records] == payloads
    assert [record.seq for record in records] == list(range(1, 201))


def test_journal_rotates_when_the_indian_day_changes(tmp_path: Path) -> None:
    journal = writer(tmp_path, segment_bytes_max=10**9)
    for number in range(600):
        journal.append(RecordKind.FRAME, b"x", T0_US + (DAY_US if number >= 300 else 0))
    journal.close()
    assert [segment_name(path) for path in segments_of(tmp_path)] == [
        "20251215-000000000000001",
        "20251216-000000000000301",
    ]
    assert len(read_all(tmp_path)) == 600


def test_reader_resumes_after_a_position(tmp_path: Path) -> None:
    payloads = fill(tmp_path, 100)
    reader = JournalReader(lambda: segments_of(tmp_path), follow=False)
    first = reader.read(3000)
    position = Position(reader.segment, first[-1].end_offset)
    reader.close()
    assert [r.payload for r in read_all(tmp_path, position)] == payloads[len(first) :]


def test_reader_follows_the_writer_across_segments(tmp_path: Path) -> None:
    reader = JournalReader(lambda: segments_of(tmp_path), follow=True)
    assert reader.read(1000) == []
    journal = writer(tmp_path, segment_bytes_max=300)
    seen: list[bytes] = []
    for number in range(50):
        journal.append(RecordKind.FRAME, b"%d" % number * 20, T0_US)
        while records := reader.read(1000):
            seen += [record.payload for record in records]
    assert seen == [b"%d" % number * 20 for number in range(50)]
    assert reader.backlog_bytes() == 0
    journal.close()
    reader.stop_following()
    assert reader.read(1000) == []
    assert reader.finished


def test_recover_cuts_a_torn_tail_and_goes_on_numbering(tmp_path: Path) -> None:
    payloads = fill(tmp_path, 20, segment_bytes_max=10**6)
    (path,) = segments_of(tmp_path)
    os.truncate(path, path.stat().st_size - 3)
    assert recover(tmp_path) == 20
    fill(tmp_path, 5, next_seq=20)
    records = read_all(tmp_path)
    assert [record.payload for record in records[:19]] == payloads[:19]
    assert [record.seq for record in records] == list(range(1, 25))


def test_recover_removes_a_segment_without_a_whole_header(tmp_path: Path) -> None:
    fill(tmp_path, 3, segment_bytes_max=10**6)
    (tmp_path / "20251215-000000000000004.journal").write_bytes(b"TICKJ")
    assert recover(tmp_path) == 4
    assert len(segments_of(tmp_path)) == 1


def write_newer_version(folder: Path, *, next_seq: int) -> Path:
    """A segment as a program with another record format writes it: header, then bytes."""
    header = SegmentHeader("default", "1", next_seq, T0_US)
    data = bytearray(encode_segment_header(header)[:-4])
    data[8] = 3  # version
    path = folder / f"20251215-{next_seq:015d}.journal"
    path.write_bytes(data + google_crc32c.value(bytes(data)).to_bytes(4, "little") + b"records of version 3")
    return path


def test_segment_of_a_newer_version_is_refused_by_name_and_kept(tmp_path: Path) -> None:
    fill(tmp_path, 3, segment_bytes_max=10**6)
    path = write_newer_version(tmp_path, next_seq=4)
    said = f"'{segment_name(path)}' has format version 3, newer than 2"
    before = path.read_bytes()
    reader = JournalReader(lambda: segments_of(tmp_path), follow=False)
    assert len(reader.read(10**6)) == 3
    with pytest.raises(VersionError, match=said):
        reader.read(10**6)
    with pytest.raises(VersionError, match=said):
        recover(tmp_path)
    assert path.read_bytes() == before


def test_recover_of_nothing_begins_at_one(tmp_path: Path) -> None:
    assert recover(tmp_path) == 1


def test_reader_skips_damage_in_the_middle_and_counts_it(tmp_path: Path) -> None:
    fill(tmp_path, 20, segment_bytes_max=10**6)
    (path,) = segments_of(tmp_path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    reader = JournalReader(lambda: segments_of(tmp_path), follow=False)
    records = []
    while not reader.finished:
        records += reader.read(10**6)
    assert len(records) == 19
    assert reader.corrupt_bytes > 0


def test_lock_refuses_a_second_process_and_names_the_first(tmp_path: Path) -> None:
    lock = JournalLock(tmp_path)
    code = (
        f"from pathlib import Path; from ingest.journal.folder import JournalLock; JournalLock(Path({str(tmp_path)!r}))"
    )
    held = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"in use by process {os.getpid()}" in held.stderr
    lock.release()
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_clock_that_is_set_back_across_midnight_changes_no_order(tmp_path: Path) -> None:
    """The keeper took the segment being written for the oldest, and the reader stayed behind."""
    journal = writer(tmp_path)
    reader = JournalReader(lambda: segments_of(tmp_path), follow=True)
    seen: list[int] = []
    for day in (1, 2, 1, 0):
        for _ in range(3):
            journal.append(RecordKind.FRAME, b"x", T0_US + day * DAY_US)
        committed = Position(reader.segment, reader.offset) if reader.segment else None
        assert tidy(tmp_path, committed, keep_days=0, quota_bytes=1, now=datetime.fromtimestamp(T0_US / 1e6 + 9e6, UTC))
        assert segments_of(tmp_path)[-1].suffix == ".journal", "the writer's own is left alone"
        while records := reader.read(700):
            seen += [record.seq for record in records]
    journal.close()
    reader.close()
    assert seen == list(range(1, 13)) and recover(tmp_path) == 13
    names = [segment_name(path) for path in segments_of(tmp_path)]
    assert names == sorted(names, key=order_of) and names != sorted(names)
    earlier, later = Position("20261130-000000000000001", 90), Position("20261129-000000000000005", 10)
    assert earlier < later and not later < earlier


def test_what_is_no_segment_is_said_once_and_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    payloads = fill(tmp_path, 200)
    (path, *_) = segments_of(tmp_path)
    strays = [tmp_path / "notes.journal", tmp_path / f"{segment_name(path)} (copy).journal", tmp_path / "x.journal.zst"]
    strays[0].write_text("mine")
    shutil.copy(path, strays[1])
    strays[2].symlink_to(tmp_path / "nowhere")
    (tmp_path / f"{segment_name(path)[:8]}-000000000000999.journal").mkdir()
    assert [record.payload for record in read_all(tmp_path)] == payloads
    assert recover(tmp_path) == 201
    keeping(tmp_path, Position("20991231-000000000009999", 0), keep_days=0)
    assert all(stray.is_symlink() or stray.exists() for stray in strays)
    said = [record.message for record in caplog.records if "no segment" in record.message]
    assert len(said) == len(set(said)) == 4


def test_damaged_header_before_whole_records_costs_none_of_them(tmp_path: Path) -> None:
    fill(tmp_path, 5)
    (path,) = segments_of(tmp_path)
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    assert recover(tmp_path) == 6 and path.read_bytes() == data


def test_recovery_reads_a_segment_in_pieces(tmp_path: Path) -> None:
    journal = writer(tmp_path, segment_bytes_max=10**9)
    for _ in range(60):
        journal.append(RecordKind.FRAME, bytes(10**6), T0_US)
    journal.close()
    (path,) = segments_of(tmp_path)
    with path.open("ab") as torn:
        torn.write(b"torn")
    size = path.stat().st_size
    tracemalloc.start()
    assert recover(tmp_path) == 61
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert path.stat().st_size == size - 4
    assert peak < size / 2
