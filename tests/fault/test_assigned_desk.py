"""Keys over collectors that are killed, frozen and parted from the writers: all of them processes."""

from __future__ import annotations

import random
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from ingest.database.connections import HEAD, Database
from ingest.journal.folder import segment_name, segments_of
from tests.conftest import Template
from tests.fault.desk import check
from tests.fault.harness import QUICK, Command, Market, RecordProperty, rows, wait_until
from tests.fault.mangling import Mangler
from tests.fault.test_assigned import JOINED, LOST, NAMES, TOKEN, connections_in, make_token
from tests.fault.test_collect import asked
from tests.simulated import free_port


class Desk:
    """A market, collectors without keys and two writers with a universe, as processes."""

    def __init__(self, stack: ExitStack, home: Path, database: Database) -> None:
        self.home, self.database = home, database
        self.market = stack.enter_context(Market(home, "--generate", "--instruments", "24", "--rate", "400"))
        self.ports = {name: free_port() for name in NAMES}
        self.ways = {name: stack.enter_context(Mangler(port, 1)) for name, port in self.ports.items()}  # of writers
        self.commands: dict[str, Command] = {}
        stack.callback(self.kill_all)
        for name in NAMES:
            make_token(home / name)

    def start(self) -> None:
        for name in NAMES:
            self.collect(name)
        for name in ("writer-1", "writer-2"):
            self.write(name)

    def run(self, name: str, *arguments: str, **given: str) -> None:
        home = self.home / name
        environment = QUICK | self.market.settings | {"TICKLINE_HOME": str(home)} | given
        self.commands[name] = Command(home, *arguments, **environment)

    def collect(self, name: str) -> None:
        given = {"TICKLINE_COLLECTOR": name, "TICKLINE_JOURNAL_PORT": str(self.ports[name])}
        self.run(name, "collect", TICKLINE_JOURNAL_FSYNC_MS="20", **given)

    def write(self, name: str) -> None:
        given = {
            "TICKLINE_DATABASE_URL": self.database.url,
            "TICKLINE_COLLECTOR_TOKEN": TOKEN,
            "TICKLINE_UNIVERSE": ",".join(self.market.keys),
            "TICKLINE_COLLECTOR_LOST_S": "3",
        }
        self.run(name, "write", *(f"http://127.0.0.1:{way.port}" for way in self.ways.values()), **given)

    def write_homes(self) -> None:
        """Write what is left, out of the folders."""
        homes = [str(self.home / name) for name in NAMES]
        self.run("last", "write", *homes, TICKLINE_DATABASE_URL=self.database.url)
        self.commands["last"].wait_for("is written here from now on")
        wait_until(lambda: all(self.committed(name) == self.written(name) for name in NAMES))
        self.commands["last"].stop()

    def folder(self, collector: str) -> Path:
        return self.home / collector / "journal" / collector / "1"

    def segments(self) -> list[Path]:
        return [path for name in NAMES for path in segments_of(self.folder(name))]

    def written(self, collector: str) -> int:
        """Bytes of the newest segment of a collector."""
        return segments_of(self.folder(collector))[-1].stat().st_size

    def committed(self, collector: str) -> int:
        """How many of them are committed."""
        if not segments_of(self.folder(collector)):
            return 0
        segment = f"1/{segment_name(segments_of(self.folder(collector))[-1])}"
        ends = f"from tickline.ledger where collector = '{collector}' and segment = '{segment}'"
        return int(rows(self.database, f"select coalesce(max(offset_end), 0) {ends}")[0][0])

    def kill_all(self) -> None:
        for command in self.commands.values():
            command.process.send_signal(signal.SIGCONT)
            command.kill()

    def held(self, name: str) -> set[str]:
        try:
            return set(asked(self.ports[name], "/universe")["keys"])
        except OSError:
            return set()

    def hears(self, name: str) -> bool:
        return bool(asked(self.ports[name], "/universe")["hears"])

    def is_whole(self) -> bool:
        """Whether each key is at one collector, and both have some."""
        held = [self.held(name) for name in NAMES]
        return all(held) and set().union(*held) == set(self.market.keys) and not held[0] & held[1]


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("freezes", [False, True])
def test_each_key_is_always_soon_at_one_collector_whoever_is_killed_or_frozen(
    database: Database, home: Path, record_property: RecordProperty, *, freezes: bool
) -> None:
    rng = random.Random(20261130)
    with ExitStack() as stack:
        desk = Desk(stack, home, database)
        desk.start()
        wait_until(desk.is_whole)
        share, seconds = {name: desk.held(name) for name in NAMES}, []
        for _ in range(10):
            name = rng.choice(NAMES)
            (other,) = set(NAMES) - {name}
            if rng.random() < 0.5:
                writer = rng.choice(["writer-1", "writer-2"])
                desk.commands[writer].kill()
                desk.write(writer)
            is_frozen = freezes and rng.random() < 0.5
            began = time.monotonic()
            desk.commands[name].process.send_signal(signal.SIGSTOP if is_frozen else signal.SIGKILL)
            wait_until(lambda: desk.held(other) == set(desk.market.keys))  # noqa: B023  it is called at once
            seconds.append(time.monotonic() - began)
            if is_frozen:
                desk.commands[name].process.send_signal(signal.SIGCONT)
            else:
                desk.collect(name)
            wait_until(lambda: {one: desk.held(one) for one in NAMES} == share)
        for command in desk.commands.values():
            command.stop()
    record_property("takeover_seconds", [round(one, 1) for one in seconds])
    gaps = rows(database, f"select count(*), count(ended_at), count(distinct instrument_id) {LOST}")
    assert gaps[0][1] > 0 and gaps[0][2] == 24
    if freezes:  # who wakes up reads what the vendor has sent meanwhile: two have recorded it, see "Known limits"
        return
    # Bars count each trade once, so they have no more than the exchange has counted since the first tick.
    more = """
        with counted as (
            select instrument_id, max(vtt) - min(vtt) filter (where vtt is not null) as volume from ticks group by 1
        )
        select count(*) from counted
        join (select instrument_id, sum(volume) as volume from bars_1m group by 1) as bars using (instrument_id)
        where bars.volume > counted.volume
    """
    assert rows(database, more) == [(0,)]


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_collector_that_is_killed_with_all_writers_and_never_returns_has_its_gap_named_by_a_writer_of_another_home(
    database: Database, home: Path
) -> None:
    noted = "select keys from tickline.collectors where collector = 'mumbai'"
    gaps = f"select instrument_key, started_at, ended_at {LOST}".replace("where", JOINED)
    with ExitStack() as stack:
        desk = Desk(stack, home, database)
        desk.start()
        wait_until(lambda: desk.is_whole() and all(desk.hears(name) and desk.committed(name) for name in NAMES))
        share = desk.held("mumbai")
        wait_until(lambda: [set(keys) for (keys,) in rows(database, noted)] == [share])
        for name in ("writer-1", "writer-2", "mumbai"):
            desk.commands[name].kill()
        ((last,),) = rows(database, "select max(last_ts) from tickline.ledger where collector = 'mumbai'")
        desk.write("writer-3")
        wait_until(lambda: desk.held("chennai") == set(desk.market.keys))
        wait_until(lambda: len(rows(database, f"{gaps} and ended_at is not null")) == len(share))
        found = rows(database, gaps)
        assert sorted(key for key, *_ in found) == sorted(share)
        assert {started for _, started, _ in found} == {last} and all(ended > last for _, _, ended in found)
        # Nobody names it again: neither who knows the address, nor who does not.
        desk.commands["writer-3"].kill()
        desk.write("writer-4")
        wait_until(lambda: "collector is lost, others take its 0 keys" in desk.commands["writer-4"].text())
        desk.commands["writer-4"].stop()
        del desk.ways["mumbai"]
        desk.write("writer-5")
        wait_until(lambda: rows(database, noted) == [])
        desk.commands["writer-5"].stop()
        assert rows(database, gaps) == found


