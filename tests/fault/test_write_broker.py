"""Collectors, a broker, writers, one database: whatever the broker does, every tick is in the database once."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ingest.database.connections import Database
from ingest.journal.folder import segments_of
from ingest.live.distributed.writing import sources_of, write
from ingest.settings import settings
from tests.broker import AckProxy, Broker, needs_broker
from tests.conftest import Template
from tests.engines import on_one_engine
from tests.fault.harness import QUICK, Command, RecordProperty, replayed, rows, ticks_of
from tests.fault.live import running, until
from tests.fault.test_write import CHEAP, COLLECTORS, DEAR, TOKEN, Desk, check, check_from_elsewhere

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


class BrokerDesk(Desk):
    """The same desk, with a broker between collectors and writers; its acknowledgements pass a proxy."""

    def __init__(self, stack: ExitStack, home: Path, database: Database, rng: random.Random) -> None:
        super().__init__(stack, home, database, rng)
        self.broker = stack.enter_context(Broker(home / "nats"))
        self.acks = stack.enter_context(AckProxy(self.broker))

    def _environment(self, **given: str) -> dict[str, str]:
        return QUICK | self.market.settings | given

    def collect(self, name: str) -> None:
        self.commands[name] = Command(
            self.home / name,
            "collect",
            "--publish",
            **self._environment(
                TICKLINE_HOME=str(self.home / name),
                TICKLINE_COLLECTOR=name,
                TICKLINE_UNIVERSE=",".join(self.market.keys[COLLECTORS.index(name) :: 2]),
                TICKLINE_JOURNAL_PORT=str(self.ports[name]),
                TICKLINE_JOURNAL_FSYNC_MS="20",
                TICKLINE_JOURNAL_SEGMENT_BYTES_MAX="200000",
                TICKLINE_NATS_URL=self.acks.url,
            ),
        )

    def write(self, name: str) -> None:
        sources = [f"nats:{one}=http://127.0.0.1:{self.manglers[one].port}" for one in COLLECTORS]
        self.commands[name] = Command(
            self.home / name,
            "write",
            *sources,
            **self._environment(
                TICKLINE_HOME=str(self.home / name),
                TICKLINE_DATABASE_URL=self.proxy.url,
                TICKLINE_COLLECTOR_TOKEN=TOKEN,
                TICKLINE_STOP_S="60",
                TICKLINE_NATS_URL=self.broker.url,
            ),
        )


def kill_the_broker(desk: BrokerDesk) -> None:
    desk.broker.kill()
    time.sleep(desk.rng.uniform(0, 1))
    desk.broker.start()


def freeze_the_broker(desk: BrokerDesk) -> None:
    desk.broker.freeze()
    desk.until_more_ticks()  # from the collectors themselves
    desk.broker.thaw()


def take_its_storage(desk: BrokerDesk) -> None:
    desk.broker.lose_storage()


def drop_and_double_acknowledgements(desk: BrokerDesk) -> None:
    desk.acks.fate = [desk.rng.choice([0, 1, 2]) for _ in range(6)]
    desk.until_more_ticks()


@pytest.fixture
def desk(database: Database, home: Path) -> Iterator[BrokerDesk]:
    with ExitStack() as stack:
        yield BrokerDesk(stack, home, database, random.Random(SEED))


@pytest.mark.soak
@pytest.mark.parametrize("events", [20, 200])
def test_every_tick_is_written_once_whatever_broker_and_all_others_do(
    desk: BrokerDesk, template: Template, events: int, record_property: RecordProperty
) -> None:
    of_broker = [kill_the_broker, freeze_the_broker, take_its_storage, drop_and_double_acknowledgements]
    desk.start()
    desk.until_more_ticks()
    for number in range(events):
        if number % 2:
            of_broker[number // 2 % len(of_broker)](desk)
        else:
            desk.rng.choice(DEAR if desk.rng.random() < 0.2 else CHEAP)(desk)
        desk.until_more_ticks(1)
    check_from_elsewhere(desk)
    for name in (*COLLECTORS, "writer-1", "writer-2"):
        desk.commands[name].stop()
    desk.write_homes()
    record_property("ticks", check(desk, template))
    record_property("acknowledgements dropped or doubled", desk.acks.met)
    assert desk.acks.met
    assert rows(desk.database, "select count(distinct collector) from tickline.ledger") == [(2,)]
