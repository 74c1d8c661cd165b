"""SIGKILL while a batch is being merged into a row of the ledger: each frame is committed once, and `verify` proves it.

The writer is held between the extension of the row and its commit. Its server process either ends with it, or commits
what a dead process has sent: the next one must see which.
"""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Self

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
    replayed,
    rows,
    stream_folder,
    ticks_of,
    wait_until,
)

SEED = 20251215
STEPS_MAX = 5  # batches that a run commits before it is killed
BATCH_ROWS = "20"
# Those who read the minutes do not wait for it, and of two who want it the second waits.
HOLD = "lock table tickline.touched_minutes in share row exclusive mode"
# Who waits to record minutes, and whether it has extended its row, or begun one.
HELD = """
    select waits.pid, exists (
        select from pg_locks as has where has.pid = waits.pid and has.granted
            and has.relation = 'tickline.ledger'::regclass and has.mode = 'RowExclusiveLock'
    ) from pg_locks as waits where not waits.granted and waits.relation = 'tickline.touched_minutes'::regclass
"""


class Attack(NamedTuple):
    """How often a process is killed, on so many frames of the session."""

    kills: int
    frames: int


@pytest.fixture(
    params=[
        pytest.param(Attack(3, 1_000), id="short"),
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


class Steps:
    """Lets a writer commit one batch at a time, however quick it is: two connections hold what it needs, in turn."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.holder, self._next = database.connect(), database.connect()
        self._threads = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.holder.close()
        self._next.close()
        self._threads.shutdown()

    def hold(self) -> None:
        """Let no batch be committed from now on."""
        self.holder.execute(HOLD)

    def writer(self, command: Command) -> int:
        """Wait until a process has extended its row and waits; return the process id of its server, 0: it has ended."""
        while True:
            held = wait_until(lambda: rows(self._database, HELD) or command.process.poll() is not None)
            if held is True:
                return 0
            pid, has_row = held[0]
            if has_row:
                return int(pid)
            self.step()  # it begins, and moves what earlier ones left

    def step(self) -> None:
        """Let the batch that waits be committed, and no other."""
        queued = self._threads.submit(self._next.execute, HOLD)
        waits = f"select from pg_locks where not granted and pid = {self._next.info.backend_pid}"
        wait_until(lambda: rows(self._database, waits) or queued.done())
        self.release()
        queued.result()
        self.holder, self._next = self._next, self.holder

    def release(self) -> None:
        """Let what waits be committed."""
        self.holder.commit()


def kill_while_merging(command: Command, database: Database, rng: random.Random, steps: Steps) -> bool:
    """Kill a process between the extension of a row and its commit; return False if it ended before."""
    for _ in range(rng.randint(1, STEPS_MAX)):
        if not steps.writer(command):
            return False
        steps.step()
    if not (writer := steps.writer(command)):
        return False
    command.kill()
    check(database, stream_folder(command.log.parent), pending=True)  # what is not committed is not seen
    if rng.random() < 0.5:  # it ends with the process, or commits what it was sent
        steps.holder.execute("select pg_terminate_backend(%s, 60000)", (writer,))
    steps.release()
    wait_until(lambda: not rows(database, f"select from pg_stat_activity where pid = {writer}"))
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
    with Steps(database) as steps:
        while kills < attack.kills:
            steps.hold()
            with Command(home, "replay", *paths, **(QUICK | environment)) as command:
                if not kill_while_merging(command, database, rng, steps):
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