@pytest.mark.soak
@pytest.mark.timeout(300)
def test_writers_go_on_after_an_upgrade_by_a_newer_version_until_their_connection_is_lost_and_then_say_so(
    database: Database, home: Path
) -> None:
    newer = "update tickline.alembic_version set version_num = '9999'"
    cut = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> %s"
    with ExitStack() as stack:
        desk = Desk(stack, home, database)
        desk.start()
        wait_until(lambda: desk.is_whole() and all(desk.committed(name) for name in NAMES))
        with database.connect(autocommit=True) as connection:
            connection.execute(newer)
            committed = desk.committed("mumbai")
            wait_until(lambda: desk.committed("mumbai") > committed + 20_000)
            connection.execute(cut, (connection.info.backend_pid,))
            for name in ("writer-1", "writer-2"):
                desk.commands[name].wait_for("database schema has revision '9999', newer than this program's")
            committed = desk.committed("mumbai")
            connection.execute("update tickline.alembic_version set version_num = %s", (HEAD,))
            wait_until(lambda: desk.committed("mumbai") > committed + 20_000)
        for command in desk.commands.values():
            command.stop()


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["refused", "silent"])
def test_collector_parted_from_the_writers_records_on_and_nothing_is_lost_or_doubled_when_it_is_back(
    database: Database, template: Template, home: Path, record_property: RecordProperty, kind: str
) -> None:
    with ExitStack() as stack:
        desk = Desk(stack, home, database)
        desk.start()
        wait_until(lambda: desk.is_whole() and all(desk.hears(name) and desk.committed(name) for name in NAMES))
        share = {name: desk.held(name) for name in NAMES}
        way = desk.ways["mumbai"]
        if kind == "refused":
            way.is_away = True
            way.cut()
        else:
            way.flows.clear()
        began = time.monotonic()
        wait_until(lambda: desk.held("chennai") == set(desk.market.keys))
        record_property("takeover_seconds", round(time.monotonic() - began, 1))
        assert desk.held("mumbai") == share["mumbai"]  # nobody could tell it
        committed, written = desk.committed("mumbai"), desk.written("mumbai")
        wait_until(lambda: desk.written("mumbai") > written + 20_000)
        assert desk.committed("mumbai") == committed
        wait_until(lambda: not rows(database, f"select {LOST} and ended_at is null"))
        way.is_away = False
        way.flows.set()
        wait_until(lambda: {name: desk.held(name) for name in NAMES} == share)
        wait_until(lambda: desk.committed("mumbai") > committed + 20_000)
        for command in desk.commands.values():
            command.stop()
        desk.write_homes()
        record_property("ticks", check(desk, template))
        for name in NAMES:
            assert connections_in(home / name, name) == 1
        parted = rows(database, f"select instrument_key {LOST}".replace("where", JOINED))
        assert sorted(parted) == [(key,) for key in sorted(share["mumbai"])]
    # No connection has ended since the market opened: bars have all that the exchange has counted, and nothing twice.
    wrong = """
        with counted as (select instrument_id, max(vtt) as volume from ticks group by 1)
        select instrument_id, bars.volume, counted.volume from counted
        left join (select instrument_id, sum(volume) as volume from bars_1m group by 1) as bars using (instrument_id)
        where coalesce(bars.volume, 0) <> coalesce(counted.volume, 0)
    """
    assert rows(database, wrong) == []
    # Two have heard what mumbai had; nothing is there more often.
    often = """
        select instrument_key, count(*) from ticks join instruments using (instrument_id)
        where traded and volume > 0 group by instrument_key, vtt having count(*) > 1
    """
    found = rows(database, often)
    assert {key for key, _ in found} <= share["mumbai"] and {count for _, count in found} == {2}
