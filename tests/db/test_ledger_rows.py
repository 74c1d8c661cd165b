"""Committed neighbours share a row of the ledger: what was committed is the same, and all that reads it goes on."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import psycopg
import pytest

from ingest.audit.journal_check import verify_stream
from ingest.audit.report import StreamReport
from ingest.audit.volume_check import verify_volumes
from ingest.database import queries
from ingest.database import upgrade as apply
from ingest.database.connections import HEAD, Database
from ingest.errors import StoreError
from ingest.journal.folder import segments_of
from ingest.journal.writer import JournalLimits
from ingest.model.records import Position
from ingest.model.ticks import TICK_COLUMN_NAMES
from ingest.pipeline.replay import replay
from ingest.settings import settings
from ingest.store.batch import Batch
from ingest.store.row_buffer import RowBuffer
from ingest.store.writer import Writer
from tests.conftest import Template
from tests.db.made_journals import make_journal
from tests.engines import on_one_engine

FRAMES = 1_200
BATCH_ROWS = 30
OPEN_US = 1_765_770_300e6
BEFORE_MERGING = "0009"  # the last revision with a row for each batch
TOTALS = (
    "select sum(frames), sum(ticks), sum(rejected), sum(quarantined), sum(duplicates), min(first_seq), max(last_seq), "
    "min(first_ts), max(last_ts), sum(offset_end - offset_start), sum(batches) from tickline.ledger"
)
TICKS = "select instrument_key, ticks.* from ticks join instruments using (instrument_id) order by 1, seq, ts"


@pytest.fixture(scope="module")
def made_stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal of three segments, the second with a frame that does not parse: made once, tests take copies of it."""
    folder = make_journal(tmp_path_factory.mktemp("made") / "1", FRAMES, JournalLimits(segment_bytes_max=700_000))
    assert len(segments_of(folder)) == 3
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
def written(template: Template, written_url: str) -> Iterator[Database]:
    """A copy of it."""
    with template.fresh(source_url=written_url) as database:
        yield database


def write(database: Database, *segments: Path) -> None:
    asyncio.run(replay(settings(batch_rows_max=BATCH_ROWS), database.url, segments))


def write_row_by_row(database: Database, monkeypatch: pytest.MonkeyPatch, *segments: Path) -> None:
    """Write a row for each batch, as earlier versions did."""
    with monkeypatch.context() as patch:
        patch.setattr("ingest.store.ledger_row.ROW_BATCHES_MAX", 1)
        write(database, *segments)


def verify(database: Database, folder: Path) -> StreamReport:
    with database.connect() as connection:
        return verify_stream(connection, "default", folder)


def check(database: Database, folder: Path) -> None:
    report = verify(database, folder)
    assert report.adds_up, report.problems
    assert (report.frames, report.committed, report.quarantined) == (FRAMES + 1, FRAMES + 1, 1)
    with database.connect() as connection:
        [day] = verify_volumes(connection)
    assert day.adds_up, day.problems


def facts(database: Database) -> tuple[Any, ...]:
    """All that must not depend on the rows of the ledger; an instrument's number depends on nothing but its turn."""
    with Writer(database.url, "default") as writer:
        resume = writer.ledger.resume("1")
    with database.connect() as conn:
        instrument_id = 2
        ticks = [row[:1] + row[instrument_id:] for row in conn.execute(TICKS).fetchall()]
        return resume.committed, resume.digest, resume.last_seq, conn.execute(TOTALS).fetchall(), ticks


def count(conn: psycopg.Connection[Any], what: str = "count(*)") -> int:
    [(found,)] = conn.execute(f"select {what} from tickline.ledger".encode()).fetchall()
    return int(found)


