"""The processes of a bench: the feed, the ingester (the real command), the server, and what they use of the machine."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil
import psycopg

from ingest.bench.market import BenchMarket
from ingest.database import timescaledb
from ingest.database.connections import Database
from ingest.database.embedded import embedded_server
from ingest.database.settings import DatabaseSettings, Engine, load
from ingest.database.upgrade import upgrade
from ingest.errors import TicklineError
from ingest.universe.instrument_master import load_master

WAIT_S_MAX = 600.0  # far above any normal run: by then something is broken
POLL_S = 0.02
FULL_KEYS_MAX = 2_000  # of a connection in mode full; the feed sends full updates in whatever mode we subscribe

Say = Callable[[str], None]


def measurable(engines: Sequence[Engine], say: Say) -> list[Engine]:
    """Return the engines whose files are here; say which are not."""
    if "timescale" in engines and timescaledb.find(load(DatabaseSettings).timescaledb_dir) is None:
        say(f"timescale: not measured: {timescaledb.not_found_text()}")
        return [engine for engine in engines if engine != "timescale"]
    return list(engines)


@dataclass(frozen=True, slots=True)
class Bench:
    """A fresh home with an embedded server, and a database that knows a market's instruments."""

    home: Path
    engine: Engine
    database: Database
    market: BenchMarket

    @classmethod
    @contextlib.contextmanager
    def of(
        cls, engine: Engine, market: BenchMarket, server_settings: Mapping[str, str] | None = None
    ) -> Iterator[Self]:
        """Make it; remove it at the end.

        Raises
        ------
        TicklineError
            If the server does not start.
        """
        with tempfile.TemporaryDirectory(prefix="tickline-", ignore_cleanup_errors=True) as folder:
            home = Path(folder)
            settings = load(DatabaseSettings, home=home, engine=engine, database_url=None)
            with (
                embedded_server(
                    home,
                    timescaledb_dir=settings.timescaledb_dir,
                    use_timescaledb=engine == "timescale",
                    settings=server_settings,
                ),
                Database.open(settings) as database,
            ):
                upgrade(database)
                with database.connect(autocommit=True) as connection:
                    rows = [{"instrument_key": key} for key in market.keys]
                    load_master(connection, json.dumps(rows).encode(), "bench")
                yield cls(home, engine, database, market)

    def superuser(self) -> psycopg.Connection[tuple[Any, ...]]:
        """Connect as the superuser, who may make checkpoints."""
        return psycopg.connect(self.database.superuser_url, autocommit=True)

    def checkpoint(self) -> None:
        """Write all dirty pages now, so that the next measured phase does not."""
        with self.superuser() as connection:
            connection.execute("checkpoint")

    def server_cpu_s(self) -> float:
        """Return the CPU seconds that all processes of the server have used, also those that have ended."""
        assert self.database.server is not None
        postmaster = psutil.Process(self.database.server.pid)
        used = sum(postmaster.cpu_times()[:4])  # its own, user and system, and those of ended children
        for child in postmaster.children():
            with contextlib.suppress(psutil.Error):  # it may have ended just now
                used += sum(child.cpu_times()[:2])
        return used


class Feed:
    """The sender as a process; leaving the context ends it.

    Parameters
    ----------
    market
        What to send.
    interval_ns
        Time from frame to frame; 0: as fast as the socket takes them.
    days
        How often to send it, each time a day later.
    """

    def __init__(self, market: BenchMarket, *, interval_ns: float = 0.0, days: int = 1) -> None:
        self._arguments = [str(market.recording), f"--interval-ns={interval_ns}", f"--days={days}"]
        self._facts: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(  # noqa: S603  our own program
            [sys.executable, "-m", "ingest.bench.feed_server", *self._arguments], stdout=subprocess.PIPE, text=True
        )
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.terminate()
        self._process.wait(10)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._facts.put(json.loads(line))
        self._facts.put(None)

    def next(self, ingester: Ingester | None = None) -> dict[str, Any]:
        """Wait for what it says next.

        Raises
        ------
        TicklineError
            If it or the ingester has ended, or says nothing in time.
        """
        deadline = time.monotonic() + WAIT_S_MAX
        while time.monotonic() < deadline:
            if ingester is not None:
                ingester.check()
            with contextlib.suppress(queue.Empty):
                if (facts := self._facts.get(timeout=POLL_S)) is None:
                    break
                return facts
        raise TicklineError("feed of the bench ended early or did not start: its error is above")


class Ingester:
    """`tickline start` as a process on the feed's keys; leaving the context stops it as Ctrl-C does.

    Parameters
    ----------
    bench
        Where it records.
    url
        Address of the feed.
    settings
        Further settings.
    """

    def __init__(self, bench: Bench, url: str, settings: Mapping[str, str] | None = None) -> None:
        keys = bench.market.keys
        self._keys = keys
        self._environment = os.environ | {
            "TICKLINE_HOME": str(bench.home),
            "TICKLINE_ENGINE": bench.engine,
            "TICKLINE_API_PORT": str(_free_port()),
            "TICKLINE_MODE": "full" if len(keys) <= FULL_KEYS_MAX else "ltpc",
            "TICKLINE_SUBSCRIBE_BATCH_KEYS": str(min(len(keys), FULL_KEYS_MAX)),
            "TICKLINE_SUBSCRIBE_INTERVAL_MS": "0",
            "UPSTOX_API_URL": url,
            "UPSTOX_ASSETS_URL": url,
            "UPSTOX_ACCESS_TOKEN": "bench",
            **(settings or {}),
        }
        self._environment.pop("TICKLINE_DATABASE_URL", None)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(  # noqa: S603  our own command
            [sys.executable, "-m", "ingest.cli", "--log-level", "error", "start", *self._keys],
            env=self._environment,
            stdout=subprocess.DEVNULL,
        )
        self._watched = psutil.Process(self._process.pid)
        return self

    def __exit__(self, *exc: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(WAIT_S_MAX)

    def check(self) -> None:
        """Raise TicklineError if it has ended."""
        if self._process.poll() is not None:
            raise TicklineError("ingester of the bench stopped: run `tickline bench` with --debug, its error is above")

    def cpu_s(self) -> float:
        """Return the CPU seconds used so far, user and system."""
        return sum(self._watched.cpu_times()[:2])

    def memory_mb(self) -> float:
        """Return the resident size in MiB. Not ru_maxrss: that of a child starts with its parent's at the fork."""
        return float(self._watched.memory_info().rss) / 2**20

    def wait(self, connection: psycopg.Connection[Any], ticks: int, seen: Callable[[int], None]) -> None:
        """Wait until so many ticks are committed; call `seen` with their number every `POLL_S`.

        Raises
        ------
        TicklineError
            If the ingester ends, or commits nothing for too long.
        """
        committed, changed_at = -1, time.monotonic()
        while committed < ticks:
            self.check()
            row = connection.execute("select coalesce(sum(ticks), 0) from tickline.ledger").fetchone()
            assert row is not None
            if row[0] != committed:
                committed, changed_at = int(row[0]), time.monotonic()
            if time.monotonic() > changed_at + WAIT_S_MAX / 10:
                raise TicklineError(f"ingester committed {committed} of {ticks} ticks, and no more for a minute")
            seen(committed)
            time.sleep(POLL_S)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
