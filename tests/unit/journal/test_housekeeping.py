"""Housekeeping of a journal: what is closed is compressed, what is committed goes in time."""

from __future__ import annotations

from pathlib import Path

import pytest

from ingest.journal.folder import segment_name, segments_of
from ingest.journal.reader import JournalReader
from ingest.journal.sources import is_segment, read_segment_header
from ingest.model.records import Position
from tests.unit.journal.journals import fill, keeping, read_all


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
