"""The journal's files: rotation, recovery, following, exclusive use."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tracemalloc
from collections import deque
from datetime import UTC, datetime
from pathlib import Path

import google_crc32c
import pytest

from ingest.errors import ConfigError, JournalError, VersionError
from ingest.journal import writer as journal_writer
from ingest.journal.folder import JournalLock, recover, segment_name, segments_of
from ingest.journal.format import PAYLOAD_BYTES_MAX, SegmentHeader, encode_segment_header
from ingest.journal.housekeeping import tidy
from ingest.journal.reader import JournalReader
from ingest.journal.sources import is_segment, read_segment_header
from ingest.journal.writer import JournalLimits, JournalWriter, NewRecord
from ingest.model.records import Position, Record, RecordKind, order_of
from ingest.settings import settings

DAY_US = 86_400_000_000
T0_US = 1_765_771_374_837_000


def writer(folder: Path, *, next_seq: int = 1, **given: int) -> JournalWriter:
    limits = JournalLimits(**{"segment_bytes_max": 10_000, "fsync_ms": 5} | given)
    return JournalWriter(folder, collector="default", stream="1", next_seq=next_seq, limits=limits)


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


def test_append_on_a_full_disk_says_so_and_leaves_whole_records(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    code = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
from pathlib import Path
from ingest.journal.writer import JournalLimits
from ingest.journal.writer import JournalWriter
from ingest.errors import ConfigError
from ingest.errors import JournalError
from ingest.errors import VersionError
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
    assert resource is not None
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


NOW = datetime(2025, 12, 20, tzinfo=UTC)


def keeping(folder: Path, committed: Position | None, **given: int) -> tuple[int, int]:
    kept = tidy(folder, committed, **{"keep_days": 30, "quota_bytes": 0} | given, now=NOW)
    return kept.compressed, kept.deleted


def test_closed_segments_are_compressed_and_read_the_same(tmp_path: Path) -> None:
    payloads = fill(tmp_path, 200)
    size = sum(path.stat().st_size for path in segments_of(tmp_path))
    assert keeping(tmp_path, None) == (2, 0)
    assert [path.suffix for path in segments_of(tmp_path)] == [".zst", ".zst", ".journal"]
    assert all(is_segment(path) and read_segment_header(path) == ("default", "1") for path in segments_of(tmp_path))
    assert sum(path.stat().st_size for path in segments_of(tmp_path)) < size / 2
    assert [record.payload for record in read_all(tmp_path)] == payloads
    first = read_all(tmp_path)[40]
    position = Position(segment_name(segments_of(tmp_path)[0]), first.end_offset)
    assert [record.payload for record in read_all(tmp_path, position)] == payloads[41:]
    assert keeping(tmp_path, None) == (0, 0)


def test_interrupted_compression_leaves_the_original_in_use(tmp_path: Path) -> None:
    payloads = fill(tmp_path, 200)
    first = segments_of(tmp_path)[0]
    (tmp_path / (first.name + ".zst")).write_bytes(b"half of it")
    (tmp_path / (first.name + ".zst.tmp")).write_bytes(b"less")
    assert [record.payload for record in read_all(tmp_path)] == payloads


def test_uncommitted_segments_are_never_deleted(tmp_path: Path) -> None:
    fill(tmp_path, 200)
    assert keeping(tmp_path, None, keep_days=0, quota_bytes=1)[1] == 0
    second = segment_name(segments_of(tmp_path)[1])
    assert keeping(tmp_path, Position(second, 10), keep_days=0)[1] == 1
    assert segment_name(segments_of(tmp_path)[0]) == second


def test_committed_segments_go_after_their_days_or_when_the_quota_is_full(tmp_path: Path) -> None:
    fill(tmp_path, 400)
    newest = Position(segment_name(segments_of(tmp_path)[-1]), 10**9)
    count = len(segments_of(tmp_path))
    assert keeping(tmp_path, newest, keep_days=30)[1] == 0
    sizes = [path.stat().st_size for path in segments_of(tmp_path)]
    assert keeping(tmp_path, newest, quota_bytes=sum(sizes) - 1)[1] == 1
    assert keeping(tmp_path, newest, keep_days=3)[1] == count - 2
    assert len(segments_of(tmp_path)) == 1


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


@pytest.mark.parametrize("keep_bytes", [0, 5, 400, -20])
def test_damaged_compressed_segment_costs_no_other(tmp_path: Path, keep_bytes: int) -> None:
    fill(tmp_path, 200)
    rest = len(read_all(tmp_path, Position(segment_name(segments_of(tmp_path)[1]), 0)))
    keeping(tmp_path, None)
    packed = segments_of(tmp_path)[0]
    packed.write_bytes(packed.read_bytes()[:keep_bytes])
    reader = JournalReader(lambda: segments_of(tmp_path), follow=False)
    seqs: list[int] = []
    while not reader.finished:
        seqs += [record.seq for record in reader.read(700)]
    assert seqs[-rest:] == list(range(201 - rest, 201))
    assert seqs == sorted(set(seqs))
    assert reader.corrupt_bytes > 0 or keep_bytes == 0


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


def test_frames_larger_than_the_journal_holds_are_refused_at_start() -> None:
    assert settings(frame_bytes_max=PAYLOAD_BYTES_MAX).frame_bytes_max == PAYLOAD_BYTES_MAX
    with pytest.raises(ConfigError, match="TICKLINE_FRAME_BYTES_MAX"):
        settings(frame_bytes_max=PAYLOAD_BYTES_MAX + 1)
