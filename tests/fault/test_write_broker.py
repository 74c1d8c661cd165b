"""Collectors, a broker, writers, one database: whatever the broker does, every tick is in the database once."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ingest.database.connections import Database
from ingest.journal.folder import segments_of
from ingest.live.distributed.writing import assignable, sources_of, write
from ingest.settings import settings
from ingest.simulator.server.app import Simulator
from tests.broker import Broker, needs_broker
from tests.conftest import Template
from tests.engines import on_one_engine
from tests.fault.broker_desk import OF_BROKER, OF_CLUSTER, BrokerDesk
from tests.fault.desk import check, check_from_elsewhere, seconds_of_takeover
from tests.fault.events import check_clocks, let_happen
from tests.fault.harness import RecordProperty, replayed, ticks_of
from tests.fault.live import Running, market, running, until
from tests.simulated import NOWHERE

pytestmark = [needs_broker, pytest.mark.timeout(3600)]
SEED = 20261201


@on_one_engine
def test_journal_is_written_through_the_broker_alone(
    database: Database, template: Template, home: Path, tmp_path: Path
) -> None:
    """No address of the collector: it ends before anybody writes, and what it published is enough."""

    async def run() -> None:
        given = {"publish": True, "nats_url": broker.url, "journal_fsync_ms": 5}
        async with running(None, home, journal_port=0, journal_segment_bytes_max=50_000, **given) as run:
            await until(lambda: run.ticks >= 300)
            config = run.config
        stop = asyncio.Event()
        writing = settings(home=tmp_path / "writer", nats_url=broker.url, backfill_s=0)
        task = asyncio.create_task(write(writing, database.url, sources_of(["nats:default"], writing), stop=stop))
        newest = segments_of(config.journal_folder / "1")[-1]
        ends = "select max(offset_end) from tickline.ledger where segment = %s"
        with database.connect(autocommit=True) as connection:
            name = f"1/{newest.name.partition('.')[0]}"
            await until(lambda: connection.execute(ends, (name,)).fetchone() == (newest.stat().st_size,))
        stop.set()
        await task

    with Broker(tmp_path / "nats") as broker:
        asyncio.run(run())
    segments = segments_of(home / "journal" / "default" / "1")
    assert len(segments) > 1
    found = sorted(ticks_of(database))
    assert found == sorted(replayed(template, home, segments)) and len(found) >= 300


@on_one_engine
def test_collector_that_is_known_through_the_broker_only_records_what_a_writer_gives_it(
    database: Database, home: Path, tmp_path: Path
) -> None:
    async def run() -> None:
        async with Simulator(market(12), speed=1.0) as simulator:
            keys = sorted(simulator.source.keys)
            given: dict[str, Any] = {"publish": True, "nats_url": broker.url, "journal_fsync_ms": 5}
            collector = Running(simulator, None, home, journal_port=0, **given)
            await collector.begin([])
            nowhere = {"upstox_assets_url": NOWHERE, "upstox_api_url": NOWHERE, "backoff_max_s": 0.01, "backfill_s": 0}
            given = {"nats_url": broker.url, "universe": tuple(keys), "api_port": 0, **nowhere}
            writing = settings(home=tmp_path / "writer", **given)
            stop = asyncio.Event()
            sources, assigned = sources_of(["nats:default"], writing), assignable(["nats:default"], writing)
            task = asyncio.create_task(write(writing, database.url, sources, stop=stop, assigned=assigned))
            await until(lambda: set(collector.ingestion.keys) == set(keys) and collector.confirmed == len(keys))
            assert not collector.ingestion.awaits_keys
            ticked = "select count(distinct instrument_key) from ticks join instruments using (instrument_id)"
            with database.connect(autocommit=True) as connection:
                await until(lambda: connection.execute(ticked).fetchone() == (len(keys),))
            await collector.end()
            stop.set()
            await task

    with Broker(tmp_path / "nats") as broker:
        asyncio.run(run())


@pytest.fixture
def desk(request: pytest.FixtureRequest, database: Database, home: Path) -> Iterator[BrokerDesk]:
    with ExitStack() as stack:
        yield BrokerDesk(stack, home, database, random.Random(SEED), nodes=request.param)


one_node_short_three_nodes_long = pytest.mark.parametrize(
    ("desk", "events"), [(1, 20), pytest.param(3, 200, marks=pytest.mark.soak)], indirect=["desk"]
)


@on_one_engine
@one_node_short_three_nodes_long
def test_every_tick_is_written_once_whatever_broker_and_all_others_do(
    desk: BrokerDesk, template: Template, events: int, record_property: RecordProperty
) -> None:
    desk.start()
    desk.until_more_ticks()
    let_happen(desk, events, others=OF_BROKER, long=OF_CLUSTER if len(desk.nodes) > 1 else ())
    check_from_elsewhere(desk)
    desk.stop_all()
    desk.write_homes()
    record_property("ticks", check(desk, template))
    record_property("events", dict(desk.happened))
    check_clocks(desk)
    record_property("acknowledgements dropped, doubled", desk.acknowledgements())


@pytest.mark.soak
@pytest.mark.parametrize("desk", [1, 3], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_collectors_of_a_dead_or_frozen_writer_are_written_through_the_broker_within_5_s(
    desk: BrokerDesk, number: signal.Signals, record_property: RecordProperty
) -> None:
    seconds = seconds_of_takeover(desk, number)
    record_property("seconds", round(seconds, 2))
    assert seconds < 5
