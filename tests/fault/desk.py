"""Two collectors, two writers and one database as processes on loopback, and what must hold afterwards.

Each collector is behind a proxy that mangles its answers, its journal on a disk of its own; the database is behind a
proxy that goes away. Owns how they are started and waited for, and the comparison that decides: ticks against an
undisturbed replay of both journals. What happens to them is in `events.py`.
"""

from __future__ import annotations

import itertools
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from pydantic import SecretStr

from ingest.audit.journal_check import verify_stream
from ingest.audit.volume_check import verify_volumes
from ingest.cli.operate.verify import _verify_elsewhere
from ingest.database.connections import Database
from ingest.journal.folder import segments_of
from ingest.model.records import Position, RecordKind
from ingest.settings import Settings
from ingest.transport.cursor import Cursor
from tests.conftest import Template
from tests.fault.disks import small_disk
from tests.fault.harness import (
    QUICK,
    Command,
    Market,
    journal_end,
    records_of,
    replayed,
    rows,
    ticks_of,
    wait_until,
)
from tests.fault.mangling import Mangler
from tests.fault.proxy import Proxy
from tests.simulated import free_port

TOKEN = "a-token-of-all-journals"
COLLECTORS, WRITERS = ("mumbai", "chennai"), ("writer-1", "writer-2")
DISK_MIB = 192  # of each collector's journal; ten minutes are a third of it
NOWHERE = Position("", 0)
STATE = re.compile(r"collector is (unreachable|standby|waiting|writing) collector=(\w+)")


class Desk:
    """Two collectors with half of a market each, and two writers.

    Attributes
    ----------
    commands
        What runs now, by name.
    ahead_s
        By how much the clock of a collector is wrong.
    frozen
        The writer that is stopped by SIGSTOP; "": none.
    happened
        How often each event happened.
    no_disk
        Why journals have no disk of their own; "": they do.
    """

    options: tuple[str, ...] = ()  # of `collect`

    def __init__(self, stack: ExitStack, home: Path, database: Database, rng: random.Random) -> None:
        self.home, self.database, self.rng = home, database, rng
        self.market = stack.enter_context(Market(home, "--generate", "--instruments", "24", "--rate", "200"))
        self.proxy = stack.enter_context(Proxy(database.url, home / "proxy"))
        self.ports = {name: free_port() for name in COLLECTORS}
        self.manglers = {
            name: stack.enter_context(Mangler(port, number)) for number, (name, port) in enumerate(self.ports.items())
        }
        self.no_disk = ""
        for name in COLLECTORS:
            self.no_disk = stack.enter_context(small_disk(home / name / "journal", DISK_MIB))
            (home / name / "journal-token").write_text(TOKEN)
            (home / name / "journal-token").chmod(0o600)
        self.commands: dict[str, Command] = {}
        stack.callback(self.kill_all)
        self.ahead_s = dict.fromkeys(COLLECTORS, 0)
        self.frozen = ""
        self.happened: Counter[str] = Counter()
        self._later: list[tuple[Callable[[], bool], Callable[[], None]]] = []

    def folder(self, collector: str) -> Path:
        return self.home / collector / "journal" / collector / "1"

    def segments(self) -> list[Path]:
        return [path for name in COLLECTORS for path in segments_of(self.folder(name))]

    def source(self, collector: str) -> str:
        """Return what `write` is told of a collector."""
        return f"http://127.0.0.1:{self.manglers[collector].port}"

    def given(self, name: str) -> dict[str, str]:
        """Return further settings of a process."""
        return {}

    def collect(self, name: str) -> None:
        self._run(
            name,
            "collect",
            *self.options,
            ahead_s=self.ahead_s[name],
            TICKLINE_COLLECTOR=name,
            TICKLINE_UNIVERSE=",".join(self.market.keys[COLLECTORS.index(name) :: 2]),
            TICKLINE_JOURNAL_PORT=str(self.ports[name]),
            TICKLINE_JOURNAL_FSYNC_MS="50",
            TICKLINE_JOURNAL_SEGMENT_BYTES_MAX="100000",
        )

    def write(self, name: str) -> None:
        self._run(
            name,
            "write",
            *map(self.source, COLLECTORS),
            TICKLINE_DATABASE_URL=self.proxy.url,
            TICKLINE_COLLECTOR_TOKEN=TOKEN,
            TICKLINE_STOP_S="60",
        )

    def _run(self, name: str, *arguments: str, ahead_s: int = 0, **given: str) -> None:
        home = self.home / name
        environment = QUICK | self.market.settings | {"TICKLINE_HOME": str(home)} | given | self.given(name)
        self.commands[name] = Command(home, *arguments, ahead_s=ahead_s, **environment)

    def write_homes(self) -> None:
        """Write what is left, out of the folders."""
        given = {"TICKLINE_HOME": str(self.home / "last"), "TICKLINE_DATABASE_URL": self.database.url}
        homes = [str(self.home / name) for name in COLLECTORS]
        with Command(self.home / "last", "write", *homes, **(QUICK | self.market.settings | given)) as command:
            wait_until(lambda: command.text().count("is written here from now on") >= len(COLLECTORS))
            wait_until(self.is_all_committed)
            command.stop()

    def start(self) -> None:
        for name in COLLECTORS:
            self.collect(name)
        for name in WRITERS:
            self.write(name)

    def kill(self, name: str) -> None:
        """SIGKILL what runs."""
        command = self.commands[name]
        assert command.process.poll() is None, command.text()[-2000:]
        command.kill()
        assert command.process.returncode == -signal.SIGKILL

    def kill_all(self) -> None:
        for command in self.commands.values():
            command.process.send_signal(signal.SIGCONT)
            command.kill()

    def until(self, condition: Callable[[], Any]) -> None:
        """Wait, and meanwhile end what has lasted long enough."""
        try:
            wait_until(lambda: self._end_what_is_over() or condition())
        except AssertionError as exc:
            last = [f"--- {name}\n" + "\n".join(one.text().splitlines()[-25:]) for name, one in self.commands.items()]
            raise AssertionError("\n".join([str(exc), *last])) from exc

    def later(self, is_over: Callable[[], bool], end: Callable[[], None]) -> None:
        """Let something last until it is over, while other events go on."""
        self._later.append((is_over, end))

    @property
    def is_suffering(self) -> bool:
        """Whether something lasts for which others wait."""
        return False

    def until_all_is_over(self) -> None:
        self.until(lambda: not self._later)

    def _end_what_is_over(self) -> None:
        ended = [name for name, command in self.commands.items() if command.process.poll() is not None]
        assert not ended, f"ended by themselves: {ended}"  # otherwise a test waits for them in vain
        for one in list(self._later):
            is_over, end = one
            if is_over():
                self._later.remove(one)
                end()

    def said(self, text: str) -> int:
        """Return how often any process, of those that ended too, has said something."""
        return sum(path.read_text().count(text) for name in self.commands for path in (self.home / name).glob("*.log"))

    def written_by(self, writer: str) -> list[str]:
        """Return the collectors that a writer says it writes."""
        states = {collector: state for state, collector in STATE.findall(self.commands[writer].text())}
        return [collector for collector, state in states.items() if state == "writing"]

    def ticks(self) -> int:
        return int(rows(self.database, "select coalesce(sum(ticks), 0) from tickline.ledger")[0][0])

    def until_more_ticks(self, more: int = 25) -> None:
        before = self.ticks()
        self.until(lambda: self.ticks() >= before + more)

    def until_recording(self, collector: str) -> None:
        """Wait until more is in the journal of a collector."""

        before = journal_end(self.folder(collector))
        self.until(lambda: before < journal_end(self.folder(collector)))

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
            end = journal_end(self.folder(collector))
            if ends.get((collector, end.segment), 0) != end.offset:
                return False
        return True

    def stop_all(self) -> None:
        for name in (*COLLECTORS, *WRITERS):
            self.commands[name].stop()


