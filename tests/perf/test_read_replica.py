"""A streaming replica serves readers while its primary records at a high rate without a backlog."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

import analytics
from ingest.bench.latency import make_paced_market
from ingest.bench.processes import Bench, Feed, Ingester
from ingest.database.connections import Database
from ingest.database.server.configuration import of_wal_level
from ingest.database.server.standby import standing
from ingest.database.settings import DatabaseSettings, load
from tests.fault.harness import RecordProperty, wait_until
from tests.standby import Standby, standby_of

RATE, SECONDS, INSTRUMENTS = 20_000, 30.0, 1_000
BACKLOG_S_MAX = 2.0  # from the last frame sent to the last tick committed; a backlog grows with the time
COUNT = "select count(*), sum(seq), max(received_at) from ticks"


class Readers(threading.Thread):
    """Reads bars and ticks of the last minutes on the replica, one after the other, until stopped."""

    def __init__(self, database: Database, keys: list[str]) -> None:
        super().__init__(daemon=True)
        self._database, self._keys, self._stopped = database, keys, threading.Event()
        self.times_s: list[float] = []
        self.rows, self.lag_s_max = 0, 0.0
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            while not self._stopped.wait(0.2):
                began = time.monotonic()
                start = datetime.now(UTC) - timedelta(minutes=5)
                self.rows += analytics.bars(self._keys, start=start, database=self._database).height
                self.rows += analytics.ticks(self._keys[:20], start=start, database=self._database).height
                self.times_s.append(time.monotonic() - began)
                assert self._database.reading_place is not None
                found = self._database.reading_place.ask()
                assert found.standing is not None and found.standing.is_standby
                self.lag_s_max = max(self.lag_s_max, found.standing.lag_s or 0.0)
        except Exception as exc:  # judged by the test
            self.error = exc

    def stop(self) -> None:
        self._stopped.set()
        self.join()
        if self.error is not None:
            raise self.error


@pytest.mark.soak
@pytest.mark.parametrize("engine", ["postgres", "timescale"])
def test_replica_serves_analytics_while_its_primary_records(
    engine: Any, tmp_path: Path, record_property: RecordProperty
) -> None:
    market = make_paced_market(tmp_path / "market", rate=RATE, seconds=SECONDS, instruments=INSTRUMENTS)
    with Bench.of(engine, market, of_wal_level("replica")) as bench:
        assert bench.database.server is not None
        with (
            standby_of(bench.database.server) as standby,
            Feed(market, interval_ns=market.ticks_per_frame / RATE * 1e9) as feed,
            Ingester(bench, feed.next()["url"]) as ingester,
            bench.database.connect(autocommit=True) as connection,
        ):
            url = load(DatabaseSettings, database_url=bench.database.url, read_database_url=standby.url())
            readers = Readers(Database.place(url), list(market.keys))
            feed.next(ingester)
            readers.start()
            sent = feed.next(ingester)
            ingester.wait(connection, market.ticks, lambda _: None)
            backlog_s = time.time() - sent["ended_ns"] / 1e9
            readers.stop()
            wait_until(lambda: rows_of(standby) == connection.execute(COUNT).fetchone())
            with standby.connect() as there:
                assert standing(there).lag_s == 0.0
    late_s = sent["late_ns_max"] / 1e9
    record_property("backlog s", round(backlog_s, 2))
    record_property("sender late s", round(late_s, 2))
    record_property("reads", len(readers.times_s))
    record_property("slowest read s", round(max(readers.times_s), 2))
    record_property("largest lag s", round(readers.lag_s_max, 2))
    assert readers.rows and len(readers.times_s) > 5
    assert readers.lag_s_max < 10.0
    assert backlog_s < BACKLOG_S_MAX


def rows_of(standby: Standby) -> tuple[Any, ...] | None:
    with psycopg.connect(standby.url(), autocommit=True) as connection:
        return connection.execute(COUNT).fetchone()
