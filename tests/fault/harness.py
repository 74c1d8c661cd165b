"""What fault tests share: commands as processes, waiting for conditions, and what must hold afterwards.

Owns how a test runs `tickline`, and the two comparisons that decide: the ledger against the journal
(`check_account`), and the ticks against an undisturbed replay (`ticks_of`).
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from ingest.database.connections import Database
from ingest.journal.folder import segment_name, segments_of
from ingest.journal.reader import JournalReader
from ingest.model.records import Position, Record, RecordKind, order_of
from ingest.model.ticks import TICK_COLUMN_NAMES
from ingest.store.retrying_writer import RetryingWriter
from ingest.store.writer import Writer
from ingest.universe.master_rows import read_master
from tests.clock import command_ahead
from tests.conftest import WORKER, Template
from tests.data import REPOSITORY
from tests.processes import CommandProcess

WITHIN_S = 120.0  # a condition that takes longer never comes, however busy the machine is
EVERY_S_MIN, EVERY_S_MAX = 0.01, 0.1  # between two looks at a condition
Within = Callable[[float], float]
RecordProperty = Callable[[str, object], None]
NEVER_S = "600"  # for a setting: a test that waits as long as this has failed
_numbers = itertools.count(1)
KEPT_MAX = 2  # connections to databases that were asked last
_kept: dict[str, psycopg.Connection[Any]] = {}
# Quick to come back, small batches' worth of state to rebuild, and no reserve on the disk of a test.
QUICK = {
    "TICKLINE_BACKOFF_FIRST_S": "0.05",
    "TICKLINE_BACKOFF_MAX_S": "0.2",
    "TICKLINE_DATABASE_BACKOFF_FIRST_S": "0.05",
    "TICKLINE_DATABASE_BACKOFF_MAX_S": "0.5",
    "TICKLINE_SUBSCRIBE_INTERVAL_MS": "20",
    "TICKLINE_JOURNAL_FREE_BYTES_MIN": "0",
    "TICKLINE_JOURNAL_RETRY_S": "0.1",
    "TICKLINE_CHECKPOINT_S": "0.3",
    "TICKLINE_API_PORT": "0",
}


def wait_until(condition: Callable[[], Any], *, within_s: float = WITHIN_S, every_s: float | None = None) -> Any:
    """Return what the condition returned when it first held.

    It is asked less often the longer it takes: most conditions ask the database or read files.
    """
    began = time.monotonic()
    while not (found := condition()):
        waited = time.monotonic() - began
        if waited > within_s:
            raise AssertionError(f"not within {within_s} s: {condition}")
        time.sleep(every_s or min(max(EVERY_S_MIN, waited / 10), EVERY_S_MAX))
    return found


class Command:
    """A `tickline` command as a process; killed, if it still runs, when the block ends.

    Parameters
    ----------
    home
        Its working directory; its output goes to a file there.
    arguments, environment
        Of the command; nothing of ours is taken over from this process.
    ahead_s
        By how much its clock is wrong.
    """

    def __init__(self, home: Path, *arguments: str, ahead_s: int = 0, **environment: str) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("TICKLINE_", "UPSTOX_"))}
        home.mkdir(parents=True, exist_ok=True)
        self.log = home / f"{next(_numbers)}-{arguments[0]}.log"
        self.log.write_bytes(b"")
        given = clean | {"PYTHONPATH": str(REPOSITORY)} | environment
        self.process: CommandProcess | subprocess.Popen[bytes] = (
            command_ahead(arguments, ahead_s, cwd=home, environment=given, out=self.log)
            if ahead_s
            else CommandProcess(arguments, cwd=home, environment=given, out=self.log)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        if error is not None:
            print(f"--- {self.log.name}\n" + "\n".join(self.text().splitlines()[-30:]))

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """SIGSTOP."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self, number: int = signal.SIGTERM, *, within_s: float = WITHIN_S) -> None:
        """Send a signal, and expect the process to end by itself with exit code 0."""
        self.process.send_signal(number)
        try:
            code = self.process.wait(timeout=within_s)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGUSR2)  # see `tests.processes`
            time.sleep(2)
            raise AssertionError(f"{self.log.name} runs {within_s:g} s after it: {self.text()[-8000:]}") from None
        assert code == 0, self.text()[-2000:]

    def text(self) -> str:
        """What it has printed and logged so far."""
        return self.log.read_text()

    def wait_for(self, text: str, *, within_s: float = WITHIN_S) -> None:
        """Wait until it has said something; fail when it ends without."""
        wait_until(lambda: text in self.text() or self.process.poll() is not None, within_s=within_s)
        assert text in self.text(), self.text()[-2000:]