def seconds_of_takeover(desk: Desk, number: signal.Signals) -> float:
    """Kill or freeze a writer; return when the other one has committed of all its collectors, seconds."""
    desk.start()
    for collector in COLLECTORS:
        wait_until(lambda: desk.end_of(collector) > 0)  # noqa: B023  it is called at once
    dead = next(name for name in WRITERS if desk.written_by(name))
    taken = desk.written_by(dead)
    desk.commands[dead].process.send_signal(number)
    began, before = time.monotonic(), desk.committed_at()
    for collector in taken:
        wait_until(lambda: desk.committed_at()[collector] > before[collector] + 0.5, every_s=0.02)  # noqa: B023
    return time.monotonic() - began


class Journals(Protocol):
    """The journals of both collectors, and the database in which they are."""

    home: Path
    database: Database

    def folder(self, collector: str) -> Path:
        """Return the folder of a collector's segments."""

    def segments(self) -> list[Path]:
        """Return the segments of both."""


def check(desk: Journals, template: Template) -> int:
    """Hold ledger and ticks against the journals, and `verify` against both; return the number of ticks."""
    for collector in COLLECTORS:
        records = [record for _, record in records_of(desk.folder(collector))]
        ((frames, first, last),) = rows(
            desk.database,
            f"select sum(frames), min(first_seq), max(last_seq) from tickline.ledger where collector = '{collector}'",
        )
        assert frames == sum(record.kind == RecordKind.FRAME for record in records)
        assert (first, last) == (records[0].seq, records[-1].seq)
    found, expected = ticks_of(desk.database), replayed(template, desk.home, desk.segments())
    unlike = [
        sorted((Counter(one) - Counter(other)).elements()) for one, other in ((found, expected), (expected, found))
    ]
    assert not any(unlike), [(len(one), one[:3]) for one in unlike]
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


def clock_steps_s(desk: Desk) -> list[float]:
    """Return by how much time went on or back from record to record, in all journals, seconds."""
    return [
        (after.received_us - before.received_us) / 1e6
        for collector in COLLECTORS
        for (_, before), (_, after) in itertools.pairwise(records_of(desk.folder(collector)))
    ]
