"""Measure ingestion: run the real commands as processes and time them from outside.

Owns the measured figures and their reference. Uses only the ingester's command line and tables, so that it measures
what users run.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg

from ingest.database import timescaledb
from ingest.database.connections import Database
from ingest.database.settings import DatabaseSettings, Engine, load
from ingest.database.upgrade import upgrade
from ingest.errors import TicklineError
from ingest.universe.instrument_master import load_master

WAIT_S_MAX = 600.0  # far above any normal run: by then something is broken
POLL_S = 0.02
COPY_BYTES = 256 * 2**10
COPIES = 3  # of the reference: one takes only a second or two, so single runs scatter


@dataclass(frozen=True, slots=True)
class IngestResult:
    """Result of `bench_ingest`; rates are ticks per second."""

    engine: str
    ticks: int
    ingest_per_s: float
    copy_per_s: float
    memory_mb: float  # largest resident size seen of the ingester

    @property
    def ratio(self) -> float:
        """Ingest rate divided by the reference rate."""
        return self.ingest_per_s / self.copy_per_s

    def as_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"ratio": self.ratio}


def bench_ingest(engine: Engine, *, ticks: int, instruments: int, say: Callable[[str], None]) -> IngestResult | None:
    """Measure one engine; return None if its files are not found.

    Parameters
    ----------
    engine
        The engine to measure, in an embedded server of its own.
    ticks, instruments
        Approximate number of ticks, and number of instruments.
    say
        Called with each step, as a line of text.

    Raises
    ------
    TicklineError
        If the ingester stops or does not finish in time.
    """
    settings = load(DatabaseSettings)
    if engine == "timescale" and timescaledb.find(settings.timescaledb_dir) is None:
        say(f"timescale: not measured: {timescaledb.not_found_text()}")
        return None
    with tempfile.TemporaryDirectory(prefix="tickline-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        recording = home / "bench.frames.gz"
        keys, made = _make_recording(recording, ticks=ticks, instruments=instruments, say=say)
        with Database.open(load(DatabaseSettings, home=home, engine=engine, database_url=None)) as database:
            upgrade(database)
            with database.connect(autocommit=True) as connection:
                load_master(connection, json.dumps([{"instrument_key": key} for key in keys]).encode(), "bench")
            say(f"{engine}: ingesting {made:,} ticks of {len(keys)} instruments")
            ingest_s, memory_mb = _time_ingest(database, recording, home=home, engine=engine, keys=keys, ticks=made)
            copy_s = _time_copy(database)
        return IngestResult(engine, made, made / ingest_s, made / copy_s, memory_mb)


def _make_recording(path: Path, *, ticks: int, instruments: int, say: Callable[[str], None]) -> tuple[list[str], int]:
    """Write a made-up market of about `ticks` ticks as a recording; return its keys and the exact count."""
    from datetime import date  # noqa: PLC0415  only this function needs the market
    from datetime import time as clock  # noqa: PLC0415

    from ingest.journal.recording import write_recording  # noqa: PLC0415
    from ingest.model.frames import FrameType  # noqa: PLC0415
    from ingest.simulator.exchange.market import GeneratedMarket  # noqa: PLC0415
    from ingest.simulator.exchange.trading_day import TradingDay  # noqa: PLC0415
    from ingest.simulator.server.frame_bytes import entry, feed_response  # noqa: PLC0415

    say("making the market")
    close = clock(9, 25)
    session = TradingDay(date(2026, 1, 5), cash_closes=close, derivatives_close=close)
    market = GeneratedMarket(session, seed=1, instruments=instruments, rate=ticks / 600)
    made = 0

    def frames() -> Iterator[tuple[int, bytes]]:
        nonlocal made
        for frame in market.frames():
            made += len(frame.feeds)
            entries = [entry(key, feed) for key, feed in frame.feeds.items()]
            yield frame.current_ms, feed_response(FrameType.LIVE_FEED, frame.current_ms, entries)

    write_recording(path, frames())
    return sorted(market.keys), made


def _time_ingest(
    database: Database, recording: Path, *, home: Path, engine: Engine, keys: list[str], ticks: int
) -> tuple[float, float]:
    """Return the seconds from the first received frame to the last commit, and the ingester's peak memory in MB."""
    environment = os.environ | {
        "TICKLINE_HOME": str(home),
        "TICKLINE_ENGINE": engine,
        "TICKLINE_SUBSCRIBE_BATCH_KEYS": str(len(keys)),
    }
    environment.pop("TICKLINE_DATABASE_URL", None)
    with _blaster(recording) as given:
        environment |= given
        ingester = subprocess.Popen(  # noqa: S603  our own command
            [sys.executable, "-m", "ingest.cli", "--log-level", "error", "start", *keys],
            env=environment,
            stdout=subprocess.DEVNULL,
        )
        try:
            with database.connect(autocommit=True) as connection:
                deadline = time.monotonic() + WAIT_S_MAX
                committed = memory = 0
                # Not ru_maxrss: a child's value starts with this process's memory at the fork.
                watched = psutil.Process(ingester.pid)
                while committed < ticks:
                    if ingester.poll() is not None or time.monotonic() > deadline:
                        raise TicklineError(f"ingester stopped after {committed} of {ticks} ticks: run it with --debug")
                    time.sleep(POLL_S)
                    with contextlib.suppress(psutil.Error):  # it may have ended just now
                        memory = max(memory, watched.memory_info().rss)
                    row = connection.execute("select coalesce(sum(ticks), 0) from tickline.ledger").fetchone()
                    committed = int(row[0]) if row else 0
                ended = time.time()
                row = connection.execute("select extract(epoch from min(received_at)) from ticks").fetchone()
                assert row is not None
                seconds = ended - float(row[0])
        finally:
            ingester.send_signal(signal.SIGTERM)
            ingester.wait(WAIT_S_MAX)
    return seconds, memory / 2**20


@contextlib.contextmanager
def _blaster(recording: Path) -> Iterator[dict[str, str]]:
    """Run the feed as a process; yield the settings for an ingester to use it."""
    process = subprocess.Popen(  # noqa: S603  our own program
        [sys.executable, "-m", "ingest.bench.flood_server", str(recording)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise TicklineError("the feed of the bench did not start: its error is above")
        yield {"UPSTOX_API_URL": url, "UPSTOX_ASSETS_URL": url, "UPSTOX_ACCESS_TOKEN": "bench"}
    finally:
        process.terminate()
        process.wait(10)


def _time_copy(database: Database) -> float:
    """Return the median seconds of a binary COPY of all ticks, already encoded, into the emptied table."""
    with database.connect(autocommit=True) as connection:
        connection.execute("set synchronous_commit = on")  # as the writer does
        with connection.cursor().copy("copy (select * from ticks) to stdout (format binary)") as copy:
            encoded = b"".join(bytes(part) for part in copy)
        return statistics.median(_copy(connection, encoded) for _ in range(COPIES))


def _copy(connection: psycopg.Connection[Any], encoded: bytes) -> float:
    connection.execute("truncate ticks")
    began = time.perf_counter()
    with connection.cursor().copy("copy ticks from stdin (format binary)") as copy:
        for start in range(0, len(encoded), COPY_BYTES):
            copy.write(encoded[start : start + COPY_BYTES])
    return time.perf_counter() - began
