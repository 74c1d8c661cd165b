"""The journal's files: rotation, recovery, following, exclusive use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ingest.journal import JournalLock, JournalReader, JournalWriter, Position, recover, segments_of
from ingest.model import Record, RecordKind
from sql.errors import JournalError

DAY_US = 86_400_000_000
T0_US = 1_765_771_374_837_000


def writer(folder: Path, **given: int) -> JournalWriter:
    limits = {"next_seq": 1, "segment_bytes_max": 10_000, "fsync_ms": 5} | given
    return JournalWriter(folder, collector="default", stream="1", **limits)


def read_all(folder: Path, position: Position | None = None, bytes_max: int = 700) -> list[Record]:
    reader = JournalReader(lambda: segments_of(folder), position, follow=False)
    records: list[Record] = []
    while not reader.finished:
        records += reader.read(bytes_max)
    reader.close()
    return records


def fill(folder: Path, count: int, **given: int) -> list[bytes]:
    payloads = [bytes([number % 256]) * (number % 400) for number in range(count)]
    journal = writer(folder, **given)
    for number, payload in enumerate(payloads):
        journal.append(RecordKind.FRAME, payload, T0_US + number)
    journal.close()
    return payloads


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
    assert [path.stem for path in segments_of(tmp_path)] == ["20251215-000000000000001", "20251216-000000000000301"]
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
    code = f"from pathlib import Path; from ingest.journal import JournalLock; JournalLock(Path({str(tmp_path)!r}))"
    held = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"in use by process {os.getpid()}" in held.stderr
    lock.release()
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_append_on_a_full_disk_says_so_and_leaves_whole_records(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    code = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
from pathlib import Path
from ingest.journal import JournalWriter
from sql.errors import JournalError
journal = JournalWriter(
    Path({str(tmp_path)!r}), collector="c", stream="1", next_seq=1, segment_bytes_max=10**9, fsync_ms=0
)
for number in range(100):
    try:
        journal.append(1, b"x" * 300, {T0_US})
    except JournalError as exc:
        print(number, exc)
        break
"""
    assert resource is not None
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    number, _, text = ran.stdout.partition(" ")
    assert "cannot write journal" in text
    assert len(read_all(tmp_path)) == int(number)


def test_closed_writer_cannot_begin_a_segment_that_exists(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    with pytest.raises(JournalError, match="cannot begin journal segment"):
        fill(tmp_path, 1)
