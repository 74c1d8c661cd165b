"""Damage to the journal: every byte cut off, bytes flipped, and what a power cut leaves."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import islice, pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.database.connections import Database
from ingest.errors import JournalError
from ingest.journal import writer as journal_writer
from ingest.journal.folder import recover, segments_of
from ingest.journal.housekeeping import tidy
from ingest.journal.reader import JournalReader
from ingest.journal.recording import read_recording
from ingest.journal.writer import JournalLimits, JournalWriter
from ingest.model.records import Record, RecordKind
from ingest.time_source import now_us
from tests.engines import on_one_engine
from tests.fault.harness import (
    WITHIN_S,
    Command,
    Ingester,
    Market,
    RecordProperty,
    committed,
    records_of,
    rows,
    sizes_of,
    stream_folder,
    wait_until,
)
from tests.fault.proxy import Proxy, url_through

FRAMES = 7  # a segment of some 12 KB: each of its bytes is tried
WINDOW_MS = 100  # the default of TICKLINE_JOURNAL_FSYNC_MS
LONG_WINDOW_MS = 2_000  # a busy machine commits late, but not as late as this
FLIPS = st.lists(st.tuples(st.integers(0, 2**31), st.integers(1, 255)), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def payloads(session: Path) -> list[bytes]:
    """Real frames."""
    return [frame.payload for frame in islice(read_recording(session), FRAMES)]


def write(folder: Path, payloads: list[bytes], *, next_seq: int = 1) -> Path:
    """Write one segment; return its path."""
    writer = JournalWriter(folder, collector="default", stream="1", next_seq=next_seq, limits=JournalLimits())
    for payload in payloads:
        writer.append(RecordKind.FRAME, payload, 1_765_771_374_837_000)
    writer.close()
    return segments_of(folder)[-1]


def read(folder: Path, *, follow: bool = False) -> list[Record]:
    """Read what can be read; a following reader stops where the writer would be."""
    reader = JournalReader(lambda: segments_of(folder), follow=follow)
    records: list[Record] = []
    while not reader.finished:
        found = reader.read(64 * 2**10)
        records += found
        if follow and not found:
            break
    reader.close()
    return records


def read_damaged(folder: Path) -> list[Record]:
    """Read in each way; the reader may raise its own errors and nothing else."""
    found: list[Record] = []
    for follow in (False, True):
        try:
            found += read(folder, follow=follow)
        except JournalError:
            continue
    return found


@pytest.fixture(params=["plain", "compressed"])
def segment(request: pytest.FixtureRequest, tmp_path: Path, payloads: list[bytes]) -> Path:
    path = write(tmp_path, payloads)
    if request.param == "compressed":
        write(tmp_path, payloads[:1], next_seq=100)
        tidy(tmp_path, None, keep_days=1, quota_bytes=0, now=datetime(2025, 12, 15, tzinfo=UTC))
        segments_of(tmp_path)[-1].unlink()
        (path,) = segments_of(tmp_path)
    return path


def test_segment_cut_at_every_byte_gives_the_whole_records_before_the_cut(segment: Path, payloads: list[bytes]) -> None:
    originals = read(segment.parent)
    assert [record.payload for record in originals] == payloads
    compressed = segment.name.endswith(".zst")
    for size in range(segment.stat().st_size - 1, -1, -1):
        os.truncate(segment, size)
        found = read(segment.parent)
        assert found == originals[: len(found)]
        if not compressed:
            assert len(found) == sum(record.end_offset <= size for record in originals)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=FLIPS)
def test_segment_with_flipped_bytes_gives_no_wrong_record(segment: Path, flips: list[tuple[int, int]]) -> None:
    whole = segment.read_bytes()
    originals = read(segment.parent)
    damaged = bytearray(whole)
    for at, bits in flips:
        damaged[at % len(whole)] ^= bits
    segment.write_bytes(damaged)
    try:
        assert {*read_damaged(segment.parent)} <= {*originals}
    finally:
        segment.write_bytes(whole)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(flips=FLIPS)
def test_recovery_of_a_damaged_segment_keeps_every_record_that_is_whole(
    tmp_path: Path, payloads: list[bytes], flips: list[tuple[int, int]]
) -> None:
    """What a reader could read before the recovery it can read after it."""
    for path in segments_of(tmp_path):
        path.unlink()
    path = write(tmp_path, payloads)
    damaged = bytearray(path.read_bytes())
    for at, bits in flips:
        damaged[at % len(damaged)] ^= bits
    path.write_bytes(damaged)
    before = read(tmp_path)
    try:
        next_seq = recover(tmp_path)
    except JournalError:
        return
    assert read(tmp_path) == before
    assert all(record.seq < next_seq for record in before)


def test_recovery_of_a_damaged_length_keeps_the_records_behind_it(tmp_path: Path, payloads: list[bytes]) -> None:
    """A length that reaches behind the end looks like a torn tail, but is not one."""
    path = write(tmp_path, payloads)
    third = read(tmp_path)[2].end_offset
    damaged = bytearray(path.read_bytes())
    damaged[third + 6] ^= 0x10  # of the fourth record: 1 MiB longer
    path.write_bytes(damaged)
    assert recover(tmp_path) == FRAMES + 1
    assert [record.payload for record in read(tmp_path)] == payloads[:3] + payloads[4:]


def test_recovery_after_a_kill_between_header_and_first_record_can_write_again(
    tmp_path: Path, payloads: list[bytes]
) -> None:
    path = write(tmp_path, payloads[:1])
    header_bytes = path.stat().st_size - len(payloads[0]) - 32
    os.truncate(path, header_bytes)
    next_seq = recover(tmp_path)
    write(tmp_path, payloads, next_seq=next_seq)
    assert [record.payload for record in read(tmp_path)] == payloads


def test_power_cut_at_any_moment_costs_at_most_the_window(
    tmp_path: Path,
    payloads: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
    is_timed: bool,
    record_property: RecordProperty,
) -> None:
    """Watch what the disk has been told to keep while frames are written."""
    assert JournalLimits().fsync_ms == WINDOW_MS
    synced = syncs = 0  # bytes that an fdatasync which has returned began with, and how many have
    slowest_s = 0.0
    real = os.fdatasync

    def watched(fd: int) -> None:
        nonlocal synced, syncs, slowest_s
        size, began = os.fstat(fd).st_size, time.monotonic()
        real(fd)
        slowest_s = max(slowest_s, time.monotonic() - began)
        synced, syncs = size, syncs + 1

    monkeypatch.setattr(journal_writer.os, "fdatasync", watched)
    writer = JournalWriter(tmp_path, collector="default", stream="1", next_seq=1, limits=JournalLimits())
    written: list[tuple[int, float]] = []  # end of each record, and when it was there
    worst_s = 0.0
    while syncs < (15 if is_timed else 3):  # by its own thread, while frames keep coming
        now = time.monotonic()
        writer.append(RecordKind.FRAME, payloads[0], now_us())
        written.append((segments_of(tmp_path)[0].stat().st_size, now))
        while written and written[0][0] <= synced:
            written.pop(0)
        if written:
            worst_s = max(worst_s, now - written[0][1])
        time.sleep(0.001)
    wait_until(lambda: synced == segments_of(tmp_path)[0].stat().st_size)  # nobody writes on, nobody closes it
    writer.close()
    record_property("unsynced_at_worst_ms", round(worst_s * 1000))
    record_property("fsync_at_worst_ms", round(slowest_s * 1000))
    if is_timed:
        assert 0 < worst_s < WINDOW_MS / 1000 + 2 * slowest_s + 0.05  # the sync before, its own, and the scheduler


class _Sizes:
    """What the sizes of a folder's segments were, every few milliseconds."""

    def __init__(self, folder: Path) -> None:
        self.seen: list[tuple[float, dict[Path, int]]] = []
        self._folder, self._done = folder, threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> _Sizes:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.seen.append((time.monotonic(), sizes_of(self._folder)))

    def before(self, moment: float) -> dict[Path, int]:
        """The last sizes at a moment; none before the first look."""
        return next((sizes for at, sizes in reversed(self.seen) if at <= moment), {})


