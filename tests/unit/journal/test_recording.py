"""Recordings: what is good is read, what is not is said."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from ingest.errors import CorruptionError, JournalError
from ingest.journal.recording import HEADER, read_recording, write_recording
from ingest.journal.sources import RecordingSource

FRAMES = [(1000 + number, bytes([number]) * number * 7) for number in range(30)]


def test_recording_round_trips(tmp_path: Path) -> None:
    path = tmp_path / "a.frames.gz"
    assert write_recording(path, FRAMES) == 30
    assert [(frame.received_ms, frame.payload) for frame in read_recording(path)] == FRAMES


def test_recording_cut_anywhere_gives_a_prefix_and_an_error(tmp_path: Path) -> None:
    whole, cut = tmp_path / "a.frames.gz", tmp_path / "b.frames.gz"
    write_recording(whole, FRAMES)
    data = whole.read_bytes()
    for length in range(20, len(data), 7):
        cut.write_bytes(data[:length])
        read = []
        with pytest.raises(CorruptionError, match="cut short or damaged|frame is cut off"):
            read.extend(read_recording(cut))
        assert [(frame.received_ms, frame.payload) for frame in read] == FRAMES[: len(read)]


def test_recording_with_an_absurd_length_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.frames.gz"
    path.write_bytes(gzip.compress(HEADER.pack(1, 2) + b"xy" + HEADER.pack(1, 2**31)))
    with pytest.raises(CorruptionError, match="damaged at byte 14: frame length"):
        list(read_recording(path))


@pytest.mark.parametrize(
    "content", [b"# Tickline", gzip.compress(b"hi", mtime=0), gzip.compress(b"a text, not a short one", mtime=0)]
)
def test_file_that_is_no_recording_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "README.md"
    path.write_bytes(content)
    for read in (lambda: list(read_recording(path)), lambda: RecordingSource(path)):
        with pytest.raises(CorruptionError, match="file 'README.md' is no recording .*: name another$"):
            read()


@pytest.mark.parametrize("content", [b"", b"not gzip"])
def test_source_of_no_recording_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.frames.gz"
    path.write_bytes(content)
    with pytest.raises(JournalError):
        RecordingSource(path)


def test_source_of_another_recording_with_the_same_begin_is_refused(tmp_path: Path) -> None:
    one, two = tmp_path / "a.frames.gz", tmp_path / "b.frames.gz"
    write_recording(one, FRAMES)
    write_recording(two, [*FRAMES[:5], (1, b"another"), *FRAMES[6:]])
    source = RecordingSource(one)
    end = source.read(10**6)[9].end_offset
    other = RecordingSource(two)
    assert other.segment == source.segment
    other.expect([(end, "00000000")])
    while not other.finished:
        try:
            other.read(10)
        except JournalError as exc:
            assert "is another before byte" in str(exc)
            return
    pytest.fail("the other recording was taken for the first")
