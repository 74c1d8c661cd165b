"""SIGKILL at random moments: the ticks are those of a run that nobody disturbed."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from ingest.database.connections import Database
from tests.conftest import Template
from tests.engines import on_one_engine
from tests.fault.harness import (
    QUICK,
    WITHIN_S,
    Command,
    Ingester,
    Market,
    RecordProperty,
    backlog_bytes,
    check_account,
    check_ticks,
    committed,
    replayed,
    stream_folder,
    ticks_of,
    wait_until,
)

AFTER_COMMIT_S_MAX = 0.3  # a kill comes so long after the first commit of a run at most
AFTER_START_S_MAX = 1.0  # or so long after its start, so that starting is hit too
SEED = 20251215
LATER = datetime(2025, 12, 16, tzinfo=UTC)  # than the recordings


class Attack(NamedTuple):
    """How often a process is killed, on which recording, with batches of how many rows."""

    kills: int
    recording: str
    batch_rows: str


@pytest.fixture(
    params=[
        pytest.param(Attack(3, "short_session", "200"), id="short"),
        pytest.param(Attack(100, "session", "2000"), id="soak", marks=pytest.mark.soak),
    ]
)
def attack(request: pytest.FixtureRequest) -> Attack:
    given: Attack = request.param
    return given._replace(recording=str(request.getfixturevalue(given.recording)))


def have_newer_bars(database: Database) -> None:
    """Make the bars of a day after the recordings, and no more: theirs are then kept ones, not computed when read."""
    with database.connect(autocommit=True) as connection:
        connection.execute("select tickline.ensure_partitions(%(at)s, %(at)s)", {"at": LATER})
        connection.execute(
            "insert into ticks (ts, instrument_id, seq, traded, ltp, vtt, volume, received_at)"
            " values (%(at)s, 0, 0, true, 1, 1, 1, %(at)s)",
            {"at": LATER},
        )
        connection.execute("call tickline.refresh_bars(%s, %s)", (LATER, LATER + timedelta(minutes=5)))
        connection.execute("delete from ticks where ts = %s", (LATER,))


def check_bars(database: Database) -> None:
    """Assert that the bars of the recordings' day are those that its ticks make."""
    views = [f"select * from {view} where bucket < %s order by 1, 2" for view in ("bars_1m", "bars_5m")]
    with database.connect(autocommit=True) as connection:
        before = [connection.execute(view, (LATER,)).fetchall() for view in views]
        connection.execute("call tickline.refresh_bars(%s, %s)", (LATER - timedelta(days=1), LATER))
        after = [connection.execute(view, (LATER,)).fetchall() for view in views]
        assert connection.execute("select count(*) from tickline.touched_minutes").fetchone() == (0,)
    assert after[0] and before == after


def kill_somewhere(command: Command, database: Database, rng: random.Random) -> None:
    """Kill a process at a random moment of its start, or of its work."""
    if rng.random() < 0.2:
        time.sleep(rng.uniform(0, AFTER_START_S_MAX))
    else:
        before = committed(database)
        wait_until(lambda: committed(database) != before or command.process.poll() is not None)
        time.sleep(rng.uniform(0, AFTER_COMMIT_S_MAX))
    command.kill()


@pytest.mark.timeout(3600)
def test_start_killed_again_and_again_commits_each_frame_once(
    database: Database, template: Template, home: Path, attack: Attack, record_property: RecordProperty
) -> None:
    rng = random.Random(SEED)
    with Market(home, "--frames", attack.recording, "--speed", "max") as market:
        for _ in range(attack.kills):
            with Ingester(home, market, database.url, TICKLINE_BATCH_ROWS_MAX=attack.batch_rows) as ingester:
                kill_somewhere(ingester, database, rng)
                # Only a kill may end it: to be refused by what the last one left behind is a failure too.
                assert ingester.process.returncode == -9, ingester.text()
        with Ingester(home, market, database.url) as ingester:
            ingester.wait_for("feed connected")
            wait_until(lambda: backlog_bytes(database, ingester.folder) < 2**20)
            ingester.stop()
    ticks = check_account(database, stream_folder(home))
    assert check_ticks(database, template, home) == ticks > 0
    record_property("kills", attack.kills)
    record_property("ticks", ticks)


@on_one_engine
@pytest.mark.timeout(3600)
def test_replay_killed_again_and_again_writes_the_recording_once(
    template: Template, home: Path, attack: Attack, record_property: RecordProperty
) -> None:
    rng, path = random.Random(SEED), attack.recording
    expected = replayed(template, home, [Path(path)])
    done = rounds = 0
    while done < attack.kills or not rounds:
        name = f"killed_{rounds}"
        with Database(template.create(name), None) as database:
            have_newer_bars(database)
            while True:
                environment = {"TICKLINE_DATABASE_URL": database.url, "TICKLINE_BATCH_ROWS_MAX": attack.batch_rows}
                with Command(home, "replay", path, **(QUICK | environment)) as command:
                    if done < attack.kills:
                        kill_somewhere(command, database, rng)
                        done += command.process.returncode == -9
                    code = command.process.wait(timeout=WITHIN_S)
                    assert code in (0, -9), command.text()
                    if code == 0:
                        break
            assert ticks_of(database) == expected
            check_bars(database)
        template.drop(name)
        rounds += 1
    record_property("kills", done)
    record_property("rounds", rounds)
    record_property("ticks", len(expected))
