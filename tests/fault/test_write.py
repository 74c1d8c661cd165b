"""Two collectors, two writers, one database: whatever happens to each, every tick is in it once."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ingest.database.connections import Database
from tests.conftest import Template
from tests.engines import on_one_engine
from tests.fault.desk import COLLECTORS, Desk, check, check_from_elsewhere, seconds_of_takeover
from tests.fault.events import check_clocks, let_happen
from tests.fault.harness import RecordProperty

SEED = 20261130


@pytest.fixture
def desk(database: Database, home: Path) -> Iterator[Desk]:
    with ExitStack() as stack:
        yield Desk(stack, home, database, random.Random(SEED))


@pytest.mark.soak
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_collectors_of_a_dead_or_frozen_writer_are_written_by_the_other_within_5_s(
    desk: Desk, number: signal.Signals, record_property: RecordProperty
) -> None:
    seconds = seconds_of_takeover(desk, number)
    record_property("seconds", round(seconds, 2))
    assert seconds < 5


@on_one_engine
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("events", [12, pytest.param(200, marks=pytest.mark.soak)])
def test_every_tick_of_two_collectors_is_written_once_whatever_happens_to_whom(
    desk: Desk, template: Template, events: int, record_property: RecordProperty
) -> None:
    desk.start()
    desk.until_more_ticks()
    let_happen(desk, events)
    check_from_elsewhere(desk)
    desk.stop_all()
    for collector in COLLECTORS:
        assert "bytes of the journal wait for a writer" in desk.commands[collector].text()
    desk.write_homes()
    record_property("ticks", check(desk, template))
    record_property("events", dict(desk.happened))
    check_clocks(desk)
