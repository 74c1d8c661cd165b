"""Two collectors, two writers, one database: whatever happens to each, every tick is in it once.

Real processes on loopback; each collector is behind a proxy that mangles its answers, the database behind one that goes
away.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pydantic import SecretStr

from ingest.audit.journal_check import verify_stream
from ingest.audit.volume_check import verify_volumes
from ingest.cli.operate.verify import _verify_elsewhere
from ingest.database.connections import Database
from ingest.journal.folder import segment_name, segments_of
from ingest.model.records import Position, RecordKind
from ingest.settings import Settings
from ingest.store.lease import SILENT_S
from ingest.transport.cursor import Cursor
from tests.conftest import Template
from tests.engines import on_one_engine
from tests.fault.harness import (
    QUICK,
    Command,
    Market,
    RecordProperty,
    records_of,
    replayed,
    rows,
    ticks_of,
    wait_until,
)
from tests.fault.mangling import Mangler
from tests.fault.proxy import Proxy
from tests.simulated import free_port

SEED = 20261130
TOKEN = "a-token-of-all-journals"
COLLECTORS, WRITERS = ("mumbai", "chennai"), ("writer-1", "writer-2")
NOWHERE = Position("", 0)


class Desk:
    """Two collectors with half of a market each, and two writers.

    Attributes
    ----------
    commands
        What runs now, by name.
    """

    def __init__(self, stack: ExitStack, home: Path, database: Database, rng: random.Random) -> None:
        self.home, self.database, self.rng = home, database, rng
        self.market = stack.enter_context(Market(home, "--generate", "--instruments", "24", "--rate", "400"))
        self.proxy = stack.enter_context(Proxy(database.url, home / "proxy"))
        self.ports = {name: free_port() for name in COLLECTORS}
        self.manglers = {
            name: stack.enter_context(Mangler(port, number)) for number, (name, port) in enumerate(self.ports.items())
        }
        self.commands: dict[str, Command] = {}
        stack.callback(self.kill_all)
        for name in COLLECTORS:
            (home / name).mkdir()
            (home / name / "journal-token").write_text(TOKEN)
            (home / name / "journal-token").chmod(0o600)

    def folder(self, collector: str) -> Path:
        return self.home / collector / "journal" / collector / "1"

    def segments(self) -> list[Path]:
        return [path for name in COLLECTORS for path in segments_of(self.folder(name))]

    def collect(self, name: str) -> None:
        keys = self.market.keys[COLLECTORS.index(name) :: 2]
        given = {
            "TICKLINE_HOME": str(self.home / name),
            "TICKLINE_COLLECTOR": name,
            "TICKLINE_UNIVERSE": ",".join(keys),
            "TICKLINE_JOURNAL_PORT": str(self.ports[name]),
            "TICKLINE_JOURNAL_FSYNC_MS": "20",
            "TICKLINE_JOURNAL_SEGMENT_BYTES_MAX": "200000",
        }
        self.commands[name] = Command(self.home / name, "collect", **(QUICK | self.market.settings | given))

    def write(self, name: str) -> None:
        sources = [f"http://127.0.0.1:{self.manglers[name].port}" for name in COLLECTORS]
        given = {
            "TICKLINE_HOME": str(self.home / name),
            "TICKLINE_DATABASE_URL": self.proxy.url,
            "TICKLINE_COLLECTOR_TOKEN": TOKEN,
            "TICKLINE_STOP_S": "60",
        }
        self.commands[name] = Command(self.home / name, "write", *sources, **(QUICK | self.market.settings | given))

    def write_homes(self) -> None:
        """Write what is left, out of the folders."""
        given = {"TICKLINE_HOME": str(self.home / "last"), "TICKLINE_DATABASE_URL": self.database.url}
        homes = [str(self.home / name) for name in COLLECTORS]
        with Command(self.home / "last", "write", *homes, **(QUICK | self.market.settings | given)) as command:
            wait_until(lambda: command.text().count("is written here from now on") == len(COLLECTORS))
            wait_until(self.is_all_committed)
            command.stop()

    def start(self) -> None:
        for name in COLLECTORS:
            self.collect(name)
        for name in WRITERS:
            self.write(name)

    def kill_all(self) -> None:
        for command in self.commands.values():
            command.process.send_signal(signal.SIGCONT)
            command.kill()

    def ticks(self) -> int:
        return int(rows(self.database, "select coalesce(sum(ticks), 0) from tickline.ledger")[0][0])

    def until_more_ticks(self, more: int = 50) -> None:
        before = self.ticks()
        wait_until(lambda: self.ticks() >= before + more)

    def end_of(self, collector: str) -> int:
        """Return the last record of a collector that is committed."""
        ((last,),) = rows(self.database, f"select max(last_seq) from tickline.ledger where collector = '{collector}'")
        return last or 0

    def committed_at(self) -> dict[str, float]:
        """Return when a batch of each collector was committed last, seconds since the epoch."""
        found = rows(
            self.database, "select collector, extract(epoch from max(written_at)) from tickline.ledger group by 1"
        )
        return {collector: float(at) for collector, at in found}

    def is_all_committed(self) -> bool:
        ends = {
            (collector, segment.partition("/")[2]): end
            for collector, segment, end in rows(
                self.database, "select collector, segment, max(offset_end) from tickline.ledger group by 1, 2"
            )
        }
        for collector in COLLECTORS:
            newest = segments_of(self.folder(collector))[-1]
            if ends.get((collector, segment_name(newest)), 0) != newest.stat().st_size:
                return False
        return True


@pytest.fixture
def desk(database: Database, home: Path) -> Iterator[Desk]:
    with ExitStack() as stack:
        yield Desk(stack, home, database, random.Random(SEED))


def kill_a_collector(desk: Desk) -> None:
    name = desk.rng.choice(COLLECTORS)
    desk.commands[name].kill()
    desk.collect(name)


def kill_a_writer(desk: Desk) -> None:
    name = desk.rng.choice(WRITERS)
    desk.commands[name].kill()
    desk.write(name)


def freeze_a_writer(desk: Desk) -> None:
    """A zombie: frozen past its lease, and woken while another writes its collectors."""
    frozen = desk.commands[desk.rng.choice(WRITERS)]
    frozen.process.send_signal(signal.SIGSTOP)
    time.sleep(SILENT_S + 0.5)
    desk.until_more_ticks()
    frozen.process.send_signal(signal.SIGCONT)


def mangle_answers(desk: Desk) -> None:
    for mangler in desk.manglers.values():
        mangler.share = 0.15
    desk.until_more_ticks()
    for mangler in desk.manglers.values():
        mangler.share = 0.0


def part_a_collector(desk: Desk) -> None:
    mangler = desk.manglers[desk.rng.choice(COLLECTORS)]
    mangler.is_away = True
    mangler.cut()
    time.sleep(desk.rng.uniform(0, 0.3))
    mangler.is_away = False


def cut_the_database(desk: Desk) -> None:
    desk.proxy.cut(tells_server=desk.rng.random() < 0.7)


def cut_a_commit(desk: Desk) -> None:
    trap = desk.proxy.cut_before_commit() if desk.rng.random() < 0.5 else desk.proxy.cut_after_commit()
    wait_until(trap.is_set)


def hold_the_database(desk: Desk) -> None:
    desk.proxy.pause()
    time.sleep(desk.rng.uniform(0.1, 0.5))
    desk.proxy.resume()


Event = Callable[[Desk], None]
DEAR: tuple[Event, ...] = (kill_a_collector, kill_a_writer, freeze_a_writer)
CHEAP: tuple[Event, ...] = (mangle_answers, part_a_collector, cut_the_database, cut_a_commit, hold_the_database)


def events_of(rng: random.Random, count: int) -> list[Event]:
    """As many random events, each kind at least once; one in five starts a process or waits for a lease."""
    found = [*DEAR, *CHEAP]
    found += [rng.choice(DEAR if rng.random() < 0.2 else CHEAP) for _ in range(count - len(found))]
    rng.shuffle(found)
    return found


def check(desk: Desk, template: Template) -> int:
    """Hold ledger and ticks against the journals, and `verify` against both; return the number of ticks."""
    for collector in COLLECTORS:
        records = [record for _, record in records_of(desk.folder(collector))]
        ((frames, first, last),) = rows(
            desk.database,
            f"select sum(frames), min(first_seq), max(last_seq) from tickline.ledger where collector = '{collector}'",
        )
        assert frames == sum(record.kind == RecordKind.FRAME for record in records)
        assert (first, last) == (records[0].seq, records[-1].seq)
    found, expected = sorted(ticks_of(desk.database)), sorted(replayed(template, desk.home, desk.segments()))
    assert len(found) == len(expected)
    assert found == expected
    with desk.database.connect() as connection:
        assert [one for one in verify_volumes(connection) if not one.adds_up] == []
        for collector in COLLECTORS:
            report = verify_stream(connection, collector, desk.folder(collector))
            assert report.adds_up, report.problems
            assert report.pending == 0
    return len(found)


def check_from_elsewhere(desk: Desk) -> None:
    """While all run: the journals over the network against the one ledger, and what the collectors may delete."""
    urls = [f"http://127.0.0.1:{port}" for port in desk.ports.values()]
    config = Settings(home=desk.home, collector_token=SecretStr(TOKEN))
    _, reports = _verify_elsewhere(desk.database, urls, config, None)
    assert [(one.collector, one.stream, one.problems) for one in reports if one.frames] == [
        (collector, "1", []) for collector in COLLECTORS
    ]
    assert all(one.adds_up and one.committed for one in reports if one.frames)
    for collector in COLLECTORS:
        committed = rows(
            desk.database,
            "select split_part(segment, '/', 2), offset_end from tickline.ledger"
            f" where collector = '{collector}' order by batch_id desc limit 1",
        )
        at, cursor = Position(*committed[0]), Cursor(desk.folder(collector).parent)
        wait_until(lambda: not (cursor.committed("1") or NOWHERE) < at)  # noqa: B023  it is called at once


@pytest.mark.soak
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_collectors_of_a_dead_or_frozen_writer_are_written_by_the_other_within_5_s(
    desk: Desk, number: signal.Signals, record_property: RecordProperty
) -> None:
    desk.start()
    for collector in COLLECTORS:
        wait_until(lambda: desk.end_of(collector) > 0)  # noqa: B023  it is called at once
    dead = next(name for name in WRITERS if "collector is writing" in desk.commands[name].text())
    taken = [name for name in COLLECTORS if f"is writing collector={name}" in desk.commands[dead].text()]
    desk.commands[dead].process.send_signal(number)
    began, before = time.monotonic(), desk.committed_at()
    for collector in taken:
        wait_until(lambda: desk.committed_at()[collector] > before[collector] + 0.5, every_s=0.02)  # noqa: B023
    seconds = time.monotonic() - began
    record_property("seconds", round(seconds, 2))
    assert seconds < 5


@on_one_engine
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("events", [20, pytest.param(200, marks=pytest.mark.soak)])
def test_every_tick_of_two_collectors_is_written_once_whatever_happens_to_whom(
    desk: Desk, template: Template, events: int, record_property: RecordProperty
) -> None:
    desk.start()
    desk.until_more_ticks()
    for event in events_of(desk.rng, events):
        event(desk)
        desk.until_more_ticks(1)
    check_from_elsewhere(desk)
    for collector in COLLECTORS:
        desk.commands[collector].stop()
        assert "bytes of the journal wait for a writer" in desk.commands[collector].text()
    for name in WRITERS:
        desk.commands[name].stop()
    desk.write_homes()
    ticks = check(desk, template)
    assert sum(mangler.mangled for mangler in desk.manglers.values()) > 0
    record_property("events", events)
    record_property("ticks", ticks)
