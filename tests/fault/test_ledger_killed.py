"""SIGKILL while a batch is being merged into a row of the ledger: each frame is committed once, and `verify` proves it.

The writer is held between the extension of the row and its commit. Its server process either ends with it, or commits
what a dead process has sent: the next one must see which.
"""

from __future__ import annotations

import random
import time
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from ingest.audit.journal_check import verify_stream
from ingest.database.connections import Database
from ingest.journal.folder import segments_of
from ingest.journal.recording import read_recording
from ingest.journal.writer import JournalLimits, JournalWriter
from ingest.model.records import RecordKind
from tests.conftest import Template
from tests.engines import on_one_engine
from tests.fault.harness import (
    QUICK,
    Command,
    RecordProperty,
    committed,
    replayed,
    rows,
    stream_folder,
    ticks_of,
    wait_until,
)

SEED = 20251215
COMMITS_S_MAX = 0.02  # a run commits for so long before it is held
BATCH_ROWS = "20"
# Of a writer that has extended its row, or begun one, and waits to record the minutes of its ticks.
HELD = (
    "select waits.pid from pg_locks as waits "
    "where not waits.granted and waits.relation = 'tickline.touched_minutes'::regclass and exists ("
    "select from pg_locks as has where has.pid = waits.pid and has.granted "
    "and has.relation = 'tickline.ledger'::regclass and has.mode = 'RowExclusiveLock')"
)


class Attack(NamedTuple):
    """How often a process is killed, on so many frames of the session."""

    kills: int
    frames: int


@pytest.fixture(
    params=[
        pytest.param(Attack(3, 1_500), id="short"),
        pytest.param(Attack(100, 62_913), id="soak", marks=pytest.mark.soak),
    ]
)
def attack(request: pytest.FixtureRequest) -> Attack:
    given: Attack = request.param
    return given


def journalled(home: Path, session: Path, frames: int) -> list[Path]:
    """Write the first frames of the session into a journal; return its segments."""
    folder = stream_folder(home)
    journal = JournalWriter(folder, collector="default", stream="1", next_seq=1, limits=JournalLimits())
    for frame in islice(read_recording(session), frames):
        journal.append(RecordKind.FRAME, frame.payload, frame.received_ms * 1000)
    journal.close()
    return segments_of(folder)


def check(database: Database, folder: Path, *, pending: bool) -> None:
    with database.connect() as connection:
        report = verify_stream(connection, "default", folder)
    assert report.adds_up, report.problems
    assert bool(report.pending) is pending


def kill_while_merging(
    command: Command, database: Database, rng: random.Random, holder: psycopg.Connection[Any]
) -> bool:
    """Kill a process between the extension of a row and its commit; return False if it ended before."""
    before = committed(database)
    wait_until(lambda: committed(database) != before or command.process.poll() is not None)
    time.sleep(rng.uniform(0, COMMITS_S_MAX))
    with holder.transaction():
        holder.execute("lock table tickline.touched_minutes")
        held = wait_until(lambda: rows(database, HELD) or command.process.poll() is not None)
        if held is True:
            return False
        command.kill()
        check(database, stream_folder(command.log.parent), pending=True)  # what is not committed is not seen
        ends_with_it = rng.random() < 0.5
        if ends_with_it:
            holder.execute("select pg_terminate_backend(%s, 5000)", held[0])
    wait_until(lambda: not rows(database, f"select from pg_stat_activity where pid = {held[0][0]}"))
    return True


@on_one_engine
@pytest.mark.timeout(3600)
def test_killed_while_merging_commits_each_frame_once(
    database: Database,
    template: Template,
    home: Path,
    session: Path,
    attack: Attack,
    record_property: RecordProperty,
) -> None:
    rng = random.Random(SEED)
    segments = journalled(home, session, attack.frames)
    paths = [str(path) for path in segments]
    environment = {"TICKLINE_DATABASE_URL": database.url, "TICKLINE_BATCH_ROWS_MAX": BATCH_ROWS}
    kills = 0
    with database.connect(autocommit=True) as holder:
        while kills < attack.kills:
            with Command(home, "replay", *paths, **(QUICK | environment)) as command:
                if not kill_while_merging(command, database, rng, holder):
                    break
            kills += 1
    with Command(home, "replay", *paths, **(QUICK | environment)) as command:
        assert command.process.wait(timeout=600) == 0, command.text()
    assert kills == attack.kills, "the recording is too short"
    check(database, stream_folder(home), pending=False)
    assert ticks_of(database) == replayed(template, home, segments)
    [(merged, batches)] = rows(database, "select count(*), sum(batches) from tickline.ledger")
    assert batches > 2 * merged
    record_property("kills", kills)
    record_property("batches", int(batches))
    record_property("rows", merged)
