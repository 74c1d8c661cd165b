"""What lies in the journal's folder and is none of ours, and a disk that refuses: said, left alone, tried again."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ingest.audit.journal_check import streams_of
from ingest.errors import JournalError
from ingest.journal import folder as journal_module
from ingest.journal import reader as journal_reader
from ingest.journal.folder import JournalLock, recover, segment_name, segments_of
from ingest.journal.housekeeping import tidy
from ingest.journal.reader import JournalReader
from ingest.journal.sources import is_segment
from ingest.journal.writer import JournalLimits, JournalWriter
from ingest.model.records import Position, RecordKind

T0_US = 1_765_771_374_837_000
NOW = datetime.fromtimestamp(T0_US / 1e6, UTC) + timedelta(days=9)


def writer(folder: Path, *, next_seq: int = 1, segment_bytes_max: int = 10_000) -> JournalWriter:
    limits = JournalLimits(segment_bytes_max=segment_bytes_max, fsync_ms=5)
    return JournalWriter(folder, collector="default", stream="1", next_seq=next_seq, limits=limits)


def fill(folder: Path, count: int = 200) -> None:
    journal = writer(folder)
    for number in range(count):
        journal.append(RecordKind.FRAME, bytes(200), T0_US + number)
    journal.close()


def strew(folder: Path, live: Path) -> list[Path]:
    """Put everything beside a live segment that could be taken for a newer one."""
    day, seq = segment_name(live).split("-")
    strays = [
        folder / f"{int(day) + 1}-{seq}.journal",  # a copy with another day
        folder / f"{day}-{int(seq) + 500:015d}.journal",  # and with another number
        folder / "20991231-000000000900001.journal",
        folder / "20991231-000000000900002.journal.zst",
        folder / "20991231-000000000900003.journal",
        folder / "20991231-000000000900004.journal",
        folder / "20991231-000000000900005.journal",
        folder / "mine.journal",
        folder / os.fsdecode(b"\xff\xfe.journal"),
    ]
    shutil.copy(live, strays[0])
    shutil.copy(live, strays[1])
    strays[2].touch()
    strays[3].write_bytes(b"")
    strays[4].mkdir()
    strays[5].symlink_to(folder / "nowhere")
    os.mkfifo(strays[6])
    strays[7].write_text("my notes")
    strays[8].touch(mode=0)
    return strays


def test_strays_beside_a_live_segment_cost_no_record_and_stay(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = writer(tmp_path, segment_bytes_max=1_000)
    reader = JournalReader(journal.segments, follow=True)
    seen: list[int] = []
    strays: list[Path] = []
    for number in range(40):
        journal.append(RecordKind.FRAME, bytes(100), T0_US + number)
        seen += [record.seq for record in reader.read(2**20)]
        if number == 10:
            live = tmp_path / f"{journal.segment}.journal"
            strays = strew(tmp_path, live)
        if number > 10:
            committed = Position(reader.segment, reader.offset)
            tidy(tmp_path, committed, keep_days=0, quota_bytes=1, now=NOW, held=journal.segment)
            assert (tmp_path / f"{journal.segment}.journal").exists()
    while records := reader.read(2**20):
        seen += [record.seq for record in records]
    assert seen == list(range(1, 41))
    assert all(stray.is_symlink() or stray.exists() for stray in strays)
    said = " ".join(record.getMessage() for record in caplog.records if "no segment of it" in record.getMessage())
    assert said.count("is left alone") == 7  # of the empty ones nobody can say whether they are ours
    journal.close()
    reader.close()


def test_recovery_leaves_a_users_file_with_a_segments_name(tmp_path: Path) -> None:
    fill(tmp_path)
    names = [path.name for path in segments_of(tmp_path)]
    text, torn, lost = (tmp_path / f"20991231-{seq:015d}.journal" for seq in (900, 901, 902))
    text.write_text("my notes of the day")
    torn.write_bytes(b"TICKJ")
    lost.write_bytes(bytes(4096))  # a power cut left the length and not the bytes
    assert recover(tmp_path) == 201
    assert [path.name for path in segments_of(tmp_path)] == names
    assert text.read_text() == "my notes of the day"
    assert not torn.exists() and not lost.exists()


def test_segment_that_is_compressed_between_look_up_and_opening_is_read(tmp_path: Path) -> None:
    fill(tmp_path)

    def listed() -> list[Path]:
        found = segments_of(tmp_path)
        tidy(tmp_path, None, keep_days=30, quota_bytes=0, now=NOW)
        return found

    reader = JournalReader(listed, follow=False)
    records = []
    while not reader.finished:
        records += reader.read(2**20)
    assert len(records) == 200


def test_segment_that_goes_while_it_is_listed_is_no_stray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gone = tmp_path / "20251215-000000000000001.journal"
    monkeypatch.setattr(journal_module.Path, "iterdir", lambda _: iter([gone]))
    assert segments_of(tmp_path) == []
    assert not caplog.records


def test_disk_that_cannot_be_read_is_said_once_and_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    fill(tmp_path, 5)
    live = JournalReader(lambda: segments_of(tmp_path), follow=True)

    def fail(*_: object) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(journal_reader, "RETRY_S", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(journal_reader.os, "pread", fail)
        for _ in range(3):
            assert live.read(2**20) == []
        assert "Input/output error: see its disk" in live.error
        with pytest.raises(JournalError, match="cannot read journal.*Input/output error"):
            JournalReader(lambda: segments_of(tmp_path), follow=False).read(2**20)
    assert [record.seq for record in live.read(2**20)] == [1, 2, 3, 4, 5]
    assert not live.error
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    live.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], check=False).returncode:
        pytest.skip("a small file system cannot be mounted")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_full_disk_keeps_no_half_compressed_segment_and_is_read_elsewhere(small_disk: Path) -> None:
    journal = writer(small_disk, segment_bytes_max=60_000)
    for number in range(200):
        journal.append(RecordKind.FRAME, bytes(900), T0_US + number)
    journal.close()
    tidy(small_disk, None, keep_days=30, quota_bytes=0, now=NOW)
    (small_disk / "full").write_bytes(b"x" * 40_000)
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "more").write_bytes(os.urandom(2**20))
    reader = JournalReader(lambda: segments_of(small_disk), follow=False)
    records = []
    while not reader.finished:
        records += reader.read(2**20)
    assert len(records) == 200
    newest = segments_of(small_disk)[-1]
    with pytest.raises(OSError, match="No space left"):
        tidy(small_disk, None, keep_days=30, quota_bytes=0, now=NOW, held="20991231-000000000000999")
    assert newest.exists()
    assert not list(small_disk.glob("*.tmp"))


def test_folder_that_is_none_is_one_line_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for use in (JournalLock, recover, writer):
        with pytest.raises(JournalError, match=r"journal .*file.*: (File exists|Not a directory)"):
            use(tmp_path / "file")


def test_what_is_no_stream_is_left_out(tmp_path: Path) -> None:
    for name in ("1", "12", "lost+found", "0", "\u0663", "x"):
        (tmp_path / "default" / name).mkdir(parents=True)
    (tmp_path / "default" / "2").touch()
    (tmp_path / "notes").touch()
    assert [(collector, folder.name) for collector, folder in streams_of(tmp_path)] == [
        ("default", "1"),
        ("default", "12"),
    ]


def test_replay_of_what_is_no_file_says_so(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(JournalError, match="it is no file"):
        is_segment(tmp_path / "pipe")