@pytest.fixture
def market(home: Path) -> Iterator[Market]:
    with Market(home, "--generate", "--instruments", "200", "--rate", "1000") as market:
        yield market


def lost_but_committed(database: Database, sizes: _Sizes) -> dict[Path, int] | None:
    """What a power cut now leaves of the journal, some records, if the database has more than that."""
    kept = sizes.before(time.monotonic() - LONG_WINDOW_MS / 1000)
    left = kept[max(kept)] if kept else 0
    return kept if left > 2**14 and committed(database)[1] > left + 2**14 else None


@pytest.fixture(params=[False, True], ids=["database there", "database away"])
def is_away(request: pytest.FixtureRequest) -> bool:
    """Whether the first start after the power cut finds no database, and must number its records without it."""
    return bool(request.param)


@pytest.fixture
def continued(database: Database, home: Path, market: Market, is_away: bool) -> Database:
    """Recorded through a power cut. The database kept what the journal lost: its ledger ends behind the file."""
    folder = stream_folder(home)
    slow = {"TICKLINE_JOURNAL_FSYNC_MS": str(LONG_WINDOW_MS)}
    with Ingester(home, market, database.url, **slow) as ingester, _Sizes(folder) as sizes:
        before = committed(database)
        wait_until(lambda before=before: committed(database)[0] > before[0] and committed(database)[1] > 2**18)
        # The power goes when the database has what the disk of the journal need not have.
        kept = wait_until(lambda sizes=sizes: lost_but_committed(database, sizes), every_s=0.002)
        ingester.kill()
    for path in segments_of(folder):
        os.truncate(path, kept.get(path, 0))
    assert committed(database)[1] > segments_of(folder)[-1].stat().st_size
    url = url_through(database.url, home / "p") if is_away else database.url
    with ExitStack() as stack, Ingester(home, market, url) as ingester:
        before = committed(database)
        if is_away:
            ingester.wait_for("feed connected")
            stack.enter_context(Proxy(database.url, home / "p"))
        wait_until(lambda: committed(database)[0] > before[0] and committed(database)[1] > 2**18)
        ingester.stop()
    return database