def test_merged_rows_say_and_prove_what_single_rows_do(
    written: Database, database: Database, stream: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(written, stream)
    write_row_by_row(database, monkeypatch, *segments_of(stream))
    with written.connect() as merged, database.connect() as single:
        assert (count(merged), count(merged, "sum(batches) > 60")) == (3, 1)
        assert count(single) == count(single, "sum(batches)") == count(merged, "sum(batches)")
    check(database, stream)
    assert facts(written) == facts(database)


@on_one_engine
def test_merged_rows_are_resumed_at_their_end(
    database: Database, written: Database, stream: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at each of some batches, and replayed again: rows go on where they ended."""
    commit = Writer.write
    for batches in (1, 2, 40, 75):
        left = batches

        def write_some(writer: Writer, batch: Batch, name: str) -> None:
            nonlocal left
            if not left:
                raise KeyError("the end")
            left -= 1
            commit(writer, batch, name)

        with monkeypatch.context() as patch, pytest.raises(KeyError):
            patch.setattr(Writer, "write", write_some)
            write(database, *segments_of(stream))
    write(database, *segments_of(stream))
    check(database, stream)
    *ours, our_ticks = facts(database)
    *theirs, their_ticks = facts(written)
    assert our_ticks == their_ticks
    assert ours[:3] == theirs[:3]


def lose(conn: psycopg.Connection[Any]) -> None:
    conn.execute(
        "delete from ticks where seq = 40 and instrument_id = (select min(instrument_id) from ticks where seq = 40)"
    )


def add(conn: psycopg.Connection[Any]) -> None:
    conn.execute("insert into ticks select * from ticks where seq = 40 limit 1")


def move_to_another_frame(conn: psycopg.Connection[Any]) -> None:
    conn.execute(
        "update ticks set seq = 41, received_at = (select min(received_at) from ticks where seq = 41)"
        " where seq = 40 and instrument_id = (select min(instrument_id) from ticks where seq = 40)"
    )


FIRST_ROW = " where batch_id = (select min(batch_id) from tickline.ledger)"


def say_less(conn: psycopg.Connection[Any]) -> None:
    conn.execute("update tickline.ledger set frames = frames - 1" + FIRST_ROW)


def forge(conn: psycopg.Connection[Any]) -> None:
    conn.execute("update tickline.ledger set digest = '0000dead'" + FIRST_ROW)


@on_one_engine
@pytest.mark.parametrize(
    ("spoil", "kinds"),
    [
        (lose, {"missing"}),
        (add, {"doubled", "too many"}),
        (move_to_another_frame, {"missing", "too many", "doubled"}),
        (say_less, {"frames differ"}),
        (forge, {"checksum"}),
    ],
)
def test_fault_within_a_merged_row_is_found(
    written: Database, stream: Path, spoil: Callable[[Any], None], kinds: set[str]
) -> None:
    with written.connect(autocommit=True) as conn:
        assert count(conn, "min(batches)") > 1
        spoil(conn)
    report = verify(written, stream)
    assert kinds & {*report.problem_counts}, report.problems


@on_one_engine
def test_byte_altered_in_the_oldest_segment_that_is_left_is_found(written: Database, stream: Path) -> None:
    """Its first row is proved by the ledger's row before it, whose segment is gone."""
    segments_of(stream)[0].unlink()
    assert not {"checksum", "damage"} & {*verify(written, stream).problem_counts}
    with written.connect(autocommit=True) as conn:
        conn.execute("update tickline.ledger set digest = '0000dead'" + FIRST_ROW)
    assert "checksum" in verify(written, stream).problem_counts


def batch(start: int, end: int, *, payload: bytes = b"") -> Batch:
    """A batch with one tick; a record is a byte long."""
    buffer = RowBuffer(10)
    values = np.full((1, len(TICK_COLUMN_NAMES)), np.nan)
    for name, value in {
        "ts": OPEN_US + end,
        "instrument_id": 1,
        "seq": end,
        "traded": 0,
        "ltp": 100,
        "received_at": OPEN_US,
    }.items():
        values[0, TICK_COLUMN_NAMES.index(name)] = value
    buffer.extend(values)
    digest = f"{google_crc32c.value(payload or bytes(end)):08x}"
    return Batch("one", start, buffer, end, first_seq=start + 1, last_seq=end, frames=end - start, digest=digest)


@pytest.fixture
def _instrument(conn: psycopg.Connection[Any]) -> None:
    conn.execute("insert into instruments (instrument_key, segment) values ('NSE_EQ|A', 'NSE_EQ')")


LEDGER = "select collector, segment, offset_start, offset_end, ticks, batches from tickline.ledger order by 1, 2, 3"


@pytest.mark.usefixtures("_instrument")
def test_extension_whose_answer_was_lost_is_not_made_twice(database: Database, conn: Any) -> None:
    with Writer(database.url, "one") as writer:
        for start in (0, 1):
            writer.write(batch(start, start + 1), "1")
        before = dict(writer._newest_rows)
        writer.write(batch(2, 3), "1")
        writer._newest_rows = before  # as if the connection had broken before the answer came
        writer.reconnect()
        writer.write(batch(2, 3), "1")
        writer.write(batch(3, 4), "1")
    assert conn.execute(LEDGER).fetchall() == [("one", "1/one", 0, 4, 4, 4)]
    assert conn.execute("select seq from ticks order by seq").fetchall() == [(1,), (2,), (3,), (4,)]


@pytest.mark.usefixtures("_instrument")
@pytest.mark.parametrize("start", [0, 1, 2])
def test_other_records_within_a_merged_row_are_refused(database: Database, conn: Any, start: int) -> None:
    """A second writer, of another journal under the same name, knows nothing of the row."""
    with Writer(database.url, "one") as writer:
        for at in range(3):
            writer.write(batch(at, at + 1), "1")
    with Writer(database.url, "one") as writer, pytest.raises(StoreError, match="two journals"):
        writer.write(batch(start, start + 1, payload=b"other"), "1")
    with Writer(database.url, "one") as writer:
        writer.write(batch(3, 4), "1")
    assert conn.execute("select seq from ticks order by seq").fetchall() == [(1,), (2,), (3,), (4,)]


@pytest.mark.usefixtures("_instrument")
def test_streams_and_collectors_have_rows_of_their_own(database: Database, conn: Any) -> None:
    with Writer(database.url, "one") as one, Writer(database.url, "two") as two:
        for start in range(3):
            one.write(batch(start, start + 1), "1")
            two.write(batch(start, start + 1), "1")
            one.write(batch(start, start + 1), "2")
        resumes = [writer.ledger.resume(name) for writer, name in ((one, "1"), (two, "1"), (one, "2"))]
    assert [resume.committed for resume in resumes] == [Position("one", 3)] * 3
    assert conn.execute(LEDGER).fetchall() == [
        ("one", "1/one", 0, 3, 3, 3),
        ("one", "2/one", 0, 3, 3, 3),
        ("two", "1/one", 0, 3, 3, 3),
    ]


@pytest.mark.usefixtures("_instrument")
def test_ledger_does_not_grow_with_the_number_of_commits(database: Database, conn: Any) -> None:
    """Without vacuum: a row's old versions make room for its next ones, and its index entries stay the same."""
    size = "select pg_total_relation_size('tickline.ledger') - pg_relation_size('tickline.ledger', 'fsm')"
    with Writer(database.url, "one") as writer:
        writer.write(batch(0, 1), "1")
        [(begun,)] = conn.execute(size).fetchall()
        for start in range(1, 500):
            writer.write(batch(start, start + 1), "1")
    [(grown,)] = conn.execute(size).fetchall()
    # Some pages, because a transaction anywhere on the server holds versions back; 500 rows and their index entries
    # take 15.
    assert grown - begun <= 12 * 8192


@pytest.fixture
def older(empty_database: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A database as the version before made it."""
    from alembic import command

    upgrade = command.upgrade
    with monkeypatch.context() as patch:
        patch.setattr(command, "upgrade", lambda config, _: upgrade(config, BEFORE_MERGING))
        apply.upgrade(empty_database)
    return empty_database


OLD_COLUMNS = (
    "collector, segment, offset_start, offset_end, first_seq, last_seq, frames, ticks, rejected, quarantined, "
    "duplicates, first_ts, last_ts, digest"
)


def test_upgrade_merges_rows_of_earlier_versions(
    database: Database, older: Database, stream: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of a real journal, given to a database of the version before."""
    write_row_by_row(database, monkeypatch, *segments_of(stream))
    with database.connect() as source, older.connect(autocommit=True) as target:
        rows = source.execute(f"select {OLD_COLUMNS} from tickline.ledger order by batch_id".encode()).fetchall()
        statement = f"insert into tickline.ledger ({OLD_COLUMNS}) values ({', '.join(['%s'] * 14)})"
        target.cursor().executemany(statement.encode(), rows)
    assert apply.upgrade(older)[-1] == HEAD
    with database.connect(autocommit=True) as conn, older.connect() as upgraded:
        merged = upgraded.execute(
            f"select {OLD_COLUMNS}, batches from tickline.ledger order by batch_id".encode()
        ).fetchall()
        assert upgraded.execute(TOTALS).fetchall() == conn.execute(TOTALS).fetchall()
        assert len(merged) == len(segments_of(stream))
        # The merged rows prove the same journal.
        conn.execute("delete from tickline.ledger")
        statement = f"insert into tickline.ledger ({OLD_COLUMNS}, batches) values ({', '.join(['%s'] * 15)})"
        conn.cursor().executemany(statement.encode(), merged)
    check(database, stream)


def test_upgrade_keeps_rows_apart_that_are_no_neighbours(older: Database) -> None:
    """Each row says: segment, start, end, first and last seq, first and last tick."""
    day, next_day, third = "2025-12-15 04:00+00", "2025-12-16 04:00+00", "2025-12-17 04:00+00"
    part = 2**20
    rows = [
        ("1/a", 0, 10, 1, 1, day, day),
        ("1/a", 10, 20, 2, 2, None, None),
        ("1/a", 20, 30, 3, 4, day, day),
        ("1/a", 31, 40, 5, 5, day, day),  # a hole of a byte
        ("1/a", 40, 50, 7, 7, day, day),  # and of a record
        ("1/a", 50, part, 8, 8, day, day),
        ("1/a", part, part + 10, 9, 9, day, day),  # the next part
        ("1/b", 0, 10, 10, 10, day, day),
        ("1/b", 10, 20, 11, 11, next_day, next_day),
        ("1/b", 20, 30, 12, 12, next_day, next_day),
        ("1/b", 30, 40, 13, 13, None, None),
        ("1/b", 40, 50, 14, 14, next_day, third),
        ("2/a", 0, 10, None, None, None, None),
        ("2/a", 10, 20, None, None, None, None),
    ]
    with older.connect(autocommit=True) as conn:
        conn.cursor().executemany(
            "insert into tickline.ledger (collector, segment, offset_start, offset_end, first_seq, last_seq, first_ts,"
            " last_ts, frames, ticks, digest) values ('one', %s, %s, %s, %s, %s, %s, %s, 1, 1, to_hex(%s::int4))",
            [(*row, number) for number, row in enumerate(rows)],
        )
        conn.execute(
            "insert into tickline.ledger (collector, segment, offset_start, offset_end, frames, ticks)"
            " values ('two', '1/a', 10, 20, 1, 1)"
        )
    apply.upgrade(older)
    with older.connect() as conn:
        merged = conn.execute(
            "select segment, offset_start, offset_end, batches, frames, digest from tickline.ledger "
            "where collector = 'one' order by batch_id"
        ).fetchall()
        [(newest,)] = conn.execute("select max(batch_id) from tickline.ledger").fetchall()
    assert merged == [
        ("1/a", 0, 30, 3, 3, "2"),
        ("1/a", 31, 40, 1, 1, "3"),
        ("1/a", 40, part, 2, 2, "5"),
        ("1/a", part, part + 10, 1, 1, "6"),
        ("1/b", 0, 10, 1, 1, "7"),
        ("1/b", 10, 30, 2, 2, "9"),
        ("1/b", 30, 40, 1, 1, "a"),
        ("1/b", 40, 50, 1, 1, "b"),
        ("2/a", 0, 10, 1, 1, "c"),
        ("2/a", 10, 20, 1, 1, "d"),
    ]
    with older.connect(autocommit=True) as conn:  # numbers go on
        conn.execute(
            queries.query("ledger/write_ledger"),
            {
                "collector": "one", "segment": "1/c", "row_start": 0, "offset_start": 0, "offset_end": 1,
                "first_seq": 15, "last_seq": 15, "frames": 1, "ticks": 0, "rejected": 0, "quarantined": 0,
                "duplicates": 0, "first_ts": None, "last_ts": None, "digest": "e",
            },
        )  # fmt: skip
        assert count(conn, "max(batch_id)") > newest