def quick_writer(writer: Writer) -> RetryingWriter:
    """A writer that tries again at once."""
    return RetryingWriter(writer, first_s=0.05, max_s=0.1)


class Market(Command):
    """A simulator process.

    Attributes
    ----------
    settings
        What points an ingester at it.
    keys
        All its instruments.
    """

    def __init__(self, home: Path, *arguments: str) -> None:
        super().__init__(home, "simulate", "--port", "0", *arguments)
        try:
            self.wait_for("waiting for a client")
            lines = [line for line in self.text().splitlines() if line.startswith("UPSTOX_")]
            self.settings = {line.partition("=")[0]: line.partition("=")[2] for line in lines}
            url = self.settings["UPSTOX_ASSETS_URL"] + "/market-quote/instruments/exchange/complete.json.gz"
            with urllib.request.urlopen(url, timeout=WITHIN_S) as answer:
                self.keys = [row.instrument_key for row in read_master(BytesIO(answer.read()))]
        except BaseException:
            self.kill()
            raise


class Ingester(Command):
    """`tickline start` on a market, with its data in `home`; `arguments` are further ones of `start`."""

    def __init__(
        self, home: Path, market: Market, database_url: str, *, arguments: Sequence[str] = (), **environment: str
    ) -> None:
        given = {
            "TICKLINE_HOME": str(home),
            "TICKLINE_DATABASE_URL": database_url,
            "TICKLINE_UNIVERSE": ",".join(market.keys),
            "TICKLINE_STOP_S": NEVER_S,  # a stop commits everything, however busy the machine
        }
        super().__init__(home, "start", *arguments, **(QUICK | market.settings | given | environment))
        self.folder = stream_folder(home)


def stream_folder(home: Path) -> Path:
    """Folder of the segments of the one stream of collector `default`."""
    return home / "journal" / "default" / "1"


def rows(database: Database, statement: str) -> list[tuple[Any, ...]]:
    """Run a query, on a connection that is kept while it lasts: to make one costs more than most questions."""
    if (connection := _kept.pop(database.url, None)) is not None:
        with suppress(psycopg.OperationalError):  # the server was stopped or killed meanwhile
            return _asked(database, connection, statement)
    return _asked(database, database.connect(autocommit=True, prepare_threshold=None), statement)


def _asked(database: Database, connection: psycopg.Connection[Any], statement: str) -> list[tuple[Any, ...]]:
    try:
        found = connection.execute(statement.encode()).fetchall()
    except BaseException:
        connection.close()
        raise
    _kept[database.url] = connection
    while len(_kept) > KEPT_MAX:
        _kept.pop(next(iter(_kept))).close()
    return found


def committed(database: Database) -> tuple[str, int]:
    """Where the ledger ends: segment and offset; ("", 0) when it is empty."""
    found = rows(database, "select segment, offset_end from tickline.ledger order by batch_id desc limit 1")
    return (found[0][0].partition("/")[2], found[0][1]) if found else ("", 0)


def sizes_of(folder: Path) -> dict[Path, int]:
    """Bytes of each segment of a stream that may be compressed meanwhile."""
    while True:
        with suppress(FileNotFoundError):  # it has another name now
            return {path: path.stat().st_size for path in segments_of(folder)}


def journal_end(folder: Path) -> Position:
    """Where the journal of a stream ends now."""
    sizes = sizes_of(folder)
    return Position(segment_name(newest), sizes[newest]) if (newest := next(reversed(sizes), None)) else Position("", 0)


def backlog_bytes(database: Database, folder: Path) -> int:
    """Bytes of the journal that are not committed."""
    segment, offset = committed(database)
    sizes = sizes_of(folder).items()
    return sum(size for path, size in sizes if order_of(segment_name(path)) >= order_of(segment)) - offset