@on_one_engine
def test_journal_shortened_by_a_power_cut_is_continued_without_doubles_and_verify_names_the_loss(
    continued: Database, home: Path, is_away: bool
) -> None:
    last_lost = check_continued(continued, stream_folder(home))
    assert not volume_is_doubled(continued)
    records = records_of(stream_folder(home))
    (lost,) = [
        (before.seq + 1, after.seq - 1) for (_, before), (_, after) in pairwise(records) if after.seq > before.seq + 1
    ]
    with Command(home, "verify", TICKLINE_HOME=str(home), TICKLINE_DATABASE_URL=continued.url) as verify:
        assert verify.process.wait(timeout=WITHIN_S) == 1
        assert (lost[1] > last_lost) == is_away
        assert f"seq {lost[0]} to {last_lost} are committed and not in the journal any more" in verify.text()
        assert "records missing" not in verify.text()
        assert f"ended without a word after seq {lost[0] - 1}" in verify.text()
        assert not re.search(r"^  (missing|doubled|too many|volume)", verify.text(), re.MULTILINE), verify.text()


def check_continued(database: Database, folder: Path) -> int:
    """Nothing twice, and no seq used again; return the last that was committed before the journal went on."""
    assert rows(database, "select count(*), count(distinct (instrument_id, seq)) from ticks") == rows(
        database, "select sum(ticks), sum(ticks) from tickline.ledger"
    )
    ranges = rows(database, "select first_seq, last_seq from tickline.ledger order by batch_id")
    records = [record for _, record in records_of(folder)]
    in_journal = [record.seq for record in records]
    [went_on] = [after for before, after in pairwise(records) if after.seq > before.seq + 1]
    left_out = {went_on.seq} if b'"after_seq"' in went_on.payload else set()
    assert all(two[0] == one[1] + 1 or two[0] in left_out for one, two in pairwise(ranges))
    assert in_journal == sorted(set(in_journal))
    assert in_journal[-1] == ranges[-1][1]
    return max(last_seq for _, last_seq in ranges if last_seq < went_on.seq)


def volume_is_doubled(database: Database) -> bool:
    """Whether some instrument has more volume in its ticks and gaps than it traded."""
    doubled = """
        with of_ticks as (
            select instrument_id, sum(volume) as volume, max(vtt) as traded from ticks group by 1
        ), of_gaps as (
            select instrument_id, sum(volume) as volume from feed_gaps where instrument_id is not null group by 1
        )
        select count(*) from of_ticks left join of_gaps using (instrument_id)
        where of_ticks.volume + coalesce(of_gaps.volume, 0) > of_ticks.traded
    """
    return rows(database, doubled) != [(0,)]