def records_of(folder: Path) -> list[tuple[str, Record]]:
    """All records of a stream, each with the name of its segment."""
    reader = JournalReader(lambda: segments_of(folder), follow=False)
    records: list[tuple[str, Record]] = []
    while not reader.finished:
        read = reader.read(4 * 2**20)
        records += [(reader.segment, record) for record in read]
    reader.close()
    assert not reader.corrupt_bytes
    return records


def check_account(database: Database, folder: Path, *, skips: int = 0) -> int:
    """Hold the ledger and the tables against the journal: all committed, each once. Return the ticks.

    `skips`: how often a start without the database has left numbers of records out.
    """
    records = records_of(folder)
    skipped = [record for _, record in records if b'"after_seq"' in record.payload]
    assert len(skipped) == skips
    if not skips:
        assert records[0][1].seq == 1
    pairs = itertools.pairwise(record for _, record in records)
    assert [after for before, after in pairs if after.seq != before.seq + 1] == [
        record for record in skipped if record is not records[0][1]
    ]
    following = {before.seq: after.seq for (_, before), (_, after) in itertools.pairwise(records)}
    ends = {segment: record.end_offset for segment, record in records}
    ledger = rows(
        database,
        "select split_part(segment, '/', 2), offset_start, offset_end, first_seq, last_seq from tickline.ledger"
        " order by batch_id",
    )
    expected_seq, reached = records[0][1].seq, dict.fromkeys(ends, 0)
    for segment, start, end, first_seq, last_seq in ledger:
        assert (start, first_seq) == (reached[segment], expected_seq), (
            f"{segment}: {start=} {first_seq=} {reached[segment]=} {expected_seq=}"
        )
        reached[segment], expected_seq = end, following.get(last_seq, 0)
    assert reached == ends
    ((frames, ticks, rejected, quarantined),) = rows(
        database,
        "select sum(frames), sum(ticks), sum(rejected), sum(quarantined) from tickline.ledger",
    )
    assert frames == sum(record.kind == RecordKind.FRAME for _, record in records)
    assert rows(database, "select count(*), count(distinct (instrument_id, seq)) from ticks") == [(ticks, ticks)]
    assert rows(database, "select coalesce(sum(updates), 0) from tickline.rejected_ticks") == [(rejected,)]
    assert rows(database, "select count(*) from tickline.quarantined_frames") == [(quarantined,)]
    return int(ticks)


def check_bars(database: Database) -> int:
    """Hold the volume of all bars against the ticks', exactly; return it."""
    ((ticks, bars_1m, bars_5m),) = rows(
        database,
        "select (select sum(volume) from ticks), (select sum(volume) from bars_1m), (select sum(volume) from bars_5m)",
    )
    assert ticks == bars_1m == bars_5m, (ticks, bars_1m, bars_5m)
    return int(ticks)


def ticks_of(database: Database) -> list[bytes]:
    """Every tick as text, all columns, the instrument by its key, in order of arrival."""
    columns = ", ".join(name for name in TICK_COLUMN_NAMES if name != "instrument_id")
    statement = f"""
        copy (select instrument_key, {columns} from ticks join instruments using (instrument_id)
        order by seq, instrument_key) to stdout
    """
    with database.connect() as connection, connection.cursor().copy(statement.encode()) as copy:
        return b"".join(copy).splitlines()


def replayed(template: Template, home: Path, paths: Sequence[Path]) -> list[bytes]:
    """The ticks of an undisturbed replay into a fresh database."""
    name = f"replayed_{WORKER}_{next(_numbers)}"
    with Database(template.create(name), None) as database:
        with Command(home, "replay", *map(str, paths), TICKLINE_DATABASE_URL=database.url) as command:
            assert command.process.wait(timeout=600) == 0
        ticks = ticks_of(database)
    template.drop(name)
    return ticks


def check_ticks(database: Database, template: Template, home: Path) -> int:
    """Hold the ticks against a replay of the journal, byte for byte; return how many there are."""
    found = ticks_of(database)
    expected = replayed(template, home, segments_of(stream_folder(home)))
    assert len(found) == len(expected)
    assert next((pair for pair in zip(found, expected, strict=True) if pair[0] != pair[1]), None) is None
    return len(found)
